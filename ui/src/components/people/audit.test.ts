import { describe, expect, it } from "vitest";
import type { AuditLine, ListAudit } from "$lib/api";
import { AuditPages, NO_FILTERS, PAGE, shortArguments } from "./audit.svelte";

const line = (seq: number): AuditLine => ({ seq, at_ms: seq, actor: "local", command: "job_start", subject: "", arguments: {} });
/** A log of so many lines, read as the host gives it. */
const log = (length: number, asked: ListAudit[] = []) => (args: ListAudit) => {
  asked.push(args);
  const from = args.before ?? length + 1;
  return Promise.resolve(Array.from({ length: Math.min(args.limit, from - 1) }, (_, index) => line(from - 1 - index)));
};

describe("pages of the audit log", () => {
  it("follow each other without a gap and end", async () => {
    const asked: ListAudit[] = [];
    const pages = new AuditPages(log(PAGE + 3, asked));
    await pages.start({ ...NO_FILTERS, actor: " yuki " });
    expect([pages.lines?.length, pages.whole]).toEqual([PAGE, false]);
    await pages.older();
    expect([pages.lines?.length, pages.lines?.at(-1)?.seq, pages.whole]).toEqual([PAGE + 3, 1, true]);
    await pages.older();
    expect(asked.map((args) => [args.actor, args.command, args.before])).toEqual([["yuki", null, null], ["yuki", null, 4]]);
  });

  it("belong to the filters asked for last", async () => {
    const answers: ((lines: AuditLine[]) => void)[] = [];
    const pages = new AuditPages(() => new Promise((resolve) => answers.push(resolve)));
    const [first, second] = [pages.start(NO_FILTERS), pages.start({ ...NO_FILTERS, command: "user_add" })];
    answers[1]?.([line(7)]);
    answers[0]?.([line(9), line(8)]);
    await Promise.all([first, second]);
    expect(pages.lines?.map(({ seq }) => seq)).toEqual([7]);
    expect(pages.busy).toBe(false);
  });

  it("keep what they have when the next one fails", async () => {
    let fails = false;
    const read = log(PAGE + 1);
    const pages = new AuditPages((args) => (fails ? Promise.reject(new Error("gone")) : read(args)));
    await pages.start(NO_FILTERS);
    fails = true;
    await pages.older();
    expect([pages.lines?.length, pages.error?.code]).toEqual([PAGE, "internal"]);
    fails = false;
    await pages.older();
    expect([pages.lines?.length, pages.error]).toEqual([PAGE + 1, undefined]);
  });
});

describe("shortArguments", () => {
  it("says in one line what was given", () => {
    expect(shortArguments({ name: "yuki", role: "reviewer", password: null })).toBe("name: yuki, role: reviewer");
    expect(shortArguments({ changes: { lora_r: 8 } })).toBe('changes: {"lora_r":8}');
    expect(shortArguments([1, "a"])).toBe("1, a");
    expect(shortArguments(null)).toBe("");
  });
});

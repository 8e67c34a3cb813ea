// The loop from two reviewers' judgement to training data, in a browser: fifty items by keyboard alone, in English and with a
// Japanese input method, what the page says of their agreement, and the dataset that is built of it.
import type { Browser, CDPSession, Page } from "playwright-core";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { labelling } from "../src/lib/i18n/en/labelling";
import { preferences } from "../src/lib/i18n/en/preferences";
import { review } from "../src/lib/i18n/en/review";
import { review as reviewJa } from "../src/lib/i18n/ja/review";
import { launch, open, rpc, settle, violations, type Language } from "./browser";
import { Host } from "./host";

const ITEMS = 50;
/** What the first and the second reviewer say of item `n`. */
const FIRST = (n: number): number => 1 + (n % 5);
const SECOND = (n: number): number => (n % 10 === 3 ? 3 : n % 10 === 7 ? 5 : 1 + (n % 5));
/**
 * Of these ratings: krippendorff 0.9.0 (ordinal, interval), scikit-learn 1.9.1 (quadratic weights), statsmodels 0.15.0 (Fleiss),
 * as tests/golden/stats/make_agreement.py calls them.
 */
const GOLDEN = { alpha: 0.8937068965517241, alpha_interval: 0.8847497089639116, cohen_kappa: 0.8837209302325582, fleiss_kappa: 0.7484276729559749 };
/** The first corrects every fifth item, the second every tenth, in other words. */
const CORRECTED = { first: (n: number): boolean => n % 5 === 0, second: (n: number): boolean => n % 10 === 0 };

let host: Host;
let browser: Browser;

beforeAll(async () => {
  host = await Host.start();
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await host?.remove();
});

/** A reviewer in a browser of their own, signed in with name and password. */
async function signIn(name: string, password: string, language: Language): Promise<{ page: Page; complaints: string[] }> {
  const { page, complaints } = await open(browser, `${host.origin}/sign-in`, "light", language);
  await page.locator("input[name=name]").fill(name);
  await page.locator("input[name=password]").fill(password);
  await page.locator("form button").click();
  await page.waitForURL(`${host.origin}/`);
  await settle(page);
  complaints.length = 0;
  return { page, complaints };
}

/** The number of the item that is shown. */
async function shown(page: Page, source: string): Promise<number> {
  const text = await page.getByRole("region", { name: source, exact: true }).innerText();
  return Number(/#(\d+)/.exec(text)![1]);
}

/** Milliseconds from the last submission to the next item on the screen. */
async function lastGap(page: Page): Promise<number | undefined> {
  return page.evaluate(() => performance.getEntriesByName("review.next").at(-1)?.duration);
}

/** Types a text as an input method does: candidates, keys that belong to the method, then the text. */
async function compose(keys: CDPSession, page: Page, text: string): Promise<void> {
  for (let end = 1; end <= text.length; end += 2) {
    await keys.send("Input.imeSetComposition", { text: text.slice(0, end), selectionStart: end, selectionEnd: end });
  }
  // Enter and Ctrl+Enter choose a candidate here, Escape closes its list; none of them is the page's.
  for (const [key, modifiers] of [["Enter", 0], ["Enter", 2], ["Escape", 0], ["1", 0]] as const) {
    const stroke = { key: key === "1" ? "1" : key, code: key, modifiers, windowsVirtualKeyCode: 229 };
    await keys.send("Input.dispatchKeyEvent", { type: "rawKeyDown", ...stroke });
    await keys.send("Input.dispatchKeyEvent", { type: "keyUp", ...stroke });
  }
  await keys.send("Input.insertText", { text });
  // A key within 30 ms of the end would be the one that ended the composition; no hand is so quick.
  await page.waitForTimeout(80);
}

describe.sequential("two reviewers", () => {
  let owner: Page;
  let project: string;
  const gaps: number[] = [];

  test("are given a project of fifty outputs", async () => {
    ({ page: owner } = await open(browser, host.link));
    await settle(owner);
    const rows = Array.from({ length: ITEMS }, (_, n) => JSON.stringify({ prompt: `casual text #${n}, send it over`, completion: `Would you send text ${n}?` }));
    const path = join(host.home, "outputs.jsonl");
    writeFileSync(path, rows.join("\n"));
    const dataset = await rpc<{ id: string }>(owner, "data_import", { path, validation_share: 0, test_share: 0 });
    const made = await rpc<{ id: string; num_items: number }>(owner, "label_project_create", {
      name: "Polite tone",
      guidelines: "Rate **politeness**.\n\n<script>alert(1)</script>",
      source: { kind: "dataset", dataset_id: dataset.id, split: "train" },
      overlap: 2,
      transformation_type: "casual_to_polite",
    });
    expect(made.num_items).toBe(ITEMS);
    project = made.id;
    for (const name of ["aki", "ben"]) await rpc(owner, "user_add", { name, role: "reviewer", password: `${name} long password` });
  });

  test("the first labels all of them by keyboard", async () => {
    const { page, complaints } = await signIn("aki", "aki long password", "en");
    await page.goto(`${host.origin}/feedback/${project}/review`);
    await settle(page);
    expect(await violations(page)).toEqual([]);
    const seen = new Set<number>();
    for (let i = 0; i < ITEMS; i++) {
      const n = await shown(page, review.source);
      seen.add(n);
      await page.keyboard.press(String(FIRST(n)));
      if (CORRECTED.first(n)) {
        await page.keyboard.press("e");
        await page.keyboard.press("Control+a");
        await page.keyboard.type(`Could you kindly send text ${n}?`);
        await page.keyboard.press("Control+Enter");
      } else {
        await page.keyboard.press("Enter");
      }
      if (i + 1 < ITEMS) await expect.poll(() => shown(page, review.source), { interval: 10 }).not.toBe(n);
      const gap = await lastGap(page);
      if (gap !== undefined) gaps.push(gap);
    }
    expect(seen.size).toBe(ITEMS);
    await expect.poll(async () => (await rpc<{ progress: { mine: number } }>(page, "label_project_get", { id: project })).progress.mine).toBe(ITEMS);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test("the second labels the overlap with a Japanese input method, and undoes a slip", async () => {
    const { page, complaints } = await signIn("ben", "ben long password", "ja");
    const keys = await page.context().newCDPSession(page);
    await page.goto(`${host.origin}/feedback/${project}/review`);
    await settle(page);
    let slipped = false;
    for (let i = 0; i < ITEMS; i++) {
      const n = await shown(page, reviewJa.source);
      if (CORRECTED.second(n)) {
        await page.keyboard.press("e");
        await page.keyboard.press("Control+a");
        await compose(keys, page, `資料${n}をお送りいただけますでしょうか。`);
        expect(await shown(page, reviewJa.source), "the input method's keys submit nothing").toBe(n);
        await page.keyboard.press("Escape");
      }
      if (!slipped && i === 7) {
        // A wrong answer, taken back: the item comes again with what was said.
        await page.keyboard.press(SECOND(n) === 1 ? "2" : "1");
        await page.keyboard.press("Enter");
        await expect.poll(() => shown(page, reviewJa.source), { interval: 10 }).not.toBe(n);
        await expect.poll(async () => (await rpc<{ progress: { mine: number } }>(page, "label_project_get", { id: project })).progress.mine).toBe(8);
        await page.keyboard.press("u");
        await expect.poll(() => shown(page, reviewJa.source)).toBe(n);
        slipped = true;
      }
      await page.keyboard.press(String(SECOND(n)));
      await page.keyboard.press("Control+Enter");
      if (i + 1 < ITEMS) await expect.poll(() => shown(page, reviewJa.source), { interval: 10 }).not.toBe(n);
      const gap = await lastGap(page);
      if (gap !== undefined) gaps.push(gap);
    }
    await expect.poll(async () => (await rpc<{ progress: { mine: number } }>(page, "label_project_get", { id: project })).progress.mine).toBe(ITEMS);
    expect(complaints).toEqual([]);
    // A reviewer sees nobody else's answers, and no model's name.
    expect(await rpc<unknown[]>(page, "feedback_list", { limit: 500, selection: { withdrawn: false } })).toHaveLength(ITEMS);
    await page.context().close();
  });

  test("wait less than 100 ms for the next item", () => {
    gaps.sort((a, b) => a - b);
    const [median, most] = [gaps[Math.floor(gaps.length / 2)]!, gaps.at(-1)!];
    console.log(`next item after a submission: median ${median.toFixed(1)} ms, most ${most.toFixed(1)} ms, n = ${gaps.length}`);
    expect(gaps.length).toBeGreaterThan(90);
    expect(median).toBeLessThan(100);
  });

  test("agree as far as the reference implementations say", async () => {
    const report = await rpc<{ questions: Record<string, { value: number; low: number; high: number; items: number }>[] }>(owner, "label_agreement", { project_id: project });
    const rating = report.questions[0]!;
    for (const [name, value] of Object.entries(GOLDEN)) expect(rating[name]!.value, name).toBeCloseTo(value, 9);
    await owner.goto(`${host.origin}/feedback/projects/${project}?tab=agreement`);
    await settle(owner);
    const told = await owner.getByRole("region", { name: labelling.by_question }).innerText();
    for (const [name, value] of Object.entries(GOLDEN)) expect(told, name).toContain(value.toFixed(2));
    expect(await violations(owner)).toEqual([]);
  });

  test("make a preference set of exactly their corrections", async () => {
    const all = Array.from({ length: ITEMS }, (_, n) => n);
    const pairs = all.filter(CORRECTED.first).length + all.filter(CORRECTED.second).length;
    await owner.goto(`${host.origin}/preferences/new?project=${project}`);
    await settle(owner);
    await owner.getByRole("textbox", { name: preferences.name }).fill("polite pairs");
    await owner.getByRole("button", { name: preferences.build }).click();
    await owner.waitForURL(/\/datasets\/dts_/);
    const id = new URL(owner.url()).pathname.split("/").pop()!;
    const dataset = await rpc<{ num_samples: number; shape: string; type: string; splits: { name: string }[] }>(owner, "data_get", { id });
    expect([dataset.num_samples, dataset.shape, dataset.type]).toEqual([pairs, "preference", "feedback"]);
    const rows: { example: { prompt: string; chosen: string; rejected: string }; more: { feedback: string[] } }[] = [];
    for (const { name } of dataset.splits) rows.push(...(await rpc<{ rows: typeof rows }>(owner, "data_rows", { id, split: name, limit: 500 })).rows);
    const built = rows.map(({ example }) => `${/#(\d+)/.exec(example.prompt)![1]}: ${example.chosen} > ${example.rejected}`).sort();
    const expected = all.flatMap((n) => [
      ...(CORRECTED.first(n) ? [`${n}: Could you kindly send text ${n}? > Would you send text ${n}?`] : []),
      ...(CORRECTED.second(n) ? [`${n}: 資料${n}をお送りいただけますでしょうか。 > Would you send text ${n}?`] : []),
    ]);
    expect(built).toEqual(expected.sort());
    for (const { more } of rows) expect(more.feedback).toHaveLength(1);
    const provenance = await rpc<{ feedback_rows: number; withdrawn: number }>(owner, "provenance", { id });
    expect([provenance.feedback_rows, provenance.withdrawn]).toEqual([pairs, 0]);
    // Taking a row back marks the dataset.
    await rpc(owner, "feedback_withdraw", { id: rows[0]!.more.feedback[0], reason: "a slip" });
    expect(await rpc<{ id: string }[]>(owner, "provenance_marks")).toEqual([{ id, withdrawn: 1 }]);
  });
});

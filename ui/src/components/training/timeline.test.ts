import { expect, test } from "vitest";
import type { JobPage } from "$lib/api";
import { folded, happenings, told, type Entry } from "./timeline";

const entry = (code: string, step: number | null = null): Entry => ({ at_ms: step ?? 0, step, level: "info", code, message: code });

test("a row of checkpoints is told as one, with its first and last step", () => {
  const rows = folded([entry("started", 0), entry("checkpoint", 200), entry("checkpoint", 400), entry("checkpoint", 600), entry("paused", 700)]);
  expect(rows.map(({ entry: { code }, count }) => [code, count])).toEqual([["started", 1], ["checkpoint", 3], ["paused", 1]]);
  expect([rows[1]?.first.step, rows[1]?.entry.step]).toEqual([200, 600]);
});

test("one or two checkpoints stay as they are, and what lies between parts a row", () => {
  const rows = folded([entry("checkpoint", 1), entry("checkpoint", 2), entry("note"), entry("checkpoint", 3)]);
  expect(rows.map(({ count }) => count)).toEqual([1, 1, 1, 1]);
});

const page = (timeline: Entry[]) => ({ timeline, plan: null, certificate: null, checkpoints: [], job: { device: "cpu" } }) as unknown as JobPage;

test("trouble that the run dealt with is told as a warning with its step and what was done", () => {
  const entry: Entry = { at_ms: 1, step: 412, level: "warn", code: "out_of_memory", message: "Batches of 4 rows from here on." };
  expect(told(page([entry]))[0]).toMatchObject({ glyph: "warn", title: "Memory ran out: smaller micro-batches", detail: "Batches of 4 rows from here on.", step: 412 });
});

test("a pause that nobody asked for says what must be dealt with; one that was asked for says nothing more", () => {
  const pause = (level: Entry["level"], message: string): Entry => ({ at_ms: 1, step: 40, level, code: "paused", message });
  expect(told(page([pause("error", "The disk is full.")]))[0]).toMatchObject({ glyph: "fail", title: "Paused: something must be dealt with first", detail: "The disk is full." });
  expect(told(page([pause("info", "Paused after step 40.")]))[0]).toMatchObject({ glyph: "paused", title: "Paused", detail: "" });
});

test("charts mark what went wrong in the course of a run, and nothing else", () => {
  const timeline: Entry[] = [
    { at_ms: 1, step: 10, level: "warn", code: "not_finite", message: "skipped" },
    { at_ms: 2, step: 20, level: "info", code: "checkpoint", message: "" },
    { at_ms: 3, step: 30, level: "error", code: "paused", message: "The disk is full." },
    { at_ms: 4, step: 30, level: "info", code: "paused", message: "Paused." },
    { at_ms: 5, step: 0, level: "warn", code: "out_of_memory", message: "before the first step" },
  ];
  expect(happenings(page(timeline)).map(({ step, tone }) => [step, tone])).toEqual([[10, "warn"], [30, "danger"]]);
  expect(happenings(page(timeline))[0]?.title).toBe("step 10: A step was skipped: not finite");
});

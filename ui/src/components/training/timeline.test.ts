import { expect, test } from "vitest";
import { folded, type Entry } from "./timeline";

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

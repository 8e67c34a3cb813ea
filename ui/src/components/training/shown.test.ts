import { expect, test } from "vitest";
import type { Job, JobStatus } from "$lib/api";
import { filtered, onlyThese, pinnedFirst, readShown, recoloured, shownAtFirst, toggled, writeShown, type Shown } from "./shown";

const job = (id: string, status: JobStatus = "completed", step = 100) => ({ id, status, name: id, metrics: { step } }) as unknown as Job;

test("what is shown survives the way through the URL", () => {
  const shown: Shown[] = [
    { id: "job_1", slot: 1 },
    { id: "job_2.5", slot: 3 },
    { id: "job_3", slot: "rest" },
  ];
  expect(readShown(writeShown(shown))).toEqual(shown);
  expect(readShown(writeShown([]))).toEqual([]);
  expect(readShown(null)).toBeNull();
  expect(readShown("nonsense,.,x.9")).toEqual([{ id: "x", slot: "rest" }]);
});

test("the first six runs have colours, the rest are grey", () => {
  const shown = ["a", "b", "c", "d", "e", "f", "g", "h"].reduce<Shown[]>((all, id) => toggled(all, id), []);
  expect(shown.map(({ slot }) => slot)).toEqual([1, 2, 3, 4, 5, 6, "rest", "rest"]);
});

test("a hidden run gives its colour free and the others keep theirs", () => {
  const three = onlyThese([], ["a", "b", "c"]);
  const two = toggled(three, "a");
  expect(two).toEqual([{ id: "b", slot: 2 }, { id: "c", slot: 3 }]);
  expect(toggled(two, "d").at(-1)).toEqual({ id: "d", slot: 1 });
});

test("a colour that is taken is exchanged", () => {
  const two = onlyThese([], ["a", "b"]);
  expect(recoloured(two, "a", 2)).toEqual([{ id: "a", slot: 2 }, { id: "b", slot: 1 }]);
  expect(recoloured(two, "a", "rest")).toEqual([{ id: "a", slot: "rest" }, { id: "b", slot: 2 }]);
  expect(recoloured(two, "c", 5).at(-1)).toEqual({ id: "c", slot: 5 });
});

test("at first the selected run, what runs and the newest are shown", () => {
  const jobs = [job("new"), job("waits", "pending", 0), job("a"), job("runs", "running", 0), job("b"), job("old"), job("chosen")];
  expect(shownAtFirst(jobs, "chosen").map(({ id }) => id)).toEqual(["new", "a", "runs", "chosen"]);
  expect(shownAtFirst([], null)).toEqual([]);
});

test("pinned runs come first in their own order", () => {
  const jobs = [job("a"), job("b"), job("c")];
  expect(pinnedFirst(jobs, new Set(["c", "b"])).map(({ id }) => id)).toEqual(["b", "c", "a"]);
});

test("every word of the filter must be found", () => {
  const jobs = [job("polite r16"), job("polite r32"), job("casual r16")];
  const names = (filter: string) => filtered(jobs, filter, ({ name }) => name).map(({ name }) => name);
  expect(names("polite R16")).toEqual(["polite r16"]);
  expect(names("  ")).toHaveLength(3);
});

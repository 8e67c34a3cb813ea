import { expect, it } from "vitest";
import { formatOf, joined, proposedName } from "./transfer";

it("reads the format off a file's ending", () => {
  expect(["a.jsonl", "/x/B.CSV ", "a.json", "a", "/x/.csv", ""].map(formatOf)).toEqual(["jsonl", "csv", undefined, undefined, undefined, undefined]);
});

it("proposes a name of its own for each second", () => {
  expect(proposedName("csv", new Date(2025, 10, 21, 14, 31, 5))).toBe("feedback-20251121-143105.csv");
});

it("joins as the folder's system does", () => {
  expect([joined("/home/u/", "a.csv"), joined("C:\\data", "a.csv")]).toEqual(["/home/u/a.csv", "C:\\data\\a.csv"]);
});

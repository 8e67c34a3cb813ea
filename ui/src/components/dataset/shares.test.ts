import { describe, expect, it } from "vitest";
import { expectedRows, shareFaults } from "./shares";

describe("shareFaults", () => {
  it("wants shares from 0 to 90 that leave something to learn from", () => {
    expect(shareFaults({ validation: 5, test: 5 }, false)).toEqual([]);
    expect(shareFaults({ validation: -1, test: 5 }, false)).toEqual([{ split: "validation", fault: "range" }]);
    expect(shareFaults({ validation: 50, test: 50 }, false)).toEqual([{ split: "both", fault: "nothing_left" }]);
    expect(shareFaults({ validation: Number.NaN, test: 91 }, false)).toHaveLength(2);
  });

  it("asks no test share beside an own test file", () => {
    expect(shareFaults({ validation: 50, test: 50 }, true)).toEqual([]);
  });
});

describe("expectedRows", () => {
  it("adds up to all rows", () => {
    expect(expectedRows(6198, { validation: 5, test: 5 }, false)).toEqual({ train: 5578, validation: 310, test: 310 });
    expect(expectedRows(10, { validation: 10, test: 50 }, true)).toEqual({ train: 9, validation: 1, test: 0 });
  });
});

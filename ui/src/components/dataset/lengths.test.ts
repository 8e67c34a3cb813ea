import { describe, expect, it } from "vitest";
import { height, labelLines, logTicks, rowsOver, ticks } from "./lengths";

describe("rowsOver", () => {
  const bins = [
    { from: 0, to: 10, rows: 5 },
    { from: 10, to: 20, rows: 10 },
    { from: 20, to: 30, rows: 3 },
  ];

  it("is exact at the edge of a bin and says so when it is not", () => {
    expect(rowsOver(bins, 19)).toEqual({ rows: 3, exact: true });
    expect(rowsOver(bins, 15)).toEqual({ rows: 8, exact: false });
    expect(rowsOver(bins, 100)).toEqual({ rows: 0, exact: true });
  });
});

describe("ticks", () => {
  it("are round and reach the top", () => {
    expect(ticks(1325, 4)).toEqual([0, 400, 800, 1200, 1600]);
    expect(ticks(3, 4)).toEqual([0, 1, 2, 3]);
    expect(ticks(0, 4)).toEqual([0]);
    expect(logTicks(1325)).toEqual([0, 1, 10, 100, 1000, 10000]);
  });
});

describe("height", () => {
  it("shows one row on the log scale and nothing for none", () => {
    expect(height(0, 100, "log")).toBe(0);
    expect(height(1, 99, "log")).toBeCloseTo(0.15, 2);
    expect(height(50, 100, "linear")).toBe(0.5);
  });
});

describe("labelLines", () => {
  it("moves labels down only where they would touch", () => {
    const label = (x: number): { at: number; label: string; x: number; width: number } => ({ at: x, label: "", x, width: 50 });
    expect(labelLines([label(0), label(20), label(60)])).toEqual([0, 1, 0]);
  });
});

import { expect, test } from "vitest";
import { xEnd, yRange } from "./range";
import { countTicks, decimalsAt, decimalsOf, linearTicks, logTicks, niceStep, timeTicks } from "./ticks";
import { yTicks } from "./view";

test("steps are round and at most as many as asked for", () => {
  expect(niceStep(1800, 9)).toBe(200);
  expect(niceStep(2, 10)).toBe(0.2);
  expect(niceStep(1.6e-4, 3)).toBeCloseTo(1e-4, 12);
  for (let k = 1; k < 400; k++) {
    const span = 1.37 ** (k / 8 - 20);
    const step = niceStep(span, 6);
    expect(span / step).toBeLessThanOrEqual(6 * (1 + 1e-9));
    expect(span / step).toBeGreaterThan(2);
  }
});

test("marks carry just the decimals that tell them apart", () => {
  expect(decimalsOf(200)).toBe(0);
  expect(decimalsOf(0.2)).toBe(1);
  expect(decimalsOf(0.25)).toBe(2);
  expect(linearTicks(0.6, 2.6, 10)).toEqual({ values: [0.6, 0.8, 1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.4, 2.6], decimals: 1 });
});

test("counts are marked at whole numbers", () => {
  expect(countTicks(0, 3, 8).values).toEqual([0, 1, 2, 3]);
  expect(countTicks(0, 10, 4).values).toEqual([0, 5, 10]);
});

test("log axes are marked at powers of ten, and between them where there is room", () => {
  expect(logTicks(0.1, 100, 6).values).toEqual([0.1, 1, 10, 100]);
  expect(logTicks(0.1, 10, 9).values).toEqual([0.1, 0.2, 0.5, 1, 2, 5, 10]);
  expect(logTicks(1, 1e12, 4).values).toEqual([1, 1e3, 1e6, 1e9, 1e12]);
  expect(logTicks(2, 5, 4).values).toEqual([2, 3, 4, 5]);
  expect(logTicks(0, 5, 4).values).toEqual([]);
  const ticks = logTicks(0.01, 100, 6);
  expect(ticks.values.map((value) => value.toFixed(decimalsAt(value, ticks)))).toEqual(["0.01", "0.1", "1", "10", "100"]);
});

test("times are marked by the steps of a clock", () => {
  expect(timeTicks(0, 600, 6).values).toEqual([0, 120, 240, 360, 480, 600]);
  expect(timeTicks(0, 7200, 5).values).toEqual([0, 1800, 3600, 5400, 7200]);
});

test("the y axis begins at 0, or says that it does not", () => {
  expect(yRange(0.05, 2.5, "linear", "data", 6)).toEqual({ min: 0, max: 2.5, step: 0.5, isBroken: false });
  const broken = yRange(0.86, 2.53, "linear", "data", 10);
  expect(broken).toEqual({ min: 0.8, max: 2.6, step: 0.2, isBroken: true });
  expect(yRange(3000, 3100, "linear", "zero", 4)).toEqual({ min: 0, max: 4000, step: 1000, isBroken: false });
  expect(yRange(-1, 3, "linear", "zero", 4).min).toBeLessThanOrEqual(-1);
});

test("one value alone, or none, still has an axis", () => {
  expect(yRange(2, 2, "linear", "data", 5)).toEqual({ min: 1, max: 3, step: 1, isBroken: true });
  expect(yRange(0, 0, "linear", "zero", 5)).toEqual({ min: 0, max: 0.5, step: 0.25, isBroken: false });
  expect(yRange(Infinity, -Infinity, "linear", "data", 5)).toEqual({ min: 0, max: 1, step: 0.5, isBroken: false });
});

test("a log range ends on marks and holds every value", () => {
  expect(yRange(0.35, 7, "log", "data", 5)).toEqual({ min: 0.3, max: 8, step: 0, isBroken: false });
  expect(yRange(1, 100, "log", "data", 5)).toEqual({ min: 1, max: 100, step: 0, isBroken: false });
  expect(yRange(0, 1e-4, "log", "data", 5).min).toBeCloseTo(1e-7, 12);
  for (const [low, high] of [[1, 1], [2, 5], [0.99, 1.01], [5e-5, 2e-4]] as const) {
    const range = yRange(low, high, "log", "data", 5);
    expect(range.min).toBeLessThanOrEqual(low);
    expect(range.max).toBeGreaterThanOrEqual(high);
    expect(range.max).toBeGreaterThan(range.min);
  }
});

test("the x axis ends where the run is planned to end, else a little past the last point", () => {
  expect(xEnd(700, 1800)).toBe(1800);
  expect(xEnd(2000, 1800)).toBe(2100);
  expect(xEnd(1001, null)).toBe(1100);
  expect(xEnd(1050, null)).toBe(1100);
  expect(xEnd(0, null)).toBe(1);
});

test("both ends of a y axis carry a mark", () => {
  for (let k = 0; k < 300; k++) {
    const low = 1.3 ** (k % 30) / 50;
    const range = yRange(low, low * (1.2 + (k % 7)), "linear", "data", 3 + (k % 9));
    const { values } = yTicks(range, "linear", 5);
    expect(values[0]).toBeCloseTo(range.min, 9);
    expect(values.at(-1)).toBeCloseTo(range.max, 9);
  }
});

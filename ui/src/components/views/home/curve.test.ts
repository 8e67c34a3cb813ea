import { describe, expect, it } from "vitest";
import { frameOf, pathOf, smooth, ticks } from "./curve";

const box = { left: 40, right: 440, top: 10, bottom: 110 };

describe("the small chart", () => {
  it("has round lines around its values", () => {
    expect(ticks(0.83, 2.31, 4)).toEqual([0.5, 1, 1.5, 2, 2.5]);
    expect(ticks(1, 1, 4)).toEqual([1]);
  });

  it("starts its mean at the first value", () => {
    const points = [4, 2, 2].map((value, step) => ({ step, value }));
    const means = smooth(points, 0.9).map(({ value }) => value);
    expect(means[0]).toBeCloseTo(4);
    expect(means[2]).toBeLessThan(means[1] ?? 0);
  });

  it("leaves room for the steps to come", () => {
    const points = [{ step: 1, value: 2 }, { step: 50, value: 1 }];
    const frame = frameOf(points, 100, box);
    expect(frame?.xTicks).toEqual([0, 50, 100]);
    expect(frame?.x(50)).toBe(240);
    expect(frame && pathOf(points, frame)).toBe("M44.0 10.0L240.0 110.0");
  });

  it("has no frame without values", () => {
    expect(frameOf([{ step: 1, value: Number.NaN }], 10, box)).toBeUndefined();
  });
});

import { describe, expect, it } from "vitest";
import { bias, coefficient, inWords, isTold, readingOf, share } from "./agreement";

const alpha = (value: number, low: number, high: number) => ({ value, low, high, items: 1212 });

describe("agreement in figures", () => {
  it("stands with its interval and n, in fixed decimals", () => {
    expect(inWords(coefficient(alpha(0.7, 0.6449, 0.7651)))).toBe("0.70 [0.64, 0.77] n=1,212");
    expect(inWords(coefficient(alpha(-0.05, -0.2, 0.1)))).toBe("−0.05 [−0.20, 0.10] n=1,212");
    expect(inWords(coefficient(null))).toBe("–");
  });

  it("of a share is in percent, of a bias has its sign", () => {
    expect(inWords(share({ value: 0.933, low: 0.81, high: 0.98, n: 45 }))).toBe("93.3 [81.0, 98.0] n=45");
    expect(inWords(bias({ value: 0.12, low: -0.04, high: 0.28, n: 98 }))).toBe("+0.12 [−0.04, +0.28] n=98");
  });

  it("of a single value has no interval", () => {
    expect(inWords(bias({ value: 1, low: null, high: null, n: 1 }))).toBe("+1.00 n=1");
  });

  it("is read by the ends of its interval, not by its value", () => {
    expect(readingOf(alpha(0.9, 0.8, 0.95))).toBe("reliable");
    expect(readingOf(alpha(0.9, 0.79, 0.95))).toBe("tentative");
    expect(readingOf(alpha(0.9, 0.6, 0.95))).toBe("unsettled");
    expect(readingOf(alpha(0.5, 0.4, 0.666))).toBe("low");
  });

  it("tells a bias where the interval leaves zero out", () => {
    expect([isTold({ value: 1, low: 0.1, high: 2, n: 3 }), isTold({ value: -1, low: -2, high: -0.1, n: 3 }), isTold({ value: 1, low: -0.1, high: 2, n: 3 }), isTold({ value: 1, low: null, high: null, n: 1 }), isTold(null)]).toEqual([true, true, false, false, false]);
  });
});

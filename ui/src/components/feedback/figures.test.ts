import { describe, expect, it } from "vitest";
import type { Figures, MeanFigure } from "$lib/api";
import { bestOf, figuresCsv, sharesOf, whole } from "./figures";

const figure = (value: number, more: Partial<MeanFigure> = {}): MeanFigure => ({ value, low: value - 0.05, high: value + 0.05, n: 2124, ...more });
const figures: Figures = {
  rows: 3, by_rating: [0, 0, 1, 0, 2], rating: figure(4.25), thumbs_up: null, win_rate: figure(0.625), choices: [5, 3, 1, 0], corrections: 1, correction_distance: null, flagged: 0, seconds: 12.5,
};

describe("figures", () => {
  it("give a mean with its interval and n", () => {
    expect(whole("rating", figure(4.11))).toBe("4.11 [4.06, 4.16] n=2,124");
    expect(whole("share", figure(0.625))).toBe("62.5 % [57.5, 67.5] n=2,124");
    expect(whole("rating", figure(3, { low: null, high: null, n: 1 }))).toBe("3.00 n=1");
    expect(whole("distance", null)).toBe("–");
  });

  it("call nothing the best that is alone or shared", () => {
    const rows = [{ f: figure(4) }, { f: figure(4.5) }, { f: null }];
    expect(bestOf(rows, (row) => row.f)).toBe(rows[1]);
    expect(bestOf([rows[0]!, rows[2]!], (row) => row.f)).toBeUndefined();
    expect(bestOf([rows[0]!, { f: figure(4) }], (row) => row.f)).toBeUndefined();
  });

  it("share out counts, and nothing of nothing", () => {
    expect(sharesOf([1, 3])).toEqual([0.25, 0.75]);
    expect(sharesOf([0, 0])).toEqual([0, 0]);
  });

  it("go into a file with every digit, formulas disarmed, missing numbers empty", () => {
    const [head, row] = figuresCsv([{ name: "=cmd|' /C calc'!A0", figures }]).split("\r\n");
    expect(head).toMatch(/^name,rows,rated_1,.*,rating,rating_low,rating_high,rating_n,thumbs_up,/);
    expect(row).toBe("'=cmd|' /C calc'!A0,3,0,0,1,0,2,4.25,4.2,4.3,2124,,,,,0.625,0.575,0.675,2124,5,3,1,0,1,,,,,0,12.5");
  });
});

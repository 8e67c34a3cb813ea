import { describe, expect, it } from "vitest";
import type { MeanFigure, Trend, TrendLine } from "$lib/api";
import { startOf, endOf, viewOf } from "$components/shared/chart/view";
import { tableColumns } from "$components/shared/chart/table";
import { curveOf, modelCurves, perPoint } from "./trend";

const DAY = 86_400_000;
const figure = (value: number, n = 9): MeanFigure => ({ value, low: n > 1 ? value - 0.2 : null, high: n > 1 ? value + 0.2 : null, n });
const line = (rating: (MeanFigure | null)[], id = "mdl_1"): TrendLine => ({ model_id: id, name: id, rows: rating.map((f) => f?.n ?? 0), rating });
const trend = (lines: TrendLine[]): Trend => ({ days_per_point: 1, at_ms: [0, 1, 2, 3, 4].map((i) => (20_000 + i) * DAY), total: line([]), models: lines });

describe("the curves of a trend", () => {
  it("break where nothing was rated, and lack a band where one value stands alone", () => {
    const curve = curveOf(line([figure(4), figure(4.2), null, figure(3, 1), figure(3.5)]), trend([]), "a", "A", 1);
    expect(curve?.main.rows.breaks).toEqual([2]);
    expect([0, 1, 2, 3].map((i) => curve?.main.rows.x.day.at(i))).toEqual([20_000, 20_001, 20_003, 20_004]);
    expect(curve?.band?.low.y.at(0)).toBeCloseTo(3.8);
    expect(curve?.band?.low.y.at(2)).toBeNaN();
    expect(curveOf(line([null, null, null, null, null]), trend([]), "a", "A", 1)).toBeNull();
  });

  it("are at most six, and versions without ratings have none", () => {
    const lines = Array.from({ length: 8 }, (_, i) => line([i === 1 ? null : figure(4), null, null, null, null], `mdl_${i}`));
    expect(modelCurves(trend(lines), (one) => one.name).map(({ id, slot }) => [id, slot])).toEqual([["mdl_0", 1], ["mdl_2", 3], ["mdl_3", 4], ["mdl_4", 5], ["mdl_5", 6]]);
  });

  it("begin on their first day, with the bands in sight", () => {
    const curves = modelCurves(trend([line([null, figure(4), figure(4.1), null, figure(4.6)])]), (one) => one.name);
    expect([startOf(curves, "day"), endOf(curves, "day")]).toEqual([20_001, 20_004]);
    const view = viewOf({ curves, axis: "day", zoom: null, growth: "linear", floor: "data", limits: [], end: null }, 5);
    expect(view.y.min).toBeLessThanOrEqual(3.8);
    expect(view.y.max).toBeGreaterThanOrEqual(4.8);
    expect(view.y.isBroken).toBe(true);
  });

  it("keep a single day in the middle", () => {
    const curves = modelCurves(trend([line([null, figure(4), null, null, null])]), (one) => one.name);
    expect(viewOf({ curves, axis: "day", zoom: null, growth: "linear", floor: "data", limits: [], end: null }, 5).x).toEqual({ min: 20_000, max: 20_002 });
  });

  it("go into a file with days and intervals", () => {
    const curves = modelCurves(trend([line([figure(4), figure(4.5), null, null, null])]), (one) => one.name);
    const columns = tableColumns(curves, "day", "Day", (column) => column.kind);
    expect(columns.map(({ title }) => title)).toEqual(["Day", "main", "low", "high"]);
    expect([...(columns[0]?.values as string[])]).toEqual(["2024-10-04", "2024-10-05"]);
  });

  it("say what a point stands for", () => {
    expect([perPoint(1), perPoint(7), perPoint(30)]).toEqual(["day", "week", "days"]);
  });
});

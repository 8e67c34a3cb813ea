import { expect, test } from "vitest";
import type { EvalPoint, StepPoint } from "$lib/api";
import { RunCurves } from "./curves";

const point = (step: number, loss = 2, extra: Partial<StepPoint> = {}): StepPoint => ({
  step,
  epoch: 0,
  loss,
  grad_norm: 1,
  learning_rate: 1e-4,
  tokens: 100,
  num_tokens: step * 100,
  tokens_per_s: 50,
  peak_memory_bytes: 1024 ** 3,
  eta_s: 0,
  ...extra,
});
const evaluation = (step: number, eval_loss: number): EvalPoint => ({ step, epoch: 0, eval_loss, mean_token_accuracy: null, is_best: false });
const steps = (curves: RunCurves) => Array.from(curves.rows.x.step.data.subarray(0, curves.rows.length));

test("history and live points make one curve", () => {
  const curves = new RunCurves(1);
  curves.put([point(1), point(2)]);
  curves.put([point(3)]);
  expect(steps(curves)).toEqual([1, 2, 3]);
  expect(curves.rows.epoch).toBe(0);
  expect(curves.rows.breaks).toEqual([]);
  expect(curves.lastStep).toBe(3);
});

test("points that come twice are there once, whatever their order", () => {
  const curves = new RunCurves(1);
  curves.put([point(1), point(2), point(3), point(4)]);
  curves.put([point(4), point(3), point(5)]);
  expect(steps(curves)).toEqual([1, 2, 3, 4, 5]);
});

test("steps that were run again replace the old ones and lose none", () => {
  const curves = new RunCurves(1);
  curves.put([1, 2, 3, 4, 5, 6].map((step) => point(step, 2)));
  curves.put([point(4, 9), point(5, 9)]);
  expect(steps(curves)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(Array.from(curves.loss.y.data.subarray(0, 6))).toEqual([2, 2, 2, 9, 9, 2]);
  curves.loss.extremes.query(0, 6);
  expect(curves.loss.extremes.high).toBe(9);
});

test("a hole in the steps is a gap, and a late point closes it", () => {
  const curves = new RunCurves(10);
  curves.put([point(1), point(10), point(20), point(50)]);
  expect(curves.rows.breaks).toEqual([3]);
  curves.put([point(30), point(40)]);
  expect(steps(curves)).toEqual([1, 10, 20, 30, 40, 50]);
  expect(curves.rows.breaks).toEqual([]);
});

test("time counts training only: tokens at the pace of each point", () => {
  const curves = new RunCurves(1);
  curves.put([point(1, 2, { num_tokens: 100, tokens_per_s: 50 }), point(2, 2, { num_tokens: 300, tokens_per_s: 100 })]);
  expect(curves.rows.x.time.at(0)).toBe(2);
  expect(curves.rows.x.time.at(1)).toBe(4);
});

test("evaluations lie on every axis where their step lies", () => {
  const curves = new RunCurves(10);
  curves.put([point(10, 2, { num_tokens: 1000 }), point(20, 2, { num_tokens: 2000 })]);
  curves.putEvals([evaluation(10, 1.5), evaluation(15, 1.4), evaluation(25, 1.3)]);
  expect(Array.from(curves.evalRows.x.tokens.data.subarray(0, 3))).toEqual([1000, 1500, 2000]);
  curves.putEvals([evaluation(15, 1.2)]);
  expect(Array.from(curves.evalLoss.y.data.subarray(0, 3))).toEqual([1.5, 1.2, 1.3]);
});

test("values that are not finite are missing", () => {
  const curves = new RunCurves(1);
  curves.put([point(1, NaN), point(2, 1)]);
  expect(curves.loss.y.at(0)).toBeNaN();
  expect(curves.loss.latest()).toBe(1);
});

test("the smoothed loss follows appended and replaced points", () => {
  const curves = new RunCurves(1);
  curves.put([point(1, 1), point(2, 2)]);
  const smooth = curves.smooth(curves.loss, 0.9);
  expect(smooth.y.at(1)).toBeCloseTo(29 / 19, 12);
  curves.put([point(3, 3)]);
  expect(curves.smooth(curves.loss, 0.9)).toBe(smooth);
  expect(smooth.y.at(2)).toBeCloseTo(561 / 271, 12);
  curves.put([point(1, 5)]);
  expect(curves.smooth(curves.loss, 0.9).y.at(0)).toBe(5);
});

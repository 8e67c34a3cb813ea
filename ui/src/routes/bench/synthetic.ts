// Points of runs that never were: a falling loss with noise, warm-up and decay, a steady pace. The same for the same run and step.

import type { EvalPoint, StepPoint } from "$lib/api";

/** A number in [0, 1) that depends on both arguments only. */
function noise(run: number, step: number): number {
  let hash = (Math.imul(run + 1, 0x9e3779b1) ^ Math.imul(step, 0x85ebca6b)) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39) >>> 0;
  return ((hash ^ (hash >>> 15)) >>> 0) / 4_294_967_296;
}

const lossOf = (run: number, step: number) => 0.7 + 0.05 * run + 1.8 * Math.exp(-step / (9000 + 1500 * run));

/** A logged step. */
export function pointAt(run: number, step: number): StepPoint {
  const jitter = noise(run, step) - 0.5;
  return {
    step,
    epoch: step / 40_000,
    loss: lossOf(run, step) + 0.4 * jitter + (noise(run, step + 7) > 0.9995 ? 0.8 : 0),
    grad_norm: 0.5 + Math.exp(-step / 3000) + 0.6 * noise(run, step * 3),
    learning_rate: 2e-4 * Math.min(1, step / 3000) * (0.5 + 0.5 * Math.cos((Math.PI * Math.min(step, 120_000)) / 120_000)),
    tokens: 2048,
    num_tokens: step * 2048,
    tokens_per_s: 3400 + 300 * run + 200 * jitter,
    peak_memory_bytes: (6 + run + Math.min(2, step / 30_000)) * 1024 ** 3,
    eta_s: 0,
  };
}

/** An evaluation. */
export function evaluationAt(run: number, step: number): EvalPoint {
  return { step, epoch: step / 40_000, eval_loss: lossOf(run, step) + 0.06 + 0.02 * noise(run, step), mean_token_accuracy: null, is_best: false };
}

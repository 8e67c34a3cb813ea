// The curves of one run as they come from the server: history first, then points in batches. Pure: it asks nobody for anything.

import { SmoothTrack, Rows, Track, type XAxis } from "$components/shared/chart/track";
import type { EvalPoint, StepPoint } from "$lib/api";

const GIB = 1024 ** 3;

/** Every curve of a run. */
export class RunCurves {
  /** One row per logged step. */
  readonly rows: Rows;
  readonly loss: Track;
  readonly gradNorm: Track;
  readonly learningRate: Track;
  readonly tokensPerS: Track;
  /** Peak memory of the process, GiB. */
  readonly memoryGib: Track;
  /** One row per evaluation. */
  readonly evalRows = new Rows();
  readonly evalLoss = new Track(this.evalRows);
  readonly #smooth = new Map<Track, SmoothTrack>();

  /** `loggingSteps` is the number of steps between two points; what is further apart is a gap. */
  constructor(loggingSteps: number) {
    this.rows = new Rows(loggingSteps);
    this.loss = new Track(this.rows);
    this.gradNorm = new Track(this.rows);
    this.learningRate = new Track(this.rows);
    this.tokensPerS = new Track(this.rows);
    this.memoryGib = new Track(this.rows);
  }

  /** The last step that has a point; 0 if there is none. */
  get lastStep(): number {
    return this.rows.length === 0 ? 0 : this.rows.x.step.last();
  }

  /** A smoothed curve; one for all charts, so that a new weight is computed once. */
  smooth(track: Track, weight: number): SmoothTrack {
    const smooth = this.#smooth.get(track) ?? new SmoothTrack(track, weight);
    this.#smooth.set(track, smooth);
    smooth.reweigh(weight);
    smooth.sync();
    return smooth;
  }

  /** Takes points in: new ones are appended; those of steps that were run again after a resume take the place of the old ones. */
  put(points: readonly StepPoint[]): void {
    const fresh = ascending(points);
    const first = fresh[0];
    if (!first) return;
    if (first.step > this.lastStep) fresh.forEach((point) => this.#append(point));
    else this.#merge(fresh, first.step);
    this.rows.changed();
  }

  /** Takes evaluations in, in the same way. Their places on the axes of tokens and time are those of their step. */
  putEvals(points: readonly EvalPoint[]): void {
    const fresh = ascending(points);
    const first = fresh[0];
    if (!first) return;
    const from = this.evalRows.x.step.lowerBound(first.step);
    const old: { step: number; eval_loss: number }[] = [];
    for (let i = from; i < this.evalRows.length; i++) old.push({ step: this.evalRows.x.step.at(i), eval_loss: this.evalLoss.y.at(i) });
    this.evalLoss.truncate(from);
    this.evalRows.truncate(from);
    for (const { step, eval_loss } of merged(old, fresh)) {
      this.evalRows.push(step, this.placeOf(step, "tokens"), this.placeOf(step, "time"));
      this.evalLoss.push(eval_loss);
    }
    this.evalRows.changed();
  }

  /** The place of a step on another axis, between its neighbours. */
  placeOf(step: number, axis: XAxis): number {
    const { x } = this.rows;
    if (axis === "step") return step;
    if (this.rows.length === 0) return 0;
    const after = x.step.lowerBound(step);
    if (x.step.at(after) === step) return x[axis].at(after);
    if (after >= this.rows.length) return x[axis].last();
    const before = after - 1;
    const [s0, s1] = [before < 0 ? 0 : x.step.at(before), x.step.at(after)];
    const [v0, v1] = [before < 0 ? 0 : x[axis].at(before), x[axis].at(after)];
    return v0 + ((step - s0) / (s1 - s0)) * (v1 - v0);
  }

  #append(point: Plain): void {
    const tokens = this.rows.length === 0 ? 0 : this.rows.x.tokens.last();
    const time = this.rows.length === 0 ? 0 : this.rows.x.time.last();
    // Time spent in training, without pauses: the tokens since the last point at the pace of this one.
    const seconds = point.tokens_per_s > 0 ? Math.max(0, point.num_tokens - tokens) / point.tokens_per_s : 0;
    this.rows.push(point.step, point.num_tokens, time + seconds);
    this.loss.push(point.loss);
    this.gradNorm.push(point.grad_norm);
    this.learningRate.push(point.learning_rate);
    this.tokensPerS.push(point.tokens_per_s);
    this.memoryGib.push(point.peak_memory_bytes / GIB);
  }

  #merge(fresh: readonly StepPoint[], step: number): void {
    const from = this.rows.x.step.lowerBound(step);
    const old: Plain[] = [];
    for (let i = from; i < this.rows.length; i++) old.push(this.#read(i));
    const all = merged(old, fresh);
    for (const track of [this.loss, this.gradNorm, this.learningRate, this.tokensPerS, this.memoryGib]) track.truncate(from);
    this.rows.truncate(from);
    all.forEach((point) => this.#append(point));
  }

  #read(index: number): Plain {
    return {
      step: this.rows.x.step.at(index),
      num_tokens: this.rows.x.tokens.at(index),
      loss: this.loss.y.at(index),
      grad_norm: this.gradNorm.y.at(index),
      learning_rate: this.learningRate.y.at(index),
      tokens_per_s: this.tokensPerS.y.at(index),
      peak_memory_bytes: this.memoryGib.y.at(index) * GIB,
    };
  }
}

type Plain = Pick<StepPoint, "step" | "num_tokens" | "loss" | "grad_norm" | "learning_rate" | "tokens_per_s" | "peak_memory_bytes">;

/** The points in order of steps; of two of the same step the later one stays. */
function ascending<P extends { step: number }>(points: readonly P[]): P[] {
  const isAscending = points.every((point, i) => i === 0 || (points[i - 1] as P).step < point.step);
  return isAscending ? [...points] : [...new Map(points.map((point) => [point.step, point])).values()].sort((a, b) => a.step - b.step);
}

/** Both lists in order of steps; where both have a step, the new point stays. */
function merged<P extends { step: number }>(old: readonly P[], fresh: readonly P[]): P[] {
  const steps = new Set(fresh.map((point) => point.step));
  return [...old.filter((point) => !steps.has(point.step)), ...fresh].sort((a, b) => a.step - b.step);
}

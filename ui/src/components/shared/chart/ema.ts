// The exponential moving average of training curves, debiased as in TensorBoard and W&B, so that the first points are not pulled to 0.
// Source: TensorBoard, tf_line_chart_data_loader / vz_line_chart2 `resmoothDataset`: last = w·last + (1-w)·y; shown = last / (1 - w^n).

/** The state of a running average. */
export class Ema {
  #last = 0;
  #count = 0;

  /** `weight` in [0, 1): the share of the past; 0 shows the values themselves. */
  constructor(readonly weight: number) {
    if (!(weight >= 0 && weight < 1)) throw new RangeError(`a smoothing weight lies in [0, 1), not ${String(weight)}`);
  }

  /** The average after one more value. A missing value (`NaN`) gives a missing average and changes nothing. */
  next(value: number): number {
    if (!Number.isFinite(value)) return NaN;
    this.#last = this.weight * this.#last + (1 - this.weight) * value;
    this.#count += 1;
    return this.#last / (1 - this.weight ** this.#count);
  }

  /** Starts anew. */
  reset(): void {
    this.#last = 0;
    this.#count = 0;
  }
}

/** The smoothed values of a whole column. */
export function smooth(values: ArrayLike<number>, weight: number): Float64Array {
  const ema = new Ema(weight);
  const result = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = ema.next(values[i] as number);
  return result;
}

// From values to pixels and back. Pure: the plot, the exports and the tests share it.

/** How values grow along an axis. */
export type Growth = "linear" | "log";

/** One axis: a range of values laid over a range of pixels. `to` may lie before `from` (the y axis grows upwards). */
export interface Scale {
  readonly growth: Growth;
  readonly min: number;
  readonly max: number;
  readonly from: number;
  readonly to: number;
}

/** Pixels of a value. On a log scale a value that is not positive lies at minus infinity's end: outside. */
export function pixel(scale: Scale, value: number): number {
  const { growth, min, max, from, to } = scale;
  if (growth === "linear") return from + ((value - min) / (max - min)) * (to - from);
  const share = (Math.log(value) - Math.log(min)) / (Math.log(max) - Math.log(min));
  return from + share * (to - from);
}

/** Value at a pixel. */
export function value(scale: Scale, px: number): number {
  const { growth, min, max, from, to } = scale;
  const share = (px - from) / (to - from);
  if (growth === "linear") return min + share * (max - min);
  return Math.exp(Math.log(min) + share * (Math.log(max) - Math.log(min)));
}

/** A fast function from values to pixels, for inner loops. */
export function mapper(scale: Scale): (value: number) => number {
  const { growth, min, max, from, to } = scale;
  if (growth === "linear") {
    const factor = (to - from) / (max - min);
    const offset = from - min * factor;
    return (v) => v * factor + offset;
  }
  const factor = (to - from) / (Math.log(max) - Math.log(min));
  const offset = from - Math.log(min) * factor;
  return (v) => (v > 0 ? Math.log(v) * factor + offset : NaN);
}

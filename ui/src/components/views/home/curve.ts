// The small loss chart of the home page: points to paths.

/** A point of a curve. */
export interface CurvePoint {
  step: number;
  value: number;
}

/** Where values lie on the picture. */
export interface Frame {
  x: (step: number) => number;
  y: (value: number) => number;
  /** Values with a line, from low to high. */
  yTicks: number[];
  xTicks: number[];
}

const NICE = [1, 2, 2.5, 5, 10];

/** Round numbers that cover a range with about `count` lines. */
export function ticks(low: number, high: number, count: number): number[] {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = (NICE.find((nice) => nice * power >= rough) ?? 10) * power;
  const first = Math.floor(low / step);
  const last = Math.ceil(high / step);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(10)));
}

/** Bias-corrected exponential mean, as TensorBoard draws it. */
export function smooth(points: readonly CurvePoint[], weight: number): CurvePoint[] {
  let mean = 0;
  let debias = 1;
  return points.map(({ step, value }) => {
    mean = weight * mean + (1 - weight) * value;
    debias *= weight;
    return { step, value: mean / (1 - debias) };
  });
}

/** The frame that holds all points and every step up to `total`. */
export function frameOf(points: readonly CurvePoint[], total: number, box: { left: number; right: number; top: number; bottom: number }): Frame | undefined {
  const values = points.map(({ value }) => value).filter(Number.isFinite);
  if (values.length === 0) return undefined;
  const yTicks = ticks(Math.min(...values), Math.max(...values), 4);
  const [low = 0, high = 1] = [yTicks[0], yTicks.at(-1)];
  const last = Math.max(total, points.at(-1)?.step ?? 1, 1);
  return {
    x: (step) => box.left + (step / last) * (box.right - box.left),
    // A spike of the raw line ends at the edge.
    y: (value) => Math.max(box.top, Math.min(box.bottom, box.bottom - ((value - low) / (high - low || 1)) * (box.bottom - box.top))),
    yTicks,
    xTicks: [0, Math.round(last / 2), last],
  };
}

/** An SVG path through points. */
export function pathOf(points: readonly CurvePoint[], frame: Frame): string {
  return points
    .filter(({ value }) => Number.isFinite(value))
    .map(({ step, value }, index) => `${index ? "L" : "M"}${frame.x(step).toFixed(1)} ${frame.y(value).toFixed(1)}`)
    .join("");
}

// Where an axis is marked: round numbers, few enough to read. Pure.

/** Marks of an axis and the decimals that tell them apart. */
export interface Ticks {
  readonly values: readonly number[];
  readonly decimals: number;
  /** Each mark has decimals of its own: those of a log axis lie powers of ten apart. */
  readonly hasOwnDecimals?: true;
}

/** Decimals with which a mark is written. */
export function decimalsAt(value: number, ticks: Ticks): number {
  return ticks.hasOwnDecimals && value > 0 ? decimalsOf(value) : ticks.decimals;
}

/** Round steps of an axis, and those of an axis that counts: a quarter of ten is no whole number. */
const FACTORS = [1, 2, 2.5, 5, 10];
const WHOLE_FACTORS = [1, 2, 5, 10];

/** The round step (a factor times a power of ten) that gives at most `most` steps over a span. */
export function niceStep(span: number, most: number, factors: readonly number[] = FACTORS): number {
  if (!(span > 0) || most < 1) return 1;
  const raw = span / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const share = raw / power;
  // Binary fractions make 2 come out as 2.0000000000000004 now and then.
  const factor = factors.find((f) => share <= f * (1 + 1e-9)) ?? 10;
  return factor * power;
}

/** Decimals with which multiples of a step are written. */
export function decimalsOf(step: number): number {
  if (!(step > 0)) return 0;
  for (let decimals = 0; decimals < 12; decimals++) {
    const scaled = step * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * scaled) return decimals;
  }
  return 12;
}

/** Multiples of a step inside `[min, max]`. */
export function multiples(step: number, min: number, max: number): number[] {
  const first = Math.ceil(min / step - 1e-9);
  const last = Math.floor(max / step + 1e-9);
  const values: number[] = [];
  for (let k = first; k <= last; k++) values.push(Number((k * step).toPrecision(12)));
  return values;
}

/** Marks of a linear axis. */
export function linearTicks(min: number, max: number, most: number): Ticks {
  const step = niceStep(max - min, most);
  return { values: multiples(step, min, max), decimals: decimalsOf(step) };
}

/** Marks of an axis that counts whole things: no fractions. */
export function countTicks(min: number, max: number, most: number): Ticks {
  const step = Math.max(1, niceStep(max - min, most, WHOLE_FACTORS));
  return { values: multiples(step, min, max), decimals: 0 };
}

/** Marks of a log axis: powers of ten; with few of them also 2 and 5; within one decade like a linear axis. */
export function logTicks(min: number, max: number, most: number): Ticks {
  if (!(min > 0) || !(max > min)) return { values: [], decimals: 0 };
  const decades = Math.log10(max / min);
  if (decades < 1) return linearTicks(min, max, most);
  const stride = Math.max(1, Math.ceil(decades / most));
  const parts = decades * 3 <= most ? [1, 2, 5] : [1];
  const values: number[] = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
    if (power % stride !== 0) continue;
    for (const part of parts) {
      const mark = Number((part * 10 ** power).toPrecision(12));
      if (mark >= min * (1 - 1e-9) && mark <= max * (1 + 1e-9)) values.push(mark);
    }
  }
  return { values, decimals: Math.max(0, -Math.floor(Math.log10(min))), hasOwnDecimals: true };
}

const DAY_STEPS = [1, 2, 7, 14, 28, 56, 91, 182, 364];

/** Marks of an axis of days: days or weeks from the first one on, so that they stand under points. */
export function dayTicks(min: number, max: number, most: number): Ticks {
  const first = Math.ceil(min - 1e-9);
  const step = DAY_STEPS.find((days) => (max - min) / days <= most) ?? 364 * Math.ceil((max - min) / 364 / most);
  const values = Array.from({ length: Math.floor((max - first) / step + 1e-9) + 1 }, (_, i) => first + i * step);
  return { values, decimals: 0 };
}

const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/** Marks of an axis in seconds: steps of a clock. */
export function timeTicks(min: number, max: number, most: number): Ticks {
  const step = TIME_STEPS_S.find((s) => (max - min) / s <= most) ?? 86_400 * niceStep((max - min) / 86_400, most);
  if (max - min < most / 2) return linearTicks(min, max, most);
  return { values: multiples(step, min, max), decimals: 0 };
}

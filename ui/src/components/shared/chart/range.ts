// Which values the y axis shows. It begins at 0 unless that would squeeze the curves; then the axis carries a break mark.

import type { Growth } from "./scale";
import { niceStep } from "./ticks";

/** The range of an axis. */
export interface Range {
  readonly min: number;
  readonly max: number;
  /** The step between two marks, so that both ends carry one; 0 on a log axis. */
  readonly step: number;
  /** Whether the axis leaves out the part down to 0 and must say so. */
  readonly isBroken: boolean;
}

/** How the lower end of an axis is chosen. */
export type Floor = "zero" | "data";

/** Where the smallest value reaches this share of the largest, the part below is worth leaving out. */
const SQUEEZED = 0.2;

/** A round range around the values. `low > high` means that there are none. */
export function yRange(low: number, high: number, growth: Growth, floor: Floor, most: number): Range {
  if (growth === "log") return logRange(low, high);
  if (low > high) return { min: 0, max: 1, step: 0.5, isBroken: false };
  const fromZero = floor === "zero" || low <= 0 || low < SQUEEZED * high;
  const bottom = fromZero ? Math.min(0, low) : low;
  const top = Math.max(high, fromZero ? 0 : high);
  if (top === bottom) {
    const half = Math.abs(top) / 2 || 0.5;
    const [from, to] = [fromZero && top >= 0 ? 0 : top - half, top + half];
    return { min: from, max: to, step: (to - from) / 2, isBroken: !fromZero };
  }
  const step = niceStep(top - bottom, most);
  const min = Math.floor(bottom / step + 1e-9) * step;
  const max = Math.ceil(top / step - 1e-9) * step;
  return { min: round(min), max: round(max), step, isBroken: min > 0 };
}

function logRange(low: number, high: number): Range {
  if (!(high > 0) || low > high) return { min: 0.1, max: 1, step: 0, isBroken: false };
  const bottom = low > 0 ? low : high / 1000;
  // Up to the next round number on each side.
  const from = nextRound(bottom, "down");
  return { min: from, max: Math.max(nextRound(high, "up"), round(from * 1.5)), step: 0, isBroken: false };
}

const ROUND = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];

function nextRound(value: number, way: "down" | "up"): number {
  const power = 10 ** Math.floor(Math.log10(value) + 1e-12);
  const share = value / power;
  const found = way === "up" ? ROUND.find((r) => r >= share - 1e-9) : ROUND.findLast((r) => r <= share + 1e-9);
  return round((found ?? share) * power);
}

function round(value: number): number {
  return Number(value.toPrecision(12));
}

/**
 * The right end of an x axis that grows: the planned end if it is known, else the last point with some room, in steps so coarse that the
 * picture does not move with every point.
 */
export function xEnd(last: number, planned: number | null): number {
  if (planned !== null && planned >= last) return planned;
  if (!(last > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(last));
  const grain = power / 10;
  return round(Math.ceil((last * 1.02) / grain) * grain);
}

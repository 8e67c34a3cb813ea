// Which part of the values a chart shows: both ranges, the marks of both axes. Pure.

import type { Column } from "./column";
import { tracksOf, type Curve } from "./curve";
import { xEnd, yRange, type Floor, type Range } from "./range";
import type { Growth } from "./scale";
import { countTicks, dayTicks, decimalsOf, logTicks, multiples, timeTicks, type Ticks } from "./ticks";
import type { Track, XAxis } from "./track";

/** A horizontal line with a meaning: a limit of memory, a clip of the gradient. */
export interface Limit {
  readonly value: number;
  readonly name: string;
}

/** What decides the view. */
export interface ViewOptions {
  readonly curves: readonly Curve[];
  readonly axis: XAxis;
  readonly zoom: readonly [number, number] | null;
  readonly growth: Growth;
  readonly floor: Floor;
  readonly limits: readonly Limit[];
  /** Where all charts of the screen end at least, so that they share one x axis. */
  readonly end: number | null;
  /** What the y axis never goes beyond: ratings end at 5, though an interval may reach further. */
  readonly bounds?: readonly [number, number] | null;
}

/** Both ranges. */
export interface View {
  readonly x: { readonly min: number; readonly max: number };
  readonly y: Range;
}

/** The right end of the x axis for these curves. */
export function endOf(curves: readonly Curve[], axis: XAxis): number {
  let last = 0;
  let planned: number | null = null;
  for (const curve of curves) {
    for (const track of tracksOf(curve)) if (track.rows.length > 0) last = Math.max(last, track.rows.x[axis].last());
    const plan = curve.planned[axis];
    if (plan !== undefined) planned = Math.max(planned ?? 0, plan);
  }
  const allDone = curves.every((curve) => !curve.isLive);
  return allDone && last > 0 ? last : xEnd(last, planned);
}

/** The left end: steps, tokens and seconds are counted from 0, days are not. */
export function startOf(curves: readonly Curve[], axis: XAxis): number {
  if (axis !== "day") return 0;
  const firsts = curves.flatMap(tracksOf).filter((track) => track.rows.length > 0).map((track) => track.rows.x.day.at(0));
  return firsts.length === 0 ? 0 : Math.min(...firsts);
}

/** A single day stands in the middle. */
function wide(min: number, max: number): { min: number; max: number } {
  return max > min ? { min, max } : { min: min - 1, max: min + 1 };
}

/** Something that happened at a place of the x axis. */
export interface Mark {
  readonly at: number;
  readonly tone: "warn" | "danger";
  /** What, in words. */
  readonly title: string;
}

/** What is shown of these curves; `most` marks fit on the y axis. */
export function viewOf(options: ViewOptions, most: number): View {
  const { curves, axis, zoom, growth, floor, limits } = options;
  const x = zoom ? { min: zoom[0], max: zoom[1] } : wide(startOf(curves, axis), Math.max(endOf(curves, axis), options.end ?? 0));
  let low = Infinity;
  let high = -Infinity;
  for (const curve of curves) {
    for (const track of tracksOf(curve)) {
      const column = track.rows.x[axis];
      const from = column.lowerBound(x.min);
      const to = Math.min(track.y.length, upTo(column, x.max));
      if (growth === "log") [low, high] = positive(track, from, to, low, high);
      else {
        track.extremes.query(from, to);
        low = Math.min(low, track.extremes.low);
        high = Math.max(high, track.extremes.high);
      }
    }
  }
  // A limit near the curves is shown; one far above would flatten them.
  for (const { value } of limits) if (value > 0 && (low > high || value <= 3 * high)) high = Math.max(high, value);
  const y = yRange(low, high, growth, floor, most);
  const { bounds } = options;
  return { x, y: bounds ? { ...y, min: Math.max(y.min, bounds[0]), max: Math.min(y.max, bounds[1]) } : y };
}

/** Index after the last place that is at most `max`. */
function upTo(column: Column, max: number): number {
  const index = column.lowerBound(max);
  return column.at(index) === max ? index + 1 : index;
}

/** The extremes of the values above 0. */
function positive(track: Track, from: number, to: number, low: number, high: number): [number, number] {
  track.extremes.query(from, to);
  if (track.extremes.high > 0) high = Math.max(high, track.extremes.high);
  if (track.extremes.low > 0) return [Math.min(low, track.extremes.low), high];
  // Zeros hide the smallest positive value from the pyramid.
  for (let i = from; i < to; i++) {
    const value = track.y.at(i);
    if (value > 0 && value < low) low = value;
  }
  return [low, high];
}

/** Marks at both ends only, for a chart too small for more. */
export function endTicks(min: number, max: number): Ticks {
  return { values: [min, max], decimals: 0 };
}

/** Marks of the x axis. */
export function xTicks(axis: XAxis, min: number, max: number, most: number): Ticks {
  if (axis === "time") return timeTicks(min, max, most);
  if (axis === "day") return dayTicks(min, max, most);
  return countTicks(min, max, most);
}

/** Marks of the y axis. */
export function yTicks(range: Range, growth: Growth, most: number): Ticks {
  if (growth === "log") return logTicks(range.min, range.max, most);
  return { values: multiples(range.step, range.min, range.max), decimals: decimalsOf(range.step) };
}

// What one run shows in one chart, and what that gives at a place on the x axis.

import type { Slot } from "./palette";
import type { Track, XAxis } from "./track";

/** Lower and upper ends of intervals, row by row those of the solid line. */
export interface Band {
  readonly low: Track;
  readonly high: Track;
}

/** One run in one chart: a solid line, its raw values behind it, and a dashed companion (validation). */
export interface Curve {
  readonly id: string;
  readonly name: string;
  readonly slot: Slot;
  /** The solid line. */
  readonly main: Track;
  /** Drawn faintly behind the solid line; null where the solid line is not smoothed. */
  readonly raw: Track | null;
  /** The dashed line. */
  readonly second: Track | null;
  /** The interval of each value of the solid line, drawn as a band; none where there is none. */
  readonly band?: Band;
  /** Whether points still arrive. */
  readonly isLive: boolean;
  /** Drawn over the others. */
  readonly isFront: boolean;
  /** Where the run is planned to end on each axis. */
  readonly planned: Partial<Record<XAxis, number>>;
}

/** The values of a curve near a place. */
export interface Reading {
  readonly id: string;
  readonly x: number;
  readonly main: number;
  readonly raw: number;
  readonly second: number;
  /** The interval, where the curve has a band and this point an interval. */
  readonly interval?: readonly [number, number];
}

/** The tracks of a curve that exist. */
export function tracksOf(curve: Curve): Track[] {
  return [curve.main, curve.raw, curve.second, curve.band?.low, curve.band?.high].filter((track): track is Track => track != null);
}

/** The point of any curve that lies nearest to a place; null if there is no point at all. */
export function snap(curves: readonly Curve[], axis: XAxis, x: number): number | null {
  let best: number | null = null;
  for (const curve of curves) {
    const column = curve.main.rows.x[axis];
    const index = column.nearest(x);
    if (index < 0) continue;
    const at = column.at(index);
    if (best === null || Math.abs(at - x) < Math.abs(best - x)) best = at;
  }
  return best;
}

/** What a curve shows at a place; null before its first point, past its last and inside a gap. */
export function readingAt(curve: Curve, axis: XAxis, x: number): Reading | null {
  const { rows } = curve.main;
  const column = rows.x[axis];
  const index = column.nearest(x);
  if (index < 0) return null;
  const first = column.at(0);
  const last = column.last();
  const room = (last - first) / Math.max(1, column.length - 1);
  if (x < first - room / 2 || x > last + room / 2) return null;
  if (isInGap(curve, column.at(index), index, axis, x)) return null;
  return {
    id: curve.id,
    x: column.at(index),
    main: curve.main.y.at(index),
    raw: curve.raw?.y.at(index) ?? NaN,
    second: curve.second ? latestUpTo(curve.second, axis, column.at(index)) : NaN,
    ...intervalAt(curve, index),
  };
}

function intervalAt({ band }: Curve, index: number): Pick<Reading, "interval"> {
  if (!band || Number.isNaN(band.low.y.at(index))) return {};
  return { interval: [band.low.y.at(index), band.high.y.at(index)] };
}

function isInGap(curve: Curve, at: number, index: number, axis: XAxis, x: number): boolean {
  const { rows } = curve.main;
  const beyond = x > at ? index + 1 : x < at ? index : -1;
  if (beyond < 0 || !rows.breaks.includes(beyond)) return false;
  const column = rows.x[axis];
  const wide = Math.abs(column.at(beyond) - column.at(beyond - 1));
  return Math.abs(x - at) > 0.02 * wide;
}

/** The last value of a track at or before a place. */
export function latestUpTo(track: Track, axis: XAxis, x: number): number {
  const column = track.rows.x[axis];
  const index = column.lowerBound(x);
  return track.y.at(column.at(index) === x ? index : index - 1);
}

/** The place that lies so many points further; the first or last one at the ends. */
export function stepAlong(curves: readonly Curve[], axis: XAxis, x: number | null, by: number): number | null {
  const longest = curves.reduce<Curve | null>((best, c) => (best && best.main.rows.length >= c.main.rows.length ? best : c), null);
  if (!longest || longest.main.rows.length === 0) return null;
  const column = longest.main.rows.x[axis];
  const last = column.length - 1;
  const from = x === null ? (by > 0 ? -1 : last + 1) : column.nearest(x);
  return column.at(Math.min(last, Math.max(0, from + by)));
}

// Where the name at the end of each line stands. Pure.

import type { Curve } from "./curve";
import { placeLabels } from "./labels";
import { pixel, value } from "./scale";
import type { Layout } from "./plot";
import type { XAxis } from "./track";

/** The name of a curve at the end of its line, in CSS pixels from the corner of the chart. */
export interface EndLabel {
  readonly curve: Curve;
  /** The place on the x axis where the line ends in sight: that of the values under the name. */
  readonly at: number;
  /** The end of the line. */
  readonly x: number;
  readonly y: number;
  /** Left edge and middle of the label. */
  readonly left: number;
  readonly middle: number;
  /** Whether a leader joins the two. */
  readonly isMoved: boolean;
  /** Whether the values stand under the name. */
  readonly hasDetail: boolean;
}

const TWO_LINES = 28;
const ONE_LINE = 15;
const GAP = 3;
const TEXT_FROM_LINE = 14;
/** A line that ends so far before the right edge has its name beside its end. */
const INSIDE_PX = 48;

/** Places the names. `widthOf` measures a label. Names that do not fit at all are left out, greys first. */
export function endLabels(curves: readonly Curve[], axis: XAxis, layout: Layout, widthOf: (curve: Curve) => number): EndLabel[] {
  const { top, height, left, width } = layout;
  const ends = curves.flatMap((curve) => {
    const column = curve.main.rows.x[axis];
    const after = column.lowerBound(layout.x.max);
    const index = column.at(after) === layout.x.max ? after : after - 1;
    if (index < 0 || column.at(index) < layout.x.min) return [];
    const y = pixel(layout.y, curve.main.y.at(index));
    return y >= top - 1 && y <= top + height + 1 ? [{ curve, at: column.at(index), x: pixel(layout.x, column.at(index)), y }] : [];
  });
  const right = left + width;
  const places = ends.map((end) => {
    const isInside = end.x < right - INSIDE_PX;
    const from = isInside ? end.x + TEXT_FROM_LINE : right + TEXT_FROM_LINE;
    return { ...end, isInside, from, to: from + widthOf(end.curve) };
  });
  const gutter = overlapping(places.filter(({ isInside }) => !isInside)).flatMap((group) => stacked(group, layout));
  // A name alone inside the plot keeps clear of the lines and of the gutter's names; several at one place stand in a stack.
  const inside = overlapping(places.filter(({ isInside }) => isInside)).flatMap((group) => {
    const [alone] = group;
    return alone && group.length === 1 ? [besideLines(alone, curves, axis, layout, gutter)] : stacked(group, layout);
  });
  return [...gutter, ...inside];
}

/** Names under each other, moved as little as possible; what does not fit is left out. */
function stacked(group: readonly Place[], { top, height }: Layout): Placed[] {
  const room = height + 8;
  const hasDetail = group.length * (TWO_LINES + GAP) <= room;
  const size = hasDetail ? TWO_LINES : ONE_LINE;
  const most = Math.max(1, Math.floor(room / (size + (hasDetail ? GAP : 0))));
  const kept = group.length <= most ? group : [...group].sort((a, b) => worth(b.curve) - worth(a.curve)).slice(0, most);
  const middles = placeLabels(kept.map(({ y }) => ({ y, height: size })), hasDetail ? GAP : 0, top - 4, top + height + 4);
  return kept.map((place, i) => labelOf(place, middles[i] ?? place.y, hasDetail));
}

/** A label with the room that it takes. */
interface Placed extends EndLabel {
  readonly to: number;
}

interface Place {
  readonly curve: Curve;
  readonly at: number;
  readonly x: number;
  readonly y: number;
  readonly from: number;
  readonly to: number;
}

function labelOf({ curve, at, x, y, from, to }: Place, middle: number, hasDetail: boolean): Placed {
  return { curve, at, x, y, left: from, to, middle, hasDetail, isMoved: Math.abs(middle - y) > 2 || from - x > TEXT_FROM_LINE + 4 };
}

/** How far a name inside the plot may go to find a place without lines. */
const SEARCH_PX = 120;
const SAMPLES = 7;

/** A name inside the plot, at the place nearest to its line's end that no line crosses. */
function besideLines(place: Place, curves: readonly Curve[], axis: XAxis, layout: Layout, others: readonly Placed[]): Placed {
  const { top, height } = layout;
  const crossed = others
    .filter(({ left, to }) => left < place.to && place.from < to)
    .map(({ middle, hasDetail }): [number, number] => [middle - (hasDetail ? TWO_LINES : ONE_LINE) / 2, middle + (hasDetail ? TWO_LINES : ONE_LINE) / 2]);
  for (const track of curves.flatMap((curve) => (curve.second ? [curve.main, curve.second] : [curve.main]))) {
    const column = track.rows.x[axis];
    let low = Infinity;
    let high = -Infinity;
    for (let i = 0; i < SAMPLES; i++) {
      const px = place.from - 4 + ((place.to - place.from + 8) * i) / (SAMPLES - 1);
      const x = value(layout.x, px);
      if (x > column.last() || x < column.at(0)) continue;
      const y = pixel(layout.y, track.y.at(column.nearest(x)));
      if (Number.isNaN(y)) continue;
      low = Math.min(low, y);
      high = Math.max(high, y);
    }
    if (low <= high) crossed.push([low - 3, high + 3]);
  }
  const half = TWO_LINES / 2;
  const isFree = (middle: number) =>
    middle - half >= top && middle + half <= top + height && crossed.every(([low, high]) => middle + half < low || middle - half > high);
  let middle = place.y;
  for (let away = 0; away <= SEARCH_PX; away += 2) {
    const found = [place.y + away, place.y - away].find(isFree);
    if (found === undefined) continue;
    middle = found;
    break;
  }
  return labelOf(place, middle, true);
}

function worth(curve: Curve): number {
  return (curve.isFront ? 2 : 0) + (curve.slot === "rest" ? 0 : 1);
}

/** Labels whose widths share a pixel compete for the height. */
function overlapping<T extends { from: number; to: number }>(places: readonly T[]): T[][] {
  const groups: { to: number; items: T[] }[] = [];
  for (const place of [...places].sort((a, b) => a.from - b.from)) {
    const last = groups.at(-1);
    if (last && place.from < last.to) {
      last.items.push(place);
      last.to = Math.max(last.to, place.to);
    } else groups.push({ to: place.to, items: [place] });
  }
  return groups.map(({ items }) => items);
}

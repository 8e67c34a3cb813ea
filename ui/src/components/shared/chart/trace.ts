// Turns a track into the pen strokes of one picture. Where several points share a pixel column, only its first, lowest, highest and last
// remain (M4 aggregation, Jugel et al., VLDB 2014), which draws the same pixels. The work depends on the columns, not on the points.

import type { Column } from "./column";
import { mapper, value, type Scale } from "./scale";
import type { Track } from "./track";

/** Receives the strokes, in pixels. */
export interface Pen {
  /** Begins a line. */
  moveTo(x: number, y: number): void;
  /** Goes on with it. */
  lineTo(x: number, y: number): void;
  /** A point with no neighbour. */
  dot(x: number, y: number): void;
}

/** Receives vertical bars: the values of a dense curve, one range per pixel column. */
export interface BarPen extends Pen {
  /** The pixel column that begins at `x`, from `top` to `bottom`; the two are equal where the curve is flat. */
  bar(x: number, top: number, bottom: number): void;
}

/** What to draw and where. */
export interface Strokes {
  readonly x: Column;
  readonly track: Track;
  readonly xScale: Scale;
  readonly yScale: Scale;
  /** Draw only what lies between these pixels, and what leads there. */
  readonly fromPx?: number;
  readonly toPx?: number;
}

/** A gap narrower than this cannot be seen, and a line is drawn over it. */
const GAP_PX = 2;
/** A column whose values lie closer together than this is one point. */
const FLAT_PX = 0.5;
/** From so many points per pixel on, a curve is drawn by columns. */
const DENSE = 1.5;

/** The indices `[from, to)` that touch the visible range, with one neighbour outside on each side. */
export function visible(strokes: Strokes): { from: number; to: number } {
  const { x, xScale, fromPx, toPx } = strokes;
  const start = fromPx === undefined ? xScale.min : Math.max(xScale.min, value(xScale, fromPx));
  const end = toPx === undefined ? xScale.max : Math.min(xScale.max, value(xScale, toPx));
  const from = x.lowerBound(start);
  // One point on the edge or beyond it, so that the line goes on to it.
  return { from: Math.max(0, from - 1), to: Math.min(x.length, x.lowerBound(end, from) + 1) };
}

/** Whether the visible points are so many that they are drawn by columns. It looks at the whole picture, also when only a part is drawn. */
export function isDense(strokes: Strokes): boolean {
  const { x, xScale } = strokes;
  return x.lowerBound(xScale.max) - x.lowerBound(xScale.min) > DENSE * (xScale.to - xScale.from);
}

/** Draws a line. */
export function traceLine(strokes: Strokes, pen: Pen): void {
  const { from, to } = visible(strokes);
  if (isDense(strokes)) columns(strokes, from, to, new LineByColumns(pen));
  else points(strokes, from, to, pen);
}

/** The outlines of a band: along its upper edge and back along the lower one, a new one after each gap. A lone point gives an outline of two. */
export function bandOutlines(low: Strokes, high: Track): [number, number][][] {
  const { x, track, xScale, yScale } = low;
  const [px, py] = [mapper(xScale), mapper(yScale)];
  const outlines: [number, number][][] = [];
  let top: [number, number][] = [];
  let bottom: [number, number][] = [];
  const flush = () => {
    if (top.length > 0) outlines.push([...top, ...bottom.reverse()]);
    [top, bottom] = [[], []];
  };
  const { from, to } = visible(low);
  for (let i = from; i < to; i++) {
    if (track.rows.breaks.includes(i)) flush();
    const [a, b] = [track.y.at(i), high.y.at(i)];
    if (Number.isNaN(a) || Number.isNaN(b)) {
      flush();
      continue;
    }
    top.push([px(x.at(i)), py(b)]);
    bottom.push([px(x.at(i)), py(a)]);
  }
  flush();
  return outlines;
}

/** Draws the range of the values in each pixel column, joined with its neighbours; where points are few, a line. */
export function traceRange(strokes: Strokes, pen: BarPen): void {
  const { from, to } = visible(strokes);
  if (isDense(strokes)) columns(strokes, from, to, new BarsByColumns(pen));
  else points(strokes, from, to, pen);
}

function points(strokes: Strokes, from: number, to: number, pen: Pen): void {
  const { x, track, xScale, yScale } = strokes;
  const px = mapper(xScale);
  const py = mapper(yScale);
  const gaps = new Gaps(track.rows.breaks, from);
  const xs = x.data;
  const ys = track.y.data;
  const end = Math.min(to, track.y.length);
  let length = 0;
  let lastX = 0;
  let lastY = 0;
  for (let i = from; i < end; i++) {
    const at = px(xs[i] as number);
    const y = py(ys[i] as number);
    const broken = gaps.isBefore(i) && at - lastX >= GAP_PX;
    if (broken || Number.isNaN(y)) {
      if (length === 1) pen.dot(lastX, lastY);
      length = 0;
      if (Number.isNaN(y)) continue;
    }
    if (length === 0) pen.moveTo(at, y);
    else pen.lineTo(at, y);
    length += 1;
    lastX = at;
    lastY = y;
  }
  if (length === 1) pen.dot(lastX, lastY);
}

/** What a column gives on: pixels of its middle, and of its first, lowest, highest and last value. `top` is the smaller y. */
interface ColumnSink {
  column(x: number, first: number, top: number, bottom: number, last: number): void;
  gap(): void;
}

function columns(strokes: Strokes, from: number, to: number, sink: ColumnSink): void {
  const { x, track, xScale, yScale } = strokes;
  const py = mapper(yScale);
  const px = mapper(xScale);
  const perPixel = (xScale.max - xScale.min) / (xScale.to - xScale.from);
  const gaps = new Gaps(track.rows.breaks, from);
  const xs = x.data;
  const ys = track.y.data;
  const end = Math.min(to, track.y.length);
  let lastPx = -Infinity;
  let i = from;
  while (i < end) {
    const at = px(xs[i] as number);
    const column = Math.floor(at);
    const border = xScale.min + (column + 1 - xScale.from) * perPixel;
    // The next column begins at the first point on or past its border; rounding must not leave the loop where it is.
    const next = Math.max(i + 1, gallop(x, border, i, end));
    if (gaps.isBefore(i) && at - lastPx >= GAP_PX) sink.gap();
    track.extremes.query(i, next);
    const top = py(track.extremes.high);
    const bottom = py(track.extremes.low);
    if (track.extremes.low > track.extremes.high || Number.isNaN(top)) {
      sink.gap();
    } else {
      // On a log scale a value of 0 lies below the picture; the line leaves it at the bottom edge.
      const floor = Number.isNaN(bottom) ? yScale.from : bottom;
      sink.column(column + 0.5, inside(py(ys[i] as number), floor), top, floor, inside(py(ys[next - 1] as number), floor));
    }
    lastPx = px(xs[next - 1] as number);
    i = next;
  }
  sink.gap();
}

function inside(y: number, otherwise: number): number {
  return Number.isNaN(y) ? otherwise : y;
}

/** First index in `(from, to)` whose value is at least `border`; looks near `from` first. */
function gallop(x: Column, border: number, from: number, to: number): number {
  const data = x.data;
  let low = from;
  let step = 8;
  while (low + step < to && (data[low + step] as number) < border) {
    low += step;
    step *= 2;
  }
  return x.lowerBound(border, low, Math.min(to, low + step + 1));
}

/** Walks the ascending list of breaks beside an ascending index. */
class Gaps {
  #next: number;

  constructor(
    readonly breaks: readonly number[],
    from: number,
  ) {
    let low = 0;
    let high = breaks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((breaks[middle] as number) <= from) low = middle + 1;
      else high = middle;
    }
    this.#next = low;
  }

  /** Whether points are missing before this index; indices must be asked for in ascending order. */
  isBefore(index: number): boolean {
    let found = false;
    while (this.#next < this.breaks.length && (this.breaks[this.#next] as number) <= index) {
      found = this.breaks[this.#next] === index;
      this.#next += 1;
    }
    return found;
  }
}

class LineByColumns implements ColumnSink {
  #isOpen = false;
  #alone: [number, number] | null = null;

  constructor(readonly pen: Pen) {}

  column(x: number, first: number, top: number, bottom: number, last: number): void {
    const { pen } = this;
    const isFlat = bottom - top < FLAT_PX;
    if (this.#isOpen) pen.lineTo(x, isFlat ? last : first);
    else pen.moveTo(x, isFlat ? last : first);
    this.#alone = this.#isOpen ? null : [x, isFlat ? last : first];
    this.#isOpen = true;
    if (isFlat) return;
    // The way from first to last over both extremes that adds the least ink.
    const topFirst = first - top < bottom - first;
    pen.lineTo(x, topFirst ? top : bottom);
    pen.lineTo(x, topFirst ? bottom : top);
    pen.lineTo(x, last);
    this.#alone = null;
  }

  gap(): void {
    if (this.#alone) this.pen.dot(this.#alone[0], this.#alone[1]);
    this.#alone = null;
    this.#isOpen = false;
  }
}

class BarsByColumns implements ColumnSink {
  #last: number | null = null;

  constructor(readonly pen: BarPen) {}

  column(x: number, _first: number, top: number, bottom: number, last: number): void {
    // A bar reaches to where its left neighbour ended, so that a steep curve stays one piece.
    const from = this.#last === null ? top : Math.min(top, this.#last);
    const to = this.#last === null ? bottom : Math.max(bottom, this.#last);
    this.pen.bar(x - 0.5, from, to);
    this.#last = last;
  }

  gap(): void {
    this.#last = null;
  }
}

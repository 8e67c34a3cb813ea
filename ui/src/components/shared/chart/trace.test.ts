import { expect, test } from "vitest";
import type { Scale } from "./scale";
import { traceLine, traceRange, type BarPen } from "./trace";
import { Rows, Track } from "./track";

class Recorder implements BarPen {
  moves = 0;
  readonly points: [number, number][] = [];
  readonly dots: [number, number][] = [];
  readonly bars: [number, number, number][] = [];
  moveTo(x: number, y: number): void {
    this.moves += 1;
    this.points.push([x, y]);
  }
  lineTo(x: number, y: number): void {
    this.points.push([x, y]);
  }
  dot(x: number, y: number): void {
    this.dots.push([x, y]);
  }
  bar(x: number, top: number, bottom: number): void {
    this.bars.push([x, top, bottom]);
  }
}

function curve(values: number[], stride = 1, steps?: number[]): Track {
  const rows = new Rows(stride);
  const track = new Track(rows);
  values.forEach((value, i) => {
    rows.push(steps?.[i] ?? i, i * 10, i / 2);
    track.push(value);
  });
  return track;
}

const x = (max: number, width: number): Scale => ({ growth: "linear", min: 0, max, from: 0, to: width });
const y = (min: number, max: number, growth: "linear" | "log" = "linear"): Scale => ({ growth, min, max, from: 100, to: 0 });

function draw(track: Track, xScale: Scale, yScale: Scale, fromPx?: number): Recorder {
  const pen = new Recorder();
  traceLine({ x: track.rows.x.step, track, xScale, yScale, ...(fromPx === undefined ? {} : { fromPx }) }, pen);
  return pen;
}

test("few points are drawn as they are", () => {
  const pen = draw(curve([0, 10, 5]), x(2, 100), y(0, 10));
  expect(pen.points).toEqual([
    [0, 100],
    [50, 0],
    [100, 50],
  ]);
  expect(pen.moves).toBe(1);
});

test("a single spike among 100,000 points is on the picture, whatever the column", () => {
  for (const at of [0, 1, 499, 50_000, 77_777, 99_999]) {
    const values = new Array<number>(100_000).fill(5);
    values[at] = 9;
    values[(at + 50_000) % 100_000] = 1;
    const pen = draw(curve(values), x(99_999, 800), y(0, 10));
    const drawn = pen.points.map(([, py]) => py);
    expect(Math.min(...drawn)).toBeCloseTo(10, 9);
    expect(Math.max(...drawn)).toBeCloseTo(90, 9);
    const spike = pen.points.find(([, py]) => Math.abs(py - 10) < 1e-9);
    expect(Math.abs((spike?.[0] ?? NaN) - (at / 99_999) * 800)).toBeLessThanOrEqual(1);
  }
});

test("the strokes depend on the columns, not on the points", () => {
  const values = Array.from({ length: 200_000 }, (_, i) => Math.sin(i * 1.7) * 4 + 5);
  const pen = draw(curve(values), x(199_999, 500), y(0, 10));
  expect(pen.points.length).toBeLessThanOrEqual(4 * 502);
  expect(pen.moves).toBe(1);
});

test("each dense column keeps the extremes that a plain loop finds in it", () => {
  const values = Array.from({ length: 30_000 }, (_, i) => 5 + 4 * Math.sin(i * i));
  const track = curve(values);
  const xScale = x(29_999, 300);
  const pen = new Recorder();
  traceRange({ x: track.rows.x.step, track, xScale, yScale: y(0, 10) }, pen);
  const columns = new Map<number, [number, number]>();
  values.forEach((value, i) => {
    const column = Math.floor((i / 29_999) * 300);
    const py = 100 - value * 10;
    const [top, bottom] = columns.get(column) ?? [Infinity, -Infinity];
    columns.set(column, [Math.min(top, py), Math.max(bottom, py)]);
  });
  for (const [px, top, bottom] of pen.bars) {
    const [wantTop, wantBottom] = columns.get(px) ?? [NaN, NaN];
    expect(top).toBeLessThanOrEqual(wantTop + 1e-9);
    expect(bottom).toBeGreaterThanOrEqual(wantBottom - 1e-9);
  }
  expect(pen.bars.length).toBe(columns.size);
});

test("missing steps break the line, and a point with no neighbour is a dot", () => {
  const pen = draw(curve([1, 2, 3, 4, 5], 1, [0, 1, 5, 9, 10]), x(10, 100), y(0, 10));
  expect(pen.moves).toBe(3);
  expect(pen.dots).toEqual([[50, 70]]);
});

test("a missing value breaks the line", () => {
  const pen = draw(curve([1, 2, NaN, 4, 5]), x(4, 100), y(0, 10));
  expect(pen.moves).toBe(2);
  expect(pen.points.length).toBe(4);
});

test("a run of missing steps breaks a dense line too, a gap below two pixels does not", () => {
  const steps = Array.from({ length: 20_000 }, (_, i) => (i < 10_000 ? i : i + 4_000));
  const wide = draw(curve(new Array(20_000).fill(5), 1, steps), x(24_000, 200), y(0, 10));
  expect(wide.moves).toBe(2);
  const narrow = steps.map((step, i) => (i < 10_000 ? step : step - 3_990));
  expect(draw(curve(new Array(20_000).fill(5), 1, narrow), x(20_010, 200), y(0, 10)).moves).toBe(1);
});

test("missing values as wide as a column break a dense line", () => {
  const values = Array.from({ length: 20_000 }, (_, i) => (i > 9_000 && i < 11_000 ? NaN : 5));
  expect(draw(curve(values), x(20_000, 200), y(0, 10)).moves).toBe(2);
});

test("a picture drawn on from a pixel holds the same strokes there", () => {
  const values = Array.from({ length: 50_000 }, (_, i) => Math.sin(i / 900) * 3 + 5 + Math.sin(i) / 2);
  const track = curve(values);
  const whole = draw(track, x(49_999, 400), y(0, 10));
  const part = draw(track, x(49_999, 400), y(0, 10), 300);
  const right = (pen: Recorder) => pen.points.filter(([px]) => px > 303);
  expect(right(part)).toEqual(right(whole));
  expect(part.points.length).toBeLessThan(whole.points.length / 3);
});

test("zoomed in, the neighbours outside keep the line going to the edges", () => {
  const track = curve(Array.from({ length: 1000 }, (_, i) => i));
  const pen = draw(track, { growth: "linear", min: 100, max: 110, from: 0, to: 1000 }, y(0, 1000));
  expect(pen.points[0]?.[0]).toBeLessThan(0);
  expect(pen.points.at(-1)?.[0]).toBeGreaterThanOrEqual(1000);
  expect(pen.points.length).toBe(12);
});

test("on a log axis what is not positive is missing", () => {
  const pen = draw(curve([1, 10, 0, 100]), x(3, 300), y(1, 100, "log"));
  expect(pen.points.map(([px, py]) => [px, Math.round(py) + 0])).toEqual([
    [0, 100],
    [100, 50],
    [300, 0],
  ]);
  expect(pen.moves).toBe(2);
  expect(pen.dots.map(([px]) => px)).toEqual([300]);
});

test("the same picture comes from steps, tokens or time", () => {
  const track = curve([1, 2, 3]);
  const pen = new Recorder();
  traceLine({ x: track.rows.x.tokens, track, xScale: x(20, 100), yScale: y(0, 10) }, pen);
  expect(pen.points.map(([px]) => px)).toEqual([0, 50, 100]);
});

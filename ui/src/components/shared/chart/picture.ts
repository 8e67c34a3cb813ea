// A chart as a picture to keep: the same decimated lines as on the screen, with title, axes, names and legend.

import type { Curve } from "./curve";
import { placeLabels } from "./labels";
import { BREAK_MARK, LOOK, paintOrder } from "./paint";
import type { Palette } from "./palette";
import { mapper, pixel, type Scale } from "./scale";
import type { LineStyle, PathCommand, Surface } from "./surface";
import type { Ticks } from "./ticks";
import { bandOutlines, traceLine, traceRange, type BarPen, type Strokes } from "./trace";
import type { Track } from "./track";
import { viewOf, xTicks, yTicks, type ViewOptions } from "./view";

/** What a picture shows. */
export interface PictureOptions extends ViewOptions {
  readonly width: number;
  readonly height: number;
  readonly title: string;
  readonly axisTitle: string;
  /** What the lines mean, after the title: "thin: raw, solid: EMA 0.90, dashed: validation". */
  readonly note: string;
  readonly palette: Palette;
  formatX(value: number, ticks: Ticks): string;
  formatY(value: number, ticks: Ticks): string;
  /** What stands at the end of a curve's line. */
  label(curve: Curve): string;
}

const MARGIN = { top: 44, right: 16, bottom: 40, left: 16 };
const CHARACTER = 6.2;

/** Draws the chart. */
export function drawPicture(surface: Surface, options: PictureOptions): void {
  const { width, height, palette, growth, axis } = options;
  const most = Math.max(3, Math.floor(height / 48));
  const view = viewOf(options, most);
  const ticksY = yTicks(view.y, growth, most);
  const textsY = ticksY.values.map((v) => options.formatY(v, ticksY));
  const labels = options.curves.map((curve) => options.label(curve));
  const left = MARGIN.left + Math.max(0, ...textsY.map((text) => text.length * CHARACTER)) + 8;
  const right = width - MARGIN.right - Math.min(220, Math.max(0, ...labels.map((text) => text.length * CHARACTER))) - 16;
  const [top, bottom] = [MARGIN.top, height - MARGIN.bottom];
  const x: Scale = { growth: "linear", min: view.x.min, max: view.x.max, from: left, to: right };
  const y: Scale = { growth, min: view.y.min, max: view.y.max, from: bottom, to: top };
  const muted = { colour: palette.muted, size: 11 };

  surface.text(options.title, MARGIN.left, 20, { colour: palette.text, size: 13, weight: 600 });
  surface.text(options.note, MARGIN.left, 36, muted);
  ticksY.values.forEach((mark, i) => {
    const at = Math.round(pixel(y, mark)) + 0.5;
    surface.path([["M", left, at], ["L", right, at]], { colour: palette.grid, width: 1 });
    surface.text(textsY[i] ?? "", left - 8, at + 4, { ...muted, anchor: "end" });
  });
  const ticksX = xTicks(axis, view.x.min, view.x.max, Math.max(2, Math.floor((right - left) / 72)));
  for (const mark of ticksX.values) surface.text(options.formatX(mark, ticksX), pixel(x, mark), bottom + 18, { ...muted, anchor: "middle" });
  surface.text(options.axisTitle, (left + right) / 2, bottom + 34, { ...muted, anchor: "middle" });
  surface.path([["M", left, bottom + 0.5], ["L", right, bottom + 0.5]], { colour: palette.axis, width: 1 });
  if (view.y.isBroken) {
    const mark: PathCommand[] = BREAK_MARK.map(([dx, dy], i) => [i === 0 ? "M" : "L", left + dx, bottom + dy]);
    surface.path(mark, { colour: palette.axis, width: LOOK.line });
  }

  surface.clip(left, top - 2, right - left + 2, bottom - top + 4);
  for (const { value } of options.limits) {
    const at = pixel(y, value);
    surface.path([["M", left, at], ["L", right, at]], { colour: palette.limit, width: 1, dash: [2, 3] });
  }
  for (const curve of paintOrder(options.curves, null)) drawCurve(surface, curve, palette.series[curve.slot], axis, x, y);
  surface.unclip();
  drawNames(surface, options, labels, x, y, top, bottom);
}

function drawCurve(surface: Surface, curve: Curve, colour: string, axis: ViewOptions["axis"], xScale: Scale, yScale: Scale): void {
  const strokes = (track: Track): Strokes => ({ x: track.rows.x[axis], track, xScale, yScale });
  const line = (track: Track, style: LineStyle) => {
    const pen = new CommandPen();
    traceLine(strokes(track), pen);
    surface.path(pen.commands, style);
    for (const [px, py] of pen.dots) surface.circle(px, py, LOOK.point, colour);
  };
  if (curve.band) for (const outline of bandOutlines(strokes(curve.band.low), curve.band.high)) surface.area(outline, colour, LOOK.bandShare);
  if (curve.raw) {
    const pen = new CommandPen();
    traceRange(strokes(curve.raw), pen);
    surface.path(pen.commands, { colour, width: LOOK.raw, opacity: LOOK.rawShare });
  }
  if (curve.second) line(curve.second, { colour, width: LOOK.line, dash: LOOK.dash });
  line(curve.main, { colour, width: LOOK.line });
}

function drawNames(surface: Surface, options: PictureOptions, labels: readonly string[], x: Scale, y: Scale, top: number, bottom: number): void {
  const { curves, axis, palette } = options;
  const toX = mapper(x);
  const ends = curves.map((curve) => {
    const column = curve.main.rows.x[axis];
    const index = Math.min(column.length, column.lowerBound(x.max) + 1) - 1;
    return { curve, x: Math.min(x.to, toX(column.at(index))), y: pixel(y, curve.main.y.at(index)) };
  });
  const seen = ends.map((end, i) => ({ ...end, text: labels[i] ?? "" })).filter((end) => end.y >= top && end.y <= bottom);
  const placed = placeLabels(seen.map((end) => ({ y: end.y, height: 14 })), 2, top, bottom);
  seen.forEach(({ curve, x: px, y: py, text }, i) => {
    const at = placed[i] ?? py;
    const colour = palette.series[curve.slot];
    surface.path([["M", px + 3, py], ["L", x.to + 12, at]], { colour, width: 1, opacity: 0.5 });
    surface.text(text, x.to + 15, at + 4, { colour: palette.text, size: 11, weight: 500 });
  });
}

class CommandPen implements BarPen {
  readonly commands: PathCommand[] = [];
  readonly dots: (readonly [number, number])[] = [];
  moveTo(x: number, y: number): void {
    this.commands.push(["M", x, y]);
  }
  lineTo(x: number, y: number): void {
    this.commands.push(["L", x, y]);
  }
  dot(x: number, y: number): void {
    this.dots.push([x, y]);
  }
  bar(x: number, top: number, bottom: number): void {
    // A flat piece is as high as the line is wide.
    this.commands.push(["M", x + 0.5, top - 0.5], ["L", x + 0.5, bottom + 0.5]);
  }
}

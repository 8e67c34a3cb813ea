// Paints curves on a canvas: the faint raw values, the solid lines, the dashed companions, the ends of live lines.

import type { Curve } from "./curve";
import type { Palette } from "./palette";
import { pixel, type Scale } from "./scale";
import { bandOutlines, traceLine, traceRange, type BarPen, type Strokes } from "./trace";
import type { Track, XAxis } from "./track";

/** Curves and the scales they are laid on; scales are in pixels of the canvas. */
export interface Scene {
  readonly curves: readonly Curve[];
  readonly axis: XAxis;
  readonly xScale: Scale;
  readonly yScale: Scale;
  readonly palette: Palette;
  /** Pixels of the canvas per CSS pixel. */
  readonly ratio: number;
  /** The curve that stands out, null if none does. */
  readonly hovered: string | null;
}

/** Widths and shares of the look, in CSS pixels. */
export const LOOK = { line: 1.5, raw: 1, rawShare: 0.24, asideShare: 0.24, bandShare: 0.12, dash: [4, 3], end: 3, point: 1.75 } as const;

/** The zigzag at the foot of a broken axis, from its foot upwards. */
export const BREAK_MARK: readonly (readonly [number, number])[] = [
  [0, -6],
  [-4, -8],
  [4, -12],
  [-4, -15],
  [0, -17],
];

/** The part of the canvas that is painted anew. */
export interface Part {
  readonly fromPx: number;
  readonly toPx: number;
}

/** Lines go to the path of the context; bars are filled at once, because many small rectangles are cheap and a long path is not. */
class CanvasPen implements BarPen {
  constructor(
    readonly ctx: CanvasRenderingContext2D,
    /** Width of the line, in pixels of the canvas. */
    readonly width: number,
    /** Width of a bar: as the line, or one pixel where bars must not overlap. */
    readonly across: number,
  ) {}
  moveTo(x: number, y: number): void {
    this.ctx.moveTo(x, y);
  }
  lineTo(x: number, y: number): void {
    this.ctx.lineTo(x, y);
  }
  dot(x: number, y: number): void {
    // Filled at once, as bars are: a stroke of the line's width would hardly be seen.
    const side = (2 * LOOK.point * this.width) / LOOK.line;
    this.ctx.fillRect(x - side / 2, y - side / 2, side, side);
  }
  bar(x: number, top: number, bottom: number): void {
    const { ctx, width, across } = this;
    ctx.fillRect(x + (1 - across) / 2, top - width / 2, across, bottom - top + width);
  }
}

/** Order of painting: greys, then colours, then what is in front or under the pointer. */
export function paintOrder(curves: readonly Curve[], hovered: string | null): Curve[] {
  const rank = (c: Curve) => (c.id === hovered ? 3 : c.isFront ? 2 : c.slot === "rest" ? 0 : 1);
  return curves.map((c, i) => ({ c, i })).sort((a, b) => rank(a.c) - rank(b.c) || b.i - a.i).map(({ c }) => c);
}

/** Paints all curves, or only a part of the picture. */
export function paint(ctx: CanvasRenderingContext2D, scene: Scene, part: Part | null): void {
  const { ratio, palette, hovered } = scene;
  ctx.lineCap = "round";
  const order = paintOrder(scene.curves, hovered);
  const share = (curve: Curve) => (hovered === null || hovered === curve.id ? 1 : LOOK.asideShare);
  for (const curve of order) {
    if (!curve.band) continue;
    ctx.globalAlpha = LOOK.bandShare * share(curve);
    ctx.fillStyle = palette.series[curve.slot];
    paintBand(ctx, bandOutlines(strokes(scene, curve.band.low, null), curve.band.high), ratio);
  }
  for (const curve of order) {
    if (!curve.raw) continue;
    ctx.globalAlpha = LOOK.rawShare * share(curve);
    ctx.fillStyle = ctx.strokeStyle = palette.series[curve.slot];
    stroke(ctx, strokes(scene, curve.raw, part), LOOK.raw * ratio, 1);
  }
  for (const curve of order) {
    const width = LOOK.line * ratio;
    ctx.globalAlpha = share(curve);
    ctx.fillStyle = ctx.strokeStyle = palette.series[curve.slot];
    if (curve.second) paintDashed(ctx, strokes(scene, curve.second, null), width, ratio);
    stroke(ctx, strokes(scene, curve.main, part), width, ctx.globalAlpha === 1 ? width : 1);
    if (curve.isLive) paintEnd(ctx, scene, curve);
  }
  ctx.globalAlpha = 1;
}

function strokes(scene: Scene, track: Track, part: Part | null): Strokes {
  const { axis, xScale, yScale } = scene;
  return { x: track.rows.x[axis], track, xScale, yScale, ...(part ?? {}) };
}

/** Round joins cost most of a long line's time, and nobody sees them on a line with a point in every pixel. */
const ROUND_UP_TO = 400;

function stroke(ctx: CanvasRenderingContext2D, what: Strokes, width: number, across: number): void {
  ctx.lineWidth = width;
  ctx.lineJoin = what.x.length > ROUND_UP_TO ? "bevel" : "round";
  ctx.beginPath();
  traceRange(what, new CanvasPen(ctx, width, across));
  ctx.stroke();
}

function paintDashed(ctx: CanvasRenderingContext2D, what: Strokes, width: number, ratio: number): void {
  ctx.lineWidth = width;
  ctx.lineJoin = "bevel";
  ctx.lineCap = "butt";
  ctx.setLineDash(LOOK.dash.map((d) => d * ratio));
  ctx.beginPath();
  // The dashes count from the start of the line, so a part of it needs all of it.
  traceLine(what, new CanvasPen(ctx, width, 1));
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.lineCap = "round";
}

/** Fills each outline; a lone point's interval has no width of its own and gets some. */
function paintBand(ctx: CanvasRenderingContext2D, outlines: readonly (readonly [number, number])[][], ratio: number): void {
  for (const outline of outlines) {
    const [first, second] = outline;
    if (outline.length === 2 && first && second) {
      ctx.fillRect(first[0] - LOOK.end * ratio, first[1], 2 * LOOK.end * ratio, second[1] - first[1]);
      continue;
    }
    ctx.beginPath();
    outline.forEach(([x, y], i) => (i === 0 ? ctx.moveTo(x, y) : ctx.lineTo(x, y)));
    ctx.fill();
  }
}

function paintEnd(ctx: CanvasRenderingContext2D, scene: Scene, curve: Curve): void {
  const { main } = curve;
  const last = main.rows.x[scene.axis].at(main.y.length - 1);
  const x = pixel(scene.xScale, last);
  const y = pixel(scene.yScale, main.y.last());
  if (!(x <= scene.xScale.to + 1) || x < scene.xScale.from || Number.isNaN(y)) return;
  ctx.fillStyle = scene.palette.series[curve.slot];
  ctx.beginPath();
  ctx.arc(x, y, LOOK.end * scene.ratio, 0, 2 * Math.PI);
  ctx.fill();
}

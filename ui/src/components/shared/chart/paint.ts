// Paints curves on a canvas: the faint raw values, the solid lines, the dashed companions, the ends of live lines.

import type { Curve } from "./curve";
import type { Palette } from "./palette";
import { pixel, type Scale } from "./scale";
import { traceLine, traceRange, type BarPen, type Strokes } from "./trace";
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
export const LOOK = { line: 1.5, raw: 1, rawShare: 0.24, asideShare: 0.24, dash: [4, 3], end: 3, point: 1.75 } as const;

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

class CanvasPen implements BarPen {
  constructor(
    readonly ctx: CanvasRenderingContext2D,
    readonly radius: number,
  ) {}
  moveTo(x: number, y: number): void {
    this.ctx.moveTo(x, y);
  }
  lineTo(x: number, y: number): void {
    this.ctx.lineTo(x, y);
  }
  dot(x: number, y: number): void {
    // A tiny line with a round cap: the stroke makes the dot.
    this.ctx.moveTo(x - this.radius, y);
    this.ctx.lineTo(x + this.radius, y);
  }
  bar(x: number, top: number, bottom: number): void {
    this.ctx.rect(x, top, 1, bottom - top);
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
  ctx.lineJoin = "round";
  ctx.lineCap = "round";
  const order = paintOrder(scene.curves, hovered);
  const share = (curve: Curve) => (hovered === null || hovered === curve.id ? 1 : LOOK.asideShare);
  for (const curve of order) {
    if (!curve.raw) continue;
    ctx.globalAlpha = LOOK.rawShare * share(curve);
    paintRaw(ctx, strokes(scene, curve.raw, part), palette.series[curve.slot], LOOK.raw * ratio);
  }
  for (const curve of order) {
    ctx.globalAlpha = share(curve);
    ctx.strokeStyle = palette.series[curve.slot];
    ctx.lineWidth = LOOK.line * ratio;
    if (curve.second) {
      ctx.setLineDash(LOOK.dash.map((d) => d * ratio));
      ctx.lineCap = "butt";
      // The dashes count from the start of the line, so a part of it needs all of it.
      stroke(ctx, strokes(scene, curve.second, null), ratio);
      ctx.lineCap = "round";
      ctx.setLineDash([]);
    }
    stroke(ctx, strokes(scene, curve.main, part), ratio);
    if (curve.isLive) paintEnd(ctx, scene, curve);
  }
  ctx.globalAlpha = 1;
}

function strokes(scene: Scene, track: Track, part: Part | null): Strokes {
  const { axis, xScale, yScale } = scene;
  return { x: track.rows.x[axis], track, xScale, yScale, ...(part ?? {}) };
}

function stroke(ctx: CanvasRenderingContext2D, what: Strokes, ratio: number): void {
  ctx.beginPath();
  traceLine(what, new CanvasPen(ctx, 0.5 * ratio));
  ctx.stroke();
}

function paintRaw(ctx: CanvasRenderingContext2D, what: Strokes, colour: string, width: number): void {
  const pen = new RawPen(ctx, width / 2);
  ctx.fillStyle = colour;
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.beginPath();
  traceRange(what, pen);
  if (pen.hasBars) ctx.fill();
  else ctx.stroke();
}

class RawPen extends CanvasPen {
  hasBars = false;
  override bar(x: number, top: number, bottom: number): void {
    this.hasBars = true;
    super.bar(x, top, bottom);
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

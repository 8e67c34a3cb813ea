// The canvas of the crosshair: its line, and a dot on each curve. It is painted without touching the lines.

import type { Curve } from "./curve";
import { readingAt } from "./curve";
import { drawNever, drawSoon, type Drawn } from "./frames";
import { INSET } from "./layer";
import { LOOK } from "./paint";
import { palette } from "./palette";
import { pixel } from "./scale";
import type { Layout } from "./plot";
import type { XAxis } from "./track";

const DOT = 3.5;

/** What the crosshair shows. */
export interface CursorState {
  readonly x: number | null;
  readonly isPinned: boolean;
  readonly curves: readonly Curve[];
  readonly axis: XAxis;
  readonly hovered: string | null;
}

/** One canvas over the plotting area. */
export class CursorLayer implements Drawn {
  #state: CursorState = { x: null, isPinned: false, curves: [], axis: "step", hovered: null };
  #layout: Layout | null = null;
  #isBlank = true;

  constructor(readonly canvas: HTMLCanvasElement) {}

  /** Another place, or the same over new points. */
  set(state: CursorState): void {
    this.#state = state;
    drawSoon(this);
  }

  /** The chart has moved or grown. */
  lay(layout: Layout): void {
    this.#layout = layout;
    if (this.#state.x !== null) drawSoon(this);
  }

  /** Draws no more. */
  destroy(): void {
    drawNever(this);
  }

  draw(): void {
    const layout = this.#layout;
    const { x, curves, axis, hovered, isPinned } = this.#state;
    if (!layout || (x === null && this.#isBlank)) return;
    const ctx = this.canvas.getContext("2d");
    if (!ctx) return;
    const ratio = window.devicePixelRatio;
    this.#place(layout, ratio);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, layout.width + 2 * INSET, layout.height + 2 * INSET);
    this.#isBlank = true;
    if (x === null || x < layout.x.min || x > layout.x.max) return;
    this.#isBlank = false;
    ctx.translate(INSET - layout.left, INSET - layout.top);
    const colours = palette();
    const at = Math.round(pixel(layout.x, x)) + 0.5;
    ctx.strokeStyle = colours.cursor;
    ctx.lineWidth = isPinned ? LOOK.line : 1;
    ctx.beginPath();
    ctx.moveTo(at, layout.top);
    ctx.lineTo(at, layout.top + layout.height);
    ctx.stroke();
    for (const curve of curves) {
      const reading = readingAt(curve, axis, x);
      if (!reading || Number.isNaN(reading.main)) continue;
      const y = pixel(layout.y, reading.main);
      if (!(y >= layout.top - 1 && y <= layout.top + layout.height + 1)) continue;
      ctx.globalAlpha = hovered === null || hovered === curve.id ? 1 : LOOK.asideShare;
      ctx.beginPath();
      ctx.arc(pixel(layout.x, reading.x), y, DOT, 0, 2 * Math.PI);
      ctx.fillStyle = colours.series[curve.slot];
      ctx.fill();
      ctx.lineWidth = LOOK.line;
      ctx.strokeStyle = colours.background;
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
  }

  #place(layout: Layout, ratio: number): void {
    const [width, height] = [layout.width + 2 * INSET, layout.height + 2 * INSET];
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== wide || this.canvas.height !== high) [this.canvas.width, this.canvas.height] = [wide, high];
    Object.assign(this.canvas.style, {
      left: `${String(layout.left - INSET)}px`,
      top: `${String(layout.top - INSET)}px`,
      width: `${String(width)}px`,
      height: `${String(height)}px`,
    });
  }
}

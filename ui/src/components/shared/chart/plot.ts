// One chart on the screen. uPlot keeps axes, grid, pointer and selection; the lines lie on a canvas of ours above it.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { drawArrivals, drawNever, drawSoon, type Drawn } from "./frames";
import { INSET, LineLayer, type Painted } from "./layer";
import { BREAK_MARK, LOOK } from "./paint";
import { palette, watchPalette } from "./palette";
import { pixel, type Scale } from "./scale";
import type { Ticks } from "./ticks";
import type { Rows } from "./track";
import { tracksOf } from "./curve";
import { endTicks, viewOf, xTicks, yTicks, type View, type ViewOptions } from "./view";

/** What a chart shows and how it writes its numbers. */
export interface PlotOptions extends ViewOptions {
  readonly hovered: string | null;
  /** Room at the right for the names at the ends of the lines, CSS pixels. */
  readonly gutter: number;
  /** A small chart writes only the ends of its axes. */
  readonly isSmall: boolean;
  /** Text of a mark on the x axis. */
  formatX(value: number, ticks: Ticks): string;
  /** Text of a mark on the y axis. */
  formatY(value: number, ticks: Ticks): string;
}

/** Where things lie, in CSS pixels from the corner of the chart. */
export interface Layout {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly x: Scale;
  readonly y: Scale;
  readonly view: View;
}

/** What the chart tells. */
export interface PlotEvents {
  /** A frame was painted; the layout is new if the scales or the size changed. */
  painted(layout: Layout, painted: Painted): void;
  /** The pointer is at a place of the x axis, or left. */
  pointed(x: number | null): void;
  /** A click. */
  clicked(x: number): void;
  /** A part of the x axis was dragged over. */
  zoomed(from: number, to: number): void;
  /** A double click. */
  reset(): void;
}

const DRAG_PX = 6;

/** One chart. Call `destroy` when it goes. */
export class Plot implements Drawn {
  readonly #lines = new LineLayer();
  readonly #plot: uPlot;
  #options: PlotOptions;
  #view: View;
  #isStale = true;
  #watched = new Map<Rows, () => void>();
  readonly #unwatchPalette: () => void;

  constructor(
    readonly host: HTMLElement,
    options: PlotOptions,
    readonly events: PlotEvents,
  ) {
    this.#options = options;
    this.#view = viewOf(options, 5);
    this.#plot = new uPlot(this.#setup(), [[0, 1], [null, null]], host);
    this.#plot.over.before(this.#lines.canvas);
    Object.assign(this.#lines.canvas.style, { position: "absolute", pointerEvents: "none" });
    this.#unwatchPalette = watchPalette(() => this.refresh());
    this.#watch();
    drawSoon(this);
  }

  /** Other curves, another zoom, another look. */
  set(options: PlotOptions): void {
    this.#options = options;
    this.#watch();
    this.refresh();
  }

  /** Paints everything anew in the next frame. */
  refresh(): void {
    this.#isStale = true;
    drawSoon(this);
  }

  /** Fits the chart into its place. */
  resize(width: number, height: number): void {
    if (width < 20 || height < 20 || (width === this.#plot.width && height === this.#plot.height)) return;
    this.#plot.setSize({ width, height });
    this.refresh();
  }

  /** Paints what has changed. */
  draw(): void {
    const { axis, curves, growth, hovered } = this.#options;
    for (const curve of curves) for (const track of tracksOf(curve)) track.sync();
    const view = viewOf(this.#options, this.#most("y"));
    const isSame = view.x.min === this.#view.x.min && view.x.max === this.#view.x.max && view.y.min === this.#view.y.min && view.y.max === this.#view.y.max;
    if (this.#isStale || !isSame) {
      this.#view = view;
      this.#isStale = false;
      this.#plot.batch(() => {
        this.#plot.setScale("x", { min: view.x.min, max: view.x.max });
        this.#plot.setScale("y", { min: this.#grown(view.y.min), max: this.#grown(view.y.max) });
        this.#plot.redraw(false, true);
      });
    }
    const ratio = uPlot.pxRatio;
    const layout = this.layout();
    this.#place(layout, ratio);
    const scale = (s: Scale): Scale => ({ ...s, from: s.from * ratio, to: s.to * ratio });
    const xScale = scale({ ...layout.x, from: INSET, to: INSET + layout.width });
    const yScale = scale({ ...layout.y, from: INSET + layout.height, to: INSET });
    const painted = this.#lines.show({ curves, axis, xScale, yScale: { ...yScale, growth }, palette: palette(), ratio, hovered });
    this.events.painted(layout, painted);
  }

  /** Where the plotting area lies. */
  layout(): Layout {
    const { bbox } = this.#plot;
    const ratio = uPlot.pxRatio;
    const [left, top, width, height] = [bbox.left / ratio, bbox.top / ratio, bbox.width / ratio, bbox.height / ratio];
    const { x, y } = this.#view;
    return {
      left,
      top,
      width,
      height,
      view: this.#view,
      x: { growth: "linear", min: x.min, max: x.max, from: left, to: left + width },
      y: { growth: this.#options.growth, min: y.min, max: y.max, from: top + height, to: top },
    };
  }

  /** Takes everything away. */
  destroy(): void {
    drawNever(this);
    this.#unwatchPalette();
    for (const stop of this.#watched.values()) stop();
    this.#plot.destroy();
  }

  /** Asks for a frame whenever rows of a shown curve change. */
  #watch(): void {
    const rows = new Set(this.#options.curves.flatMap(tracksOf).map((track) => track.rows));
    for (const [old, stop] of this.#watched) {
      if (rows.has(old)) continue;
      stop();
      this.#watched.delete(old);
    }
    for (const one of rows) if (!this.#watched.has(one)) this.#watched.set(one, one.watch(() => drawArrivals(this)));
  }

  #place(layout: Layout, ratio: number): void {
    const { canvas } = this.#lines;
    const [width, height] = [layout.width + 2 * INSET, layout.height + 2 * INSET];
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    Object.assign(canvas.style, {
      left: `${String(layout.left - INSET)}px`,
      top: `${String(layout.top - INSET)}px`,
      width: `${String(width)}px`,
      height: `${String(height)}px`,
    });
  }

  #most(side: "x" | "y"): number {
    const { width, height } = this.#plot;
    if (this.#options.isSmall) return side === "x" ? 2 : 3;
    return side === "x" ? Math.max(2, Math.floor(width / 72)) : Math.min(12, Math.max(3, Math.floor(height / 36)));
  }

  /** A value as uPlot's linear scale takes it. */
  #grown(value: number): number {
    return this.#options.growth === "log" ? Math.log10(value) : value;
  }

  #ticks(side: "x" | "y"): Ticks {
    const { x, y } = this.#view;
    if (side === "x" && this.#options.isSmall) return endTicks(x.min, x.max);
    if (side === "x") return xTicks(this.#options.axis, x.min, x.max, this.#most("x"));
    return yTicks(y, this.#options.growth, this.#most("y"));
  }

  #setup(): uPlot.Options {
    const { host } = this;
    const shared = { font: `11px ${palette().font}`, stroke: () => palette().muted, ticks: { show: false } };
    return {
      width: Math.max(50, host.clientWidth),
      height: Math.max(50, host.clientHeight),
      legend: { show: false },
      padding: [8, () => this.#options.gutter, 0, 0],
      cursor: {
        x: false,
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: DRAG_PX },
        bind: { dblclick: () => () => null },
      },
      select: { show: true, left: 0, top: 0, width: 0, height: 0 },
      scales: { x: { time: false, range: () => [this.#view.x.min, this.#view.x.max] }, y: { auto: false } },
      series: [{}, { scale: "y", auto: false, paths: () => null, points: { show: false } }],
      axes: [
        {
          ...shared,
          scale: "x",
          size: 24,
          gap: 6,
          grid: { show: false },
          border: { show: true, width: 1, stroke: () => palette().axis },
          splits: () => [...this.#ticks("x").values],
          values: (_, splits) => this.#texts("x", splits),
        },
        {
          ...shared,
          scale: "y",
          gap: 8,
          size: (_, values) => Math.ceil(Math.max(...(values ?? [""]).map((v) => v.length)) * 6.4) + 16,
          grid: { show: true, width: 1, stroke: () => palette().grid },
          splits: () => this.#ticks("y").values.map((v) => this.#grown(v)),
          values: (_, splits) => this.#texts("y", splits),
        },
      ],
      hooks: {
        draw: [(u) => this.#drawOver(u)],
        setCursor: [(u) => this.#point(u)],
        setSelect: [(u) => this.#select(u)],
        ready: [(u) => this.#listen(u)],
      },
    };
  }

  #texts(side: "x" | "y", splits: readonly number[]): string[] {
    const ticks = this.#ticks(side);
    const { formatX, formatY } = this.#options;
    return splits.map((_, i) => (side === "x" ? formatX : formatY)(ticks.values[i] ?? NaN, ticks));
  }

  /** Limits, and the break mark of an axis that does not begin at 0. */
  #drawOver(u: uPlot): void {
    const { ctx, bbox } = u;
    const ratio = uPlot.pxRatio;
    const colours = palette();
    ctx.save();
    ctx.lineWidth = ratio;
    const y: Scale = { growth: this.#options.growth, ...this.#view.y, from: bbox.top + bbox.height, to: bbox.top };
    ctx.strokeStyle = colours.limit;
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    for (const { value } of this.#options.limits) {
      if (value < this.#view.y.min || value > this.#view.y.max) continue;
      const at = Math.round(pixel(y, value)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(bbox.left, at);
      ctx.lineTo(bbox.left + bbox.width, at);
      ctx.stroke();
    }
    ctx.setLineDash([]);
    if (this.#view.y.isBroken) {
      ctx.strokeStyle = colours.axis;
      ctx.lineWidth = LOOK.line * ratio;
      ctx.beginPath();
      BREAK_MARK.forEach(([dx, dy], i) => {
        const [px, py] = [bbox.left + dx * ratio, bbox.top + bbox.height + dy * ratio];
        if (i === 0) ctx.moveTo(px, py);
        else ctx.lineTo(px, py);
      });
      ctx.stroke();
    }
    ctx.restore();
  }

  #point(u: uPlot): void {
    const left = u.cursor.left ?? -1;
    this.events.pointed(left < 0 ? null : u.posToVal(left, "x"));
  }

  #select(u: uPlot): void {
    const { left, width } = u.select;
    if (width < DRAG_PX) return;
    const [from, to] = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.events.zoomed(from, to);
  }

  #listen(u: uPlot): void {
    let downAt: number | null = null;
    u.over.addEventListener("mousedown", (event) => (downAt = event.button === 0 ? event.clientX : null));
    u.over.addEventListener("click", (event) => {
      if (downAt === null || Math.abs(event.clientX - downAt) >= DRAG_PX || event.detail > 1) return;
      this.events.clicked(u.posToVal(u.cursor.left ?? 0, "x"));
    });
    u.over.addEventListener("dblclick", () => this.events.reset());
  }
}

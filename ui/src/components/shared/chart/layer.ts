// The canvas of the lines. When only points were added it paints only the pixel columns where they lie; when the picture changed, all of it.

import { paint, type Part, type Scene } from "./paint";
import { pixel } from "./scale";
import { tracksOf } from "./curve";
import { isDense } from "./trace";

/** Room around the plotting area, so that a line on its edge keeps its width. CSS pixels. */
export const INSET = 5;

/** How much of a picture a frame painted. */
export type Painted = "all" | "part" | "nothing";

/** A canvas that lies over the plotting area. */
export class LineLayer {
  readonly canvas = document.createElement("canvas");
  readonly #ctx: CanvasRenderingContext2D;
  #key: unknown[] = [];
  /** Points of each track that the canvas holds. */
  #drawn = new Map<object, number>();

  constructor() {
    const ctx = this.canvas.getContext("2d");
    if (!ctx) throw new Error("this browser has no 2D canvas");
    this.#ctx = ctx;
  }

  /** Brings the canvas up to date. */
  show(scene: Scene): Painted {
    const key = keyOf(scene);
    const isSame = key.length === this.#key.length && key.every((part, i) => Object.is(part, this.#key[i]));
    if (!isSame) {
      this.#key = key;
      this.#paint(scene, null);
      return "all";
    }
    const part = this.#news(scene);
    if (part === null) return "nothing";
    this.#paint(scene, part);
    return "part";
  }

  #paint(scene: Scene, part: Part | null): void {
    const ctx = this.#ctx;
    const { width, height } = this.canvas;
    const { xScale } = scene;
    const room = 2 * scene.ratio;
    const from = Math.max(0, part ? part.fromPx : Math.floor(xScale.from - room));
    const to = Math.min(width, part ? part.toPx : Math.ceil(xScale.to + INSET * scene.ratio));
    ctx.save();
    if (part) ctx.clearRect(from, 0, to - from, height);
    else ctx.clearRect(0, 0, width, height);
    ctx.beginPath();
    ctx.rect(from, 0, to - from, height);
    ctx.clip();
    // The lines of a part begin before it, so that no seam shows where they enter it.
    paint(ctx, scene, part ? { fromPx: from - 2 * room, toPx: to + 2 * room } : null);
    ctx.restore();
    this.#drawn = new Map(scene.curves.flatMap(tracksOf).map((track) => [track, track.y.length]));
  }

  /** The columns that new points reach; null if there are none. */
  #news(scene: Scene): Part | null {
    let from = Infinity;
    let to = -Infinity;
    for (const curve of scene.curves) {
      for (const track of tracksOf(curve)) {
        const before = this.#drawn.get(track) ?? 0;
        if (track.y.length <= before) continue;
        const x = track.rows.x[scene.axis];
        from = Math.min(from, pixel(scene.xScale, x.at(Math.max(0, before - 1))));
        to = Math.max(to, pixel(scene.xScale, x.at(track.y.length - 1)));
      }
    }
    if (from > to) return null;
    // Room for the end mark of a live line, the widest thing on it.
    const room = INSET * scene.ratio + 1;
    return { fromPx: Math.floor(from - room), toPx: Math.ceil(to + room) };
  }
}

/** Everything whose change needs a whole picture. */
function keyOf(scene: Scene): unknown[] {
  const { curves, axis, xScale, yScale, palette, ratio, hovered } = scene;
  const scales = [xScale, yScale].flatMap((s) => [s.growth, s.min, s.max, s.from, s.to]);
  const looks = curves.flatMap((c) => [c.id, c.slot, c.isLive, c.isFront, c.main, c.raw, c.second, c.band?.low]);
  const states = curves.flatMap(tracksOf).flatMap((track) => [
    track.rows.epoch,
    "weight" in track ? track.weight : 0,
    isDense({ x: track.rows.x[axis], track, xScale, yScale }),
  ]);
  return [axis, palette, ratio, hovered, ...scales, ...looks, ...states];
}

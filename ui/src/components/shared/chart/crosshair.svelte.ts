// What all charts of a screen share: the place of the crosshair, the zoom, and the run under the pointer.

import type { XAxis } from "./track";

/** One per screen; every chart of it reads and moves it. */
export class Crosshair {
  /** The place on the x axis, null if there is none. */
  x = $state<number | null>(null);
  /** A pinned crosshair stays when the pointer leaves. */
  isPinned = $state(false);
  /** The chart that shows the box of values. */
  owner = $state<string | null>(null);
  /** The part of the x axis that is shown, null for all. */
  zoom = $state<readonly [number, number] | null>(null);
  /** The run that stands out. */
  hovered = $state<string | null>(null);
  #axis = $state<XAxis>("step");

  /** What the x axis counts. */
  get axis(): XAxis {
    return this.#axis;
  }

  /** Another axis has other places. */
  set axis(axis: XAxis) {
    if (axis === this.#axis) return;
    this.#axis = axis;
    this.zoom = null;
    this.clear();
  }

  /** Follows the pointer or a key. A pinned one moves only by keys. */
  move(x: number | null, owner: string, by: "pointer" | "key"): void {
    if (this.isPinned && by === "pointer") return;
    this.x = x;
    this.owner = x === null ? null : owner;
  }

  /** Pins the crosshair where it is, or lets it go. */
  toggle(x: number | null, owner: string): void {
    if (this.isPinned) {
      this.isPinned = false;
      this.move(x, owner, "pointer");
    } else if (x !== null) {
      this.move(x, owner, "pointer");
      this.isPinned = true;
    }
  }

  /** No crosshair. */
  clear(): void {
    this.x = null;
    this.owner = null;
    this.isPinned = false;
  }
}

// What a chart draws: rows that share their places on the x axis, and one track of values per curve.

import { Column } from "./column";
import { Ema } from "./ema";
import { Pyramid } from "./pyramid";

/** What the x axis counts; a day is counted from 1970, UTC. */
export type XAxis = "step" | "tokens" | "time" | "day";

/** The places of a curve's points on each x axis, and where points are missing. */
export class Rows {
  readonly x: Record<XAxis, Column> = { step: new Column(), tokens: new Column(), time: new Column(), day: new Column() };
  /** Indices before which points are missing: a line is broken there. Ascending. */
  readonly breaks: number[] = [];
  /** Grows when points that were there before are changed or cut; appending does not count. */
  epoch = 0;

  readonly #listeners = new Set<() => void>();

  /** `stride` is the number of steps between two points when none is missing; 0 knows of no gaps. */
  constructor(public stride = 0) {}

  get length(): number {
    return this.x.step.length;
  }

  /** Appends a place; a jump of more than one and a half strides is a gap. */
  push(step: number, tokens: number, time: number, day = 0): void {
    const index = this.length;
    if (index > 0 && this.stride > 0 && step - this.x.step.last() > 1.5 * this.stride) this.breaks.push(index);
    this.x.step.push(step);
    this.x.tokens.push(tokens);
    this.x.time.push(time);
    this.x.day.push(day);
  }

  /** Forgets everything from an index on. */
  truncate(length: number): void {
    if (length >= this.length) return;
    for (const column of Object.values(this.x)) column.truncate(length);
    while (this.breaks.length > 0 && (this.breaks.at(-1) as number) >= length) this.breaks.pop();
    this.epoch += 1;
  }

  /** Calls back after each change; gives the way to stop. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells that the rows and their tracks have changed. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** One curve: a value per row. */
export class Track {
  readonly y = new Column();
  readonly extremes = new Pyramid(this.y);

  constructor(readonly rows: Rows) {}

  /** Appends the value of the next row. A value that is not finite is missing. */
  push(value: number): void {
    this.y.push(Number.isFinite(value) ? value : NaN);
    this.extremes.sync();
  }

  /** Forgets everything from an index on. */
  truncate(length: number): void {
    this.extremes.truncate(length);
    this.y.truncate(length);
  }

  /** Brings the values up to date where they are computed from others; here there is nothing to do. */
  sync(): void {}

  /** The last value that is there, `NaN` if none is. */
  latest(): number {
    for (let i = this.y.length - 1; i >= 0; i--) {
      const value = this.y.at(i);
      if (!Number.isNaN(value)) return value;
    }
    return NaN;
  }
}

/** A smoothed copy of a track. It follows the source when asked, so that many points cost one pass. */
export class SmoothTrack extends Track {
  #ema: Ema;
  #epoch: number;

  constructor(
    readonly source: Track,
    weight: number,
  ) {
    super(source.rows);
    this.#ema = new Ema(weight);
    this.#epoch = source.rows.epoch;
    this.sync();
  }

  get weight(): number {
    return this.#ema.weight;
  }

  /** Takes in what is new in the source; starts anew if the source was cut. */
  override sync(): void {
    if (this.#epoch !== this.rows.epoch) {
      this.truncate(0);
      this.#ema.reset();
      this.#epoch = this.rows.epoch;
    }
    const { y } = this.source;
    for (let i = this.y.length; i < y.length; i++) this.y.push(this.#ema.next(y.at(i)));
    this.extremes.sync();
  }

  /** Another weight: every value is computed anew. */
  reweigh(weight: number): void {
    if (weight === this.weight) return;
    this.#ema = new Ema(weight);
    this.truncate(0);
    this.sync();
  }
}

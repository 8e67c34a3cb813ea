// Smallest and largest value of any range of a column in logarithmic time, kept while the column grows.

import { Column } from "./column";

/** Each level joins 2^SHIFT blocks of the level below. */
const SHIFT = 3;
const FAN = 1 << SHIFT;

/** Extremes of a column by blocks of 8, 64, 512 … values. `NaN` counts as missing. */
export class Pyramid {
  /** Smallest value of the last query; `Infinity` if it held none. */
  low = Infinity;
  /** Largest value of the last query; `-Infinity` if it held none. */
  high = -Infinity;

  readonly #values: Column;
  readonly #lows: Column[] = [];
  readonly #highs: Column[] = [];
  #seen = 0;

  constructor(values: Column) {
    this.#values = values;
    this.sync();
  }

  /** Takes in what was appended to the column since the last call. */
  sync(): void {
    const { data, length } = this.#values;
    for (let i = this.#seen; i < length; i++) this.#add(i, data[i] as number);
    this.#seen = length;
  }

  /** Forgets everything from an index on; the column is cut by its owner. */
  truncate(length: number): void {
    if (length >= this.#seen) return;
    for (let level = 0; level < this.#lows.length; level++) {
      const size = 1 << (SHIFT * (level + 1));
      const whole = Math.floor(length / size);
      (this.#lows[level] as Column).truncate(whole);
      (this.#highs[level] as Column).truncate(whole);
    }
    // The values of the blocks that were cut in two are added again, each only to the levels that lost them.
    const { data } = this.#values;
    for (let level = 0; level < this.#lows.length; level++) {
      const size = 1 << (SHIFT * (level + 1));
      for (let i = Math.floor(length / size) * size; i < length; i++) this.#addTo(level, i, data[i] as number);
    }
    this.#seen = length;
  }

  /** Finds `low` and `high` of the values in `[from, to)`. */
  query(from: number, to: number): void {
    this.low = Infinity;
    this.high = -Infinity;
    let start = from;
    let end = to;
    // At each level: the loose blocks at both ends, then the whole ones a level up.
    for (let level = -1; start < end; level++) {
      const up = level + 1;
      if (up >= this.#lows.length || end - start < 2 * FAN) {
        this.#take(level, start, end);
        return;
      }
      const inner = (start + FAN - 1) & ~(FAN - 1);
      const outer = end & ~(FAN - 1);
      this.#take(level, start, inner);
      this.#take(level, outer, end);
      start = inner >> SHIFT;
      end = outer >> SHIFT;
    }
  }

  #take(level: number, start: number, end: number): void {
    const lows = level < 0 ? this.#values.data : (this.#lows[level] as Column).data;
    const highs = level < 0 ? this.#values.data : (this.#highs[level] as Column).data;
    let { low, high } = this;
    for (let i = start; i < end; i++) {
      // A comparison with NaN is false, so a missing value changes nothing.
      if ((lows[i] as number) < low) low = lows[i] as number;
      if ((highs[i] as number) > high) high = highs[i] as number;
    }
    this.low = low;
    this.high = high;
  }

  #add(index: number, value: number): void {
    if (index === 0 || 1 << (SHIFT * (this.#lows.length + 1)) <= index) this.#raise();
    for (let level = 0; level < this.#lows.length; level++) this.#addTo(level, index, value);
  }

  #addTo(level: number, index: number, value: number): void {
    const lows = this.#lows[level] as Column;
    const highs = this.#highs[level] as Column;
    const block = index >> (SHIFT * (level + 1));
    if (block === lows.length) {
      lows.push(Infinity);
      highs.push(-Infinity);
    }
    if (value < (lows.data[block] as number)) lows.data[block] = value;
    if (value > (highs.data[block] as number)) highs.data[block] = value;
  }

  /** Adds a level whose first block holds everything so far. */
  #raise(): void {
    const below = this.#lows.length - 1;
    const low = new Column(FAN);
    const high = new Column(FAN);
    if (below >= 0) {
      const lows = this.#lows[below] as Column;
      const highs = this.#highs[below] as Column;
      for (let i = 0; i < lows.length; i++) {
        if (i % FAN === 0) {
          low.push(Infinity);
          high.push(-Infinity);
        }
        const block = low.length - 1;
        low.data[block] = Math.min(low.data[block] as number, lows.data[i] as number);
        high.data[block] = Math.max(high.data[block] as number, highs.data[i] as number);
      }
    }
    this.#lows.push(low);
    this.#highs.push(high);
  }
}

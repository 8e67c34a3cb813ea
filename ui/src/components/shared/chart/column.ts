// A growing column of numbers in one typed array. What the numbers mean is the caller's.

const FIRST_CAPACITY = 256;

/** Numbers in the order of arrival. Appending is O(1) amortised; reading never copies. */
export class Column {
  /** The buffer; only the first `length` entries count, and a push may replace the buffer. */
  data: Float64Array;
  /** Entries in use. */
  length = 0;

  constructor(capacity = FIRST_CAPACITY) {
    this.data = new Float64Array(Math.max(1, capacity));
  }

  /** Column with these values. */
  static of(values: ArrayLike<number>): Column {
    const column = new Column(values.length);
    for (let i = 0; i < values.length; i++) column.push(values[i] as number);
    return column;
  }

  /** Makes room for so many entries in all, so that a long history is copied once. */
  reserve(capacity: number): void {
    if (capacity <= this.data.length) return;
    const wider = new Float64Array(capacity);
    wider.set(this.data.subarray(0, this.length));
    this.data = wider;
  }

  /** Appends a value. */
  push(value: number): void {
    if (this.length === this.data.length) this.reserve(this.data.length * 2);
    this.data[this.length++] = value;
  }

  /** The value at an index, `NaN` outside. */
  at(index: number): number {
    return index >= 0 && index < this.length ? (this.data[index] as number) : NaN;
  }

  /** The last value, `NaN` if there is none. */
  last(): number {
    return this.at(this.length - 1);
  }

  /** Forgets everything from an index on. */
  truncate(length: number): void {
    this.length = Math.min(this.length, Math.max(0, length));
  }

  /** Index of the first value that is at least `value`, in `[from, to)`; `to` if there is none. The column must ascend. */
  lowerBound(value: number, from = 0, to = this.length): number {
    const data = this.data;
    let low = from;
    let high = to;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((data[middle] as number) < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Index of the value nearest to `value`, -1 if the column is empty. The column must ascend. */
  nearest(value: number): number {
    if (this.length === 0) return -1;
    const after = this.lowerBound(value);
    if (after === 0) return 0;
    if (after === this.length) return this.length - 1;
    const before = after - 1;
    return value - this.at(before) <= this.at(after) - value ? before : after;
  }
}

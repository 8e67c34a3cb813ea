// How long a reviewer looked at each item. Time without a sign of life counts up to a limit: a break is no judging.

/** Longest pause between two signs of life that still counts whole. */
const MOST_PAUSE_MS = 60_000;

export class Stopwatch {
  #spent_ms = new Map<string, number>();
  #item: string | undefined;
  #since_ms = 0;

  constructor(private readonly now_ms: () => number = () => performance.now()) {}

  /** Another item is looked at; undefined stops the watch. */
  look(item: string | undefined): void {
    this.touch();
    this.#item = item;
  }

  /** A sign of life: a key, the pointer. */
  touch(): void {
    const now = this.now_ms();
    if (this.#item !== undefined) {
      const spent = Math.min(MOST_PAUSE_MS, Math.max(0, now - this.#since_ms));
      this.#spent_ms.set(this.#item, (this.#spent_ms.get(this.#item) ?? 0) + spent);
    }
    this.#since_ms = now;
  }

  /** Milliseconds spent on an item. */
  spent_ms(item: string): number {
    this.touch();
    return Math.round(this.#spent_ms.get(item) ?? 0);
  }

  forget(item: string): void {
    this.#spent_ms.delete(item);
  }
}

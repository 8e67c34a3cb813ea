// The difference between two texts while one of them is typed: asked when the typing rests, and only the latest answer counts.
import { rpc, type Piece } from "$lib/api";

/** Characters of both texts together beyond which nobody waits for a difference. */
export const MOST_CHARACTERS = 100_000;

/** An answer of the core. */
export interface Compared {
  old: string;
  new: string;
  pieces: readonly Piece[];
  /** 0 equal, 1 nothing in common. */
  distance: number;
}

export class Comparison {
  /** The latest answer; it may be to a text that has changed since. */
  answer = $state.raw<Compared>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | undefined;

  constructor(private readonly rest_ms = 150) {}

  /** Asks for the difference, soon. */
  ask(before: string, after: string): void {
    this.stop();
    if (before === after || before.length + after.length > MOST_CHARACTERS) {
      this.answer = undefined;
      return;
    }
    if (this.answer?.old === before && this.answer.new === after) return;
    this.#timer = setTimeout(() => void this.#now(before, after), this.rest_ms);
  }

  /** Forgets what was asked. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#asking = undefined;
  }

  async #now(before: string, after: string): Promise<void> {
    const mine = new AbortController();
    this.#asking = mine;
    try {
      const { pieces, distance } = await rpc("text_diff", { old: before, new: after }, mine.signal);
      if (this.#asking === mine) this.answer = { old: before, new: after, pieces, distance };
    } catch {
      // The text is typed on without marks; the next key asks again.
    }
  }
}

// Answers that are not submitted yet: kept in this browser at once and by the core a moment later, so that neither a reload nor a
// crash loses them. What the core has confirmed is dropped here: whatever is found in this browser is newer than the core's.
import { keep, readText } from "$lib/stored";
import type { Answers } from "./answers";

interface Waiting {
  answers: Answers;
  timer: ReturnType<typeof setTimeout>;
}

/** Texts beyond this are written to this browser only when the typing rests: each writing takes time. */
const LARGE_CHARACTERS = 20_000;

export class Drafts {
  #waiting = new Map<string, Waiting>();
  #unkept = new Map<string, Answers>();

  constructor(
    private readonly user: string,
    private readonly project: string,
    private readonly save: (item: string, answers: Answers) => Promise<unknown>,
    private readonly rest_ms = 800,
  ) {}

  /** What this browser has of an item that the core does not have. */
  read(item: string): Answers | undefined {
    const unkept = this.#unkept.get(item);
    if (unkept) return unkept;
    const text = readText(this.#name(item));
    if (text === undefined) return undefined;
    try {
      const read: unknown = JSON.parse(text);
      return typeof read === "object" && read !== null && !Array.isArray(read) ? (read as Answers) : undefined;
    } catch {
      return undefined;
    }
  }

  /** Keeps answers here, and by the core once they rest. */
  set(item: string, answers: Answers): void {
    this.stop(item);
    if (sizeOf(answers) > LARGE_CHARACTERS) this.#unkept.set(item, answers);
    else this.#keep(item, answers);
    this.#waiting.set(item, { answers, timer: setTimeout(() => void this.#send(item), this.rest_ms) });
  }

  /** Sends no draft of this item any more; this browser's stays. */
  stop(item: string): void {
    const waiting = this.#waiting.get(item);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.#waiting.delete(item);
    this.#writeOut(item);
  }

  /** Forgets an item: it is submitted, or given up. */
  forget(item: string): void {
    this.stop(item);
    this.#unkept.delete(item);
    keep(this.#name(item), undefined);
  }

  /** Writes everything that waits: the page goes away. */
  flush(): void {
    for (const item of [...this.#waiting.keys()]) {
      this.#writeOut(item);
      void this.#send(item);
    }
  }

  async #send(item: string): Promise<void> {
    const waiting = this.#waiting.get(item);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.#waiting.delete(item);
    this.#writeOut(item);
    try {
      await this.save(item, waiting.answers);
    } catch {
      // This browser still has it, and the next change tries again.
      return;
    }
    if (!this.#waiting.has(item) && JSON.stringify(this.read(item)) === JSON.stringify(waiting.answers)) keep(this.#name(item), undefined);
  }

  #writeOut(item: string): void {
    const answers = this.#unkept.get(item);
    if (!answers) return;
    this.#unkept.delete(item);
    this.#keep(item, answers);
  }

  #keep(item: string, answers: Answers): void {
    keep(this.#name(item), JSON.stringify(answers));
  }

  #name(item: string): string {
    return `draft.${this.user}.${this.project}.${item}`;
  }
}

function sizeOf(answers: Answers): number {
  return Object.values(answers).reduce<number>((sum, answer) => sum + (typeof answer === "string" ? answer.length : 0), 0);
}

// What waits to be sent, one after the other in the order in which it was done. Pure: it knows no command.
import { toApiError, type ApiError } from "$lib/api";

/** One thing to send. */
export interface Sending {
  /** The item that it is about; none for undo. */
  readonly item: string | undefined;
  send(): Promise<unknown>;
}

/** Nobody could be reached: what waits behind would fare the same. */
const UNREACHABLE = ["unavailable", "unauthenticated", "cancelled"];

export class Outbox<S extends Sending> {
  #waiting: S[] = [];
  #sending: S | undefined;
  #run: Promise<void> | undefined;

  /** `onfailed` gets what was refused, or all that waited when nobody could be reached, in order. `onchange` is called at every turn. */
  constructor(
    private readonly onfailed: (failed: S[], error: ApiError) => void,
    private readonly onchange: () => void = () => {},
  ) {}

  /** Everything that is not through yet, in order. */
  get all(): readonly S[] {
    return this.#sending ? [this.#sending, ...this.#waiting] : this.#waiting;
  }

  holds(item: string): boolean {
    return this.all.some((one) => one.item === item);
  }

  add(what: S): void {
    this.#waiting.push(what);
    this.#run ??= this.#work().finally(() => (this.#run = undefined));
    this.onchange();
  }

  /** Takes the last one back, if it has not been sent yet and fits. */
  takeBack(fits: (what: S) => boolean): S | undefined {
    const last = this.#waiting.at(-1);
    if (!last || !fits(last)) return undefined;
    this.#waiting.pop();
    this.onchange();
    return last;
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    while (this.#run) await this.#run;
  }

  async #work(): Promise<void> {
    for (;;) {
      const what = this.#waiting.shift();
      this.#sending = what;
      if (!what) return this.onchange();
      let failed: S[] = [];
      let error: ApiError | undefined;
      try {
        await what.send();
      } catch (thrown) {
        error = toApiError(thrown);
        failed = [what];
        if (UNREACHABLE.includes(error.code)) failed.push(...this.#waiting.splice(0));
      }
      this.#sending = undefined;
      if (error) this.onfailed(failed, error);
      this.onchange();
    }
  }
}

// What a form or a button does: one try at a time, and why the last one failed.
import { toApiError, type ApiError } from "./api";

/** Something that is tried, by a form or a button. Reactive. */
export class Attempt {
  /** Whether a try is under way. */
  busy = $state(false);
  /** Why the last try failed, until the next one or `clear`. */
  error = $state.raw<ApiError>();

  /** Does `work`, unless a try is under way. True if it went through. */
  async run(work: () => Promise<unknown>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.error = undefined;
    try {
      await work();
      return true;
    } catch (thrown) {
      this.error = toApiError(thrown);
      return false;
    } finally {
      this.busy = false;
    }
  }

  /** Forgets why the last try failed: what it was about has been changed. */
  clear() {
    this.error = undefined;
  }
}

// The state of the machine and the queue, asked every two seconds while somebody shows it and the page is visible.
import { untrack } from "svelte";
import { rpc, type StatusView } from "./api";

const EVERY_MS = 2000;
/** Five minutes of memory use. */
const KEPT = 150;

/** Memory in use at a time. */
export interface MemoryPoint {
  at_ms: number;
  used_bytes: number;
}

class Status {
  view = $state.raw<StatusView>();
  /** Memory of this machine, oldest first. */
  memory = $state.raw<readonly MemoryPoint[]>([]);
  #watchers = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking = false;

  /** Keeps asking until the returned function is called. */
  watch(): () => void {
    this.#watchers += 1;
    if (this.#watchers === 1) {
      document.addEventListener("visibilitychange", this.look);
      untrack(() => void this.look());
    }
    return () => {
      this.#watchers -= 1;
      if (this.#watchers > 0) return;
      clearTimeout(this.#timer);
      document.removeEventListener("visibilitychange", this.look);
    };
  }

  /** Asks now, and again in two seconds. A failed look keeps the last values: the connection's item says their age. */
  look = async (): Promise<void> => {
    clearTimeout(this.#timer);
    if (document.hidden || this.#asking) return;
    this.#asking = true;
    try {
      const view = await rpc("status", {});
      this.view = view;
      this.memory = [...this.memory.slice(1 - KEPT), { at_ms: Date.now(), used_bytes: view.memory_used_bytes }];
    } catch {
      // Shown by the connection.
    } finally {
      this.#asking = false;
      if (this.#watchers > 0) this.#timer = setTimeout(this.look, EVERY_MS);
    }
  };
}

export const status = new Status();

// What the server said, kept by command and arguments: old data stays while new data comes; a stale tag fetches again.
import { untrack } from "svelte";
import { rpc, toApiError } from "./api";
import { events } from "./api/events.svelte";
import type { ApiError, Args, CommandName, Result, Tag } from "./api";

/** The state of one question to the server. */
export interface Query<N extends CommandName> {
  /** The latest answer; undefined until the first. */
  readonly data: Result<N> | undefined;
  /** Why the latest attempt failed; the data before it is kept. */
  readonly error: ApiError | undefined;
  /** Whether an answer is on its way. */
  readonly loading: boolean;
  /** When the data arrived, milliseconds since 1970. */
  readonly at_ms: number;
  /** Asks again. */
  refresh(): Promise<void>;
}

/** Entries nobody shows are kept for a way back in the history, up to this many. */
const IDLE_ENTRIES = 60;

let inFlight = $state(0);

class Entry<N extends CommandName> implements Query<N> {
  data = $state.raw<Result<N> | undefined>(undefined);
  error = $state.raw<ApiError | undefined>(undefined);
  loading = $state(false);
  at_ms = $state(0);
  shown = 0;
  stale = true;
  #again = false;
  #running: Promise<void> | undefined;

  constructor(
    readonly name: N,
    readonly args: Args<N>,
    readonly tags: readonly Tag[],
  ) {}

  /** One request at a time; a call during one asks once more after it, because its answer may be too old. */
  refresh = (): Promise<void> => {
    this.stale = false;
    if (this.#running) this.#again = true;
    else this.#running = this.#askUntilFresh().finally(() => (this.#running = undefined));
    return this.#running;
  };

  async #askUntilFresh(): Promise<void> {
    do {
      this.#again = false;
      await this.#ask();
    } while (this.#again);
  }

  async #ask(): Promise<void> {
    const again = this.data !== undefined;
    this.loading = true;
    if (again) inFlight += 1;
    try {
      this.data = await rpc(this.name, this.args);
      this.error = undefined;
      this.at_ms = Date.now();
    } catch (thrown) {
      this.error = toApiError(thrown);
    } finally {
      this.loading = false;
      if (again) inFlight -= 1;
    }
  }
}

const entries = new Map<string, Entry<CommandName>>();

function entryOf<N extends CommandName>(name: N, args: Args<N>, tags: readonly Tag[]): Entry<N> {
  const key = `${name} ${JSON.stringify(args)}`;
  let entry = entries.get(key) as Entry<N> | undefined;
  // The order of the map is the order of use: the first idle ones are the oldest.
  if (entry) entries.delete(key);
  else entry = new Entry(name, args, tags);
  entries.set(key, entry as unknown as Entry<CommandName>);
  if (entries.size > IDLE_ENTRIES) {
    for (const [old, { shown }] of entries) {
      if (entries.size <= IDLE_ENTRIES) break;
      if (shown === 0 && old !== key) entries.delete(old);
    }
  }
  return entry;
}

/**
 * A command's answer for as long as the calling component lives. `args` may be a function of reactive values; null asks nothing.
 * Must be called while a component is set up.
 */
export function query<N extends CommandName>(name: N, args: Args<N> | (() => Args<N> | null), tags: readonly Tag[] = []): Query<N> {
  const wanted = typeof args === "function" ? (args as () => Args<N> | null) : () => args;
  // Compared as text, so that an equal object made anew does not ask anew.
  const text = $derived(JSON.stringify(wanted()));
  const entry = $derived.by(() => {
    const parsed = JSON.parse(text) as Args<N> | null;
    return parsed === null ? undefined : untrack(() => entryOf(name, parsed, tags));
  });
  $effect(() => {
    const mine = entry;
    if (!mine) return;
    return untrack(() => {
      mine.shown += 1;
      if (mine.stale || mine.error) void mine.refresh();
      return () => {
        mine.shown -= 1;
      };
    });
  });
  return {
    get data() {
      return entry?.data;
    },
    get error() {
      return entry?.error;
    },
    get loading() {
      return entry?.loading ?? false;
    },
    get at_ms() {
      return entry?.at_ms ?? 0;
    },
    refresh: () => entry?.refresh() ?? Promise.resolve(),
  };
}

/** Fetches what carries one of the tags: at once where it is shown, else when it is shown next. */
export function invalidate(tags: readonly Tag[]): void {
  for (const entry of entries.values()) {
    if (!entry.tags.some((tag) => tags.includes(tag))) continue;
    entry.stale = true;
    if (entry.shown > 0) void entry.refresh();
  }
}

/** Fetches everything again: after a time in which events may have been missed. */
export function invalidateAll(): void {
  for (const entry of entries.values()) {
    entry.stale = true;
    if (entry.shown > 0) void entry.refresh();
  }
}

/** Changes the kept answers of a command in place; for events that carry the thing itself. */
export function patch<N extends CommandName>(name: N, change: (data: Result<N>, args: Args<N>) => Result<N>): void {
  for (const entry of entries.values()) {
    if (entry.name !== name || entry.data === undefined) continue;
    const typed = entry as unknown as Entry<N>;
    typed.data = change(typed.data as Result<N>, typed.args);
  }
}

/** Runs a command that changes something. The host says what became stale. Rejects with an `ApiError`. */
export async function mutate<N extends CommandName>(name: N, args: Args<N>): Promise<Result<N>> {
  const result = await rpc(name, args);
  if (events.connection !== "open") invalidateAll();
  return result;
}

/** Forgets everything; for tests. */
export function clearCache(): void {
  entries.clear();
}

/** Whether shown data is being fetched again: the line under the top bar. */
export function refreshing(): boolean {
  return inFlight > 0;
}

// Feedback rows as they come: pages of a selection, newest first, or rows named by their ids. What came is kept while more comes.
import { toApiError, type ApiError, type Feedback, type FeedbackId, type FeedbackFilter } from "$lib/api";

/** Rows of one request. */
export const PAGE_ROWS = 100;
/** Rows asked for one by one before the next step, so many at a time. */
const BY_ID_STEP = 40;
const AT_ONCE = 6;

/** Asks the host; another stands in for tests. */
export interface Host {
  list(selection: FeedbackFilter, after: FeedbackId | undefined, limit: number): Promise<Feedback[]>;
  get(id: FeedbackId): Promise<Feedback>;
}

interface Page {
  rows: readonly Feedback[];
  done: boolean;
}

/** Which rows: those of a selection, or these. */
export type Wanted = { readonly selection: FeedbackFilter } | { readonly ids: readonly FeedbackId[] };

export class RowSource {
  rows = $state.raw<readonly Feedback[]>([]);
  /** Whether the last row has come. */
  done = $state(false);
  loading = $state(false);
  /** Why the last request failed; rows that came before are kept. */
  error = $state.raw<ApiError>();
  #asked = 0;
  #ended = false;

  constructor(
    readonly wanted: Wanted,
    private readonly host: Host,
  ) {}

  /** Asks for the next rows, one request at a time. */
  async more(): Promise<void> {
    if (this.loading || this.done || this.#ended || this.error) return;
    this.loading = true;
    try {
      const { rows, done } = await ("ids" in this.wanted ? this.#next(this.wanted.ids) : this.#page(this.wanted.selection));
      if (this.#ended) return;
      // Before the rows: whoever sees them may ask for more at once.
      this.loading = false;
      this.done = done;
      this.rows = [...this.rows, ...rows];
    } catch (thrown) {
      if (!this.#ended) this.error = toApiError(thrown);
    } finally {
      this.loading = false;
    }
  }

  /** Tries again after a failure. */
  retry = (): Promise<void> => {
    this.error = undefined;
    return this.more();
  };

  /** What arrives from now on is dropped. */
  end(): void {
    this.#ended = true;
  }

  /** Puts a row's new state in its place. */
  replace(row: Feedback): void {
    const old = this.rows.find(({ id }) => id === row.id);
    if (old && old.withdrawn_at_ms !== row.withdrawn_at_ms) this.rows = this.rows.map((one) => (one === old ? row : one));
  }

  /** Takes in rows that arrived at the newest end since; false where there are too many to join without a gap. */
  async refresh(): Promise<void> {
    if ("ids" in this.wanted || this.loading || this.rows.length === 0) return;
    const fresh = await this.host.list(this.wanted.selection, undefined, PAGE_ROWS).catch(() => undefined);
    if (!fresh || this.#ended) return;
    const last = fresh.at(-1);
    const at = last ? this.rows.findIndex(({ id }) => id === last.id) : -1;
    // The newest page reaches what is known, or is all there is: what follows it stays, so that nothing jumps.
    if (at >= 0) this.rows = [...fresh, ...this.rows.slice(at + 1)];
    else if (fresh.length < PAGE_ROWS) [this.rows, this.done] = [fresh, true];
    else [this.rows, this.done] = [fresh, false];
  }

  async #page(selection: FeedbackFilter): Promise<Page> {
    const rows = await this.host.list(selection, this.rows.at(-1)?.id, PAGE_ROWS);
    return { rows, done: rows.length < PAGE_ROWS };
  }

  async #next(ids: readonly FeedbackId[]): Promise<Page> {
    const wanted = ids.slice(this.#asked, this.#asked + BY_ID_STEP);
    const found: (Feedback | undefined)[] = [];
    for (let from = 0; from < wanted.length; from += AT_ONCE) found.push(...(await Promise.all(wanted.slice(from, from + AT_ONCE).map((id) => this.#one(id)))));
    this.#asked += wanted.length;
    return { rows: found.filter((row) => row !== undefined), done: this.#asked >= ids.length };
  }

  async #one(id: FeedbackId): Promise<Feedback | undefined> {
    try {
      return await this.host.get(id);
    } catch (thrown) {
      const error = toApiError(thrown);
      if (error.code === "not_found") return undefined;
      throw error;
    }
  }
}

// Rows of a frozen split, fetched by pages as they come into sight. A frozen row never changes, so a page is fetched once.
import { SvelteMap } from "svelte/reactivity";
import { rpc, toApiError, type ApiError, type DatasetId, type Row, type SplitName } from "$lib/api";
import { rowHas } from "./said";

/** Rows of one request. */
export const PAGE_ROWS = 100;
/** Rows of one request of a search, which reads everything. */
const SEARCH_ROWS = 500;

/** Gives rows `offset` up to `offset + limit` of a split. */
export type FetchRows = (offset: number, limit: number) => Promise<{ rows: Row[]; total: number }>;

export const fetchRows = (id: DatasetId, split: SplitName): FetchRows => {
  return (offset, limit) => rpc("data_rows", { id, split, offset, limit });
};

export class RowPages {
  /** Why the last page failed; rows that came before are kept. */
  error = $state.raw<ApiError>();
  #pages = new SvelteMap<number, readonly Row[]>();
  #asked = new Set<number>();

  constructor(
    readonly total: number,
    private readonly fetch: FetchRows,
  ) {}

  /** The row at a place, if its page has come; asks for the page otherwise. */
  at(index: number): Row | undefined {
    const page = Math.floor(index / PAGE_ROWS);
    const rows = this.#pages.get(page);
    if (!rows && !this.#asked.has(page)) {
      this.#asked.add(page);
      queueMicrotask(() => void this.#load(page));
    }
    return rows?.[index % PAGE_ROWS];
  }

  /** Asks again for pages that failed. */
  retry(): void {
    this.error = undefined;
    for (const page of this.#asked) if (!this.#pages.has(page)) void this.#load(page);
  }

  async #load(page: number): Promise<void> {
    try {
      const { rows } = await this.fetch(page * PAGE_ROWS, PAGE_ROWS);
      this.#pages.set(page, rows);
      this.error = undefined;
    } catch (thrown) {
      this.error = toApiError(thrown);
    }
  }
}

/** A search through a whole split: what it has found so far, and how far it has read. */
export class RowSearch {
  /** Places of rows that fit, in order. */
  found = $state.raw<number[]>([]);
  /** Rows looked at. */
  read = $state(0);
  done = $state(false);
  error = $state.raw<ApiError>();
  #stopped = false;

  constructor(
    readonly wanted: string,
    readonly total: number,
    private readonly fetch: FetchRows,
  ) {}

  /** Reads on to the end, or until it is stopped. */
  async run(): Promise<void> {
    this.error = undefined;
    try {
      while (this.read < this.total && !this.#stopped) {
        const { rows } = await this.fetch(this.read, SEARCH_ROWS);
        if (this.#stopped) return;
        if (rows.length === 0) break;
        const fitting = rows.flatMap((row, i) => (rowHas(row.example, row.more, this.wanted) ? [this.read + i] : []));
        if (fitting.length > 0) this.found = [...this.found, ...fitting];
        this.read += rows.length;
      }
      this.done = true;
    } catch (thrown) {
      this.error = toApiError(thrown);
    }
  }

  stop(): void {
    this.#stopped = true;
  }
}

// The audit log as it is read: a page at a time, newest first, under filters.
import { rpc, toApiError, type ApiError, type AuditLine, type ListAudit } from "$lib/api";

/** Lines of one request. */
export const PAGE = 100;

/** What restricts the list; an empty text does not. */
export interface AuditFilters {
  actor: string;
  command: string;
  subject: string;
}

export const NO_FILTERS: AuditFilters = { actor: "", command: "", subject: "" };

type Ask = (args: ListAudit) => Promise<AuditLine[]>;

/** The lines read so far under one set of filters. */
export class AuditPages {
  lines = $state.raw<readonly AuditLine[]>();
  error = $state.raw<ApiError>();
  busy = $state(false);
  /** The oldest line is here. */
  whole = $state(false);
  #filters = NO_FILTERS;
  #round = 0;
  #ask: Ask;

  constructor(ask: Ask = (args) => rpc("audit_list", args)) {
    this.#ask = ask;
  }

  /** Begins again under these filters; what is shown stays until the answer comes. */
  async start(filters: AuditFilters): Promise<void> {
    this.#filters = filters;
    await this.#read(undefined, []);
  }

  /** The newest page again, under the same filters. */
  again = (): Promise<void> => this.#read(undefined, []);

  /** The page after the last line. */
  older = async (): Promise<void> => {
    const had = this.lines ?? [];
    if (!this.whole && !this.busy) await this.#read(had.at(-1)?.seq, had);
  };

  async #read(before: number | undefined, had: readonly AuditLine[]): Promise<void> {
    const round = ++this.#round;
    const { actor, command, subject } = this.#filters;
    const given = (text: string) => text.trim() || null;
    this.busy = true;
    this.error = undefined;
    try {
      const next = await this.#ask({ actor: given(actor), command: given(command), subject: given(subject), before: before ?? null, limit: PAGE });
      // Another question was asked meanwhile: this answer is to one that nobody asks any more.
      if (round !== this.#round) return;
      this.lines = [...had, ...next];
      this.whole = next.length < PAGE;
    } catch (thrown) {
      if (round === this.#round) this.error = toApiError(thrown);
    } finally {
      if (round === this.#round) this.busy = false;
    }
  }
}

/** The arguments of a line in one line: `role: reviewer, name: yuki`. */
export function shortArguments(value: unknown): string {
  if (value === null || typeof value !== "object") return value === undefined || value === null ? "" : String(value);
  const plain = (one: unknown) => (one !== null && typeof one === "object" ? JSON.stringify(one) : String(one));
  const entries = Array.isArray(value) ? value.map((one) => plain(one)) : Object.entries(value).flatMap(([key, one]) => (one === null ? [] : [`${key}: ${plain(one)}`]));
  return entries.join(", ");
}

// Short news for everyone: shown for a moment at the lower edge, and read out by screen readers.
import { errorText, errorTitle, shownError } from "./errors";

/** One piece of news. */
export interface News {
  id: number;
  tone: "info" | "ok" | "danger";
  text: string;
  /** A second, quieter sentence. */
  hint?: string;
  /** Where it leads. */
  link?: { title: string; href: string };
}

const SHOWN_MS = 6000;
let next = 0;
let all = $state<News[]>([]);

/** The news on show. */
export function currentNews(): readonly News[] {
  return all;
}

/** Takes a piece of news away. */
export function dismiss(id: number): void {
  all = all.filter((news) => news.id !== id);
}

/** Tells something. Errors stay until they are dismissed: nobody reads a sentence that is gone. */
export function announce(text: string, more: Partial<Omit<News, "id" | "text">> = {}): void {
  const id = next++;
  all = [...all.slice(-2), { id, text, tone: "info", ...more }];
  if (more.tone !== "danger") setTimeout(() => dismiss(id), SHOWN_MS);
}

/** Tells an error that has no place of its own on the page. */
export function announceError(thrown: unknown): void {
  const error = shownError(thrown);
  if (error.code === "cancelled") return;
  const [first = "", ...rest] = error.message === "" ? [errorTitle(error), ...errorText(error)] : errorText(error);
  announce(first, { tone: "danger", ...(rest.length > 0 ? { hint: rest.join(" ") } : {}) });
}

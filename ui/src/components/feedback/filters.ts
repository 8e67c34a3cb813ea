// Which feedback a page shows, as its address holds it. Statistics, rows and the links between them read the same names. Pure.
import type { FeedbackFilter, FeedbackSource, FeedbackType, Rating, StatsOfFeedback } from "$lib/api";

export const RANGES = ["7d", "30d", "90d", "365d"] as const;
export type Range = (typeof RANGES)[number];
export const KINDS: readonly FeedbackType[] = ["rating", "correction", "thumbs", "choice", "critique", "flag"];
export const SOURCES: readonly FeedbackSource[] = ["labelling", "workbench", "api", "import"];
export const RATINGS: readonly Rating[] = [1, 2, 3, 4, 5];

/** What does not restrict is absent. An empty `transformation` means rows that name none. */
export interface Filters {
  model?: string;
  reviewer?: string;
  transformation?: string;
  range?: Range;
  kind?: FeedbackType;
  rating?: Rating;
  source?: FeedbackSource;
  project?: string;
  withdrawn?: "yes" | "no";
}

/** Every name, in the order of the address. */
export const FILTER_NAMES = ["model", "transformation", "reviewer", "range", "kind", "rating", "source", "project", "withdrawn"] as const satisfies readonly (keyof Filters)[];
/** Those that statistics know. */
export const STATS_FILTERS = ["model", "transformation", "reviewer", "range"] as const satisfies readonly (keyof Filters)[];

/** The filters of an address; what means nothing restricts nothing. */
export function readFilters(params: URLSearchParams): Filters {
  const one = <T extends string | number>(name: string, allowed: readonly T[]): T | undefined => allowed.find((value) => String(value) === params.get(name));
  const text = (name: string): string | undefined => params.get(name) || undefined;
  const all: { [K in keyof Filters]: Filters[K] | undefined } = {
    model: text("model"),
    reviewer: text("reviewer"),
    transformation: params.get("transformation") ?? undefined,
    range: one("range", RANGES),
    kind: one("kind", KINDS),
    rating: one("rating", RATINGS),
    source: one("source", SOURCES),
    project: text("project"),
    withdrawn: one("withdrawn", ["yes", "no"] as const),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Filters;
}

/** The address of a page with these filters. */
export function linkTo(path: string, filters: Filters, more: Record<string, string> = {}): string {
  const params = new URLSearchParams();
  for (const name of FILTER_NAMES) {
    const value = filters[name];
    if (value !== undefined) params.set(name, String(value));
  }
  for (const [name, value] of Object.entries(more)) params.set(name, value);
  const text = params.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** Only the filters of some names. */
export function only(filters: Filters, names: readonly (keyof Filters)[]): Filters {
  return Object.fromEntries(Object.entries(filters).filter(([name]) => names.includes(name as keyof Filters))) as Filters;
}

const DAY_MS = 86_400_000;

/** When a range begins: a whole day (UTC), so that the same question is asked all day. "7d" is today and the six days before. */
export function sinceOf(range: Range, now_ms: number): number {
  return (Math.floor(now_ms / DAY_MS) - (Number.parseInt(range) - 1)) * DAY_MS;
}

/** The arguments of `feedback_stats`. */
export function statsOf(filters: Filters, now_ms: number): StatsOfFeedback {
  return given<StatsOfFeedback>({
    model_id: filters.model,
    user_id: filters.reviewer,
    transformation_type: filters.transformation,
    since_ms: filters.range && sinceOf(filters.range, now_ms),
  });
}

/** The selection of `feedback_list` and `feedback_export`. */
export function selectionOf(filters: Filters, now_ms: number): FeedbackFilter {
  return given<FeedbackFilter>({
    model_id: filters.model,
    user_id: filters.reviewer,
    feedback_type: filters.kind,
    transformation_type: filters.transformation,
    project_id: filters.project,
    source: filters.source,
    rating: filters.rating,
    since_ms: filters.range && sinceOf(filters.range, now_ms),
    withdrawn: filters.withdrawn && filters.withdrawn === "yes",
  });
}

/** What is undefined is left out: on the wire an absent field does not restrict, though some types call the times required. */
function given<T>(fields: { [K in keyof T]?: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

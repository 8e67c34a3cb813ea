// How figures of feedback are written: a mean never without its interval and n.
import type { Figures, MeanFigure } from "$lib/api";
import { csv, type CsvColumn } from "$components/shared/chart/csv";
import { count, decimal, NO_VALUE, percent } from "$lib/format";

/** What a mean measures: stars, a share of all (in percent), or a distance from 0 to 1. */
export type Measure = "rating" | "share" | "distance";

const DIGITS: Record<Measure, number> = { rating: 2, share: 1, distance: 2 };

/** A mean in its unit. */
export function mean(measure: Measure, value: number | null | undefined): string {
  return measure === "share" ? percent(value, DIGITS.share) : decimal(value, DIGITS[measure]);
}

/** "[4.06, 4.16]"; empty where a single value has none. */
export function interval(measure: Measure, figure: MeanFigure | null): string {
  if (figure?.low == null || figure.high == null) return "";
  const end = (value: number) => (measure === "share" ? decimal(value * 100, DIGITS.share) : decimal(value, DIGITS[measure]));
  return `[${end(figure.low)}, ${end(figure.high)}]`;
}

/** "n=2,124". */
export function ofN(figure: MeanFigure | null): string {
  return figure === null ? "" : `n=${count(figure.n)}`;
}

/** The whole of it: "4.11 [4.06, 4.16] n=2,124". */
export function whole(measure: Measure, figure: MeanFigure | null): string {
  return figure === null ? NO_VALUE : [mean(measure, figure.value), interval(measure, figure), ofN(figure)].filter(Boolean).join(" ");
}

/** The rows whose mean is the best of at least two; none where the best is shared. */
export function bestOf<R>(rows: readonly R[], figure: (row: R) => MeanFigure | null): R | undefined {
  const known = rows.filter((row) => figure(row) !== null);
  if (known.length < 2) return undefined;
  const best = Math.max(...known.map((row) => figure(row)?.value ?? -Infinity));
  const first = known.filter((row) => figure(row)?.value === best);
  return first.length === 1 ? first[0] : undefined;
}

/** Shares of counts, 0 to 1; zeros where there is nothing. */
export function sharesOf(counts: readonly number[]): number[] {
  const sum = counts.reduce((a, b) => a + b, 0);
  return counts.map((one) => (sum === 0 ? 0 : one / sum));
}

/** A table of figures as a file, every digit kept. Titles are the names of the wire, the same in every language. */
export function figuresCsv(rows: readonly { name: string; figures: Figures }[]): string {
  const column = (title: string, value: (figures: Figures) => number | null | undefined): CsvColumn => ({ title, values: rows.map(({ figures }) => value(figures) ?? Number.NaN) });
  const ofMean = (title: string, of: (figures: Figures) => MeanFigure | null): CsvColumn[] => [
    column(title, (f) => of(f)?.value),
    column(`${title}_low`, (f) => of(f)?.low),
    column(`${title}_high`, (f) => of(f)?.high),
    column(`${title}_n`, (f) => of(f)?.n),
  ];
  return csv([
    { title: "name", values: rows.map(({ name }) => name) },
    column("rows", (f) => f.rows),
    ...([0, 1, 2, 3, 4] as const).map((i) => column(`rated_${i + 1}`, (f) => f.by_rating[i])),
    ...ofMean("rating", (f) => f.rating),
    ...ofMean("thumbs_up", (f) => f.thumbs_up),
    ...ofMean("win_rate", (f) => f.win_rate),
    ...(["won", "lost", "tied", "both_bad"] as const).map((name, i) => column(name, (f) => f.choices[i as 0])),
    column("corrections", (f) => f.corrections),
    ...ofMean("correction_distance", (f) => f.correction_distance),
    column("flagged", (f) => f.flagged),
    column("seconds", (f) => f.seconds),
  ]);
}

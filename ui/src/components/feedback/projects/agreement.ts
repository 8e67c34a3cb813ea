// Agreement and reviewers in figures: every one with its interval and what stands behind it, and what may be said of alpha.
import type { AgreementFigure, MeanFigure } from "$lib/api";
import { count, decimal, NO_VALUE, signed } from "$lib/format";

/** Krippendorff (2004): from here on conclusions are reliable, and from here on they are tentative. */
export const RELIABLE = 0.8;
export const TENTATIVE = 0.667;

/** What an alpha allows to say. The interval decides: a value above a limit proves nothing while its lower end is below. */
export type Reading = "reliable" | "tentative" | "unsettled" | "low";

export function readingOf({ low, high }: AgreementFigure): Reading {
  if (low >= RELIABLE) return "reliable";
  if (low >= TENTATIVE) return "tentative";
  return high < TENTATIVE ? "low" : "unsettled";
}

/** A figure as it stands in a table: the value, and its interval and n apart, since they are quieter. */
export interface Shown {
  value: string;
  /** `[0.64, 0.77]`; empty where there is none. */
  interval: string;
  /** `n=212`; empty where there is no figure. */
  n: string;
}

const NOTHING: Shown = { value: NO_VALUE, interval: "", n: "" };
const between = (low: string, high: string): string => `[${low}, ${high}]`;
const of = (n: number): string => `n=${count(n)}`;

/** A coefficient from −1 to 1: 0.71 [0.64, 0.77] n=212. */
export function coefficient(figure: AgreementFigure | null | undefined): Shown {
  if (!figure) return NOTHING;
  return { value: decimal(figure.value, 2), interval: between(decimal(figure.low, 2), decimal(figure.high, 2)), n: of(figure.items) };
}

/** A share in percent; the unit stands in the head of the column. */
export function share(figure: MeanFigure | null | undefined): Shown {
  return mean(figure, (value) => decimal(value * 100, 1));
}

/** A difference of ratings with its sign: −0.21 [−0.40, −0.02]. */
export function bias(figure: MeanFigure | null | undefined): Shown {
  return mean(figure, (value) => signed(value, 2));
}

function mean(figure: MeanFigure | null | undefined, write: (value: number) => string): Shown {
  if (!figure) return NOTHING;
  const { value, low, high, n } = figure;
  return { value: write(value), interval: low === null || high === null ? "" : between(write(low), write(high)), n: of(n) };
}

/** Whether the interval of a bias leaves zero out: the reviewer rates higher or lower than the others. */
export function isTold(figure: MeanFigure | null | undefined): boolean {
  return figure?.low != null && figure.high !== null && (figure.low > 0 || figure.high < 0);
}

/** One line for screen readers and for copying. */
export function inWords(shown: Shown): string {
  return [shown.value, shown.interval, shown.n].filter(Boolean).join(" ");
}

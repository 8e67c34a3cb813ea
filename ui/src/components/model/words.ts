// The words for metrics, their readings and where a base model comes from.
import type { BaseSource } from "$lib/api";
import { decimal } from "$lib/format";
import { hasText, t } from "$lib/i18n/index.svelte";
import { unit } from "./metrics";

/** A metric's name; one that has no word keeps its own. */
export function metricWord(metric: string): string {
  const key = `models.metric.${metric}`;
  return hasText(key) ? t(key) : metric;
}

/** What a metric measures, in one sentence; empty where nothing is known. */
export function metricHelp(metric: string): string {
  const key = `models.metric_help.${metric}`;
  return hasText(key) ? t(key) : "";
}

/** The unit of a metric's differences. */
export function differenceUnit(metric: string): string {
  return unit(metric) === "percent" ? t("models.points") : "";
}

/** Digits after the point of a metric's values. */
export function digits(metric: string): number {
  return metric === "perplexity" ? 2 : 1;
}

/** A metric's value as it stands in a column. */
export function metricValue(metric: string, value: number | null | undefined): string {
  return decimal(value, digits(metric));
}

export const sourceWord = (source: BaseSource): string => t(`models.source.${source}`);

/** The beginning of a hash, enough to tell two apart. */
export function shortHash(sha256: string): string {
  return sha256.length > 16 ? `${sha256.slice(0, 8)}…${sha256.slice(-4)}` : sha256;
}

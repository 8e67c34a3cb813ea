// The words for kinds of feedback, where it came from, and what was said.
import type { Feedback, FeedbackSource, FeedbackType } from "$lib/api";
import { t } from "$lib/i18n/index.svelte";

export const kindWord = (kind: FeedbackType): string => t(`feedback.kind.${kind}`);
export const sourceWord = (source: FeedbackSource): string => t(`feedback.source.${source}`);

/** What a row says in one word or number: the rating first, as the column is named so. */
export function verdictOf(row: Feedback): string | null {
  if (row.rating !== null) return String(row.rating);
  if (row.choice !== null) return t(`feedback.preferred.${row.choice.preferred}`);
  if (row.thumbs !== null) return t(`feedback.thumb.${row.thumbs}`);
  return null;
}

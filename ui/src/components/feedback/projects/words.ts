// The words for what a labelling project is made of.
import type { ItemOrder, LabelProject, ProjectStatus, ProjectSummary, Question } from "$lib/api";
import type { StateName } from "$components/shared/StateGlyph.svelte";
import { t } from "$lib/i18n/index.svelte";

const GLYPHS = { preparing: "running", active: "todo", paused: "paused", completed: "completed", failed: "failed" } as const satisfies Record<ProjectStatus, StateName>;

export const statusGlyph = (status: ProjectStatus): StateName => GLYPHS[status];
export const statusWord = (status: ProjectStatus): string => t(`labelling.status.${status}`);
export const orderWord = (order: ItemOrder): string => t(`labelling.order.${order}`);
export const kindWord = (kind: Question["kind"]): string => t(`labelling.kind.${kind}`);

/** Where a project's items come from, in words; without names by its kind alone. */
export function sourceText({ project: { source }, source_names: [first, second, third] }: ProjectSummary): string {
  switch (source.kind) {
    case "dataset":
      return first === undefined ? t("labelling.source.dataset") : t("labelling.source_of.dataset", { dataset: first, split: t(`datasets.split.${source.split}`) });
    case "outputs":
      return first === undefined || second === undefined
        ? [t("labelling.source.outputs"), first].filter(Boolean).join(" · ")
        : t("labelling.source_of.outputs", { dataset: first, split: t(`datasets.split.${source.split}`), model: second });
    case "pair":
      return first === undefined || second === undefined || third === undefined
        ? [t("labelling.source.pair"), first, second].filter(Boolean).join(" · ")
        : t("labelling.source_of.pair", { dataset: first, split: t(`datasets.split.${source.split}`), a: second, b: third });
    case "traffic":
      return first === undefined ? t("labelling.source.traffic") : t("labelling.source_of.traffic", { model: first });
  }
}

/** Why nobody can review it now; undefined if someone can. */
export function notReviewable({ project, progress }: ProjectSummary): string | undefined {
  if (project.status !== "active") return t(`labelling.no_review.${project.status}`);
  return progress.left === 0 ? t("labelling.no_review.none_left") : undefined;
}

/** The share of items that enough reviewers have judged, 0 to 1. */
export function doneShare({ num_done, num_items }: Pick<LabelProject, "num_done" | "num_items">): number {
  return num_items === 0 ? 0 : num_done / num_items;
}

// The settings of a run as names and values, and which of them differ from the form's defaults. Pure.

import type { FieldInfo, Hyperparameters, JobPage } from "$lib/api";
import { scientific } from "$lib/format";
import { t } from "$lib/i18n/index.svelte";
import { isSame, listText } from "./run";

/** One setting. */
export interface Setting {
  readonly key: string;
  readonly value: string;
  readonly isChanged: boolean;
  /** The default, where it was changed. */
  readonly otherwise: string;
}

/** A value as people read it: 2e-4, q_proj, v_proj. */
export function writeValue(value: unknown): string {
  if (typeof value === "number") return Math.abs(value) < 0.01 && value !== 0 ? scientific(value, 3) : String(value);
  if (typeof value === "object" && value !== null) return listText(value).replaceAll(",", ", ") || t("training.nothing");
  return listText(value);
}

/** Every setting in the order of the form. */
export function settingsOf(hyperparameters: Hyperparameters, fields: readonly FieldInfo[]): Setting[] {
  const values = hyperparameters as unknown as Record<string, unknown>;
  return fields
    .filter(({ key }) => key in values)
    .map((field) => ({
      key: field.key,
      value: writeValue(values[field.key]),
      isChanged: !isSame(values[field.key], field.default),
      otherwise: writeValue(field.default),
    }));
}

/** The share of the weights that learn, percent; null before the worker has said so. */
export function trainablePercent(plan: JobPage["plan"]): number | null {
  return plan && plan.total_parameters > 0 ? (100 * plan.trainable_parameters) / plan.total_parameters : null;
}

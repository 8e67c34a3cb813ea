// The form for building training data: its fields, what is wrong with them, and what is asked of the host. Pure.
import type { BuildData, BuildRules, TrainingKind } from "$lib/api";
import { sinceOf, type Range } from "../filters";

export const TRAINING_KINDS: readonly TrainingKind[] = ["sft", "preference", "kto", "reward"];
export type Since = "all" | Range;

export interface BuildForm {
  name: string;
  kind: TrainingKind;
  projects: readonly string[];
  models: readonly string[];
  transformations: readonly string[];
  since: Since;
  rules: BuildRules;
  /** Shares in percent. */
  validation: number;
  test: number;
  seed: number;
  template: string;
  description: string;
}

/** The rules that the host takes where none are given. */
export const DEFAULT_RULES: BuildRules = {
  corrections: true, choices: true, ratings: true, thumbs: true, min_rating_gap: 2, good_rating: 4, bad_rating: 2, min_reviewers: 1, min_agreement: 0.6, resolutions: true,
};

export const FRESH: BuildForm = {
  name: "", kind: "preference", projects: [], models: [], transformations: [], since: "all", rules: DEFAULT_RULES, validation: 5, test: 5, seed: 42, template: "", description: "",
};

/** A number of the form, with the range that the host takes. */
export type NumberField = "min_rating_gap" | "good_rating" | "bad_rating" | "min_reviewers" | "min_agreement" | "validation" | "test" | "seed";
export const LIMITS: Readonly<Record<NumberField, { min: number; max: number; whole: boolean; step: number }>> = {
  min_rating_gap: { min: 1, max: 4, whole: false, step: 0.5 },
  good_rating: { min: 1, max: 5, whole: false, step: 0.5 },
  bad_rating: { min: 1, max: 5, whole: false, step: 0.5 },
  min_reviewers: { min: 1, max: 1000, whole: true, step: 1 },
  min_agreement: { min: 0, max: 100, whole: false, step: 5 },
  validation: { min: 0, max: 90, whole: false, step: 1 },
  test: { min: 0, max: 90, whole: false, step: 1 },
  seed: { min: 0, max: Number.MAX_SAFE_INTEGER, whole: true, step: 1 },
};

/** What keeps a form from being built; a range is told by the field itself as it is typed. */
export type Fault = "order" | "nothing" | "shares" | "template";

/** What is wrong with a form as a whole. */
export function faultsOf(form: BuildForm): Fault[] {
  const { rules } = form;
  const rated = rules.ratings || rules.thumbs;
  return [
    ...(rules.corrections || rules.choices || rated ? [] : (["nothing"] as const)),
    ...(rated && rules.bad_rating >= rules.good_rating ? (["order"] as const) : []),
    ...(form.validation + form.test >= 100 ? (["shares"] as const) : []),
    ...(form.template.trim() === "" || form.template.includes("{input}") ? [] : (["template"] as const)),
  ];
}

/** The thresholds that mean something for a kind of training and what counts. */
export function thresholdsOf(form: BuildForm): NumberField[] {
  const { ratings, thumbs } = form.rules;
  const pairs = form.kind === "preference" || form.kind === "reward";
  const rated = ratings || thumbs;
  return [
    ...(rated && pairs ? (["min_rating_gap"] as const) : []),
    ...(rated && !pairs ? (["good_rating"] as const) : []),
    ...(rated && form.kind === "kto" ? (["bad_rating"] as const) : []),
    "min_reviewers",
    "min_agreement",
  ];
}

/** The name that is used while the field is empty: "preference-2025-11". */
export function proposedName(kind: TrainingKind, now: Date): string {
  return `${kind}-${now.getFullYear()}-${String(now.getMonth() + 1).padStart(2, "0")}`;
}

/** What is asked of the host. */
export function buildOf(form: BuildForm, now: Date): BuildData {
  const template = form.template.trim() === "" ? {} : { template: form.template };
  const since = form.since === "all" ? {} : { since_ms: sinceOf(form.since, now.getTime()) };
  // An absent time does not restrict, though the type calls it required.
  return {
    name: form.name.trim() || proposedName(form.kind, now),
    kind: form.kind,
    model_ids: [...form.models],
    project_ids: [...form.projects],
    transformation_types: [...form.transformations],
    ...since,
    rules: form.rules,
    validation_share: form.validation / 100,
    test_share: form.test / 100,
    seed: form.seed,
    ...template,
    description: form.description.trim(),
  } as BuildData;
}

/** A form as it was kept; what cannot be read or is of another time falls back to a fresh one. */
export function restored(text: string | null): BuildForm {
  try {
    const kept = JSON.parse(text ?? "{}") as Partial<BuildForm>;
    if (typeof kept !== "object" || kept === null) return FRESH;
    const known = Object.fromEntries(Object.entries(kept).filter(([name, value]) => name in FRESH && typeof value === typeof FRESH[name as keyof BuildForm]));
    return { ...FRESH, ...known, rules: { ...DEFAULT_RULES, ...kept.rules } };
  } catch {
    return FRESH;
  }
}

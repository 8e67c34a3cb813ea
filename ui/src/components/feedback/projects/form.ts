// The form of a new project: what stands in it, what is sent, what is missing.
import type { CreateProject, Dataset, ItemOrder, ItemSource, SplitName } from "$lib/api";
import { problemsOf, type Problem } from "./check";
import { questionsOf, type DraftQuestion } from "./questions";
import type { Preset } from "./presets";

export const SOURCES = ["dataset", "outputs", "pair", "traffic"] as const satisfies readonly ItemSource["kind"][];
export type SourceKind = (typeof SOURCES)[number];
export const ORDERS = ["random", "oldest", "disagreement"] as const satisfies readonly ItemOrder[];
/** How far back production traffic is read, days; 0 is all. */
export const DAYS = ["7", "30", "90", "0"] as const;
const DAY_MS = 86_400_000;
const SEED = 42;

export interface Draft {
  name: string;
  source: SourceKind;
  dataset_id: string | null;
  split: SplitName;
  /** The model version of `outputs`, the first of `pair`, or the only one of `traffic`. */
  model_id: string | null;
  model_b_id: string | null;
  /** Only this kind of rewriting, for `traffic`. */
  traffic_type: string;
  days: (typeof DAYS)[number];
  guidelines: string;
  /** The preset as it was taken; none once the questions were changed. */
  preset: Preset | null;
  questions: readonly DraftQuestion[];
  overlap: number;
  order: ItemOrder;
  max_items: number;
  seed: number;
  transformation_type: string;
}

export const EMPTY_DRAFT: Draft = {
  name: "", source: "dataset", dataset_id: null, split: "test", model_id: null, model_b_id: null, traffic_type: "", days: "30", guidelines: "",
  preset: "rate", questions: [], overlap: 2, order: "random", max_items: 1000, seed: SEED, transformation_type: "",
};

/** Whether the items have two answers. */
export function isPair(draft: Draft, dataset: Dataset | undefined): boolean {
  return draft.source === "pair" || (draft.source === "dataset" && dataset?.shape === "preference");
}

/** Whether a model must answer first: the project waits for an evaluation run. */
export function needsOutputs(source: SourceKind): boolean {
  return source === "outputs" || source === "pair";
}

/** What of the source is not chosen yet, or chosen twice. */
export function sourceProblem(draft: Draft): "dataset" | "model" | "second_model" | "same_model" | undefined {
  if (draft.source !== "traffic" && draft.dataset_id === null) return "dataset";
  if (needsOutputs(draft.source) && draft.model_id === null) return "model";
  if (draft.source !== "pair") return undefined;
  if (draft.model_b_id === null) return "second_model";
  return draft.model_b_id === draft.model_id ? "same_model" : undefined;
}

function sourceOf(draft: Draft, now_ms: number): ItemSource {
  const [dataset_id, split, model_id] = [draft.dataset_id ?? "", draft.split, draft.model_id ?? ""];
  switch (draft.source) {
    case "dataset":
      return { kind: "dataset", dataset_id, split };
    case "outputs":
      return { kind: "outputs", dataset_id, split, model_id };
    case "pair":
      return { kind: "pair", dataset_id, split, model_a_id: model_id, model_b_id: draft.model_b_id ?? "" };
    case "traffic": {
      const days = Number(draft.days);
      return { kind: "traffic", model_id: draft.model_id, transformation_type: draft.traffic_type.trim() || null, since_ms: days === 0 ? 0 : now_ms - days * DAY_MS };
    }
  }
}

/** What is sent. */
export function createOf(draft: Draft, now_ms: number): CreateProject {
  return {
    name: draft.name.trim(),
    guidelines: draft.guidelines,
    source: sourceOf(draft, now_ms),
    questions: questionsOf(draft.questions),
    overlap: draft.overlap,
    order: draft.order,
    seed: draft.seed,
    transformation_type: draft.transformation_type.trim(),
    max_items: draft.max_items,
  };
}

/** What is wrong with the form, as the core would say it. */
export function formProblems(draft: Draft, dataset: Dataset | undefined): Problem[] {
  return problemsOf(createOf(draft, 0), isPair(draft, dataset));
}

/** A kept draft; undefined if it is none, or an older program's. */
export function readDraft(text: string | undefined): Draft | undefined {
  if (text === undefined) return undefined;
  try {
    const read = JSON.parse(text) as Partial<Draft>;
    const known = Object.keys(EMPTY_DRAFT) as (keyof Draft)[];
    return known.every((key) => key in read) && Array.isArray(read.questions) ? (read as Draft) : undefined;
  } catch {
    return undefined;
  }
}

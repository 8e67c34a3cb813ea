// The form of a new run: what the user has chosen, what is sent, what is kept as a draft. Pure.

import type { ColumnMapping, Dataset, FieldInfo, Job, JobId, Method, StartJob } from "$lib/api";
import { baseName, EMPTY_FORM, figure, isSame, listText } from "./run";

/** What the run starts from. */
export type Origin = { readonly kind: "base"; readonly path: string } | { readonly kind: "model"; readonly id: string } | null;

/** What the user has chosen. `values` holds only hyperparameters that differ from the defaults. */
export interface Draft {
  readonly name: string;
  readonly method: Method;
  readonly origin: Origin;
  /** Folder of an adapter on the base to go on from; comes from a run that used one. */
  readonly adapter: string | null;
  readonly dataset_id: string | null;
  /** A plain file instead of a dataset; comes from a run that used one. */
  readonly data: string | null;
  readonly eval_data: string | null;
  /** How the columns of the plain file are read. */
  readonly mapping: ColumnMapping | null;
  readonly model_type: string;
  readonly device: string | null;
  readonly values: Readonly<Record<string, unknown>>;
}

export const EMPTY_DRAFT: Draft = {
  name: "",
  method: "sft",
  origin: null,
  adapter: null,
  dataset_id: null,
  data: null,
  eval_data: null,
  mapping: null,
  model_type: "",
  device: null,
  values: {},
};

/** The value of a field: chosen, or its default. */
export function valueOf(draft: Draft, key: string, fields: readonly FieldInfo[]): unknown {
  return key in draft.values ? draft.values[key] : fields.find((field) => field.key === key)?.default;
}

/** The number in a field; `NaN` if it holds none. */
export function numberIn(draft: Draft, key: string, fields: readonly FieldInfo[]): number {
  return Number(valueOf(draft, key, fields));
}

/** The draft with a field changed; a value that equals the default is no change. */
export function withValue(draft: Draft, key: string, value: unknown, fields: readonly FieldInfo[]): Draft {
  const values = { ...draft.values };
  if (isSame(value, fields.find((field) => field.key === key)?.default)) delete values[key];
  else values[key] = value;
  return { ...draft, values };
}

/** A name from what was chosen: "polite-pairs-r16". */
export function autoName(draft: Draft, dataset: Dataset | undefined, fields: readonly FieldInfo[]): string {
  const data = dataset?.name ?? (draft.data ? baseName(draft.data).replace(/\.[^.]+$/, "") : "");
  const rank = numberIn(draft, "lora_r", fields);
  return [data, draft.method === "sft" && Number.isFinite(rank) ? `r${rank}` : ""].filter(Boolean).join("-");
}

/** Whether a run can be described at all: an origin and data. */
export function isComplete(draft: Draft): boolean {
  return draft.origin !== null && (draft.dataset_id !== null || draft.data !== null);
}

/** What is sent to the server. */
export function formOf(draft: Draft, name: string): StartJob {
  const { origin } = draft;
  return {
    ...EMPTY_FORM,
    name: draft.name.trim() || name || null,
    method: draft.method,
    model_type: draft.model_type.trim() || null,
    base_model: origin?.kind === "base" ? origin.path : null,
    adapter: origin?.kind === "base" ? draft.adapter : null,
    model_id: origin?.kind === "model" ? origin.id : null,
    dataset_id: draft.dataset_id,
    data: draft.dataset_id === null ? draft.data : null,
    eval_data: draft.dataset_id === null ? draft.eval_data : null,
    mapping: draft.dataset_id === null ? draft.mapping : null,
    device: draft.device,
    hyperparameters: { ...draft.values },
  };
}

/** The draft that sends the same as an earlier form; for "duplicate" and for reading a draft back. Fields that are no more are left out. */
export function draftOf(spec: unknown, fields: readonly FieldInfo[]): Draft {
  if (typeof spec !== "object" || spec === null) return EMPTY_DRAFT;
  const form = spec as Partial<StartJob>;
  const text = (value: unknown) => (typeof value === "string" ? value : null);
  const known = new Set(fields.map((field) => field.key));
  const values = Object.entries(form.hyperparameters ?? {}).filter(([key]) => known.has(key));
  const base = text(form.base_model);
  const model = text(form.model_id);
  const draft: Draft = {
    ...EMPTY_DRAFT,
    name: text(form.name) ?? "",
    method: form.method === "pretrain" ? "pretrain" : "sft",
    origin: model !== null ? { kind: "model", id: model } : base !== null ? { kind: "base", path: base } : null,
    adapter: text(form.adapter),
    dataset_id: text(form.dataset_id),
    data: text(form.data),
    eval_data: text(form.eval_data),
    mapping: form.mapping ?? null,
    model_type: text(form.model_type) ?? "",
    device: text(form.device),
  };
  return values.reduce((all, [key, value]) => withValue(all, key, value, fields), draft);
}

/** Reads a kept draft; null if it is none. */
export function readDraft(text: string | undefined): Draft | null {
  if (text === undefined) return null;
  try {
    const read: unknown = JSON.parse(text);
    return typeof read === "object" && read !== null && "values" in read && "method" in read ? { ...EMPTY_DRAFT, ...(read as Draft) } : null;
  } catch {
    return null;
  }
}

/** A typed text as a field's value: numbers and switches as such, lists by commas, a pattern as a text. */
export function listValue(text: string): string | string[] {
  const trimmed = text.trim();
  if (trimmed === "all-linear" || /[*([\\|+^$?]/.test(trimmed)) return trimmed;
  return trimmed.split(",").map((part) => part.trim()).filter(Boolean);
}

/** Earlier runs on the same base and data, the nearest settings first. */
export function nearestRuns(jobs: readonly Job[], draft: Draft, fields: readonly FieldInfo[], except: JobId | null, most: number): Job[] {
  const base = draft.origin?.kind === "base" ? draft.origin.path : null;
  const distance = (job: Job) => {
    const ratio = (a: number, b: number) => (a > 0 && b > 0 ? Math.abs(Math.log(a / b)) : 0);
    const h = job.hyperparameters;
    return (
      ratio(h.learning_rate, numberIn(draft, "learning_rate", fields)) +
      ratio(h.lora_r, numberIn(draft, "lora_r", fields)) +
      ratio(h.num_train_epochs, numberIn(draft, "num_train_epochs", fields))
    );
  };
  return jobs
    .filter((job) => job.id !== except && job.dataset_id !== null && job.dataset_id === draft.dataset_id && (base === null || job.base_model === base))
    .filter((job) => figure(job, "eval_loss") !== null)
    .map((job) => ({ job, far: distance(job) }))
    .sort((a, b) => a.far - b.far || b.job.created_at_ms - a.job.created_at_ms)
    .slice(0, most)
    .map(({ job }) => job);
}

/** A changed field as a chip: "eval_steps 200". */
export function chipOf(key: string, value: unknown): string {
  return `${key} ${listText(value)}`;
}

// The fields of the form in the chosen language: the server names them and their ranges, the words are here.

import type { FieldInfo } from "$lib/api";
import { count } from "$lib/format";
import { hasText, t } from "$lib/i18n/index.svelte";

/** The line of help of a field. */
export function fieldHelp(key: string, fields: readonly FieldInfo[] | undefined): string {
  const name = `training.help_${key}`;
  return hasText(name) ? t(name) : (fields?.find((field) => field.key === key)?.help ?? "");
}

/** How a field is filled in. */
export type Control =
  | { readonly kind: "whole" | "number"; readonly min: number | undefined; readonly max: number | undefined; readonly isOpen: boolean }
  | { readonly kind: "switch" }
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "text" };

/** Reads the server's words on what a field accepts ("a whole number from 1 to 1024", "one of a, b"). What is not understood is a text. */
export function controlOf(accepts: string): Control {
  if (accepts === "true or false") return { kind: "switch" };
  const words = /^one of (.+)$/.exec(accepts)?.[1];
  if (words) return { kind: "words", words: words.split(", ") };
  const range = /^a (whole )?number from (\S+?)(?: (up to, but not,|to) (\S+))?$/.exec(accepts);
  if (!range) return { kind: "text" };
  const [, whole, min, upper, max] = range;
  const bound = (text: string | undefined) => (text === undefined || !Number.isFinite(Number(text)) ? undefined : Number(text));
  return { kind: whole ? "whole" : "number", min: bound(min), max: bound(max), isOpen: upper === "up to, but not," };
}

/** The range in words. */
export function rangeText(control: Control): string {
  if (control.kind === "switch" || control.kind === "text") return "";
  if (control.kind === "words") return "";
  const { min, max, isOpen } = control;
  const [low, high] = [write(min), write(max)];
  if (min === undefined && max === undefined) return "";
  if (max === undefined) return t("training.range_from", { min: low });
  return isOpen ? t("training.range_below", { min: low, max: high }) : t("training.range", { min: low, max: high });
}

function write(value: number | undefined): string {
  if (value === undefined) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential().replace("e+", "e");
  return Number.isInteger(value) ? count(value) : String(value);
}

/** The groups of the advanced fields, in their order. A field that no group names stands in the last. */
export const GROUPS = [
  { id: "adapter", keys: ["lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora"] },
  { id: "batch", keys: ["per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size", "max_length", "group_by_length", "packing", "shuffle", "loss_on"] },
  { id: "schedule", keys: ["max_steps", "lr_scheduler_type", "warmup_ratio", "warmup_steps"] },
  { id: "optimizer", keys: ["weight_decay", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon"] },
  {
    id: "watch",
    keys: ["eval_steps", "eval_samples", "logging_steps", "save_steps", "save_total_limit", "load_best_model_at_end", "early_stopping_patience", "early_stopping_threshold"],
  },
  { id: "machine", keys: ["gradient_checkpointing", "dtype", "quantization", "num_threads", "seed"] },
] as const;
export type GroupId = (typeof GROUPS)[number]["id"];

/** Fields that stand among the first six, outside "Advanced". */
export const BASIC = ["lora_r", "num_train_epochs", "learning_rate"] as const;

/** The advanced fields by group. */
export function grouped(fields: readonly FieldInfo[]): { id: GroupId; fields: FieldInfo[] }[] {
  const basic: readonly string[] = BASIC;
  const advanced = fields.filter((field) => !basic.includes(field.key));
  const named = new Set<string>(GROUPS.flatMap((group) => group.keys));
  return GROUPS.map((group, i) => {
    const keys: readonly string[] = group.keys;
    const mine = keys.flatMap((key) => advanced.find((field) => field.key === key) ?? []);
    const rest = i === GROUPS.length - 1 ? advanced.filter((field) => !named.has(field.key)) : [];
    return { id: group.id, fields: [...mine, ...rest] };
  }).filter((group) => group.fields.length > 0);
}

// The fields of the form in the chosen language: the server names them and their ranges, the words are here.

import type { FieldInfo } from "$lib/api";
import { count } from "$lib/format";
import { hasText, t } from "$lib/i18n/index.svelte";
import { listValue } from "./form";

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
  /** Module names, a pattern or `all-linear`. */
  | { readonly kind: "modules" }
  /** A list, separated by commas; may be empty. */
  | { readonly kind: "list"; readonly example: string }
  /** `name=number` pairs, separated by commas; may be empty. */
  | { readonly kind: "pairs" }
  /** Anything else; the words that are known are offered. */
  | { readonly kind: "text"; readonly words: readonly string[] };

/** Reads the server's words on what a field accepts ("a whole number from 1 to 1024", "one of a, b"). What is not understood is a text. */
export function controlOf(accepts: string): Control {
  if (accepts === "true or false") return { kind: "switch" };
  const words = /^one of (.+)$/.exec(accepts)?.[1];
  if (words) return { kind: "words", words: words.split(", ") };
  if (accepts.startsWith("names separated by commas, a regular expression")) return { kind: "modules" };
  if (/=\w+ pairs separated by commas/.test(accepts)) return { kind: "pairs" };
  if (/ separated by commas/.test(accepts)) return { kind: "list", example: /such as (\S+),/.exec(accepts)?.[1] ?? "" };
  const range = /^a (whole )?number from (\S+?)(?: (up to, but not,|to) (\S+))?$/.exec(accepts);
  if (!range) return { kind: "text", words: namedWords(accepts) };
  const [, whole, min, upper, max] = range;
  const bound = (text: string | undefined) => (text === undefined || !Number.isFinite(Number(text)) ? undefined : Number(text));
  return { kind: whole ? "whole" : "number", min: bound(min), max: bound(max), isOpen: upper === "up to, but not," };
}

/** The values that a sentence names: "true, gaussian, pissa_niter_N (N up to 64) or loftq". Whole sentences name none. */
function namedWords(accepts: string): string[] {
  const parts = accepts.replace(/\([^)]*\)/g, "").split(/,| or /).map((part) => part.trim());
  return parts.length > 1 && parts.every((part) => /^[\w-]+$/.test(part)) ? parts : [];
}

/** A typed text as the field's value; undefined if it is none. */
export function readText(control: Control, text: string): unknown {
  const trimmed = text.trim();
  const parts = trimmed.split(",").map((part) => part.trim()).filter(Boolean);
  switch (control.kind) {
    case "modules":
      return trimmed === "" ? undefined : listValue(trimmed);
    case "list":
      return parts;
    case "pairs": {
      const pairs = parts.map((part) => {
        const at = part.lastIndexOf("=");
        return [part.slice(0, at).trim(), Number(part.slice(at + 1))] as const;
      });
      const isRead = parts.every((part, i) => part.lastIndexOf("=") > 0 && part.trim().at(-1) !== "=" && Number.isFinite(pairs[i]?.[1]));
      return isRead ? Object.fromEntries(pairs) : undefined;
    }
    case "text":
      return trimmed === "" ? undefined : trimmed;
    default:
      return undefined;
  }
}

/** The range in words. */
export function rangeText(control: Control): string {
  if (control.kind !== "whole" && control.kind !== "number") return "";
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

/**
 * The groups of the advanced fields, in their order: the fields that have a fixed place, and what the name of any other field of the
 * group looks like. A field that no name places stands with the field before it, as the server lists them.
 */
export const GROUPS = [
  {
    id: "adapter",
    keys: ["finetuning_type", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora"],
    like: /(^|_)(lora|dora|adapter|rank|alpha|modules?|layers?|bias|init|finetuning|targets?)(_|$)/,
  },
  {
    id: "batch",
    keys: ["per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size", "max_length", "packing", "packing_strategy", "group_by_length", "shuffle", "loss_on"],
    like: /batch|accumulation|length|pack|loss|mask|neftune|noise|shuffle|label/,
  },
  { id: "schedule", keys: ["max_steps", "lr_scheduler_type", "warmup_ratio", "warmup_steps"], like: /^lr_|warmup|schedul|epoch/ },
  { id: "optimizer", keys: ["optim", "weight_decay", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon"], like: /optim|adam|decay|grad_norm|momentum/ },
  {
    id: "watch",
    keys: ["eval_steps", "eval_samples", "logging_steps", "save_steps", "save_total_limit", "load_best_model_at_end", "early_stopping_patience", "early_stopping_threshold"],
    like: /^(eval|save|log|report)|early_|_best/,
  },
  { id: "base", keys: ["dtype", "gradient_checkpointing", "load_in_4bit", "load_in_8bit"], like: /(^|_)(dtype|[48]bit|bnb|quant\w*|checkpointing|offload|precision)(_|$)/ },
  { id: "machine", keys: ["num_threads", "seed"], like: /thread|seed|device|worker/ },
] as const;
export type GroupId = (typeof GROUPS)[number]["id"];

/** Fields that stand among the first six, outside "Advanced". */
export const BASIC = ["lora_r", "num_train_epochs", "learning_rate"] as const;

/** Where a field stands whose name has a fixed place or looks like one; the most telling names are asked first. */
function groupOf(key: string): GroupId | undefined {
  const fixed = GROUPS.find((group) => (group.keys as readonly string[]).includes(key));
  const asked = ["batch", "base", "optimizer", "schedule", "watch", "adapter", "machine"] as const;
  return fixed?.id ?? asked.find((id) => GROUPS.find((group) => group.id === id)?.like.test(key));
}

/** The advanced fields by group. */
export function grouped(fields: readonly FieldInfo[]): { id: GroupId; fields: FieldInfo[] }[] {
  const basic: readonly string[] = BASIC;
  const places = new Map<string, GroupId>();
  let before: GroupId = "machine";
  for (const { key } of fields) {
    before = groupOf(key) ?? before;
    places.set(key, before);
  }
  return GROUPS.map(({ id, keys }) => {
    const mine = fields.filter(({ key }) => places.get(key) === id && !basic.includes(key));
    const fixed = (keys as readonly string[]).flatMap((key) => mine.find((field) => field.key === key) ?? []);
    return { id, fields: [...fixed, ...mine.filter((field) => !fixed.includes(field))] };
  }).filter((group) => group.fields.length > 0);
}

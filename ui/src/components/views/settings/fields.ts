// The settings that have a field here, under the names of settings.toml.
import type { Settings } from "$lib/api";
import type { NumberProblem, NumberRule } from "$components/shared/number";

type NameOf<T> = { [K in keyof Settings]: Settings[K] extends T ? K : never }[keyof Settings];

/** One setting and how it is typed. */
export type SettingField =
  | { name: NameOf<number>; kind: "number"; rule: NumberRule; step: number | "relative" }
  | { name: NameOf<boolean>; kind: "switch" }
  | { name: NameOf<string[]>; kind: "words" }
  | { name: "hf_endpoint"; kind: "address" };

/** What the form of a new run opens with. */
export const DEFAULTS: readonly SettingField[] = [
  { name: "default_batch_size", kind: "number", rule: { min: 1, max: 65_536, whole: true }, step: 1 },
  { name: "default_learning_rate", kind: "number", rule: { min: 1e-12, max: 10 }, step: "relative" },
  { name: "default_epochs", kind: "number", rule: { min: 1e-6, max: 10_000 }, step: 1 },
  { name: "lora_r", kind: "number", rule: { min: 1, max: 1024, whole: true }, step: 8 },
  { name: "lora_alpha", kind: "number", rule: { min: 1e-3, max: 1e6 }, step: 8 },
  { name: "lora_dropout", kind: "number", rule: { min: 0, max: 0.99 }, step: 0.05 },
  { name: "lora_target_modules", kind: "words" },
  { name: "fp16_training", kind: "switch" },
  { name: "gradient_checkpointing", kind: "switch" },
];

/** What may leave this machine. */
export const NETWORK: readonly SettingField[] = [
  { name: "offline", kind: "switch" },
  { name: "hf_endpoint", kind: "address" },
];

/** What is wrong with what stands in a field. */
export type SettingProblem = NumberProblem | "not_an_address";

/** What is wrong with a typed address; an empty one is none, and right. */
export function addressProblem(text: string): SettingProblem | undefined {
  if (text.trim() === "") return undefined;
  const protocol = URL.canParse(text.trim()) ? new URL(text.trim()).protocol : undefined;
  return protocol === "https:" || protocol === "http:" ? undefined : "not_an_address";
}

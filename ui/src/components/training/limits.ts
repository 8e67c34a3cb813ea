// What of the form cannot be chosen, and why, in the chosen language. The server decides; here are the words and the look-up.

import type { FieldLimit, FormLimits } from "$lib/api";
import { count } from "$lib/format";
import { hasText, t } from "$lib/i18n/index.svelte";

/** The limits by field. */
export function limitsByKey(limits: FormLimits | null): ReadonlyMap<string, FieldLimit> {
  return new Map((limits?.fields ?? []).map((limit) => [limit.key, limit]));
}

/** Whether a value is one of the choices that are refused. A field that is off refuses nothing: it has no effect. */
export function isRefused(limit: FieldLimit, value: unknown): boolean {
  return limit.limit.type === "choices" && limit.limit.choices.includes(String(value));
}

/** Whether nothing can be chosen. */
export function isOff(limit: FieldLimit | undefined): boolean {
  return limit?.limit.type === "off";
}

/** Choices that are refused. */
export function refusedChoices(limit: FieldLimit | undefined): readonly string[] {
  return limit?.limit.type === "choices" ? limit.limit.choices : [];
}

/** The reason. What the interface has no words for the server says itself. */
export function reasonOf(limit: FieldLimit): string {
  const about = limit.limit.type === "most" ? count(limit.limit.most) : limit.about;
  const choices = refusedChoices(limit).join(", ");
  switch (limit.code) {
    case "device":
      return t("training.limit_device", { about, choices });
    case "context":
      return t("training.limit_context", { about });
    case "needs":
      return t("training.limit_needs", { about });
    case "together":
    case "lacks":
      return about === "" ? limit.message : t(`training.limit_${limit.code}`, { about, choices });
    case "cpu_only":
      return t("training.limit_cpu_only", { about });
    default: {
      const key = `training.limit_${limit.code}`;
      return hasText(key) ? t(key) : limit.message;
    }
  }
}

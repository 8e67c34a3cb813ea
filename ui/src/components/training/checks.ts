// What the server found worth a look in the form, in the chosen language. Pure but for the words.

import type { JobEstimate } from "$lib/api";
import type { StateName } from "$components/shared/StateGlyph.svelte";
import { bytes, count } from "$lib/format";
import { hasText, t } from "$lib/i18n/index.svelte";
import { writeValue } from "./config";

/** One finding. */
export type Finding = JobEstimate["checks"][number];

/** The glyph of a finding. */
export function glyphOf(finding: Finding): StateName {
  return finding.state;
}

/** The sentence. Where its numbers stand in the estimate it is said in the chosen language, else in the server's words. */
export function sentence(finding: Finding, estimate: JobEstimate): string {
  const { memory } = estimate;
  const value = finding.suggestion == null ? "" : writeValue(finding.suggestion);
  switch (`${finding.code}_${finding.state}`) {
    case "memory_ok":
    case "memory_warn":
    case "memory_bad":
      return t(`training.check_memory_${finding.state}`, { total: bytes(memory.total_bytes), free: bytes(memory.free_bytes) });
    case "unusable_rows_ok":
      return t("training.check_unusable_rows_ok", { rows: count(estimate.rows) });
    case "cut_rows_ok":
      return t("training.check_cut_rows_ok");
    case "cut_rows_warn":
      return t("training.check_cut_rows_warn", { cut: count(estimate.cut_rows), rows: count(estimate.rows) });
    case "held_out_ok":
      return t("training.check_held_out_ok", { rows: count(estimate.eval_rows) });
    case "steps_ok":
    case "steps_warn":
      return t(`training.check_steps_${finding.state as "ok" | "warn"}`, { steps: count(estimate.total_steps), rows: count(estimate.rows) });
    case "context_warn":
      return t("training.check_context_warn", { value });
    default:
      break;
  }
  const key = `training.check_${finding.code}_${finding.state}`;
  return hasText(key) ? t(key) : finding.message;
}

/** What to do about it; empty if nothing. */
export function advice(finding: Finding): string {
  if (finding.state === "ok") return "";
  const key = `training.advice_${finding.code}`;
  return hasText(key) ? t(key) : (finding.hint ?? "");
}

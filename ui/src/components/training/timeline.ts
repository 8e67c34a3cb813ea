// The story of a run in the chosen language. Where an entry's numbers are known from elsewhere it is told anew; else the server's words stand.

import type { JobPage } from "$lib/api";
import type { StateName } from "$components/shared/StateGlyph.svelte";
import { count, decimal, shortCount } from "$lib/format";
import { hasText, t } from "$lib/i18n/index.svelte";

/** An entry of the story as the server tells it. */
export type Entry = JobPage["timeline"][number];

/** An entry as it is shown. */
export interface Told {
  readonly at_ms: number;
  readonly glyph: StateName;
  readonly title: string;
  /** A second, quieter line; empty if the title says all. */
  readonly detail: string;
  readonly step: number | null;
}

const GLYPHS: Record<string, StateName> = {
  queued: "pending",
  started: "running",
  resumed: "running",
  certificate: "ok",
  paused: "paused",
  interrupted: "interrupted",
  stopped: "stopped",
  early_stopped: "completed",
  completed: "completed",
  failed: "failed",
  problems: "warn",
  out_of_memory: "warn",
  not_finite: "warn",
};

function glyphOf(entry: Entry): StateName {
  const level: StateName = entry.level === "error" ? "failed" : entry.level === "warn" ? "warn" : entry.level === "good" ? "ok" : "info";
  return hadTrouble(entry) ? "fail" : (GLYPHS[entry.code] ?? level);
}

/** A pause that nobody asked for: something must be dealt with before the run can go on. */
function hadTrouble(entry: Entry): boolean {
  return entry.code === "paused" && entry.level === "error";
}

/** The second line. What the server says of a failure or a note is never left out. */
function detailOf(entry: Entry, page: JobPage): string {
  const { plan, certificate } = page;
  switch (entry.code) {
    case "paused":
      return hadTrouble(entry) ? entry.message : "";
    case "queued":
    case "completed":
    case "note":
    case "asked":
      // Told by the title alone; that of a note is its sentence.
      return "";
    case "started":
    case "resumed":
      return page.job.device === null ? "" : t("training.told_device", { device: page.job.device });
    case "plan":
      if (!plan) return entry.message;
      return t("training.told_plan", { rows: count(plan.rows), steps: count(plan.total_steps), trainable: shortCount(plan.trainable_parameters), total: shortCount(plan.total_parameters) });
    case "certificate":
      if (!certificate) return entry.message;
      return t("training.told_certificate", { first: count(certificate.with_gradient), second: count(certificate.after_one_step) });
    case "checkpoint": {
      const loss = page.checkpoints.find(({ step }) => step === entry.step)?.eval_loss;
      return loss == null ? "" : t("training.told_loss", { loss: decimal(loss, 3) });
    }
    case "stopped":
    case "early_stopped":
      return t(`training.told_${entry.code}_detail`);
    default:
      return entry.message;
  }
}

/** Something that a chart marks. */
export interface Happening {
  readonly step: number;
  readonly tone: "warn" | "danger";
  readonly title: string;
}

/** Codes of the story that a chart marks where they happened. */
const MARKED = ["out_of_memory", "not_finite", "paused_trouble", "interrupted", "failed"];

/** What went wrong in the course of a run, by step. */
export function happenings(page: JobPage): Happening[] {
  return page.timeline.flatMap((entry) => {
    const code = hadTrouble(entry) ? "paused_trouble" : entry.code;
    if (entry.step === null || entry.step <= 0 || !MARKED.includes(code)) return [];
    const key = [`training.title_${code}`, `training.told_${code}`].find(hasText);
    const what = key === undefined ? entry.message : t(key);
    return [{ step: entry.step, tone: entry.level === "error" ? "danger" : "warn", title: `${t("training.at_step", { step: count(entry.step) })}: ${what}` }];
  });
}

/** So many checkpoints in a row, and more, are told as one. */
const FOLD_FROM = 3;

/** The entries as they are shown, newest first; a row of checkpoints is one entry with the latest one's figures. */
export function told(page: JobPage): Told[] {
  return folded(page.timeline)
    .map(({ entry, count: n, first }) => {
      const code = hadTrouble(entry) ? "paused_trouble" : entry.code;
      const title = [`training.title_${code}`, `training.told_${code}`].filter(hasText).map((key) => t(key))[0] ?? entry.message;
      const detail = detailOf(entry, page);
      const many = n > 1 ? t("training.told_many", { n, first: count(first.step), last: count(entry.step) }) : "";
      return { at_ms: entry.at_ms, glyph: glyphOf(entry), title, detail: [many, detail].filter(Boolean).join(" "), step: n > 1 ? null : entry.step };
    })
    .reverse();
}

/** Entries in order of time, rows of checkpoints joined. */
export function folded(timeline: readonly Entry[]): { entry: Entry; first: Entry; count: number }[] {
  const rows: Entry[][] = [];
  for (const entry of timeline) {
    const row = rows.at(-1);
    if (row && entry.code === "checkpoint" && row[0]?.code === "checkpoint") row.push(entry);
    else rows.push([entry]);
  }
  return rows.flatMap((row) => {
    const [first, last] = [row[0], row.at(-1)];
    if (!first || !last) return [];
    return row.length < FOLD_FROM ? row.map((entry) => ({ entry, first: entry, count: 1 })) : [{ entry: last, first, count: row.length }];
  });
}

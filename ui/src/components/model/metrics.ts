// Base against tuned on the same rows: which evaluations belong together, and what may be said of their difference.
import type { Evaluation } from "$lib/api";
import type { Job } from "$lib/api";
import type { MetricValue } from "$lib/api";
import type { Model } from "$lib/api";

/** Which way a metric is better. */
export type Better = "higher" | "lower";

/** The order in which a person looks at metrics. */
const ORDER = ["chrf", "bleu", "rouge_l", "exact_match", "slot_accuracy", "edit", "perplexity"];

export function better(metric: string): Better {
  return metric === "perplexity" || metric === "edit" ? "lower" : "higher";
}

/** The unit of a metric's values: shares are percent, so their differences are percentage points. */
export function unit(metric: string): "percent" | "points" | "none" {
  if (metric === "perplexity") return "none";
  return metric === "exact_match" || metric === "slot_accuracy" || metric === "edit" ? "percent" : "points";
}

export interface Difference {
  value: number;
  /** 95 %, from both intervals; null where one side has none. */
  interval: [number, number] | null;
  /** What the interval allows to say. */
  reading: "better" | "worse" | "not_told_apart" | "no_interval";
}

export interface MetricLine {
  name: string;
  tuned: MetricValue | null;
  base: MetricValue | null;
  difference: Difference | null;
}

/** Tuned minus base. The two intervals are combined as if the rows were different ones, which is wider than a paired interval. */
export function difference(metric: string, tuned: MetricValue, base: MetricValue): Difference {
  const value = tuned.value - base.value;
  if (!tuned.interval || !base.interval) return { value, interval: null, reading: "no_interval" };
  const low = Math.hypot(tuned.value - tuned.interval[0], base.interval[1] - base.value);
  const high = Math.hypot(tuned.interval[1] - tuned.value, base.value - base.interval[0]);
  const interval: [number, number] = [value - low, value + high];
  if (interval[0] <= 0 && interval[1] >= 0) return { value, interval, reading: "not_told_apart" };
  const up = interval[0] > 0;
  return { value, interval, reading: up === (better(metric) === "higher") ? "better" : "worse" };
}

/** One line per metric that either side has. */
export function metricLines(tuned: readonly MetricValue[], base: readonly MetricValue[]): MetricLine[] {
  const names = [...new Set([...tuned, ...base].map((metric) => metric.name))];
  const place = (name: string): number => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  names.sort((a, b) => place(a) - place(b) || a.localeCompare(b));
  return names.map((name) => {
    const t = tuned.find((metric) => metric.name === name) ?? null;
    const b = base.find((metric) => metric.name === name) ?? null;
    return { name, tuned: t, base: b, difference: t && b ? difference(name, t, b) : null };
  });
}

/** Whether a job measured a bare base model: no registered version, no adapter. */
export function measuresBase(job: Job): boolean {
  if (job.kind !== "evaluate" || job.model_id !== null) return false;
  return !hasAdapter(job.config);
}

function hasAdapter(config: unknown): boolean {
  if (typeof config !== "object" || config === null) return false;
  for (const [key, value] of Object.entries(config)) {
    if (key === "adapter" && value !== null && value !== undefined) return true;
    if (typeof value === "object" && hasAdapter(value)) return true;
  }
  return false;
}

/** The newest evaluation of the version's base on the very rows of another evaluation. */
export function baseFor(tuned: Evaluation, model: Model, evaluations: readonly Evaluation[], jobs: readonly Job[]): Evaluation | null {
  const ofBase = new Set(jobs.filter((job) => measuresBase(job) && job.base_model === model.base_model).map((job) => job.id));
  const fitting = evaluations.filter(
    (one) =>
      one.model_id === null &&
      ofBase.has(one.job_id) &&
      one.report.data_sha256 === tuned.report.data_sha256 &&
      one.report.rows === tuned.report.rows,
  );
  return fitting.sort((a, b) => b.created_at_ms - a.created_at_ms)[0] ?? null;
}

/** Jobs on their way that measure this version, or its base on this dataset. */
export function evaluationsUnderWay(model: Model, datasetId: string | null, jobs: readonly Job[]): { tuned: Job | null; base: Job | null } {
  const open = jobs.filter((job) => job.kind === "evaluate" && (job.status === "pending" || job.status === "running" || job.status === "paused"));
  return {
    tuned: open.find((job) => job.model_id === model.id) ?? null,
    base: open.find((job) => measuresBase(job) && job.base_model === model.base_model && job.dataset_id === datasetId) ?? null,
  };
}

/** A scale for whiskers that holds every interval and zero, the same on both sides of zero for a fair look. */
export function whiskerScale(lines: readonly MetricLine[]): number {
  const reach = lines.flatMap((line) => (line.difference?.interval ? line.difference.interval.map(Math.abs) : line.difference ? [Math.abs(line.difference.value)] : []));
  const most = Math.max(1, ...reach);
  const power = 10 ** Math.floor(Math.log10(most));
  return ([1, 2, 4, 5, 10].find((m) => m * power >= most) ?? 10) * power;
}

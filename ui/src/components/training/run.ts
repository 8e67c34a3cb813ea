// What a job says about itself: figures by name, the base's and method's names, what may be done with it. Pure.

import type { Job, JobStatus, Method, StartJob } from "$lib/api";

/** A figure of a job; null if it has none yet. */
export function figure(job: Job, name: string): number | null {
  const value = job.metrics[name];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** The last part of a path: the name of a base model. */
export function baseName(path: string): string {
  return path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;
}

/** How a job teaches, from its spec. */
export function methodOf(job: Job): Method {
  const { config } = job;
  const task = typeof config === "object" && config !== null && "task" in config ? (config as { task: unknown }).task : config;
  const method = typeof task === "object" && task !== null && "method" in task ? (task as { method: unknown }).method : null;
  return method === "pretrain" ? "pretrain" : "sft";
}

/** Seconds between start and end, or until now; null before the start. */
export function elapsedSeconds(job: Job, now_ms: number): number | null {
  if (job.started_at_ms === null) return null;
  const end = job.completed_at_ms ?? (job.status === "running" ? now_ms : null);
  return end === null ? null : Math.max(0, (end - job.started_at_ms) / 1000);
}

/** What the user can ask of a run. */
export type RunAction = "pause" | "resume" | "stop" | "evaluate_now" | "checkpoint_now" | "move_up" | "move_down" | "duplicate";

const ALLOWED: Record<JobStatus, readonly RunAction[]> = {
  pending: ["pause", "stop", "move_up", "move_down", "duplicate"],
  running: ["pause", "stop", "evaluate_now", "checkpoint_now", "duplicate"],
  paused: ["resume", "stop", "duplicate"],
  interrupted: ["resume", "stop", "duplicate"],
  stopped: ["resume", "duplicate"],
  failed: ["resume", "duplicate"],
  completed: ["duplicate"],
};

/** Whether an action makes sense in the job's state. */
export function allows(job: Job, action: RunAction): boolean {
  return ALLOWED[job.status].includes(action);
}

/** The waiting jobs in the order in which they will run. */
export function queueOf(jobs: readonly Job[]): Job[] {
  return jobs.filter((job) => job.status === "pending").sort((a, b) => a.queue_rank - b.queue_rank || a.created_at_ms - b.created_at_ms || (a.id < b.id ? -1 : 1));
}

/** The place of a waiting job one further to the front or the back; null where there is none. */
export function placeAfterMove(queue: readonly Job[], id: string, by: -1 | 1): number | null {
  const at = queue.findIndex((job) => job.id === id);
  return at < 0 || queue[at + by] === undefined ? null : at + by;
}

/** Names of hyperparameters whose values differ from the form's defaults. */
export function changedFields(values: Record<string, unknown>, defaults: ReadonlyMap<string, unknown>): string[] {
  return Object.keys(values).filter((key) => defaults.has(key) && !isSame(values[key], defaults.get(key)));
}

/** Whether two values of a field are the same, however they are written. */
export function isSame(a: unknown, b: unknown): boolean {
  if ((typeof a === "object" && a !== null) || (typeof b === "object" && b !== null)) return listText(a) === listText(b);
  if (typeof a === "number" && typeof b === "string") return a === Number(b);
  if (typeof a === "string" && typeof b === "number") return Number(a) === b;
  return a === b;
}

/** A value as the command line and the fields write it. */
export function listText(value: unknown): string {
  if (Array.isArray(value)) return value.join(",");
  if (typeof value !== "object" || value === null) return String(value);
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, n]) => `${name}=${String(n)}`)
    .join(",");
}

/** What `StartJob` needs to be complete. */
export const EMPTY_FORM: StartJob = {
  name: null,
  method: "sft",
  model_type: null,
  base_model: null,
  adapter: null,
  model_id: null,
  dataset_id: null,
  data: null,
  eval_data: null,
  mapping: null,
  hyperparameters: {},
  device: null,
};

/** Whether a run was started without samples. */
export function samplesAreOff(job: Job): boolean {
  return (job.hyperparameters as unknown as Record<string, unknown>).eval_samples === 0;
}

// What needs a person: runs that stopped on their own, data that lost rows, what learned from feedback that was withdrawn, and items to
// judge. Each line says what happened, what was kept, and one way on.
import type { Dataset, Job, Mark, Model, ProjectSummary } from "$lib/api";

/** One line. */
export type Attention =
  | { kind: "job"; key: string; at_ms: number; job: Job }
  | { kind: "dataset"; key: string; at_ms: number; dataset: Dataset }
  | { kind: "mark"; key: string; at_ms: number; mark: Mark; made: Dataset | Model }
  | { kind: "review"; key: string; at_ms: number; summary: ProjectSummary };

/** What is looked at; a part that is not there yet, or is none of one's business, is empty. */
export interface Looked {
  readonly jobs?: readonly Job[];
  readonly datasets?: readonly Dataset[];
  readonly models?: readonly Model[];
  readonly marks?: readonly Mark[];
  readonly projects?: readonly ProjectSummary[];
}

/**
 * Jobs that failed or were interrupted, paused jobs, the newest version of each dataset if it has problems, and marked versions, newest
 * first; then the projects that have items for the one who looks.
 */
export function attentionOf({ jobs = [], datasets = [], models = [], marks = [], projects = [] }: Looked, hidden: ReadonlySet<string>): Attention[] {
  const lines: Attention[] = [];
  for (const job of jobs) {
    if (job.status !== "failed" && job.status !== "interrupted" && job.status !== "paused") continue;
    // A job that fails anew is news again.
    lines.push({ kind: "job", key: `${job.id} ${job.status} ${job.version}`, at_ms: job.completed_at_ms ?? job.started_at_ms ?? job.created_at_ms, job });
  }
  const seen = new Set<string>();
  for (const dataset of [...datasets].sort((a, b) => b.version - a.version)) {
    if (seen.has(dataset.name)) continue;
    seen.add(dataset.name);
    if (dataset.num_problems > 0) lines.push({ kind: "dataset", key: dataset.id, at_ms: dataset.created_at_ms, dataset });
  }
  for (const mark of marks) {
    const made = datasets.find(({ id }) => id === mark.id) ?? models.find(({ id }) => id === mark.id);
    // Further rows that were withdrawn are news again.
    if (made) lines.push({ kind: "mark", key: `${mark.id} withdrawn ${mark.withdrawn}`, at_ms: made.created_at_ms, mark, made });
  }
  const reviews = projects.filter(({ project, progress }) => project.status === "active" && progress.left > 0).map<Attention>((summary) => ({ kind: "review", key: `${summary.project.id} review`, at_ms: summary.project.created_at_ms, summary }));
  const newest = (all: Attention[]) => all.filter(({ key }) => !hidden.has(key)).sort((a, b) => b.at_ms - a.at_ms);
  return [...newest(lines), ...newest(reviews)];
}

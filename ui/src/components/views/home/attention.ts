// What needs a person: runs that stopped on their own and data that lost rows. Each line says what happened, what was kept, and one way on.
import type { Dataset, Job } from "$lib/api";

/** One line. */
export type Attention =
  | { kind: "job"; key: string; at_ms: number; job: Job }
  | { kind: "dataset"; key: string; at_ms: number; dataset: Dataset };

/** Jobs that failed or were interrupted, paused jobs, and the newest version of each dataset if it has problems; newest first. */
export function attentionOf(jobs: readonly Job[], datasets: readonly Dataset[], hidden: ReadonlySet<string>): Attention[] {
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
  return lines.filter(({ key }) => !hidden.has(key)).sort((a, b) => b.at_ms - a.at_ms);
}

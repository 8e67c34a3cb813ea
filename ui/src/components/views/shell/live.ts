// What a job event changes in the answers that are kept.
import type { Job } from "$lib/api";
import { invalidate, patch } from "$lib/cache.svelte";

/** Puts a job's new state into the lists that hold it; a new job or a new status makes the lists stale. */
export function takeJob(job: Job): void {
  let known = false;
  let turned = false;
  patch("job_list", (jobs) => {
    const at = jobs.findIndex((other) => other.id === job.id);
    const old = jobs[at];
    if (!old || old.version > job.version) return jobs;
    known = true;
    turned ||= old.status !== job.status;
    return jobs.with(at, job);
  });
  patch("job_get", (old, { id }) => (id === job.id && job.version >= old.version ? job : old));
  patch("job_page", (old, { id }) => (id === job.id && job.version >= old.job.version ? { ...old, job } : old));
  if (!known || turned) invalidate(["jobs"]);
}

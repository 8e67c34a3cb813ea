// Holds the feeds of the runs that a component shows, for as long as it lives.

import { onDestroy, untrack } from "svelte";
import type { Job, JobId } from "$lib/api";
import { hold, letGo, type RunFeed } from "./feed.svelte";

/** The feeds by run; runs that are shown no more are let go. Must be called while a component is set up. */
export function useFeeds(jobs: () => readonly Job[]): { readonly map: ReadonlyMap<JobId, RunFeed> } {
  let held = $state.raw<ReadonlyMap<JobId, RunFeed>>(new Map());
  // As text, so that a job's new figures do not count as another choice of runs.
  const ids = $derived(jobs().map((job) => job.id).join(" "));
  function follow(wanted: ReadonlySet<JobId>) {
    const next = new Map<JobId, RunFeed>();
    for (const job of jobs()) if (wanted.has(job.id)) next.set(job.id, held.get(job.id) ?? hold(job));
    for (const id of held.keys()) if (!next.has(id)) letGo(id);
    held = next;
  }
  $effect.pre(() => {
    const wanted = new Set(ids.split(" ").filter(Boolean));
    untrack(() => follow(wanted));
  });
  onDestroy(() => {
    for (const id of held.keys()) letGo(id);
  });
  return {
    get map() {
      return held;
    },
  };
}

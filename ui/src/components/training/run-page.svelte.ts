// Everything about one run besides its curves, read again when its worker reports something new.

import { onPoints } from "$lib/api/events.svelte";
import type { JobId } from "$lib/api";
import { query, type Query } from "$lib/cache.svelte";

/** Reports often come in groups: a checkpoint, its evaluation, four samples. */
const QUIET_MS = 400;

/** The page of a run; null asks nothing. Must be called while a component is set up. */
export function runPage(id: () => JobId | null): Query<"job_page"> {
  const page = query("job_page", () => {
    const wanted = id();
    return wanted === null ? null : { id: wanted };
  }, ["jobs", "models"]);
  $effect(() => {
    const wanted = id();
    if (wanted === null) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const later = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        void page.refresh();
      }, QUIET_MS);
    };
    const stop = onPoints(wanted, { run: later, evalPoint: later, missed: later });
    return () => {
      clearTimeout(timer);
      stop();
    };
  });
  return page;
}

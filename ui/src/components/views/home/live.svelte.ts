// A running job's figures between two writes of its row: the newest point wins.
import { onPoints } from "$lib/api/events.svelte";
import type { Job } from "$lib/api";

/** What the home page shows of a job, by name; missing until it is known. */
export type Figures = Partial<Record<"step" | "total_steps" | "eta_s" | "loss" | "eval_loss" | "tokens_per_s", number>>;

/** Follows a job's figures while the calling component lives. Must be called while it is set up. */
export function liveJob(job: () => Job | undefined): { readonly figures: Figures } {
  let newer = $state.raw<Figures>({});
  const id = $derived(job()?.id);
  $effect(() => {
    newer = {};
    if (id === undefined) return;
    return onPoints(id, {
      points: (points) => {
        const last = points.at(-1);
        if (last) newer = { ...newer, step: last.step, eta_s: last.eta_s, loss: last.loss, tokens_per_s: last.tokens_per_s };
      },
      evalPoint: ({ eval_loss }) => (newer = { ...newer, eval_loss }),
    });
  });
  const figures = $derived.by<Figures>(() => {
    const stored = (job()?.metrics ?? {}) as Figures;
    return (newer.step ?? -1) >= (stored.step ?? -1) ? { ...stored, ...newer } : stored;
  });
  return {
    get figures() {
      return figures;
    },
  };
}

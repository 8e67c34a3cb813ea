// Exports that are under way. They outlive the dialog and the page, so that looking at something else stops none.
import { announce } from "$components/shared/announce.svelte";
import { backend, toApiError, type ApiError, type Export, type ExportModel } from "$lib/api";
import { invalidate } from "$lib/cache.svelte";
import { t } from "$lib/i18n/index.svelte";

/** One export from the moment it is asked for. */
export interface Exporting {
  readonly args: ExportModel;
  readonly state: "running" | "done" | "failed";
  /** What is being done: `loading`, `writing`, `comparing`; empty until the worker says so. */
  readonly stage: string;
  /** The share of that which is done; null while it is unknown. */
  readonly share: number | null;
  readonly result: Export | null;
  readonly error: ApiError | null;
}

class Exports {
  /** By model version: one at a time each. */
  all = $state.raw<ReadonlyMap<string, Exporting>>(new Map());
  readonly #stops = new Map<string, AbortController>();

  of(modelId: string): Exporting | undefined {
    return this.all.get(modelId);
  }

  async start(args: ExportModel, name: string): Promise<void> {
    if (this.#stops.has(args.id)) return;
    const stop = new AbortController();
    this.#stops.set(args.id, stop);
    this.#put(args.id, { args, state: "running", stage: "", share: null, result: null, error: null });
    try {
      const host = await backend();
      await host.stream("model_export", args, (item) => {
        if (stop.signal.aborted) return;
        if (item.type === "progress") this.#change(args.id, { stage: item.stage, share: item.total > 0 ? item.done / item.total : null });
        else this.#change(args.id, { state: "done", result: item.export });
      }, stop.signal);
      if (this.of(args.id)?.state === "done") {
        announce(t("models.export_done", { name }), { tone: "ok", link: { title: t("models.open"), href: `/models/${args.id}?tab=exports` } });
      }
    } catch (thrown) {
      if (stop.signal.aborted) this.forget(args.id);
      else this.#change(args.id, { state: "failed", error: toApiError(thrown) });
    } finally {
      this.#stops.delete(args.id);
      invalidate(["models"]);
    }
  }

  /** Ends the work; what was written of it goes. */
  stop(modelId: string): void {
    this.#stops.get(modelId)?.abort();
    this.forget(modelId);
  }

  /** Forgets how an export ended. */
  forget(modelId: string): void {
    this.all = new Map([...this.all].filter(([id]) => id !== modelId));
  }

  #put(modelId: string, one: Exporting): void {
    this.all = new Map(this.all).set(modelId, one);
  }

  #change(modelId: string, change: Partial<Exporting>): void {
    const one = this.of(modelId);
    if (one) this.#put(modelId, { ...one, ...change });
  }
}

export const exporting = new Exports();

// The downloads of this page. They outlive the view, so that looking at something else stops none; leaving the program does, and what
// has arrived is kept.
import { announce } from "$components/shared/announce.svelte";
import { backend, toApiError, type DownloadModel } from "$lib/api";
import { invalidate } from "$lib/cache.svelte";
import { t } from "$lib/i18n/index.svelte";
import { ASKING, ended, isSameWish, take, type DownloadView } from "./download";

/** A download with what was asked for. */
export interface Download {
  readonly id: number;
  readonly wanted: DownloadModel;
  readonly view: DownloadView;
}

class Downloads {
  all = $state.raw<readonly Download[]>([]);
  readonly #stops = new Map<number, AbortController>();
  #next = 0;

  /** Begins, or goes on where an earlier try ended; one that is under way stays as it is. */
  start(wanted: DownloadModel): void {
    const same = this.all.find((one) => isSameWish(one.wanted, wanted));
    if (same && this.#stops.has(same.id)) return;
    const id = this.#next++;
    this.all = [...this.all.filter((one) => one !== same), { id, wanted, view: ASKING }];
    void this.#run(id, wanted);
  }

  /** Whether something of this is on the list. */
  has(wanted: DownloadModel): boolean {
    return this.all.some((one) => isSameWish(one.wanted, wanted));
  }

  stop(id: number): void {
    this.#stops.get(id)?.abort();
  }

  /** Takes a row away; one that is under way is stopped. */
  dismiss(id: number): void {
    this.stop(id);
    this.all = this.all.filter((one) => one.id !== id);
  }

  /** Takes the file of a GGUF repository that was chosen. */
  choose(id: number, file: string): void {
    const one = this.all.find((other) => other.id === id);
    if (!one) return;
    this.dismiss(id);
    this.start({ ...one.wanted, file });
  }

  async #run(id: number, wanted: DownloadModel): Promise<void> {
    const stop = new AbortController();
    this.#stops.set(id, stop);
    try {
      const host = await backend();
      await host.stream("model_download", wanted, (item) => this.#show(id, (view) => take(view, item)), stop.signal);
      this.#show(id, (view) => ended(view, null));
    } catch (thrown) {
      const error = toApiError(thrown);
      this.#show(id, (view) => ended(view, stop.signal.aborted ? null : { code: error.code, message: error.message, hint: error.hint }));
    } finally {
      this.#stops.delete(id);
    }
    const one = this.all.find((other) => other.id === id);
    if (one?.view.state === "done") {
      announce(t("models.download_done", { name: wanted.repo }), { tone: "ok", link: { title: t("models.open"), href: `/base-models?selected=${encodeURIComponent(one.view.model?.path ?? "")}` } });
      // The list of base models shows it from now on.
      this.all = this.all.filter((other) => other.id !== id);
    }
    invalidate(["models"]);
  }

  #show(id: number, change: (view: DownloadView) => DownloadView): void {
    this.all = this.all.map((one) => (one.id === id ? { ...one, view: change(one.view) } : one));
  }
}

export const downloads = new Downloads();

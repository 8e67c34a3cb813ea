// Short names of what a job works on: a job knows only folders and ids.
import type { Job, Model } from "$lib/api";
import { t } from "$lib/i18n/index.svelte";
import { baseModels, datasetVersions } from "$lib/lists.svelte";

/** The last folder of a path. */
function folderName(path: string): string {
  return path.split(/[\\/]/).filter(Boolean).pop() ?? path;
}

/** Names from the lists that the page shows anyway. Must be made while a component is set up. */
export class Names {
  #bases = baseModels();
  #datasets = datasetVersions();
  #byPath = $derived(new Map((this.#bases.data ?? []).map(({ path, name }) => [path, name])));
  #byId = $derived(new Map((this.#datasets.data ?? []).map(({ id, name, version }) => [id, `${name} v${version}`])));

  /** A base model's name; of one that is gone, its folder's. */
  base(path: string): string {
    return this.#byPath.get(path) ?? folderName(path);
  }

  /** The dataset version of a model; none if it was trained on a plain file, or the dataset is deleted. */
  datasetOf(model: Model): string | undefined {
    return this.#byId.get(model.lineage.dataset_id ?? "");
  }

  /** What a job does and on what, in one line. */
  task(job: Job): string {
    const what = t(`home.method.${job.kind}`, { base: this.base(job.base_model) });
    const dataset = this.#byId.get(job.dataset_id ?? "");
    return dataset === undefined ? what : t("home.on_dataset", { what, dataset });
  }
}

// Short names of what a job works on.
import type { Dataset, Job } from "$lib/api";
import { t } from "$lib/i18n/index.svelte";

/** The last folder of a path. */
export function folderName(path: string): string {
  return path.split(/[\\/]/).filter(Boolean).pop() ?? path;
}

/** A base model's name: its folder, or for a folder that is only called `base` or by a hash, the one above. */
export function baseName(path: string): string {
  const parts = path.split(/[\\/]/).filter(Boolean);
  const last = parts.at(-1) ?? path;
  return last === "base" && parts.length > 1 ? `${parts.at(-2)}/${last}` : last;
}

/** What a job does and on what, in one line. */
export function taskOf(job: Job, datasets: readonly Dataset[] | undefined): string {
  const what = t(`home.method.${job.kind}`, { base: baseName(job.base_model) });
  const dataset = datasets?.find(({ id }) => id === job.dataset_id);
  return dataset ? t("home.on_dataset", { what, dataset: `${dataset.name} v${dataset.version}` }) : what;
}

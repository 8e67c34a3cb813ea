// Finding datasets by what people know of them.
import type { Dataset } from "$lib/api";

/** Whether a version has every word of a filter in its name, version, format, shape, purpose, description or hash. */
export function datasetHas(dataset: Dataset, filter: string): boolean {
  const said = [dataset.name, `v${dataset.version}`, dataset.format, dataset.shape, dataset.type, dataset.description, dataset.sha256, dataset.id].join(" ");
  const plain = said.normalize("NFKC").toLowerCase();
  return filter.normalize("NFKC").toLowerCase().split(/\s+/).every((word) => plain.includes(word));
}

/** Versions of one name, newest first. */
export function versionsOf(datasets: readonly Dataset[], name: string): Dataset[] {
  return datasets.filter((one) => one.name === name).sort((a, b) => b.version - a.version);
}

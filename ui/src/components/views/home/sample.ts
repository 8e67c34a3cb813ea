// What the built-in sample is, before it is installed; a test holds it against crates/tb-data/assets/sample.
import type { Dataset, Job } from "$lib/api";

/** The name under which the sample's dataset is kept. */
export const NAME = "tone-sample";
/** Weights of its base model. */
export const PARAMETERS = 3_803_392;

/** Two of its held-out rows. */
export const PAIRS = [
  { language: "ja", casual: "決算資料、6月12日までにオッケーもらえる？", polite: "決算資料につきまして、6月12日までにご承認いただけますと幸いです。" },
  { language: "en", casual: "pls stop leaving water bottles in the canteen", polite: "We kindly ask you not to leave water bottles in the canteen." },
] as const;

/** The runs on the sample, newest first. */
export function sampleRuns(jobs: readonly Job[], datasets: readonly Dataset[]): Job[] {
  const ids = new Set(datasets.filter(({ name }) => name === NAME).map(({ id }) => id));
  return jobs.filter((job) => job.kind === "train" && job.dataset_id !== null && ids.has(job.dataset_id));
}

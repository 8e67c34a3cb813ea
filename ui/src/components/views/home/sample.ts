// What the built-in sample is, before it is installed: counts and rows of crates/tb-data/assets/sample.
import type { Dataset, Job } from "$lib/api";

/** The name under which the sample's dataset is kept. */
export const NAME = "tone-sample";
/** Rows for training and for measuring. */
export const ROWS = 3960;
/** Weights of its base model. */
export const PARAMETERS = 3_800_000;

/** Two of its rows. */
export const PAIRS = [
  { language: "ja", casual: "オッケー、金曜日までに企画書出すね", polite: "承知いたしました。企画書は金曜日までに提出いたします。" },
  { language: "en", casual: "can people stop dumping headsets in the lobby?", polite: "We kindly ask you not to leave headsets in the lobby." },
] as const;

/** The newest run on the sample. */
export function sampleRun(jobs: readonly Job[], datasets: readonly Dataset[]): Job | undefined {
  const ids = new Set(datasets.filter(({ name }) => name === NAME).map(({ id }) => id));
  return jobs.find((job) => job.kind === "train" && job.dataset_id !== null && ids.has(job.dataset_id));
}

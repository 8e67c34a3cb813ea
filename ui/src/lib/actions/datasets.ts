// Actions of the datasets pages.
import type { Action } from "./action";

export const datasets = [
  { id: "dataset.train", title: "datasets.action.train", scope: "dataset", keys: "T", needs: "job_start" },
  { id: "dataset.previous_row", title: "datasets.action.previous_row", scope: "dataset", keys: "[" },
  { id: "dataset.next_row", title: "datasets.action.next_row", scope: "dataset", keys: "]" },
] as const satisfies readonly Action[];

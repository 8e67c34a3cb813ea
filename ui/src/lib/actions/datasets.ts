// Actions of the datasets pages.
import type { Action } from "./action";

export const datasets = [] as const satisfies readonly Action[];

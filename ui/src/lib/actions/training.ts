// Actions of the training pages.
import type { Action } from "./action";

export const training = [] as const satisfies readonly Action[];

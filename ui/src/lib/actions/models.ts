// Actions of the models pages.
import type { Action } from "./action";

export const models = [] as const satisfies readonly Action[];

// Actions of the playground pages.
import type { Action } from "./action";

export const playground = [] as const satisfies readonly Action[];

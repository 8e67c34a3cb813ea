// Actions of the playground.
import type { Action } from "./action";

export const playground = [
  { id: "playground.stop", title: "playground.action.stop", scope: "playground" },
  { id: "playground.previous", title: "playground.action.previous", scope: "playground", keys: "[" },
  { id: "playground.next", title: "playground.action.next", scope: "playground", keys: "]" },
  { id: "playground.diff", title: "playground.action.diff", scope: "playground", keys: "d" },
  { id: "playground.swap", title: "playground.action.swap", scope: "playground", keys: "s" },
] as const satisfies readonly Action[];

// Everything the user can do; see `registry.svelte.ts`.
export { capsOf, strokesOf, type Action, type Scope } from "./action";
export { whyNot } from "../role";
export type { Needs } from "../api/session.svelte";
export { ACTIONS, actionOf, ariaKeysOf, available, availableActions, lockedBy, offer, onKeydown, perform, useAction, type ActionId, type Offer, titleOf } from "./registry.svelte";
export { ANSWER_KEYS, type AnswerKey } from "./review";

// Everything the user can do; see `registry.svelte.ts`.
export { capsOf, strokesOf, type Action, type Scope } from "./action";
export { ACTIONS, actionOf, ariaKeysOf, available, availableActions, offer, onKeydown, perform, useAction, type ActionId, type Offer } from "./registry.svelte";

// The one table of actions, what each does at the moment, and the keyboard.
import { may } from "../api/session.svelte";
import { whyNot } from "../role";
import { t } from "../i18n/index.svelte";
import type { Action, Scope } from "./action";
import { ariaKeys, strokeOf, strokesOf } from "./action";
import { composing } from "./composing";
import { datasets } from "./datasets";
import { feedback } from "./feedback";
import { models } from "./models";
import { people } from "./people";
import { playground } from "./playground";
import { preferences } from "./preferences";
import { review } from "./review";
import { shell } from "./shell";
import { training } from "./training";

const table = [...shell, ...datasets, ...training, ...models, ...playground, ...people, ...review, ...feedback, ...preferences] as const;

/** Every action, in the order of palette and sheet. */
export const ACTIONS: readonly Action[] = table;
export type ActionId = (typeof table)[number]["id"];

/** What an action does while a component offers it. */
export interface Offer {
  run(): unknown;
  /** Whether it can be done now; always if absent. */
  when?(): boolean;
  /** What it does here, where the action's own title is too general. */
  title?(): string;
}

// The latest offer of an action is in force: a dialog's `view.back` hides the page's.
let offers = $state.raw<ReadonlyMap<string, readonly Offer[]>>(new Map());
// The same map beside the reactive one: while an effect is torn down, Svelte reads state as it was before, and a page that
// goes would take back what the page that comes has just offered.
let latest: ReadonlyMap<string, readonly Offer[]> = new Map();
const byId = new Map<string, Action>(ACTIONS.map((action) => [action.id, action]));

/** The action of that name. */
export function actionOf(id: ActionId): Action {
  // The type admits only names of the table.
  return byId.get(id) as Action;
}

/** Offers an action until the returned function is called. */
export function offer(id: ActionId, what: Offer): () => void {
  change(id, (now) => [...now, what]);
  return () => change(id, (now) => now.filter((other) => other !== what));
}

/** Offers an action for as long as the calling component lives. Must be called while a component is set up. */
export function useAction(id: ActionId, run: Offer["run"], when?: Offer["when"], title?: Offer["title"]): void {
  $effect.pre(() => offer(id, { run, ...(when ? { when } : {}), ...(title ? { title } : {}) }));
}

function change(id: string, to: (now: readonly Offer[]) => readonly Offer[]): void {
  latest = new Map(latest).set(id, to(latest.get(id) ?? []));
  offers = latest;
}

function inForce(id: string): Offer | undefined {
  const needs = byId.get(id)?.needs;
  if (needs !== undefined && !may(needs)) return undefined;
  const all = offers.get(id);
  return all?.findLast((one) => one.when?.() !== false);
}

/** Whether an action can be done now. Reactive. */
export function available(id: ActionId): boolean {
  return inForce(id) !== undefined;
}

/** Why the role of the one who sits here does not allow it, or nothing if it does. Reactive. */
export function lockedBy(id: ActionId): string | undefined {
  return whyNot(actionOf(id).needs);
}

/** What an action does at the moment, in words. Reactive. */
export function titleOf(action: Action): string {
  return inForce(action.id)?.title?.() ?? t(action.title);
}

/** Does an action, if it can be done now. */
export function perform(id: ActionId): boolean {
  const now = inForce(id);
  now?.run();
  return now !== undefined;
}

/** The actions that can be done now. */
export function availableActions(): Action[] {
  return ACTIONS.filter((action) => inForce(action.id) !== undefined);
}

/** For `aria-keyshortcuts` of a control that does the action. */
export function ariaKeysOf(id: ActionId): string | undefined {
  const { keys } = actionOf(id);
  return keys === undefined ? undefined : ariaKeys(keys);
}

/** The first stroke of two, for so long. */
const SECOND_STROKE_MS = 1200;
let first: { stroke: string; until: number } | undefined;

/** Finds and does the action of a stroke. Plain keys do nothing while a text field has the focus. */
export function onKeydown(event: KeyboardEvent): void {
  if (event.defaultPrevented || composing(event) || event.repeat && event.key.length > 1) return;
  if (["Control", "Meta", "Shift", "Alt"].includes(event.key)) return;
  const stroke = strokeOf(event);
  const plain = !stroke.startsWith("mod+") && !stroke.startsWith("alt+");
  if (plain && event.key !== "Escape" && takesText(event.target)) return;
  // Enter on a button or link is that control's own.
  if (event.key === "Enter" && plain && isControl(event.target)) return;
  const dialog = document.querySelector("dialog[open]") !== null;
  const pending = first && first.until > event.timeStamp ? first.stroke : undefined;
  first = undefined;
  const wanted = pending === undefined ? stroke : `${pending} ${stroke}`;
  const action = ACTIONS.find((one) => one.keys === wanted && (!dialog || worksInDialog(one)) && inForce(one.id));
  if (action) {
    event.preventDefault();
    if (!(event.repeat && action.once)) inForce(action.id)?.run();
  } else if (pending === undefined && !dialog && ACTIONS.some(({ keys }) => keys && strokesOf(keys).length > 1 && strokesOf(keys)[0] === stroke)) {
    first = { stroke, until: event.timeStamp + SECOND_STROKE_MS };
  }
}

/** Over a dialog the page's keys rest. */
function worksInDialog(action: Action): boolean {
  return action.id === "view.back" || action.id === "view.submit";
}

function takesText(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return target instanceof HTMLInputElement && !["checkbox", "radio", "button", "range", "file"].includes(target.type);
}

function isControl(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("a[href], button, summary, [role='menuitem'], [role='tab']") !== null;
}

export type { Action, Scope };

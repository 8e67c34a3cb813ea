// What an action is, and how its keys are written.
import type { Needs } from "../api/session.svelte";
import type { PlainKey } from "../i18n/index.svelte";

/** Where an action's keys work: everywhere, in the list that has the focus, or on one kind of page. */
export type Scope = "everywhere" | "list" | "dataset" | "datasets" | "model" | "models" | "new_run" | "people" | "playground" | "run" | "runs" | "settings" | "review" | "feedback" | "decide" | "feedback_rows" | "preferences";

/** One thing the user can do. Buttons, palette, shortcut sheet and key hints all read it here. */
export interface Action {
  /** `domain.verb`. */
  readonly id: string;
  readonly title: PlainKey;
  readonly scope: Scope;
  /** Keys of one stroke (`mod+k`, `?`, `Escape`) or of two after each other (`g d`). `mod` is Ctrl, on a Mac Cmd. */
  readonly keys?: string;
  /** The command or stream behind it: who may not run that cannot do this. */
  readonly needs?: Needs;
  /** Left out of the palette: it makes sense only by key. */
  readonly keysOnly?: true;
  /** A key that is held down does it once. */
  readonly once?: true;
}

/** The strokes of a key text. */
export function strokesOf(keys: string): string[] {
  return keys.split(" ");
}

const isMac = /Mac|iPhone|iPad/.test(globalThis.navigator?.userAgent ?? "");

/** A stroke of the keyboard as it is written in `keys`. */
export function strokeOf(event: KeyboardEvent): string {
  const mod = isMac ? event.metaKey : event.ctrlKey;
  const parts: string[] = [];
  if (mod) parts.push("mod");
  if (event.altKey) parts.push("alt");
  // Shift is part of a printed sign ("?", "N"), and only named with keys that print none.
  if (event.shiftKey && (event.key.length > 1 || mod)) parts.push("shift");
  parts.push(mod && event.key.length === 1 ? event.key.toLowerCase() : event.key);
  return parts.join("+");
}

const SHOWN: Record<string, string> = {
  mod: isMac ? "⌘" : "Ctrl",
  alt: isMac ? "⌥" : "Alt",
  shift: isMac ? "⇧" : "Shift",
  Enter: "↵",
  Escape: "Esc",
  ArrowUp: "↑",
  ArrowDown: "↓",
  ArrowLeft: "←",
  ArrowRight: "→",
  " ": "Space",
};

/** What stands on the keys of a stroke: `mod+Enter` is ["Ctrl", "↵"]. */
export function capsOf(stroke: string): string[] {
  if (stroke === "+") return ["+"];
  const parts = stroke.split("+");
  // With Ctrl, case means nothing: keyboards print capitals.
  return parts.map((part) => SHOWN[part] ?? (parts.length > 1 ? part.toUpperCase() : part));
}

/** The same as one text, as `aria-keyshortcuts` wants it. */
export function ariaKeys(keys: string): string {
  return strokesOf(keys)
    .map((stroke) => stroke.replace(/^mod\b/, isMac ? "Meta" : "Control"))
    .join(" ");
}

/** Pairs of actions whose keys cannot be told apart where both work: equal, or one begins the other. */
export function clashes(actions: readonly Action[]): [Action, Action][] {
  const found: [Action, Action][] = [];
  actions.forEach((one, index) => {
    for (const other of actions.slice(index + 1)) {
      const apart = one.scope !== other.scope && one.scope !== "everywhere" && other.scope !== "everywhere" && one.scope !== "list" && other.scope !== "list";
      if (apart || one.keys === undefined || other.keys === undefined) continue;
      const [a, b] = [`${one.keys} `, `${other.keys} `];
      if (a.startsWith(b) || b.startsWith(a)) found.push([one, other]);
    }
  });
  return found;
}

// Whether a key press belongs to an input method (Japanese, Chinese, Korean): such a press is never a shortcut.

/** A press so soon after the end of a composition is the one that ended it. */
const SAME_PRESS_MS = 30;

let field: EventTarget | null = null;
let ended_at = -Infinity;

// Captured, so that no component can hide a composition from the shortcuts.
globalThis.addEventListener?.("compositionstart", (event) => (field = event.target), true);
globalThis.addEventListener?.(
  "compositionend",
  (event) => {
    field = null;
    ended_at = event.timeStamp;
  },
  true,
);

/**
 * Whether an input method handles this key. `isComposing` says it in most browsers; WebKit ends the composition before the
 * keydown that ended it, and marks that with the key code 229; and some input methods give neither.
 */
export function composing(event: KeyboardEvent): boolean {
  if (event.isComposing || event.keyCode === 229) return true;
  // A field that is gone, or lost the focus, composes no more, whether or not it said so.
  if (field !== null && field === document.activeElement) return true;
  return event.timeStamp - ended_at < SAME_PRESS_MS;
}

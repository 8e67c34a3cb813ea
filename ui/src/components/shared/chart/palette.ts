// The colours of charts, read from the style sheets: a canvas knows no CSS variables. They follow the theme.

/** A place in the palette: six colours that are told apart, and one grey for all others. */
export type Slot = 1 | 2 | 3 | 4 | 5 | 6 | "rest";

/** The slots that have a colour of their own, in their order. */
export const SLOTS: readonly Slot[] = [1, 2, 3, 4, 5, 6];

/** The variable that holds a slot's colour. */
export function variable(slot: Slot): string {
  return `--series-${String(slot)}`;
}

/** What a chart paints with. */
export interface Palette {
  readonly series: Readonly<Record<Slot, string>>;
  readonly background: string;
  readonly grid: string;
  readonly axis: string;
  readonly text: string;
  readonly muted: string;
  readonly cursor: string;
  readonly limit: string;
  readonly font: string;
}

let current: Palette | null = null;
const listeners = new Set<() => void>();

function read(): Palette {
  const style = getComputedStyle(document.documentElement);
  const value = (name: string) => style.getPropertyValue(name).trim();
  const slots = [...SLOTS, "rest" as const].map((slot) => [slot, value(variable(slot))]);
  return {
    series: Object.fromEntries(slots) as Record<Slot, string>,
    background: value("--bg-1"),
    grid: value("--border"),
    axis: value("--border-strong"),
    text: value("--text-1"),
    muted: value("--text-3"),
    cursor: value("--text-2"),
    limit: value("--danger"),
    font: value("--font") || "sans-serif",
  };
}

/** The colours now. */
export function palette(): Palette {
  current ??= read();
  return current;
}

function forget(): void {
  current = null;
  for (const listener of listeners) listener();
}

let stop: (() => void) | null = null;

/** Calls back when the colours change; gives the way to stop. */
export function watchPalette(listener: () => void): () => void {
  listeners.add(listener);
  if (stop === null) {
    const observer = new MutationObserver(forget);
    observer.observe(document.documentElement, { attributeFilter: ["data-theme", "lang"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", forget);
    stop = () => {
      observer.disconnect();
      system.removeEventListener("change", forget);
    };
    // What was read before nobody watched may be out of date.
    current = null;
  }
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    stop?.();
    stop = null;
  };
}

// What the palette finds and in which order.
import type { ActionId } from "$lib/actions";

/** One line of the palette: an action, or a place to go. */
export interface Found {
  group: "pages" | "commands" | "runs" | "models" | "datasets";
  title: string;
  detail: string;
  action?: ActionId;
  href?: string;
}

const ORDER = ["commands", "runs", "models", "datasets", "pages"] as const;

/** How well a title fits: 3 begins with the text, 2 a word begins with it, 1 contains it or its letters in order, 0 not at all. */
export function fit(text: string, title: string): 0 | 1 | 2 | 3 {
  const [wanted, given] = [text.trim().toLocaleLowerCase(), title.toLocaleLowerCase()];
  if (given.startsWith(wanted)) return 3;
  const at = given.indexOf(wanted);
  if (at > 0 && !/[\p{L}\p{N}]/u.test(given[at - 1] ?? "")) return 2;
  // One letter is in almost every title.
  if (at > 0 && wanted.length > 1) return 1;
  let from = 0;
  for (const letter of wanted) {
    const next = given.indexOf(letter, from);
    if (next < 0) return 0;
    from = next + 1;
  }
  // Letters scattered over the title mean something only if they are some.
  return wanted.length >= 3 ? 1 : 0;
}

/** What fits, best first, in groups of at most `most`; the group with the best fit stands first. */
export function rank(text: string, all: readonly Found[], most: number): { group: Found["group"]; found: Found[] }[] {
  const scored = all.map((found, index) => ({ found, index, score: fit(text, found.title) })).filter(({ score }) => score > 0);
  scored.sort((a, b) => b.score - a.score || a.index - b.index);
  return ORDER.map((group) => {
    const mine = scored.filter(({ found }) => found.group === group);
    return { group, best: mine[0]?.score ?? 0, found: mine.slice(0, text.trim() === "" ? Infinity : most).map(({ found }) => found) };
  })
    .filter(({ found }) => found.length > 0)
    .sort((a, b) => b.best - a.best);
}

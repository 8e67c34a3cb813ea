// Word-level differences of two texts. Japanese has no spaces, so words come from the platform's segmenter.
import { diffArrays } from "diff";
import { langOf } from "$components/shared/text/marks";

export { langOf };

export type RunKind = "same" | "removed" | "added";

export interface Run {
  kind: RunKind;
  text: string;
}

/** Longer texts are compared by lines: finding their words would hold up the page. */
const MOST_CHARACTERS = 20_000;
/** Texts that differ in more places share nothing worth showing: one goes, the other comes. */
const MOST_EDITS = 1500;

/** The words of a text and what stands between them; joined they give the text again. */
export function words(text: string): string[] {
  if (typeof Intl.Segmenter !== "function") return text.match(/\s+|[\p{L}\p{N}_'’]+|./gsu) ?? [];
  const segmenter = new Intl.Segmenter(langOf(text) ?? "en", { granularity: "word" });
  return Array.from(segmenter.segment(text), (segment) => segment.segment);
}

/** What must go from `before` and what must come to get `after`. */
export function wordDiff(before: string, after: string): Run[] {
  const pieces = before.length + after.length > MOST_CHARACTERS ? (text: string) => text.split(/(?<=\n)/) : words;
  const changes = diffArrays(pieces(before), pieces(after), { maxEditLength: MOST_EDITS });
  const runs: Run[] = changes
    ? changes.map((change) => ({ kind: change.removed ? "removed" : change.added ? "added" : "same", text: change.value.join("") }))
    : [{ kind: "removed", text: before }, { kind: "added", text: after }];
  return joinAcrossSpaces(runs.filter((run) => run.text !== ""));
}

/** A lone space between two changes is no common ground: "a b" → "c d" reads as one change, not as two. */
function joinAcrossSpaces(runs: Run[]): Run[] {
  const out: Run[] = [];
  let removed = "";
  let added = "";
  const flush = (): void => {
    if (removed !== "") out.push({ kind: "removed", text: removed });
    if (added !== "") out.push({ kind: "added", text: added });
    removed = added = "";
  };
  runs.forEach((run, i) => {
    const next = runs[i + 1];
    if (run.kind === "removed") removed += run.text;
    else if (run.kind === "added") added += run.text;
    else if (run.text.trim() === "" && removed !== "" && added !== "" && next !== undefined && next.kind !== "same") {
      removed += run.text;
      added += run.text;
    } else {
      flush();
      out.push(run);
    }
  });
  flush();
  return out;
}

/** The side of a difference that one text shows. */
export function sideOf(runs: readonly Run[], side: "before" | "after"): Run[] {
  return runs.filter((run) => run.kind === "same" || run.kind === (side === "before" ? "removed" : "added"));
}

/** How many words changed, and of how many. */
export function changedWords(runs: readonly Run[]): { changed: number; of: number } {
  const count = (kind: RunKind): number =>
    runs.filter((run) => run.kind === kind).reduce((sum, run) => sum + words(run.text).filter((word) => word.trim() !== "").length, 0);
  const [same, removed, added] = [count("same"), count("removed"), count("added")];
  return { changed: Math.max(removed, added), of: same + Math.max(removed, added) };
}

// What a difference amounts to, and where its additions lie in the text. Pure.
import type { Piece } from "$lib/api";

/** Characters as people count them, as far as that is cheap. */
export function lengthOf(text: string): number {
  return text.length > 100_000 ? text.length : [...text].length;
}

/** Places that differ, and the characters in them: of each place the longer side. */
export function editsOf(pieces: readonly Piece[]): { edits: number; characters: number } {
  let [edits, characters, removed, added] = [0, 0, 0, 0];
  const close = (): void => {
    if (removed > 0 || added > 0) edits += 1;
    characters += Math.max(removed, added);
    removed = added = 0;
  };
  for (const { change, text } of pieces) {
    if (change === "same") close();
    else if (change === "removed") removed += lengthOf(text);
    else added += lengthOf(text);
  }
  close();
  return { edits, characters };
}

/** A part of a text: from `start` up to, not including, `end`. Where something went and nothing came, both are equal. */
export interface Range {
  start: number;
  end: number;
}

/** Where the new text differs from the old one. */
export function changedRanges(pieces: readonly Piece[]): Range[] {
  const ranges: Range[] = [];
  let at = 0;
  let open = false;
  for (const { change, text } of pieces) {
    const end = change === "removed" ? at : at + text.length;
    const last = ranges.at(-1);
    if (change === "same") open = false;
    else if (open && last) last.end = end;
    else {
      ranges.push({ start: at, end });
      open = true;
    }
    at = end;
  }
  return ranges;
}

/** The same ranges after the text was typed into: what lies behind moves along, and what was typed counts as changed. */
export function shifted(ranges: readonly Range[], before: string, after: string): Range[] {
  if (before === after) return [...ranges];
  const most = Math.min(before.length, after.length);
  let start = 0;
  while (start < most && before[start] === after[start]) start += 1;
  let tail = 0;
  while (tail < most - start && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail += 1;
  const [oldEnd, newEnd] = [before.length - tail, after.length - tail];
  const typed: Range = { start, end: newEnd };
  const moved: Range[] = [];
  for (const range of ranges) {
    if (range.end < start) moved.push(range);
    else if (range.start > oldEnd) moved.push({ start: range.start + newEnd - oldEnd, end: range.end + newEnd - oldEnd });
    else {
      // It touches what was typed: both are one place.
      typed.start = Math.min(typed.start, range.start);
      typed.end = Math.max(typed.end, range.end > oldEnd ? range.end + newEnd - oldEnd : newEnd);
    }
  }
  return [...moved.filter((range) => range.end <= typed.start), typed, ...moved.filter((range) => range.end > typed.start)];
}

/** A text with line ends as another has them: a text field gives every one back as `\n`. */
export function withLineEndsOf(original: string, typed: string): string {
  if (!original.includes("\r\n")) return typed;
  // Only where they were all the same: else nobody can tell which was which.
  return /(^|[^\r])\n|\r(?!\n)/.test(original) ? typed : typed.replace(/\r?\n/g, "\r\n");
}

/** A text as a text field shows it. */
export function inField(text: string): string {
  return text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
}

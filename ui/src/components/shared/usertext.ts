// Texts that others wrote: what in them is unseen, how long they are, in which language they are to be read out.

/** A stretch of a text; one with a code is the mark of a hidden character. */
export interface Piece {
  text: string;
  /** `U+202E`; none for ordinary text. */
  code?: string;
}

// Controls but tab and line feed; soft hyphen; marks, overrides and isolates of direction; zero width but the joiners that emoji
// and Indic scripts need; line and paragraph separators; tags; halves of pairs.
const HIDDEN =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Surrogate}/gu;

/** How a hidden character is written: by its number, which every typeface has. */
function markOf(character: string): Piece {
  const code = character.codePointAt(0) ?? 0;
  const name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  return { text: name, code: name };
}

/** A text in pieces that can all be seen. A line feed after a carriage return is a plain end of a line. */
export function seen(text: string): Piece[] {
  const plain = text.replaceAll("\r\n", "\n");
  const out: Piece[] = [];
  let from = 0;
  for (const match of plain.matchAll(HIDDEN)) {
    if (match.index > from) out.push({ text: plain.slice(from, match.index) });
    out.push(markOf(match[0]));
    from = match.index + match[0].length;
  }
  if (from < plain.length || out.length === 0) out.push({ text: plain.slice(from) });
  return out;
}

/** The same as one plain text, for places that take no markup: a title, a tooltip. */
export function plainly(text: string): string {
  return seen(text)
    .map((piece) => (piece.code ? `[${piece.text}]` : piece.text))
    .join("");
}

/** The beginning of a text on one line, at most so many characters: enough for a cell that is cut anyway. */
export function lineOf(text: string, most = 200): string {
  return text.slice(0, most * 2).replace(/\s*[\r\n]+\s*/g, " ↵ ").trim().slice(0, most);
}

const JAPANESE = /[\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]/;

/** The language to announce a text in, where its letters say it. */
export function langOf(text: string): "ja" | undefined {
  return JAPANESE.test(text) ? "ja" : undefined;
}

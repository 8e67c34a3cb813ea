// Text from outside as something to look at: characters that are invisible, move the cursor or turn the writing direction
// become named marks, and nothing longer than its budget is drawn. Pure.

/** A piece of text and what became of it between two versions. */
export interface TextPiece {
  readonly change: "same" | "removed" | "added";
  readonly text: string;
}

/** Plain characters, a chat template's tag such as `<|user|>`, or a run of one invisible character under its short name. */
export type Segment = { readonly kind: "text"; readonly text: string } | { readonly kind: "tag"; readonly text: string } | { readonly kind: "mark"; readonly name: string; readonly code: string; readonly times: number };

const C0 = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");
const NAMED: Readonly<Record<number, string>> = {
  0x7f: "DEL", 0x85: "NEL", 0xad: "SHY", 0x061c: "ALM", 0x180e: "MVS", 0x200b: "ZWSP", 0x200e: "LRM", 0x200f: "RLM", 0x2028: "LS", 0x2029: "PS",
  0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO", 0x202e: "RLO", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xfeff: "BOM",
  0xfff9: "IAA", 0xfffa: "IAS", 0xfffb: "IAT",
};

// Line breaks and tabs are text. Joiners (U+200C, U+200D) and variation selectors are part of letters and of emoji.
// eslint-disable-next-line no-control-regex -- these are what is looked for
const HOSTILE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]|[\u{e0000}-\u{e007f}]/u;
const HOSTILE_ALL = new RegExp(HOSTILE.source, "gu");

/** The short name of a character that must be shown: ESC, RLO, U+E0041. */
export function nameOf(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return C0[code] ?? NAMED[code] ?? codeOf(code);
}

function codeOf(code: number): string {
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

const TAG = /<\|[^<>|\s]{1,40}\|>/;
const TAGS = new RegExp(`(${TAG.source})`);
const TAGS_BEFORE = new RegExp(`^(\\s*${TAG.source})+`);

/** A text cut where it must be shown otherwise. `\r\n` is a line break. */
export function segmentsOf(text: string): Segment[] {
  const segments = marksIn(text);
  if (!text.includes("<|")) return segments;
  return segments.flatMap((segment) => (segment.kind === "text" ? segment.text.split(TAGS).flatMap<Segment>((part, i) => (part === "" ? [] : [{ kind: i % 2 === 1 ? "tag" : "text", text: part }])) : [segment]));
}

function marksIn(text: string): Segment[] {
  if (!HOSTILE.test(text)) return text === "" ? [] : [{ kind: "text", text }];
  const segments: Segment[] = [];
  let at = 0;
  for (const match of text.matchAll(HOSTILE_ALL)) {
    const character = match[0];
    if (character === "\r" && text[match.index + 1] === "\n") continue;
    if (match.index > at) segments.push({ kind: "text", text: text.slice(at, match.index) });
    at = match.index + character.length;
    const last = segments.at(-1);
    const name = nameOf(character);
    if (last?.kind === "mark" && last.name === name) segments[segments.length - 1] = { ...last, times: last.times + 1 };
    else segments.push({ kind: "mark", name, code: codeOf(character.codePointAt(0) ?? 0), times: 1 });
  }
  if (at < text.length) segments.push({ kind: "text", text: text.slice(at) });
  return segments;
}

/** The same as one text, for titles, names and files where no mark can be drawn: ⟦ESC⟧. */
export function visibleText(text: string): string {
  return marksIn(text).map((segment) => (segment.kind !== "mark" ? segment.text : `⟦${segment.name}${segment.times > 1 ? ` ×${segment.times}` : ""}⟧`)).join("");
}

/** A text without a template's tags, and without the space that they leave at its ends. */
export function withoutTags(text: string): string {
  return text.split(TAGS).filter((_, i) => i % 2 === 0).join(" ").trim();
}

/** The beginning of a text on one line, for a table's cell, without a template's tags before it: never looks at more than it shows. */
export function startOf(text: string, most = 160): string {
  const beginning = cut(text, most * 2);
  const start = (beginning.replace(TAGS_BEFORE, "") || beginning).replace(/\s*\r?\n\s*/g, " ↵ ").replace(/[\t ]+/g, " ").trim();
  return start.length > most ? `${cut(start, most)}…` : start.length < text.trimEnd().length && text.length > most * 2 ? `${start}…` : start;
}

/** At most so many UTF-16 units from the start, without half a character at the end. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  const last = text.charCodeAt(most - 1);
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? most - 1 : most);
}

/** The first pieces that fit into a budget of characters and of lines; the last one may be cut. */
export function piecesUpTo(pieces: readonly TextPiece[], most: number, lines = Infinity): TextPiece[] {
  const shown: TextPiece[] = [];
  let [room, breaks] = [most, lines];
  for (const piece of pieces) {
    if (room <= 0 || breaks <= 0) break;
    let text = cut(piece.text, room);
    const end = Number.isFinite(breaks) ? endOfLines(text, breaks) : { at: text.length, breaks: 0 };
    text = text.slice(0, end.at);
    breaks -= end.breaks;
    room -= text.length;
    shown.push({ change: piece.change, text });
    if (text.length < piece.text.length) break;
  }
  return shown;
}

function endOfLines(text: string, most: number): { at: number; breaks: number } {
  let [at, breaks] = [-1, 0];
  while (breaks < most) {
    at = text.indexOf("\n", at + 1);
    if (at < 0) return { at: text.length, breaks };
    breaks += 1;
  }
  return { at, breaks };
}

/** Characters of all pieces. */
export function lengthOf(pieces: readonly TextPiece[]): number {
  return pieces.reduce((sum, piece) => sum + piece.text.length, 0);
}

const JAPANESE = /[\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]/;

/** The language to announce a text in, where its first letters say it. */
export function langOf(text: string): "ja" | undefined {
  return JAPANESE.test(cut(text, 400)) ? "ja" : undefined;
}

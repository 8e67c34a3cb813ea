// Tokens as chips: whitespace that can be seen, special tokens that look special, lines broken where the text breaks.
import type { TokenView } from "$lib/api";

export interface TokenChip {
  id: number;
  /** What the chip shows. */
  label: string;
  /** `rest`: a later token of a character that is already shown; it has no text of its own. */
  kind: "text" | "special" | "space" | "rest";
  loss: boolean;
  /** Whether a new line begins after it. */
  breakAfter: boolean;
  /** Where this token begins in the row's text, in UTF-16 units. */
  at: number;
  /** The language whose glyphs fit: Japanese text needs its own font. */
  lang: "ja" | undefined;
}

const MARKS: Readonly<Record<string, string>> = {
  " ": "·",
  "\n": "↵",
  "\r": "␍",
  "\t": "⇥",
  "\u00a0": "⍽",
  "\u3000": "□",
  "\u200b": "␣₀",
  "\ufeff": "␣₀",
};

/** A text whose white space can be seen. */
export function visible(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what must become visible
  return text.replace(/[ \n\r\t\u00a0\u3000\u200b\ufeff\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, (c) => {
    return MARKS[c] ?? String.fromCodePoint(0x2400 + (c.codePointAt(0) ?? 0));
  });
}

const JAPANESE = /[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]/;

export function tokenChips(tokens: readonly TokenView[]): TokenChip[] {
  let at = 0;
  return tokens.map((token) => {
    const kind = token.special ? "special" : token.text === "" ? "rest" : token.text.trim() === "" ? "space" : "text";
    const chip: TokenChip = {
      id: token.id,
      label: kind === "rest" ? "‥" : visible(token.text),
      kind,
      loss: token.loss,
      breakAfter: token.text.endsWith("\n"),
      at,
      lang: JAPANESE.test(token.text) ? "ja" : undefined,
    };
    at += token.text.length;
    return chip;
  });
}

export interface TokenCounts {
  tokens: number;
  loss: number;
  special: number;
  characters: number;
  /** Whether the row fills the limit, so that its end may be cut. */
  atLimit: boolean;
}

export function countTokens(tokens: readonly TokenView[], maxLength: number | null): TokenCounts {
  return {
    tokens: tokens.length,
    loss: tokens.filter((token) => token.loss).length,
    special: tokens.filter((token) => token.special).length,
    characters: tokens.reduce((sum, token) => sum + (token.special ? 0 : [...token.text].length), 0),
    atLimit: maxLength !== null && tokens.length >= maxLength,
  };
}

// The script that a text is written in, by its letters: for fonts, and for a word in the queue. A guess, and shown as one.

const SCRIPTS: readonly [RegExp, string][] = [
  [/[\u3040-\u30ff\uff66-\uff9f]/, "ja"],
  [/[\uac00-\ud7af\u1100-\u11ff]/, "ko"],
  // Han alone: this program's Asian texts are Japanese.
  [/[\u3400-\u9fff]/, "ja"],
  [/[\u0600-\u06ff\u0750-\u077f]/, "ar"],
  [/[\u0590-\u05ff]/, "he"],
  [/[\u0400-\u04ff]/, "ru"],
  [/[\u0e00-\u0e7f]/, "th"],
  [/[\u0900-\u097f]/, "hi"],
  [/[\u0370-\u03ff]/, "el"],
];
/** Letters at the beginning say enough. */
const LOOKED_AT = 2000;

/** The language to set a text in; undefined for Latin letters and for none. */
export function languageOf(text: string): string | undefined {
  const start = text.slice(0, LOOKED_AT);
  return SCRIPTS.find(([letters]) => letters.test(start))?.[1];
}

/** Two letters for the queue: EN where all letters are plain Latin ones. */
export function badgeOf(text: string): string {
  const language = languageOf(text);
  if (language) return language.toUpperCase();
  const letters = text.slice(0, LOOKED_AT).match(/\p{L}/gu) ?? [];
  return letters.length > 0 && letters.every((letter) => /[a-z]/i.test(letter)) ? "EN" : "";
}

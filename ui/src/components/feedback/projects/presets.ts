// Questions that are good to begin with. Names and values stay the same in both languages, so that projects can be compared.
import type { LabelOption, Question } from "$lib/api";
import { t, type PlainKey } from "$lib/i18n/index.svelte";

export const PRESETS = ["rate", "pair", "tone", "correction"] as const;
export type Preset = (typeof PRESETS)[number];

type Word = Extract<PlainKey, `labelling.q.${string}`> extends `labelling.q.${infer W}` ? W : never;
const word = (name: Word): string => t(`labelling.q.${name}`);
const options = (...values: Word[]): LabelOption[] => values.map((value) => ({ value, title: word(value) }));

const rating = (): Question => ({
  name: "rating", title: word("rating"), required: true, kind: "rating",
  labels: [word("wrong"), word("weak"), word("usable"), word("good"), word("perfect")],
});
const correction = (required: boolean): Question => ({ name: "correction", title: word("correction"), required, kind: "correction" });
const note = (): Question => ({ name: "note", title: word("note"), required: false, kind: "text" });

/** The questions of a preset, in the chosen language. */
export function presetQuestions(preset: Preset): Question[] {
  switch (preset) {
    case "rate":
      return [rating(), correction(false), note()];
    case "pair":
      return [{ name: "choice", title: word("choice"), required: true, kind: "choice" }, note()];
    case "tone":
      return [
        rating(),
        { name: "meaning_kept", title: word("meaning_kept"), required: true, kind: "label", options: options("yes", "no") },
        { name: "politeness", title: word("politeness"), required: true, kind: "label", options: options("too_low", "right", "too_high") },
        { name: "problems", title: word("problems"), required: false, kind: "labels", options: options("wrong_honorific", "facts_changed", "unnatural", "names_or_numbers") },
        correction(false),
        note(),
      ];
    case "correction":
      return [correction(true), note()];
  }
}

/** Whether a preset can be used where items have one answer, or two. */
export function fits(preset: Preset, pairs: boolean): boolean {
  return pairs || preset !== "pair";
}

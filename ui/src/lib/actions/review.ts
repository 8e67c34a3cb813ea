// Actions of the review screen. Which answer a digit or letter gives depends on the project's questions: the screen names it.
import type { Action } from "./action";

/** Keys for answers, in the order in which they are given out; letters with a meaning of their own are left out. */
export const ANSWER_KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "a", "b", "c", "i", "l", "m", "o", "p", "q", "r", "t", "v", "w", "y", "z"] as const;
export type AnswerKey = (typeof ANSWER_KEYS)[number];

const answers = ANSWER_KEYS.map((key) => ({ id: `review.answer_${key}` as const, title: "review.action.answer", scope: "review", keys: key, keysOnly: true, once: true }) as const);

export const review = [
  ...answers,
  { id: "review.edit", title: "review.action.edit", scope: "review", keys: "e" },
  { id: "review.note", title: "review.action.note", scope: "review", keys: "n" },
  { id: "review.diff", title: "review.action.diff", scope: "review", keys: "d", once: true },
  { id: "review.guide", title: "review.action.guide", scope: "review", keys: "h", once: true },
  { id: "review.flag", title: "review.action.flag", scope: "review", keys: "f", once: true },
  { id: "review.skip", title: "review.action.skip", scope: "review", keys: "s", once: true },
  { id: "review.undo", title: "review.action.undo", scope: "review", keys: "u", once: true },
] as const satisfies readonly Action[];

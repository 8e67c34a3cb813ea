// Which key gives which answer. Pure.
import type { Question } from "$lib/api";
import { ANSWER_KEYS, type AnswerKey } from "$lib/actions";
import { CHOICES } from "./answers";

/** A key and the answer that it gives. */
export interface Slot {
  key: AnswerKey;
  question: string;
  value: string | number;
}

const STARS = [1, 2, 3, 4, 5];
const FIRST_LETTER = ANSWER_KEYS.indexOf("a");

/**
 * `1` to `4` choose between two answers, or `1` to `5` rate; further digits and then letters go to options in their order. A rating
 * beside a choice gets letters: a digit that gives another number would mislead.
 */
export function slotsOf(questions: readonly Question[]): Slot[] {
  const choice = questions.find((question) => question.kind === "choice");
  const rating = questions.find((question) => question.kind === "rating");
  const slots: Slot[] = [];
  let [digit, letter] = [0, FIRST_LETTER];
  const give = (question: Question, values: readonly (string | number)[], from: "digits" | "letters"): void => {
    for (const value of values) {
      const key = from === "digits" && digit < FIRST_LETTER ? ANSWER_KEYS[digit++] : ANSWER_KEYS[letter++];
      if (key === undefined) return;
      slots.push({ key, question: question.name, value });
    }
  };
  if (choice) give(choice, CHOICES, "digits");
  if (rating) give(rating, STARS, choice ? "letters" : "digits");
  for (const question of questions) {
    if (question.kind === "label" || question.kind === "labels") give(question, question.options.map((option) => option.value), "digits");
  }
  return slots;
}

/** The key of an answer, if it has one. */
export function keyOf(slots: readonly Slot[], question: string, value: string | number): AnswerKey | undefined {
  return slots.find((slot) => slot.question === question && slot.value === value)?.key;
}

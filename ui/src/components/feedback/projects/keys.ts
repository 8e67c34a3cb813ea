// Which keys answer which question in a review, for the preview.
import type { Question } from "$lib/api";
import { slotsOf } from "../review/keys";

/** The keys of each question: one per thing to choose, or one for its field. */
export function keysOf(questions: readonly Question[]): string[][] {
  const slots = slotsOf(questions);
  const noted = questions.find(({ kind }) => kind === "text");
  return questions.map((question) => {
    if (question.kind === "correction") return ["e"];
    return question === noted ? ["n"] : slots.filter((slot) => slot.question === question.name).map((slot) => slot.key);
  });
}

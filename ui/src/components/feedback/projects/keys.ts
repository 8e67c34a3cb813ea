// Which keys answer which question in a review, for the preview: the same rule as the review's own keys.
import type { Question } from "$lib/api";

// Digits first, then letters that mean nothing else in a review.
const DIGITS = [..."1234567890"];
const LETTERS = [..."abcilmopqrtvwyz"];

/** How many keys a question takes of those that choose; 0 for one that is written. */
function places(question: Question): number {
  switch (question.kind) {
    case "rating":
      return 5;
    case "choice":
      return 4;
    case "label":
    case "labels":
      return question.options.length;
    case "correction":
    case "text":
      return 0;
  }
}

/**
 * The keys of each question: one per thing to choose, or one for its field. A choice comes first, then the rating, then options in
 * their order; a rating beside a choice gets letters, because a digit that gives another number would mislead.
 */
export function keysOf(questions: readonly Question[]): string[][] {
  const [digits, letters] = [[...DIGITS], [...LETTERS]];
  const paired = questions.some(({ kind }) => kind === "choice");
  const turn = (kind: Question["kind"]): number => (kind === "choice" ? 0 : kind === "rating" ? 1 : 2);
  const keys = new Map<string, string[]>();
  for (const question of questions.toSorted((a, b) => turn(a.kind) - turn(b.kind))) {
    const own = question.kind === "rating" && paired ? letters : undefined;
    const take = () => (own ?? (digits.length > 0 ? digits : letters)).shift();
    keys.set(question.name, Array.from({ length: places(question) }, take).filter((key) => key !== undefined));
  }
  const noted = questions.find(({ kind }) => kind === "text");
  return questions.map((question) => (question.kind === "correction" ? ["e"] : question === noted ? ["n"] : (keys.get(question.name) ?? [])));
}

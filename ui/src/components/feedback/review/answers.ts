// What a reviewer has answered, what is still open, and what goes out. Pure.
import type { Answer, Question, Task } from "$lib/api";

/** Answers by the question's name. */
export type Answers = Readonly<Record<string, Answer>>;

/** Answers to a choice, in the order of their keys. */
export const CHOICES = ["a", "b", "tie", "both_bad"] as const;
export type ChoiceAnswer = (typeof CHOICES)[number];

/** Whether an answer counts: words must not be blank, several options must be at least one. */
export function counts(answer: Answer | undefined): boolean {
  if (answer === undefined) return false;
  return typeof answer === "number" || (typeof answer === "string" ? answer.trim() !== "" : answer.length > 0);
}

/** Whether a question is answered. A correction begins with the output's own text, which is an answer too: nothing to correct. */
export function isAnswered(question: Question, answers: Answers, start: string): boolean {
  const answer = answers[question.name];
  return counts(answer ?? (question.kind === "correction" ? start : undefined));
}

/** Required questions that are still open. `start` is the text that a correction begins with. */
export function openQuestions(questions: readonly Question[], answers: Answers, start: string): Question[] {
  return questions.filter((question) => question.required && !isAnswered(question, answers, start));
}

/** What is sent: answers that count, to questions that are asked; a required correction that changes nothing is the output itself. */
export function outgoing(questions: readonly Question[], answers: Answers, start: string): Record<string, Answer> {
  const sent: Record<string, Answer> = {};
  for (const { name, kind, required } of questions) {
    const answer = answers[name] ?? (kind === "correction" && required ? start : undefined);
    if (answer !== undefined && counts(answer)) sent[name] = answer;
  }
  return sent;
}

/** The answers after one is given; undefined takes it back. */
export function answered(answers: Answers, name: string, answer: Answer | undefined): Answers {
  const { [name]: _, ...others } = answers;
  return answer === undefined ? others : { ...others, [name]: answer };
}

/**
 * The answer after an option is chosen by key or click: several options are added and taken away, a single one replaces the other.
 * The same again takes it back where the question may stay open.
 */
export function chosen(question: Question, before: Answer | undefined, value: string | number): Answer | undefined {
  if (question.kind === "labels") {
    const now = Array.isArray(before) ? before : [];
    const next = now.includes(String(value)) ? now.filter((one) => one !== value) : [...now, String(value)];
    // In the order of the options, however they were chosen.
    const ordered = question.options.map((option) => option.value).filter((one) => next.includes(one));
    return ordered.length > 0 ? ordered : undefined;
  }
  return before === value && !question.required ? undefined : value;
}

/** Which output a correction begins with: the one set by hand, else the preferred one, else the first. */
export function baseOf(questions: readonly Question[], answers: Answers, task: Task, set: number | undefined): number {
  if (set !== undefined && set < task.outputs.length) return set;
  const choice = questions.find((question) => question.kind === "choice");
  return choice && answers[choice.name] === "b" && task.outputs.length > 1 ? 1 : 0;
}

/** What a line of the done list says of an item. */
export type Verdict = { kind: "rating"; stars: number } | { kind: "choice"; choice: ChoiceAnswer } | undefined;

export function verdictOf(questions: readonly Question[], answers: Answers): Verdict {
  for (const { kind, name } of questions) {
    const answer = answers[name];
    if (kind === "rating" && typeof answer === "number") return { kind, stars: answer };
    const choice = kind === "choice" ? CHOICES.find((one) => one === answer) : undefined;
    if (choice) return { kind: "choice", choice };
  }
  return undefined;
}

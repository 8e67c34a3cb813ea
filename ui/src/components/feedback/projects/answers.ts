// Answers as people read them, and what reviewers' answers make together.
import type { Answer, AnswersOf, ItemWithAnswers, Question } from "$lib/api";
import { NO_VALUE } from "$lib/format";
import { t } from "$lib/i18n/index.svelte";

/** Answers by question. */
export type Answers = Record<string, Answer>;

const CHOICES = ["a", "b", "tie", "both_bad"] as const;
export type ChoiceWord = (typeof CHOICES)[number];

/** The words of a choice, in the order of their keys. */
export function choiceOptions(): { value: ChoiceWord; title: string }[] {
  return CHOICES.map((value) => ({ value, title: t(`labelling.choice.${value}`) }));
}

/** Whether there is an answer: nothing chosen and nothing written is none. */
export function isAnswered(answer: Answer | undefined): answer is Answer {
  return answer !== undefined && (typeof answer === "number" || answer.length > 0);
}

/** An answer in words. Values that the question does not know are shown as they are stored. */
export function answerText(question: Question, answer: Answer | undefined): string {
  if (!isAnswered(answer)) return NO_VALUE;
  switch (question.kind) {
    case "rating": {
      const word = typeof answer === "number" ? question.labels[answer - 1] : undefined;
      return word ? `${String(answer)} ${word}` : String(answer);
    }
    case "choice":
      return choiceOptions().find(({ value }) => value === answer)?.title ?? String(answer);
    case "label":
    case "labels": {
      const title = (value: string) => question.options.find((one) => one.value === value)?.title ?? value;
      return Array.isArray(answer) ? answer.map(title).join(", ") : title(String(answer));
    }
    case "correction":
    case "text":
      return String(answer);
  }
}

/** One answer as a text to compare by: the order of several options means nothing. */
function plain(answer: Answer): string {
  return JSON.stringify(Array.isArray(answer) ? [...answer].sort() : answer);
}

/** Those who have judged an item. */
export function judges(item: ItemWithAnswers): AnswersOf[] {
  return item.answers.filter((one) => one.state === "submitted");
}

/** Whether an answer is what most reviewers say; where several lead, none is. */
export function mostCommon(name: string, said: readonly AnswersOf[], answer: Answer | undefined): boolean {
  const votes = new Map<string, number>();
  const key = (one: Answer | undefined) => (isAnswered(one) ? plain(one) : "");
  for (const by of said) votes.set(key(by.answers[name]), (votes.get(key(by.answers[name])) ?? 0) + 1);
  const top = Math.max(...votes.values());
  return [...votes.values()].filter((n) => n === top).length === 1 && votes.get(key(answer)) === top;
}

/** What to begin a decision with: an earlier one, else what more than half of the reviewers say. */
export function begun(item: ItemWithAnswers, kept: Answers | null, questions: readonly Question[]): Answers {
  if (kept) return { ...kept };
  const out: Answers = {};
  const all = judges(item);
  for (const { name } of questions) {
    const votes = new Map<string, { answer: Answer; n: number }>();
    for (const { answers } of all) {
      const answer = answers[name];
      if (!isAnswered(answer)) continue;
      const had = votes.get(plain(answer));
      votes.set(plain(answer), { answer: had?.answer ?? answer, n: (had?.n ?? 0) + 1 });
    }
    const most = [...votes.values()].find(({ n }) => n * 2 > all.length);
    if (most) out[name] = most.answer;
  }
  return out;
}

/** Required questions that are open. */
export function open(questions: readonly Question[], answers: Answers): Question[] {
  return questions.filter(({ name, required }) => {
    const answer = answers[name];
    return required && !(isAnswered(answer) && (typeof answer !== "string" || answer.trim() !== ""));
  });
}

/** What is sent: open questions and emptied texts are left out. */
export function answersToSend(questions: readonly Question[], answers: Answers): Answers {
  return Object.fromEntries(questions.flatMap(({ name }) => (isAnswered(answers[name]) ? [[name, answers[name]]] : [])));
}

/** Whether a reviewer's answers are the right ones, for each question that the right ones answer. */
export function isRight(right: Answers, answers: Answers): boolean {
  return Object.entries(right).every(([name, one]) => {
    const given = answers[name];
    return given !== undefined && plain(given) === plain(one);
  });
}

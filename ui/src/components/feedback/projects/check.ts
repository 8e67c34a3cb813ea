// What the core refuses of a project, told before it is asked. The same rules as tb-core's labelling/check.rs; the core decides.
import type { CreateProject, LabelOption, Question } from "$lib/api";

export const MOST_QUESTIONS = 20;
export const MOST_OPTIONS = 50;
export const MOST_OVERLAP = 50;
/** Longest name of anything, bytes of UTF-8. */
export const LONGEST_NAME_BYTES = 200;
const LONGEST_TEXT_BYTES = 4 << 20;
const LONGEST_QUESTION_NAME = 60;

/** What is wrong; the words are `labelling.problem.<code>`. */
export type ProblemCode = "name" | "no_question" | "too_many_questions" | "question_name" | "twice" | "no_second_answer" | "options" | "rating_labels" | "overlap" | "guidelines";

export interface Problem {
  code: ProblemCode;
  /** The place of the question that it is about. */
  question?: number;
}

const bytes = (text: string): number => new TextEncoder().encode(text).length;

/** Everything that is wrong with a project, in the order of the form. `pairs` says whether its items have two answers. */
export function problemsOf(project: Pick<CreateProject, "name" | "guidelines" | "overlap" | "questions">, pairs: boolean): Problem[] {
  const questions = project.questions ?? [];
  const overlap = project.overlap ?? 1;
  const found: Problem[] = [];
  if (project.name.trim() === "" || bytes(project.name) > LONGEST_NAME_BYTES) found.push({ code: "name" });
  if (bytes(project.guidelines) > LONGEST_TEXT_BYTES) found.push({ code: "guidelines" });
  if (!Number.isInteger(overlap) || overlap < 1 || overlap > MOST_OVERLAP) found.push({ code: "overlap" });
  if (questions.length > MOST_QUESTIONS) found.push({ code: "too_many_questions" });
  if (!questions.some((one) => one.required)) found.push({ code: "no_question" });
  questions.forEach((one, at) => {
    for (const code of questionProblems(one, questions.slice(0, at), pairs)) found.push({ code, question: at });
  });
  return found;
}

function questionProblems(question: Question, before: readonly Question[], pairs: boolean): ProblemCode[] {
  const found: ProblemCode[] = [];
  const { name } = question;
  if (!/^[a-z0-9_]+$/.test(name) || name.length > LONGEST_QUESTION_NAME || before.some((one) => one.name === name)) found.push("question_name");
  switch (question.kind) {
    case "rating":
      if (question.labels.length !== 0 && question.labels.length !== 5) found.push("rating_labels");
      break;
    case "choice":
      if (!pairs) found.push("no_second_answer");
      break;
    case "label":
    case "labels":
      if (!goodOptions(question.options)) found.push("options");
      break;
    case "correction":
    case "text":
  }
  if (isOnce(question.kind) && before.some((one) => one.kind === question.kind)) found.push("twice");
  return found;
}

/** Whether a project may have one question of a kind at most. */
export function isOnce(kind: Question["kind"]): boolean {
  return kind === "rating" || kind === "choice" || kind === "correction";
}

function goodOptions(options: readonly LabelOption[]): boolean {
  if (options.length < 2 || options.length > MOST_OPTIONS) return false;
  return options.every(({ value }, at) => value.trim() !== "" && bytes(value) <= LONGEST_NAME_BYTES && !options.slice(0, at).some((one) => one.value === value));
}

/** The part of the form that a refusal of the core is about: it names a question between quotation marks. */
export function placeOfRefusal(message: string, questions: readonly Question[]): "name" | "overlap" | "guidelines" | number | undefined {
  const named = questions.findIndex(({ name }) => message.includes(`'${name}'`));
  if (named >= 0) return named;
  if (message.includes("its name is")) return "name";
  if (message.includes("is judged by")) return "overlap";
  if (message.includes("the guidelines are")) return "guidelines";
  return undefined;
}

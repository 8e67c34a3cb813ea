// Questions while they are written: names that follow their titles, until the user gives one.
import type { LabelOption, Question } from "$lib/api";

export type Kind = Question["kind"];
export const KINDS = ["rating", "choice", "correction", "label", "labels", "text"] as const satisfies readonly Kind[];

/** An option while it is written. Without a value of its own, the value follows the title. */
export interface DraftOption {
  title: string;
  value: string | null;
}

/** A question while it is written. What belongs to another kind is kept, so that a change of kind can be taken back. */
export interface DraftQuestion {
  /** Tells it apart in the list; never sent. */
  key: number;
  kind: Kind;
  title: string;
  /** Without a name of its own, the name follows the title. */
  name: string | null;
  required: boolean;
  /** The words for 1 to 5; all empty is none. */
  labels: string[];
  options: DraftOption[];
}

const NO_LABELS = ["", "", "", "", ""];

/** A title as a name: lower-case letters, digits and `_`; empty if it has none of them. */
export function slug(title: string): string {
  const plain = title.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "").slice(0, 60);
}

/** The names of questions: own ones as they are, the others from title or kind, each once. */
export function namesOf(questions: readonly DraftQuestion[]): string[] {
  const taken = new Set(questions.flatMap(({ name }) => (name === null ? [] : [name])));
  return questions.map(({ name, title, kind }) => {
    if (name !== null) return name;
    const wanted = slug(title) || kind;
    let free = wanted;
    for (let n = 2; taken.has(free); n += 1) free = `${wanted.slice(0, 56)}_${n}`;
    taken.add(free);
    return free;
  });
}

/** The value of an option; a title without Latin letters is its own value. */
export function valueOf({ title, value }: DraftOption): string {
  return value ?? (slug(title) || title.trim());
}

/** The questions as they are sent. */
export function questionsOf(drafts: readonly DraftQuestion[]): Question[] {
  const names = namesOf(drafts);
  return drafts.map((draft, at) => {
    const base = { name: names[at] ?? "", title: draft.title.trim() || (names[at] ?? ""), required: draft.required };
    switch (draft.kind) {
      case "rating":
        return { ...base, kind: "rating", labels: draft.labels.some((word) => word.trim() !== "") ? draft.labels.map((word) => word.trim()) : [] };
      case "label":
      case "labels":
        return { ...base, kind: draft.kind, options: draft.options.map((one): LabelOption => ({ value: valueOf(one), title: one.title.trim() || valueOf(one) })) };
      case "choice":
      case "correction":
      case "text":
        return { ...base, kind: draft.kind };
    }
  });
}

/** Questions that exist, to be written on: their names and values stay as they are. */
export function draftsOf(questions: readonly Question[]): DraftQuestion[] {
  return questions.map((one, key) => ({
    key,
    kind: one.kind,
    title: one.title,
    name: one.name,
    required: one.required,
    labels: one.kind === "rating" && one.labels.length === 5 ? [...one.labels] : NO_LABELS,
    options: one.kind === "label" || one.kind === "labels" ? one.options.map(({ title, value }) => ({ title, value })) : [],
  }));
}

/** A new question at the end. */
export function added(questions: readonly DraftQuestion[], kind: Kind, title: string, options: readonly string[]): DraftQuestion[] {
  const key = Math.max(-1, ...questions.map((one) => one.key)) + 1;
  const required = !questions.some((one) => one.required);
  return [...questions, { key, kind, title, name: null, required, labels: NO_LABELS, options: options.map((word) => ({ title: word, value: null })) }];
}

/** One question moved by some places; what would leave the list stays at its end. */
export function moved<T>(list: readonly T[], from: number, by: number): T[] {
  const to = Math.min(list.length - 1, Math.max(0, from + by));
  const out = [...list];
  out.splice(to, 0, ...out.splice(from, 1));
  return out;
}

import type { Question } from "$lib/api";
import { describe, expect, it } from "vitest";
import { placeOfRefusal, problemsOf } from "./check";
import { fits, PRESETS, presetQuestions } from "./presets";

const rating: Question = { name: "rating", title: "Rating", required: true, kind: "rating", labels: [] };
const label = (name: string, values: string[]): Question => ({ name, title: name, required: false, kind: "label", options: values.map((value) => ({ value, title: value })) });
const good = { name: "Polite", guidelines: "", overlap: 1, questions: [rating] as Question[] };
const codes = (change: Partial<typeof good>, pairs = false) => problemsOf({ ...good, ...change }, pairs).map(({ code }) => code);

describe("a project is refused as the core would", () => {
  it("not if it is good", () => {
    expect(codes({})).toEqual([]);
    expect(codes({ questions: [{ ...rating, labels: ["a", "", "", "", ""] } as Question], overlap: 50 })).toEqual([]);
  });

  it("for its name, guidelines or reviewers", () => {
    expect(codes({ name: " " })).toEqual(["name"]);
    // 67 characters of three bytes each.
    expect(codes({ name: "あ".repeat(67) })).toEqual(["name"]);
    expect(codes({ name: "あ".repeat(66) })).toEqual([]);
    expect(codes({ guidelines: "x".repeat((4 << 20) + 1) })).toEqual(["guidelines"]);
    for (const overlap of [0, 51, 1.5]) expect(codes({ overlap })).toEqual(["overlap"]);
  });

  it("without a question that must be answered, or with too many", () => {
    expect(codes({ questions: [] })).toEqual(["no_question"]);
    expect(codes({ questions: [{ ...rating, required: false }] })).toEqual(["no_question"]);
    expect(codes({ questions: [rating, ...Array.from({ length: 20 }, (_, i): Question => ({ name: `n${i}`, title: "", required: false, kind: "text" }))] })).toEqual(["too_many_questions"]);
  });

  it("for a name that files cannot have, or have twice", () => {
    for (const name of ["", "Rating", "a-b", "評価", "x".repeat(61)]) expect(codes({ questions: [{ ...rating, name }] })).toEqual(["question_name"]);
    expect(problemsOf({ ...good, questions: [rating, { name: "rating", title: "", required: false, kind: "text" }] }, false)).toEqual([{ code: "question_name", question: 1 }]);
  });

  it("for two of a kind of which there may be one", () => {
    for (const kind of ["choice", "correction"] as const) {
      const one = (name: string): Question => ({ name, title: "", required: true, kind });
      expect(codes({ questions: [one("a"), one("b")] }, true)).toEqual(["twice"]);
    }
    expect(codes({ questions: [rating, { ...rating, name: "b" }] })).toEqual(["twice"]);
  });

  it("for a choice between one answer", () => {
    expect(codes({ questions: [{ name: "choice", title: "", required: true, kind: "choice" }] })).toEqual(["no_second_answer"]);
  });

  it("for options that are too few, the same or empty, and for some words of a rating", () => {
    for (const values of [["a"], ["a", "a"], ["a", " "], Array.from({ length: 51 }, (_, i) => `v${i}`)]) expect(codes({ questions: [rating, label("l", values)] })).toEqual(["options"]);
    expect(codes({ questions: [{ ...rating, labels: ["a", "b"] } as Question] })).toEqual(["rating_labels"]);
  });
});

describe("presets", () => {
  it.each(PRESETS)("%s is good as it is", (preset) => {
    for (const pairs of [false, true].filter((one) => fits(preset, one))) expect(problemsOf({ ...good, questions: presetQuestions(preset) }, pairs)).toEqual([]);
  });

  it("with a choice fit two answers only", () => {
    expect(PRESETS.filter((preset) => !fits(preset, false))).toEqual(["pair"]);
  });
});

describe("what the core says", () => {
  it("is shown where it belongs", () => {
    const questions = [rating, label("problems", ["a", "b"])];
    expect(placeOfRefusal("the options of 'problems' cannot be used: 2 to 50", questions)).toBe(1);
    expect(placeOfRefusal("its name is empty or longer than 200 bytes", questions)).toBe("name");
    expect(placeOfRefusal("each item is judged by 1 to 50 reviewers, not 0", questions)).toBe("overlap");
    expect(placeOfRefusal("the guidelines are longer than 4 MiB", questions)).toBe("guidelines");
    expect(placeOfRefusal("the dataset is gone", questions)).toBeUndefined();
  });
});

import type { AnswersOf, ItemWithAnswers, Question } from "$lib/api";
import { describe, expect, it } from "vitest";
import { answersToSend, answerText, begun, isRight, mostCommon, open, type Answers } from "./answers";
import { keysOf } from "./keys";
import { presetQuestions } from "./presets";

const questions = presetQuestions("tone");
const by = (user_id: string, answers: Answers, state: AnswersOf["state"] = "submitted") => ({ user_id, user_name: user_id, state, answers }) as unknown as AnswersOf;
const item = (...answers: AnswersOf[]) => ({ item: {}, answers, differs: [] }) as unknown as ItemWithAnswers;

describe("answers", () => {
  it("are read in the words of their question", () => {
    const [rating, , politeness, problems] = questions as [Question, Question, Question, Question];
    expect([answerText(rating, 4), answerText(politeness, "too_low"), answerText(problems, ["unnatural", "wrong_honorific"]), answerText(problems, []), answerText(politeness, "gone")]).toEqual([
      "4 Good", "Too low", "Unnatural wording, Wrong honorific (敬語)", "–", "gone",
    ]);
  });

  it("begin a decision where more than half agree, and leave open what they do not", () => {
    const said = item(by("a", { rating: 4, problems: ["x", "y"] }), by("b", { rating: 4, problems: ["y", "x"] }), by("c", { rating: 2 }), by("d", { rating: 1 }, "skipped"));
    expect(begun(said, null, questions)).toEqual({ rating: 4, problems: ["x", "y"] });
    expect(begun(item(by("a", { rating: 4 }), by("b", { rating: 2 })), null, questions)).toEqual({});
    expect(begun(said, { rating: 1 }, questions)).toEqual({ rating: 1 });
  });

  it("are marked where they are not what most say", () => {
    const said = [by("a", { rating: 4 }), by("b", { rating: 4 }), by("c", { rating: 2 })];
    expect(said.map((one) => mostCommon("rating", said, one.answers.rating))).toEqual([true, true, false]);
    expect(said.slice(1).map((one) => mostCommon("rating", said.slice(1), one.answers.rating))).toEqual([false, false]);
  });

  it("are sent only where there are some", () => {
    expect(answersToSend(questions, { rating: 3, problems: [], note: "", correction: "x", unknown: "y" })).toEqual({ rating: 3, correction: "x" });
    expect(open(questions, { rating: 3, meaning_kept: "yes" }).map(({ name }) => name)).toEqual(["politeness"]);
    expect(open([{ name: "c", title: "", required: true, kind: "correction" }], { c: " \n" })).toHaveLength(1);
  });

  it("are right where the right ones say something", () => {
    expect([isRight({ rating: 4 }, { rating: 4, note: "x" }), isRight({ rating: 4 }, { rating: 3 }), isRight({ rating: 4 }, {}), isRight({ problems: ["a", "b"] }, { problems: ["b", "a"] })]).toEqual([true, false, false, true]);
  });
});

describe("keys of a review", () => {
  it("are digits, then letters; e for the correction and n for the first note", () => {
    expect(keysOf(questions)).toEqual([["1", "2", "3", "4", "5"], ["6", "7"], ["8", "9", "0"], ["a", "b", "c", "i"], ["e"], ["n"]]);
    expect(keysOf(presetQuestions("pair"))).toEqual([["1", "2", "3", "4"], ["n"]]);
  });

  it("of a choice are the first digits wherever it stands, and those of a rating beside it letters", () => {
    const rating = questions[0]!;
    const label = questions[1]!;
    expect(keysOf([rating, label, presetQuestions("pair")[0]!])).toEqual([["a", "b", "c", "i", "l"], ["5", "6"], ["1", "2", "3", "4"]]);
  });
});

import type { Question } from "$lib/api";
import { ACTIONS, ANSWER_KEYS } from "$lib/actions";
import { describe, expect, it } from "vitest";
import { keyOf, slotsOf } from "./keys";

const options = (n: number): { value: string; title: string }[] => Array.from({ length: n }, (_, i) => ({ value: `v${i}`, title: `V${i}` }));
const rating: Question = { name: "rating", title: "", required: true, kind: "rating", labels: [] };
const choice: Question = { name: "choice", title: "", required: true, kind: "choice" };
const label = (name: string, n: number): Question => ({ name, title: "", required: true, kind: "label", options: options(n) });
const labels = (name: string, n: number): Question => ({ name, title: "", required: false, kind: "labels", options: options(n) });
const keys = (questions: Question[], name: string): string => slotsOf(questions).filter(({ question }) => question === name).map(({ key }) => key).join("");

describe("answer keys", () => {
  it("rate with their own number, then go to options, then to letters", () => {
    const questions = [label("kept", 2), rating, label("level", 3), labels("problems", 4)];
    expect([keys(questions, "rating"), keys(questions, "kept"), keys(questions, "level"), keys(questions, "problems")]).toEqual(["12345", "67", "890", "abci"]);
  });

  it("choose with 1 to 4", () => {
    const questions = [labels("why", 3), choice];
    expect([keys(questions, "choice"), keys(questions, "why")]).toEqual(["1234", "567"]);
    expect(keyOf(slotsOf(questions), "choice", "both_bad")).toBe("4");
  });

  it("never give a digit to another number of a rating", () => {
    const questions = [choice, rating, label("kept", 2)];
    expect([keys(questions, "choice"), keys(questions, "rating"), keys(questions, "kept")]).toEqual(["1234", "abcil", "56"]);
  });

  it("end without a clash when there are more options than keys", () => {
    const slots = slotsOf([rating, labels("many", 50), labels("more", 50)]);
    expect(slots).toHaveLength(ANSWER_KEYS.length);
    expect(new Set(slots.map(({ key }) => key)).size).toBe(slots.length);
  });

  it("leave the letters of the screen's other actions and of lists alone", () => {
    const others = ACTIONS.filter(({ id, scope }) => (scope === "review" || scope === "list" || scope === "everywhere") && !id.startsWith("review.answer_")).map((action) => action.keys?.split(" ")[0]);
    expect(ANSWER_KEYS.filter((key) => others.includes(key))).toEqual([]);
  });
});

import { expect, test } from "vitest";
import { languageOf, pieces, sampleSteps, spread, stories } from "./samples";

const sample = (step: number, index: number, output: string) => ({ step, index, prompt: `p${index}`, reference: "good", output });

test("samples become one story per row, in order of steps", () => {
  const all = stories([sample(20, 1, "b"), sample(0, 0, "x"), sample(10, 1, "b"), sample(0, 1, "a"), sample(30, 1, "good ")]);
  expect(all.map(({ index }) => index)).toEqual([0, 1]);
  expect(all[1]?.outputs).toEqual([
    { step: 0, text: "a", isChanged: false, isReference: false },
    { step: 10, text: "b", isChanged: true, isReference: false },
    { step: 20, text: "b", isChanged: false, isReference: false },
    { step: 30, text: "good ", isChanged: true, isReference: true },
  ]);
  expect(sampleSteps(all)).toEqual([0, 10, 20, 30]);
});

test("no samples, no stories", () => {
  expect(stories([])).toEqual([]);
});

test("many steps are shown by a few that keep both ends", () => {
  expect(spread([0, 1, 2, 3, 4, 5, 6, 7, 8], 3)).toEqual([0, 4, 8]);
  expect(spread([0, 1], 5)).toEqual([0, 1]);
  expect(spread([], 5)).toEqual([]);
});

test("Japanese is told from other texts", () => {
  expect(languageOf("了解です")).toBe("ja");
  expect(languageOf("Could you send it?")).toBeUndefined();
});

test("marks of the chat template stand apart from the words", () => {
  expect(pieces("<|user|>Rewrite: a < b\n<|assistant|>")).toEqual([
    { text: "<|user|>", isMark: true },
    { text: "Rewrite: a < b\n", isMark: false },
    { text: "<|assistant|>", isMark: true },
  ]);
  expect(pieces("plain <b>text</b>")).toEqual([{ text: "plain <b>text</b>", isMark: false }]);
  expect(pieces("")).toEqual([]);
});

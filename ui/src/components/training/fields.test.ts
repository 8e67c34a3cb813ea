import { expect, test } from "vitest";
import { controlOf, grouped, rangeText } from "./fields";

test("what a field accepts decides its control", () => {
  expect(controlOf("a whole number from 1 to 1024")).toEqual({ kind: "whole", min: 1, max: 1024, isOpen: false });
  expect(controlOf("a whole number from 0")).toEqual({ kind: "whole", min: 0, max: undefined, isOpen: false });
  expect(controlOf("a number from 0 up to, but not, 1")).toEqual({ kind: "number", min: 0, max: 1, isOpen: true });
  expect(controlOf("a number from 0.000000000001 to 10")).toEqual({ kind: "number", min: 1e-12, max: 10, isOpen: false });
  expect(controlOf("true or false")).toEqual({ kind: "switch" });
  expect(controlOf("one of linear, cosine")).toEqual({ kind: "words", words: ["linear", "cosine"] });
  expect(controlOf("names separated by commas, a regular expression, or all-linear")).toEqual({ kind: "text" });
});

test("ranges are written short", () => {
  expect(rangeText(controlOf("a whole number from -1 to 1000000000"))).toBe("−1 to 1e9");
  expect(rangeText(controlOf("a number from 0 up to, but not, 1"))).toBe("0 to below 1");
  expect(rangeText(controlOf("a whole number from 2 to 1048576"))).toBe("2 to 1,048,576");
  expect(rangeText(controlOf("a whole number from 0"))).toBe("from 0");
  expect(rangeText(controlOf("true or false"))).toBe("");
});

test("every advanced field stands in exactly one group", () => {
  const keys = ["lora_r", "lora_alpha", "max_length", "seed", "brand_new", "learning_rate", "eval_steps"];
  const all = grouped(keys.map((key) => ({ key, default: 0, accepts: "", help: "", basic: false })));
  expect(all.flatMap((group) => group.fields.map(({ key }) => key)).sort()).toEqual(["brand_new", "eval_steps", "lora_alpha", "max_length", "seed"]);
  expect(all.at(-1)?.fields.map(({ key }) => key)).toEqual(["seed", "brand_new"]);
});

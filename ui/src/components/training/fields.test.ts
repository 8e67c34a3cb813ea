import { expect, test } from "vitest";
import { controlOf, grouped, rangeText, readText } from "./fields";

test("what a field accepts decides its control", () => {
  expect(controlOf("a whole number from 1 to 1024")).toEqual({ kind: "whole", min: 1, max: 1024, isOpen: false });
  expect(controlOf("a whole number from 0")).toEqual({ kind: "whole", min: 0, max: undefined, isOpen: false });
  expect(controlOf("a number from 0 up to, but not, 1")).toEqual({ kind: "number", min: 0, max: 1, isOpen: true });
  expect(controlOf("a number from 0.000000000001 to 10")).toEqual({ kind: "number", min: 1e-12, max: 10, isOpen: false });
  expect(controlOf("true or false")).toEqual({ kind: "switch" });
  expect(controlOf("one of linear, cosine")).toEqual({ kind: "words", words: ["linear", "cosine"] });
  expect(controlOf("names separated by commas, a regular expression, or all-linear")).toEqual({ kind: "modules" });
  expect(controlOf("names separated by commas, or nothing")).toEqual({ kind: "list", example: "" });
  expect(controlOf("layer numbers separated by commas, such as 0,2,4-6, or nothing")).toEqual({ kind: "list", example: "0,2,4-6" });
  expect(controlOf("name=rank pairs separated by commas, each rank from 1 to 1024, or nothing")).toEqual({ kind: "pairs" });
  expect(controlOf("true, gaussian, pissa_niter_N (N up to 64) or loftq")).toEqual({ kind: "text", words: ["true", "gaussian", "pissa_niter_N", "loftq"] });
  expect(controlOf("whatever a later version says, or so it seems")).toEqual({ kind: "text", words: [] });
});

test("a typed text becomes the field's value, or none", () => {
  const pairs = controlOf("name=rank pairs separated by commas, or nothing");
  expect(readText(pairs, " q_proj=4, 0.mlp.up_proj = 2")).toEqual({ q_proj: 4, "0.mlp.up_proj": 2 });
  expect(readText(pairs, "")).toEqual({});
  for (const text of ["q_proj", "q_proj=", "=4", "q_proj=four"]) expect(readText(pairs, text), text).toBeUndefined();
  const list = controlOf("layer numbers separated by commas, such as 0,2, or nothing");
  expect([readText(list, "0, 2-4"), readText(list, " ")]).toEqual([["0", "2-4"], []]);
  expect(readText(controlOf("true or nothing at all"), " pissa ")).toBe("pissa");
  expect(readText(controlOf("names separated by commas, a regular expression, or all-linear"), "")).toBeUndefined();
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

test("a field of a later version stands where its name says, else with the one before it", () => {
  const keys = ["rank_pattern", "init_lora_weights", "neftune_noise_alpha", "packing_strategy", "optim", "adam_foo", "bnb_4bit_compute_dtype", "eval_on_start", "odd_one", "lr_min", "modules_to_save"];
  const all = grouped(keys.map((key) => ({ key, default: 0, accepts: "", help: "", basic: false })));
  expect(Object.fromEntries(all.map(({ id, fields }) => [id, fields.map(({ key }) => key)]))).toEqual({
    adapter: ["rank_pattern", "init_lora_weights", "modules_to_save"],
    batch: ["packing_strategy", "neftune_noise_alpha"],
    schedule: ["lr_min"],
    optimizer: ["optim", "adam_foo"],
    watch: ["eval_on_start", "odd_one"],
    base: ["bnb_4bit_compute_dtype"],
  });
});

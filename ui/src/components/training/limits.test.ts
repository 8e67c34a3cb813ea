import { expect, test } from "vitest";
import type { FieldLimit } from "$lib/api";
import { isOff, isRefused, limitsByKey, reasonOf, refusedChoices } from "./limits";

const limit = (key: string, what: FieldLimit["limit"], code: string, about = "", message = ""): FieldLimit => ({ key, limit: what, code, about, message });

test("a refused choice is refused however its value is written, and a field that is off refuses none", () => {
  const dtype = limit("dtype", { type: "choices", choices: ["bfloat16"] }, "device", "An old processor");
  expect([isRefused(dtype, "bfloat16"), isRefused(dtype, "auto")]).toEqual([true, false]);
  const four = limit("load_in_4bit", { type: "choices", choices: ["true"] }, "together");
  expect([isRefused(four, true), isRefused(four, false)]).toEqual([true, false]);
  const off = limit("lora_r", { type: "off" }, "from_adapter");
  expect([isOff(off), isRefused(off, 16), isOff(undefined)]).toEqual([true, false, false]);
  expect(refusedChoices(off)).toEqual([]);
});

test("reasons are told in the interface's words, and unknown ones in the server's", () => {
  expect(reasonOf(limit("max_length", { type: "most", most: 2048 }, "context", "2048"))).toBe("The base was made for up to 2,048 tokens.");
  expect(reasonOf(limit("dtype", { type: "choices", choices: ["bfloat16"] }, "device", "An old processor"))).toContain("An old processor");
  const loftq = limit("init_lora_weights", { type: "choices", choices: ["loftq"] }, "lacks", "load_in_4bit or load_in_8bit");
  expect(reasonOf(loftq)).toBe("loftq needs load_in_4bit or load_in_8bit.");
  expect(reasonOf(limit("x", { type: "off" }, "of_a_later_version", "", "Because."))).toBe("Because.");
});

test("limits are found by their field", () => {
  const off = limit("lora_r", { type: "off" }, "from_adapter");
  expect(limitsByKey({ device: "cpu", modules: [], fields: [off] }).get("lora_r")).toBe(off);
  expect(limitsByKey(null).size).toBe(0);
});

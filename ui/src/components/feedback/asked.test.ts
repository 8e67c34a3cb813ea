import { describe, expect, it } from "vitest";
import { askedAround, sourceOf } from "./asked";

describe("what a prompt asks", () => {
  it("is the whole prompt where nothing names a part of it", () => {
    const whole = { input_text: "<|user|>Rewrite: yo<|assistant|>", source_text: null };
    expect([sourceOf(whole), askedAround(whole)]).toEqual([whole.input_text, { before: "", after: "" }]);
  });

  it("stands around what is to be rewritten, without the template's tags", () => {
    const prompt = { input_text: "<|user|>Rewrite politely:\nyo, the report\nKeep it short.<|assistant|>", source_text: "yo, the report" };
    expect([sourceOf(prompt), askedAround(prompt)]).toEqual(["yo, the report", { before: "Rewrite politely:", after: "Keep it short." }]);
    expect(askedAround({ input_text: "<|user|>yo<|assistant|>", source_text: "yo" })).toEqual({ before: "", after: "" });
  });
});

import { describe, expect, it } from "vitest";
import type { Row } from "$lib/api";
import { frameOf, framesOf, sent, trialOf } from "./frames";

const row = (example: Row["example"], more: Row["more"] = {}): Row => ({ line: 1, example, more });
const sample = (ask: string, source: string): Row =>
  row({ prompt: `<|user|>${ask}:\n${source}<|assistant|>`, completion: "x" }, { id: "a-1", language: "en", source });

describe("frameOf", () => {
  it("finds the user's own text by the column that holds it", () => {
    expect(frameOf("<|user|>Rewrite politely:\nhey<|assistant|>", { act: "Rewrite politely", source: "hey" })).toEqual({
      text: "hey",
      frame: { before: "<|user|>Rewrite politely:\n", after: "<|assistant|>" },
    });
    expect(frameOf("<|user|>Rewrite politely:\nhey there<|assistant|>", { language: "en", said: "hey there" })?.text).toBe("hey there");
  });

  it("does not guess where a text stands twice or nowhere", () => {
    expect(frameOf("a a", { source: "a" })).toBeNull();
    expect(frameOf("b", { source: "a" })).toBeNull();
    expect(frameOf("a", { source: "a" })).toBeNull();
  });
});

describe("trialOf", () => {
  it("puts what is sent together again exactly", () => {
    const trial = trialOf(sample("Rewrite politely", "cant make it"));
    expect(trial.text).toBe("cant make it");
    expect(sent(trial.text, trial.framing)).toEqual({ prompt: "<|user|>Rewrite politely:\ncant make it<|assistant|>" });
  });

  it("keeps earlier turns of a conversation and takes the last answer as reference", () => {
    const messages = ["system", "user", "assistant", "user", "assistant"].map((role, i) => ({ role, content: `${role} ${i}` }));
    const trial = trialOf(row({ messages }));
    expect(trial).toMatchObject({ text: "user 3", reference: "assistant 4" });
    expect(sent("new", trial.framing)).toEqual({ messages: [...messages.slice(0, 3), { role: "user", content: "new" }] });
  });

  it("takes the chosen answer of a preference", () => {
    expect(trialOf(row({ prompt: "p", chosen: "c", rejected: "r" }))).toMatchObject({ text: "p", reference: "c" });
  });

  it("goes on with a plain text from its first half", () => {
    const trial = trialOf(row({ text: "One sentence. And another one." }));
    expect(trial.text + (trial.reference ?? "")).toBe("One sentence. And another one.");
  });
});

describe("framesOf", () => {
  it("lists shared frames, the commonest first, and no row's own text", () => {
    const rows = [sample("B", "one text"), sample("A", "two texts"), sample("A", "three"), sample("B", "four"), sample("A", "five"), sample("C", "six")];
    expect(framesOf(rows).map((frame) => frame.before)).toEqual(["<|user|>A:\n", "<|user|>B:\n"]);
  });
});

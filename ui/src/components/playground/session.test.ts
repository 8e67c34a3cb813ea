import { describe, expect, it } from "vitest";
import { asked, failed, running, sameText, sends, stopped, take } from "./session";

const error = { code: "not_found" as const, message: "The model could not be loaded.", hint: "Check its folder." };
const started = { type: "started" as const, side: 0, name: "base", prompt_tokens: 12, framing: "plain" as const };
const done = { type: "done" as const, side: 0, prompt_tokens: 12, tokens: 2, tokens_per_s: 20, finish: "eos" as const, first_token_ms: 40, time_ms: 100 };

describe("take", () => {
  it("gathers each side's words by themselves", () => {
    let views = asked(2);
    views = take(views, started);
    views = take(views, { type: "text", side: 0, text: "a" });
    views = take(views, { type: "text", side: 1, text: "x" });
    views = take(views, { type: "text", side: 0, text: "b" });
    expect(views.map((view) => [view.name, view.text, view.state])).toEqual([
      ["base", "ab", "streaming"],
      ["", "x", "streaming"],
    ]);
    views = take(views, done);
    expect(views[0]).toMatchObject({ state: "done", tokens: 2, tokensPerS: 20, timeMs: 100 });
    expect(running(views)).toBe(true);
  });

  it("lets one side fail while the other goes on", () => {
    let views = take(asked(2), { type: "failed", side: 0, error });
    views = take(views, { type: "text", side: 1, text: "x" });
    expect(views.map((view) => view.state)).toEqual(["failed", "streaming"]);
    expect(views[0]?.error).toEqual({ message: error.message, hint: error.hint });
  });

  it("takes nothing after the end, nor for a side that is not there", () => {
    const ended = take(asked(1), { ...done, finish: "length" });
    expect(take(ended, { type: "text", side: 0, text: "late" })).toEqual(ended);
    expect(take(ended, { type: "text", side: 5, text: "lost" })).toEqual(ended);
  });
});

describe("stopped and failed", () => {
  it("keep the words that came", () => {
    const views = take(asked(2), { type: "text", side: 0, text: "half an ans" });
    expect(stopped(views).map((view) => [view.state, view.text])).toEqual([
      ["stopped", "half an ans"],
      ["stopped", ""],
    ]);
    expect(failed(views, error)[0]).toMatchObject({ state: "failed", text: "half an ans" });
  });
});

describe("sends", () => {
  const key = (over: Partial<KeyboardEvent>): Parameters<typeof sends>[0] => ({
    key: "Enter", isComposing: false, keyCode: 13, metaKey: false, ctrlKey: true, ...over,
  });

  it("sends on Ctrl or Command with Enter", () => {
    expect(sends(key({}))).toBe(true);
    expect(sends(key({ ctrlKey: false, metaKey: true }))).toBe(true);
  });

  it("never sends while an input method composes, nor on Enter alone", () => {
    expect(sends(key({ isComposing: true }))).toBe(false);
    expect(sends(key({ keyCode: 229 }))).toBe(false);
    expect(sends(key({ ctrlKey: false }))).toBe(false);
    expect(sends(key({ key: "a" }))).toBe(false);
  });
});

describe("sameText", () => {
  it("looks past width and spaces only", () => {
    expect(sameText("ＡＢＣ  x ", "ABC x")).toBe(true);
    expect(sameText("承知しました。", "承知いたしました。")).toBe(false);
  });
});

import { describe, expect, it } from "vitest";
import { asked, failed, running, sameText, sends, stopped, take } from "./session";

const error = { message: "The model could not be loaded.", hint: "Check its folder." };

describe("take", () => {
  it("gathers each side's words by themselves", () => {
    let views = asked(2);
    views = take(views, { type: "started", side: 0, name: "base" });
    views = take(views, { type: "text", side: 0, text: "a" });
    views = take(views, { type: "text", side: 1, text: "x" });
    views = take(views, { type: "text", side: 0, text: "b" });
    expect(views.map((view) => [view.name, view.text, view.state])).toEqual([
      ["base", "ab", "streaming"],
      ["", "x", "streaming"],
    ]);
    views = take(views, { type: "done", side: 0, tokens: 2, tokens_per_s: 20, finish: "eos", time_ms: 100 });
    expect(views[0]).toMatchObject({ state: "done", tokens: 2, tokensPerS: 20, timeMs: 100 });
    expect(running(views)).toBe(true);
  });

  it("lets one side fail while the other goes on", () => {
    let views = take(asked(2), { type: "failed", side: 0, error });
    views = take(views, { type: "text", side: 1, text: "x" });
    expect(views.map((view) => view.state)).toEqual(["failed", "streaming"]);
    expect(views[0]?.error).toEqual(error);
  });

  it("takes nothing after the end, nor for a side that is not there", () => {
    const done = take(asked(1), { type: "done", side: 0, tokens: 1, tokens_per_s: 1, finish: "length", time_ms: 1 });
    expect(take(done, { type: "text", side: 0, text: "late" })).toEqual(done);
    expect(take(done, { type: "text", side: 5, text: "lost" })).toEqual(done);
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

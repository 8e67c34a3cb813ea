import { describe, expect, it } from "vitest";
import { changedWords, sideOf, wordDiff, words } from "./words";

const text = (runs: { text: string }[]): string => runs.map((run) => run.text).join("");

describe("words", () => {
  it("cuts Japanese into words, not letters, and loses nothing", () => {
    const said = "明日の会議に出席いたします。";
    expect(words(said).join("")).toBe(said);
    expect(words(said)).toContain("会議");
    expect(words(said).length).toBeLessThan([...said].length);
  });

  it("keeps English words and the spaces between them", () => {
    expect(words("I am here.")).toEqual(["I", " ", "am", " ", "here", "."]);
  });

  it("never splits a character in two", () => {
    expect(words("🙇‍♀️ok").join("")).toBe("🙇‍♀️ok");
  });
});

describe("wordDiff", () => {
  it("gives both texts again from their sides", () => {
    const [a, b] = ["cant make it at 3 pm", "I am afraid I will not be able to attend at 3 p.m."];
    const runs = wordDiff(a, b);
    expect(text(sideOf(runs, "before"))).toBe(a);
    expect(text(sideOf(runs, "after"))).toBe(b);
  });

  it("finds the word that changed in Japanese", () => {
    const runs = wordDiff("資料を金曜日までに送ります。", "資料を木曜日までに送ります。");
    expect(runs.filter((run) => run.kind === "removed").map((run) => run.text)).toEqual(["金曜日"]);
    expect(runs.filter((run) => run.kind === "added").map((run) => run.text)).toEqual(["木曜日"]);
  });

  it("reads two changed words in a row as one change", () => {
    expect(wordDiff("a b z", "c d z")).toEqual([
      { kind: "removed", text: "a b" },
      { kind: "added", text: "c d" },
      { kind: "same", text: " z" },
    ]);
  });

  it("says nothing about equal and empty texts", () => {
    expect(wordDiff("", "")).toEqual([]);
    expect(wordDiff("same", "same")).toEqual([{ kind: "same", text: "same" }]);
    expect(wordDiff("", "new")).toEqual([{ kind: "added", text: "new" }]);
  });

  it("shows texts that share nothing as one that goes and one that comes", () => {
    const [a, b] = ["a", "b"].map((letter) => Array.from({ length: 900 }, (_, i) => `${letter}${i}`).join("\u2028"));
    expect(wordDiff(a ?? "", b ?? "")).toEqual([
      { kind: "removed", text: a },
      { kind: "added", text: b },
    ]);
  });

  it("compares long texts by lines", () => {
    const lines = Array.from({ length: 3000 }, (_, i) => `line ${i}\n`);
    const changed = lines.with(1500, "another line\n");
    expect(wordDiff(lines.join(""), changed.join("")).filter((run) => run.kind !== "same")).toEqual([
      { kind: "removed", text: "line 1500\n" },
      { kind: "added", text: "another line\n" },
    ]);
  });
});

describe("changedWords", () => {
  it("counts words, not spaces", () => {
    expect(changedWords(wordDiff("one two three", "one 2 three"))).toEqual({ changed: 1, of: 3 });
  });
});

import { describe, expect, it } from "vitest";
import { langOf, lineOf, plainly, seen } from "./usertext";

describe("a text of somebody else's", () => {
  it("stays as it is where nothing is hidden", () => {
    for (const text of ["", "plain", "ご確認ください。\nよろしく\tどうぞ", "👩‍💻 a\u200db"]) expect(seen(text)).toEqual([{ text }]);
  });

  it("shows controls and marks of direction", () => {
    expect(seen("a\u0000b\u202ec")).toEqual([{ text: "a" }, { text: "U+0000", code: "U+0000" }, { text: "b" }, { text: "U+202E", code: "U+202E" }, { text: "c" }]);
    expect(seen("\u001b[31m\u2066\u200b\ufeff\u{e0041}\u007f").filter(({ code }) => code).map(({ code }) => code)).toEqual(["U+001B", "U+2066", "U+200B", "U+FEFF", "U+E0041", "U+007F"]);
  });

  it("shows a lone half of a pair, and no whole one", () => {
    expect(seen("x\ud83d")).toEqual([{ text: "x" }, { text: "U+D83D", code: "U+D83D" }]);
    expect(seen("😀")).toEqual([{ text: "😀" }]);
  });

  it("ends lines in either way, and shows a lone carriage return", () => {
    expect(seen("a\r\nb")).toEqual([{ text: "a\nb" }]);
    expect(seen("a\rb")[1]).toEqual({ text: "U+000D", code: "U+000D" });
  });

  it("can be a title", () => {
    expect(plainly("a\u202eb")).toBe("a[U+202E]b");
  });

  it("fits on a line", () => {
    expect(lineOf("a\n\n b", 10)).toBe("a ↵ b");
    expect(lineOf("x".repeat(9_000_000), 5)).toBe("xxxxx");
  });

  it("is read out in Japanese where it is Japanese", () => {
    expect([langOf("確認"), langOf("confirm")]).toEqual(["ja", undefined]);
  });
});

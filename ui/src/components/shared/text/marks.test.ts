import { describe, expect, it } from "vitest";
import { cut, langOf, piecesUpTo, segmentsOf, startOf, visibleText } from "./marks";

describe("text from outside", () => {
  it("is left alone where it is plain, in any script", () => {
    for (const text of ["hello\tthere\nyou", "明日の会議", "👨‍👩‍👧 ok", "שלום", "a\r\nb"]) expect(visibleText(text)).toBe(text);
    expect(segmentsOf("")).toEqual([]);
  });

  it("shows characters that hide, move or turn", () => {
    expect(visibleText("a\u0000b\u001b[31mc\u202etxt.exe\u2066\ufeff")).toBe("a⟦NUL⟧b⟦ESC⟧[31mc⟦RLO⟧txt.exe⟦LRI⟧⟦BOM⟧");
    expect(visibleText("\r\nx\ry")).toBe("\r\nx⟦CR⟧y");
    expect(visibleText("\u{e0041}\ud800")).toBe("⟦U+E0041⟧⟦U+D800⟧");
    expect(visibleText("x\u007f\u200b\u206a😀")).toBe("x⟦DEL⟧⟦ZWSP⟧⟦U+206A⟧😀");
  });

  it("tells a chat template's tags from the text", () => {
    expect(segmentsOf("<|user|>a <| b |> <|im_end|>")).toEqual([{ kind: "tag", text: "<|user|>" }, { kind: "text", text: "a <| b |> " }, { kind: "tag", text: "<|im_end|>" }]);
    expect(visibleText("<|user|>\u0000")).toBe("<|user|>⟦NUL⟧");
  });

  it("gathers a run of the same character into one mark", () => {
    expect(segmentsOf(`a${"\u0000".repeat(70_000)}b`)).toEqual([
      { kind: "text", text: "a" },
      { kind: "mark", name: "NUL", code: "U+0000", times: 70_000 },
      { kind: "text", text: "b" },
    ]);
  });

  it("starts on one line and says that it was cut", () => {
    expect(startOf("a\n  b\tc")).toBe("a ↵ b c");
    expect(startOf("x".repeat(500), 10)).toBe(`${"x".repeat(10)}…`);
    expect(startOf("abc   ", 10)).toBe("abc");
    expect(startOf("<|system|><|user|>Rewrite:\nyo")).toBe("Rewrite: ↵ yo");
    expect(startOf("<|user|>")).toBe("<|user|>");
    expect(startOf("x".repeat(9_000_000), 5)).toBe("xxxxx…");
  });

  it("never cuts a character in half", () => {
    expect(cut("a😀b", 2)).toBe("a");
    expect(cut("a😀b", 3)).toBe("a😀");
  });

  it("shows pieces up to a budget of characters and lines", () => {
    const pieces = [{ change: "same", text: "abcd" }, { change: "removed", text: "ef\ngh" }, { change: "added", text: "ij" }] as const;
    expect(piecesUpTo(pieces, 6)).toEqual([pieces[0], { change: "removed", text: "ef" }]);
    expect(piecesUpTo(pieces, 100)).toEqual(pieces);
    expect(piecesUpTo(pieces, 100, 1)).toEqual([pieces[0], { change: "removed", text: "ef" }]);
    expect(piecesUpTo(pieces, 100, 2)).toEqual(pieces);
  });

  it("knows Japanese by its first letters", () => {
    expect([langOf("了解です"), langOf("ok")]).toEqual(["ja", undefined]);
  });
});

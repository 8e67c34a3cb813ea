import { describe, expect, it } from "vitest";
import type { TokenView } from "$lib/api";
import { countTokens, tokenChips, visible } from "./tokens";

const token = (text: string, loss = false, special = false): TokenView => ({ id: 1, text, loss, special });

describe("tokenChips", () => {
  it("marks white space and breaks the line after a newline", () => {
    const [space, line, tab] = tokenChips([token(" a"), token("\n"), token("\t")]);
    expect(space).toMatchObject({ label: "·a", kind: "text", breakAfter: false });
    expect(line).toMatchObject({ label: "↵", kind: "space", breakAfter: true });
    expect(tab).toMatchObject({ label: "⇥", kind: "space" });
  });

  it("believes the tokenizer about what is special, not the looks of a text", () => {
    expect(tokenChips([token("<|user|>", false, true), token("<|user|>"), token("\n", false, true)]).map((c) => c.kind)).toEqual(["special", "text", "special"]);
  });

  it("shows later tokens of one character as the rest of it", () => {
    expect(tokenChips([token("🙇"), token("")]).map((c) => c.kind)).toEqual(["text", "rest"]);
  });

  it("says where each token begins and which language it is in", () => {
    expect(tokenChips([token("恐れ", true), token("入ります"), token("ok")]).map((c) => [c.at, c.lang, c.loss])).toEqual([
      [0, "ja", true],
      [2, "ja", false],
      [6, undefined, false],
    ]);
  });
});

describe("visible", () => {
  it("gives every control character and wide space a mark", () => {
    expect(visible("a\u3000b\u00a0c\u0000\u001f")).toBe("a□b⍽c␀␟");
  });
});

describe("countTokens", () => {
  it("counts characters as people do and says when the limit is reached", () => {
    const counts = countTokens([token("<|user|>", false, true), token("🙇", true), token(" a", true)], 3);
    expect(counts).toEqual({ tokens: 3, loss: 2, special: 1, characters: 3, atLimit: true });
    expect(countTokens([token("a")], null).atLimit).toBe(false);
  });
});

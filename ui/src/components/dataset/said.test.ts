import { describe, expect, it } from "vitest";
import { langOf, rowCells, rowHas, turnsOf } from "./said";

describe("turnsOf", () => {
  it("reads the four shapes", () => {
    expect(turnsOf({ text: "a" })).toEqual([{ role: "text", text: "a", answer: true }]);
    expect(turnsOf({ prompt: "p", completion: "c" }).map((t) => t.role)).toEqual(["prompt", "completion"]);
    expect(turnsOf({ prompt: "p", chosen: "c", rejected: "r" }).map((t) => t.role)).toEqual(["prompt", "chosen", "rejected"]);
    const messages = [
      { role: "system", content: "s" },
      { role: "user", content: "u" },
      { role: "assistant", content: "a" },
    ];
    expect(turnsOf({ messages }).map((t) => [t.role, t.answer])).toEqual([
      ["system", false],
      ["user", false],
      ["assistant", true],
    ]);
  });

  it("names answers in conversations by what they are", () => {
    const turns = turnsOf({
      prompt: [{ role: "user", content: "u" }],
      chosen: [{ role: "assistant", content: "c" }],
      rejected: [{ role: "assistant", content: "r" }],
    });
    expect(turns.map((t) => t.role)).toEqual(["user", "chosen", "rejected"]);
  });
});

describe("rowCells", () => {
  it("puts a row on one line", () => {
    expect(rowCells({ prompt: "a\n b", completion: "c" })).toEqual({ asked: "a ↵ b", answered: "c" });
  });
});

describe("rowHas", () => {
  it("finds text without case, in either width, and in other columns", () => {
    const example = { prompt: "ＡＢＣ カナ", completion: "x" };
    expect(rowHas(example, {}, "abc")).toBe(true);
    expect(rowHas(example, { direction: "casual_to_polite" }, "polite")).toBe(true);
    expect(rowHas(example, {}, "none")).toBe(false);
  });
});

describe("langOf", () => {
  it("knows Japanese by its letters", () => {
    expect([langOf("了解"), langOf("ok"), langOf("カナ")]).toEqual(["ja", undefined, "ja"]);
  });
});

import type { Piece } from "$lib/api";
import { describe, expect, it } from "vitest";
import { changedRanges, editsOf, inField, shifted, withLineEndsOf } from "./edits";

const pieces = (...all: [Piece["change"], string][]): Piece[] => all.map(([change, text]) => ({ change, text }));
const one = pieces(["same", "ab "], ["removed", "old"], ["added", "newer"], ["same", " c"], ["added", "!"]);

describe("edits", () => {
  it("count places, and of each the longer side", () => {
    expect(editsOf(one)).toEqual({ edits: 2, characters: 6 });
    expect(editsOf(pieces(["same", "x"]))).toEqual({ edits: 0, characters: 0 });
    expect(editsOf(pieces(["removed", "😀"]))).toEqual({ edits: 1, characters: 1 });
  });

  it("lie where the new text differs; something gone is a place without width", () => {
    expect(changedRanges(one)).toEqual([{ start: 3, end: 8 }, { start: 10, end: 11 }]);
    expect(changedRanges(pieces(["same", "a"], ["removed", "b"], ["same", "c"]))).toEqual([{ start: 1, end: 1 }]);
  });
});

describe("ranges while typing", () => {
  it("move along behind what is typed, and it counts as changed", () => {
    expect(shifted([{ start: 6, end: 8 }], "hello you", "heXXllo you")).toEqual([{ start: 2, end: 4 }, { start: 8, end: 10 }]);
    expect(shifted([{ start: 0, end: 2 }], "hello you", "hello yu")).toEqual([{ start: 0, end: 2 }, { start: 7, end: 7 }]);
  });

  it("grow by what is typed into them or beside them", () => {
    expect(shifted([{ start: 2, end: 4 }], "ab12cd", "ab1x2cd")).toEqual([{ start: 2, end: 5 }]);
    expect(shifted([{ start: 2, end: 4 }], "ab12cd", "ab12xcd")).toEqual([{ start: 2, end: 5 }]);
    expect(shifted([{ start: 1, end: 2 }, { start: 4, end: 5 }], "abcdef", "aXf")).toEqual([{ start: 1, end: 2 }]);
  });

  it("never leave the text, whatever is typed", () => {
    const before = "0123456789";
    for (const after of ["", "0", "9", "x0123456789", "0123456789x", "0123x6789", "zzzz"]) {
      for (const { start, end } of shifted([{ start: 2, end: 5 }, { start: 8, end: 10 }], before, after)) {
        expect(start).toBeGreaterThanOrEqual(0);
        expect(end).toBeGreaterThanOrEqual(start);
        expect(end).toBeLessThanOrEqual(after.length);
      }
    }
  });
});

describe("line ends", () => {
  it("come back from a text field as they were", () => {
    const text = "a\r\nb\r\n";
    expect(inField(text)).toBe("a\nb\n");
    expect(withLineEndsOf(text, inField(text))).toBe(text);
    expect(withLineEndsOf("a\nb", "a\nb\nc")).toBe("a\nb\nc");
  });

  it("stay as typed where they were mixed", () => {
    for (const text of ["a\r\nb\nc", "\na\r\n", "a\r\nb\rc"]) expect(withLineEndsOf(text, "x\ny")).toBe("x\ny");
  });
});

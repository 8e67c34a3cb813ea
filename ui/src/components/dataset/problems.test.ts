import { describe, expect, it } from "vitest";
import type { RowProblem } from "$lib/api";
import { problemsCsv, proposeRepair } from "./problems";

const bad = (excerpt: string): RowProblem => ({ line: 7, kind: "unreadable", reason: "4 fields where the header has 3", excerpt });
const csv = { format: "csv", columns: ["source", "target", "note"] } as const;
const jsonl = { format: "jsonl", columns: ["source", "target"] } as const;

describe("proposeRepair", () => {
  it("quotes a text with a comma that is followed by a space", () => {
    expect(proposeRepair(bad("了解です, 後で見ます,承知しました,x"), csv)).toEqual({
      text: '"了解です, 後で見ます",承知しました,x',
      how: "quoted_field",
    });
  });

  it("proposes nothing where two readings are possible", () => {
    expect(proposeRepair(bad("a,b,c,d"), csv)).toBeNull();
    expect(proposeRepair(bad("a, b, c, d"), csv)).toBeNull();
    expect(proposeRepair(bad("a,b"), csv)).toBeNull();
  });

  it("repairs JSON that a person broke in the usual ways", () => {
    expect(proposeRepair(bad('{"a": 1,}'), jsonl)?.text).toBe('{"a": 1}');
    expect(proposeRepair(bad("{'a': 'b'}"), jsonl)?.text).toBe('{"a": "b"}');
    expect(proposeRepair(bad("{“a”: “b”}"), jsonl)?.text).toBe('{"a": "b"}');
    expect(proposeRepair(bad('{"a": None}'), jsonl)?.text).toBe('{"a": null}');
    expect(proposeRepair(bad('{"a": "b'), jsonl)?.text).toBe('{"a": "b"}');
    expect(proposeRepair(bad("not json"), jsonl)).toBeNull();
  });

  it("does not guess at a row that was shown only in part", () => {
    expect(proposeRepair(bad('{"a": 1,…'), jsonl)).toBeNull();
    expect(proposeRepair(bad("\u{fffd}\u{fffd},b, c,d"), csv)).toBeNull();
  });

  it("has nothing to repair in an empty or repeated row", () => {
    expect(proposeRepair({ ...bad('{"a": 1,}'), kind: "duplicate" }, jsonl)).toBeNull();
  });
});

describe("problemsCsv", () => {
  it("quotes cells and disarms formulas", () => {
    const text = problemsCsv([{ line: 3, kind: "empty", reason: 'say "x"', excerpt: "=1+1" }], jsonl);
    expect(text).toBe('\u{feff}line,kind,reason,excerpt,proposed\r\n3,empty,"say ""x""",\'=1+1,\r\n');
  });
});

import { describe, expect, it } from "vitest";
import { problemOf, readNumber, stepped, writeNumber } from "./number";

describe("a typed number", () => {
  it("may be written in any usual way", () => {
    expect(["0.0002", "2e-4", "1,024", "２０", "−3", ".5", "1e3"].map(readNumber)).toEqual([0.0002, 0.0002, 1024, 20, -3, 0.5, 1000]);
  });

  it("is refused if it is none", () => {
    expect(["", "-", "abc", "1e", "1.2.3", "1e999", "0x10"].map(readNumber)).toEqual(Array(7).fill(undefined));
  });

  it("must keep its rule", () => {
    expect([problemOf(1.5, { whole: true }), problemOf(0, { min: 1 }), problemOf(9, { max: 8 }), problemOf(undefined, {}), problemOf(4, { min: 1, max: 8, whole: true })]).toEqual([
      "not_whole", "too_small", "too_large", "not_a_number", undefined,
    ]);
  });

  it("reads back as it was written", () => {
    for (const value of [0.0002, 5e-5, 1.6e-4, 16, 1024, 0, 0.05, -1, 3e8]) expect(readNumber(writeNumber(value))).toBe(value);
    expect([writeNumber(0.0002), writeNumber(0.05)]).toEqual(["2e-4", "0.05"]);
  });

  it("steps along its scale", () => {
    expect([stepped(2e-4, 1, "relative", {}), stepped(1e-4, -1, "relative", {}), stepped(16, 1, 8, {}), stepped(0.05, 1, 0.05, {}), stepped(1, -1, 1, { min: 1 })]).toEqual([3e-4, 9e-5, 24, 0.1, 1]);
  });
});

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { PAIRS, PARAMETERS } from "./sample";

const folder = new URL("../../../../../crates/tb-data/assets/sample/", import.meta.url);

describe("the sample card", () => {
  it("shows rows that are in the sample", () => {
    const lines = readFileSync(new URL("heldout.jsonl", folder), "utf8").trim().split("\n");
    const rows = lines.map((line) => JSON.parse(line) as { language: string; source: string; completion: string });
    for (const { language, casual, polite } of PAIRS) {
      expect(rows.find(({ source }) => source === casual)).toMatchObject({ language, completion: polite });
    }
  });

  it("counts the weights that the base model has", () => {
    const file = readFileSync(new URL("base/model.safetensors", folder));
    // A safetensors file begins with the length of its JSON head, 8 bytes, little-endian.
    const head = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString()) as Record<string, { shape?: number[] }>;
    const weights = Object.values(head).reduce((sum, { shape }) => sum + (shape?.reduce((size, edge) => size * edge, 1) ?? 0), 0);
    expect(PARAMETERS).toBe(weights);
  });
});

import { describe, expect, it } from "vitest";
import { en } from "./en";
import { ja } from "./ja";
import { placesOf, type Domains } from "./message";

const languages: Record<string, Domains> = { en, ja };

describe("every text exists in both languages", () => {
  it("has the same domains", () => {
    expect(Object.keys(ja).sort()).toEqual(Object.keys(en).sort());
  });

  for (const domain of Object.keys(en)) {
    it(`${domain}: the same keys with the same places`, () => {
      const [english = {}, japanese = {}] = [languages.en?.[domain], languages.ja?.[domain]];
      expect(Object.keys(japanese).sort()).toEqual(Object.keys(english).sort());
      for (const [key, text] of Object.entries(english)) {
        const other = japanese[key] ?? "";
        expect(placesOf(other), `${domain}.${key}`).toEqual(placesOf(text));
        expect(typeof other === "string" ? other : other.other, `${domain}.${key} is empty`).not.toBe("");
      }
    });
  }
});

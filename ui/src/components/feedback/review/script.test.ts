import { describe, expect, it } from "vitest";
import { badgeOf, languageOf } from "./script";

describe("the script of a text", () => {
  it("sets the language for fonts", () => {
    expect(["明日は休みです", "了解", "내일", "مرحبا", "שלום", "hello"].map(languageOf)).toEqual(["ja", "ja", "ko", "ar", "he", undefined]);
  });

  it("says EN only of plain Latin letters", () => {
    expect(["ok, 3 pm", "déjà vu", "123", "", "OK です"].map(badgeOf)).toEqual(["EN", "", "", "", "JA"]);
  });
});

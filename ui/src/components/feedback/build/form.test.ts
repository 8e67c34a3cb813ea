import { describe, expect, it } from "vitest";
import { buildOf, DEFAULT_RULES, faultsOf, FRESH, proposedName, restored, thresholdsOf } from "./form";

const now = new Date(2025, 10, 21, 12);

describe("the form for training data", () => {
  it("asks for everything when nothing is chosen, with a name of its own", () => {
    expect(buildOf(FRESH, now)).toEqual({
      name: "preference-2025-11", kind: "preference", model_ids: [], project_ids: [], transformation_types: [], rules: DEFAULT_RULES, validation_share: 0.05, test_share: 0.05, seed: 42, description: "",
    });
    expect(proposedName("kto", now)).toBe("kto-2025-11");
  });

  it("asks for what was chosen", () => {
    const form = { ...FRESH, name: " polite ", kind: "kto" as const, models: ["mdl_1"], projects: ["prj_1"], transformations: [""], since: "7d" as const, template: "Rewrite: {input}", description: " d " };
    expect(buildOf(form, new Date(Date.UTC(2025, 10, 21, 12)))).toMatchObject({
      name: "polite", kind: "kto", model_ids: ["mdl_1"], project_ids: ["prj_1"], transformation_types: [""], since_ms: Date.UTC(2025, 10, 15), template: "Rewrite: {input}", description: "d",
    });
  });

  it("names what is wrong as a whole", () => {
    expect(faultsOf(FRESH)).toEqual([]);
    expect(faultsOf({ ...FRESH, rules: { ...DEFAULT_RULES, corrections: false, choices: false, ratings: false, thumbs: false } })).toEqual(["nothing"]);
    expect(faultsOf({ ...FRESH, rules: { ...DEFAULT_RULES, bad_rating: 4 } })).toEqual(["order"]);
    expect(faultsOf({ ...FRESH, validation: 60, test: 40 })).toEqual(["shares"]);
    expect(faultsOf({ ...FRESH, template: "Rewrite it" })).toEqual(["template"]);
  });

  it("shows the thresholds that mean something", () => {
    expect(thresholdsOf(FRESH)).toEqual(["min_rating_gap", "min_reviewers", "min_agreement"]);
    expect(thresholdsOf({ ...FRESH, kind: "sft" })).toEqual(["good_rating", "min_reviewers", "min_agreement"]);
    expect(thresholdsOf({ ...FRESH, kind: "kto" })).toEqual(["good_rating", "bad_rating", "min_reviewers", "min_agreement"]);
    expect(thresholdsOf({ ...FRESH, rules: { ...DEFAULT_RULES, ratings: false, thumbs: false } })).toEqual(["min_reviewers", "min_agreement"]);
  });

  it("comes back as it was kept, and fresh where that cannot be read", () => {
    const form = { ...FRESH, name: "x", since: "30d" as const, rules: { ...DEFAULT_RULES, thumbs: false } };
    expect(restored(JSON.stringify(form))).toEqual(form);
    for (const bad of [null, "", "{", "null", "7", '{"name":5,"other":1}']) expect(restored(bad)).toEqual(FRESH);
  });
});

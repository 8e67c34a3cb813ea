import type { Dataset } from "$lib/api";
import { describe, expect, it } from "vitest";
import { createOf, EMPTY_DRAFT, formProblems, isPair, readDraft, sourceProblem, type Draft } from "./form";
import { presetQuestions } from "./presets";
import { added, draftsOf, moved, namesOf, questionsOf, slug, valueOf } from "./questions";

const draft = (change: Partial<Draft>): Draft => ({ ...EMPTY_DRAFT, name: " Polite ", questions: draftsOf(presetQuestions("rate")), ...change });
const preference = { shape: "preference" } as Dataset;

describe("the form", () => {
  it("sends what stands in it", () => {
    expect(createOf(draft({ source: "dataset", dataset_id: "ds_1", transformation_type: " polite ", overlap: 3 }), 0)).toEqual({
      name: "Polite", guidelines: "", source: { kind: "dataset", dataset_id: "ds_1", split: "test" }, questions: presetQuestions("rate"),
      overlap: 3, order: "random", seed: 42, transformation_type: "polite", max_items: 1000,
    });
  });

  it("names its source whole", () => {
    expect(createOf(draft({ source: "outputs", dataset_id: "d", model_id: "m" }), 0).source).toEqual({ kind: "outputs", dataset_id: "d", split: "test", model_id: "m" });
    expect(createOf(draft({ source: "pair", dataset_id: "d", model_id: "m", model_b_id: "n" }), 0).source).toEqual({ kind: "pair", dataset_id: "d", split: "test", model_a_id: "m", model_b_id: "n" });
    expect(createOf(draft({ source: "traffic", traffic_type: " ", days: "7" }), 10 * 86_400_000).source).toEqual({ kind: "traffic", model_id: null, transformation_type: null, since_ms: 3 * 86_400_000 });
    expect(createOf(draft({ source: "traffic", days: "0" }), 5).source).toMatchObject({ since_ms: 0 });
  });

  it("says what of the source is missing", () => {
    expect(sourceProblem(draft({}))).toBe("dataset");
    expect(sourceProblem(draft({ source: "traffic" }))).toBeUndefined();
    expect(sourceProblem(draft({ source: "outputs", dataset_id: "d" }))).toBe("model");
    expect(sourceProblem(draft({ source: "pair", dataset_id: "d", model_id: "m" }))).toBe("second_model");
    expect(sourceProblem(draft({ source: "pair", dataset_id: "d", model_id: "m", model_b_id: "m" }))).toBe("same_model");
  });

  it("has two answers for two models and for preference rows", () => {
    expect([isPair(draft({ source: "pair" }), undefined), isPair(draft({}), preference), isPair(draft({}), undefined), isPair(draft({ source: "outputs" }), preference)]).toEqual([true, true, false, false]);
    expect(formProblems(draft({ questions: draftsOf(presetQuestions("pair")) }), undefined)).toEqual([{ code: "no_second_answer", question: 0 }]);
  });

  it("keeps a draft, and forgets one that is not its own", () => {
    const kept = draft({ name: "敬語" });
    expect(readDraft(JSON.stringify(kept))).toEqual(kept);
    for (const odd of [undefined, "", "null", "{}", "[]", '{"name":1}']) expect(readDraft(odd)).toBeUndefined();
  });
});

describe("questions", () => {
  it("are named after their titles, each once", () => {
    expect([slug("Level of politeness"), slug("Déjà vu?"), slug("丁寧さ"), slug("__A--b__")]).toEqual(["level_of_politeness", "deja_vu", "", "a_b"]);
    const titled = ["Tone", "Tone", "丁寧さ", "丁寧さ"].reduce<ReturnType<typeof added>>((all, title) => added(all, "text", title, []), []);
    expect(namesOf(titled)).toEqual(["tone", "tone_2", "text", "text_2"]);
    expect(namesOf([{ ...titled[0]!, name: null }, { ...titled[1]!, name: "tone" }])).toEqual(["tone_2", "tone"]);
  });

  it("have options whose values follow their titles until they are given", () => {
    expect([valueOf({ title: "Too low", value: null }), valueOf({ title: "足りない", value: null }), valueOf({ title: "Too low", value: "low" })]).toEqual(["too_low", "足りない", "low"]);
  });

  it("send all five words of a rating, or none", () => {
    const [one] = draftsOf([{ name: "r", title: "R", required: true, kind: "rating", labels: [] }]);
    expect(questionsOf([one!])[0]).toMatchObject({ labels: [] });
    expect(questionsOf([{ ...one!, labels: ["bad", "", "", "", " "] }])[0]).toMatchObject({ labels: ["bad", "", "", "", ""] });
  });

  it("come back from what was sent", () => {
    for (const preset of ["rate", "pair", "tone", "correction"] as const) expect(questionsOf(draftsOf(presetQuestions(preset)))).toEqual(presetQuestions(preset));
  });

  it("move within the list", () => {
    expect([moved(["a", "b", "c"], 0, 1), moved(["a", "b", "c"], 0, -1), moved(["a", "b", "c"], 2, -9)]).toEqual([["b", "a", "c"], ["a", "b", "c"], ["c", "a", "b"]]);
  });
});

import type { Question, Task } from "$lib/api";
import { describe, expect, it } from "vitest";
import { answered, baseOf, chosen, openQuestions, outgoing, verdictOf } from "./answers";

const rating: Question = { name: "rating", title: "Rating", required: true, kind: "rating", labels: [] };
const choice: Question = { name: "better", title: "Better", required: true, kind: "choice" };
const kept: Question = { name: "kept", title: "Kept", required: false, kind: "label", options: [{ value: "yes", title: "Yes" }, { value: "no", title: "No" }] };
const problems: Question = { name: "problems", title: "Problems", required: true, kind: "labels", options: ["x", "y", "z"].map((value) => ({ value, title: value })) };
const correction: Question = { name: "fix", title: "Fix", required: true, kind: "correction" };
const note: Question = { name: "note", title: "Note", required: true, kind: "text" };
const task = (outputs: string[]): Task => ({ item_id: "i", input_text: "", source_text: null, outputs, diffs: [], transformation_type: "", draft: null, flagged: false, submitted: 0 });

describe("open questions", () => {
  const names = (...given: Parameters<typeof openQuestions>): string[] => openQuestions(...given).map(({ name }) => name);

  it("are the required ones without an answer that counts", () => {
    expect(names([rating, kept, problems, note], {}, "out")).toEqual(["rating", "problems", "note"]);
    expect(names([rating, kept, problems, note], { rating: 3, problems: [], note: " \n" }, "out")).toEqual(["problems", "note"]);
    expect(names([rating, problems, note], { rating: 3, problems: ["x"], note: "n" }, "out")).toEqual([]);
  });

  it("take the output itself for a correction, unless it is empty or was emptied", () => {
    expect(names([correction], {}, "out")).toEqual([]);
    expect(names([correction], {}, "")).toEqual(["fix"]);
    expect(names([correction], { fix: " " }, "out")).toEqual(["fix"]);
  });
});

describe("what is sent", () => {
  it("leaves out what is empty and what nobody asks", () => {
    const optional = { ...note, required: false };
    expect(outgoing([rating, kept, optional], { rating: 2, note: "  ", other: "x" }, "out")).toEqual({ rating: 2 });
  });

  it("has the output as a required correction that changes nothing, and no optional one", () => {
    expect(outgoing([correction], {}, "out")).toEqual({ fix: "out" });
    expect(outgoing([{ ...correction, required: false }], {}, "out")).toEqual({});
    expect(outgoing([correction], { fix: "better" }, "out")).toEqual({ fix: "better" });
  });
});

describe("a chosen option", () => {
  it("replaces a single one, and takes it back where the question may stay open", () => {
    expect(chosen(rating, 3, 4)).toBe(4);
    expect(chosen(rating, 3, 3)).toBe(3);
    expect(chosen(kept, "yes", "no")).toBe("no");
    expect(chosen(kept, "yes", "yes")).toBeUndefined();
  });

  it("is added to several in their order, and taken away again", () => {
    expect(chosen(problems, ["z"], "x")).toEqual(["x", "z"]);
    expect(chosen(problems, ["x", "z"], "x")).toEqual(["z"]);
    expect(chosen(problems, ["z"], "z")).toBeUndefined();
  });

  it("leaves the answers before it as they were", () => {
    const before = { rating: 1 };
    expect([answered(before, "rating", undefined), answered(before, "kept", "yes"), before]).toEqual([{}, { rating: 1, kept: "yes" }, { rating: 1 }]);
  });
});

describe("the text a correction begins with", () => {
  it("is the preferred output's, else the first, unless set by hand", () => {
    const two = task(["a", "b"]);
    expect([baseOf([choice], {}, two, undefined), baseOf([choice], { better: "b" }, two, undefined), baseOf([choice], { better: "both_bad" }, two, undefined)]).toEqual([0, 1, 0]);
    expect([baseOf([choice], { better: "b" }, two, 0), baseOf([choice], { better: "b" }, task(["a"]), 1)]).toEqual([0, 0]);
  });
});

describe("a verdict", () => {
  it("is the rating or the choice, whichever is asked first", () => {
    expect(verdictOf([kept, rating], { rating: 4, kept: "yes" })).toEqual({ kind: "rating", stars: 4 });
    expect(verdictOf([choice, rating], { better: "tie", rating: 4 })).toEqual({ kind: "choice", choice: "tie" });
    expect(verdictOf([note], { note: "x" })).toBeUndefined();
  });
});

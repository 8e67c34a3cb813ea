import { describe, expect, it } from "vitest";
import { fillFrame, parseFrame } from "./frame";

describe("parseFrame", () => {
  it("tells columns from text and doubled braces", () => {
    expect(parseFrame("a {b} {{c}}")).toEqual([
      { kind: "text", text: "a " },
      { kind: "column", name: "b" },
      { kind: "text", text: " {c}" },
    ]);
  });

  it("refuses a brace without its partner", () => {
    expect(parseFrame("a {b")).toBeNull();
    expect(parseFrame("a b}")).toBeNull();
  });
});

describe("fillFrame", () => {
  const frame = "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n";

  it("fills columns and leaves out a paragraph whose columns are empty", () => {
    expect(fillFrame(frame, { instruction: "敬語に", input: "ごめん" })).toBe(
      "### Instruction:\n敬語に\n\n### Input:\nごめん\n\n### Response:\n",
    );
    expect(fillFrame(frame, { instruction: "敬語に", input: " " })).toBe("### Instruction:\n敬語に\n\n### Response:\n");
  });

  it("gives nothing where the importer leaves the row out", () => {
    expect(fillFrame(frame, { instruction: "", input: null })).toBeNull();
    expect(fillFrame(frame, { input: "a" })).toBeNull();
  });

  it("writes what is no text as JSON", () => {
    expect(fillFrame("{n} {l}", { n: 3, l: ["a"] })).toBe('3 ["a"]');
  });
});

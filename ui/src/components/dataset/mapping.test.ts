import { describe, expect, it } from "vitest";
import type { ColumnMapping } from "$lib/api";
import { chosenColumns, guessColumn, guessMapping, mappingFaults, mappingFor, withColumn } from "./mapping";

describe("guessColumn", () => {
  it("takes an exact name before a part of a name", () => {
    expect(guessColumn("input", ["input_language", "Source"])).toBe("Source");
    expect(guessColumn("output", ["id", "polite_text"])).toBe("polite_text");
  });

  it("knows Japanese headers", () => {
    expect(guessColumn("input", ["番号", "修正前", "修正後"])).toBe("修正前");
    expect(guessColumn("output", ["番号", "修正前", "修正後"])).toBe("修正後");
  });

  it("takes the first free column where no name helps, and nothing where all are taken", () => {
    expect(guessColumn("prompt", ["a", "b"], ["a"])).toBe("b");
    expect(guessColumn("prompt", ["a"], ["a"])).toBeUndefined();
  });
});

describe("mappingFor", () => {
  const columns = ["id", "source", "target", "note"];

  it("guesses each shape from the column names", () => {
    expect(mappingFor("prompt_completion", columns)).toEqual({ shape: "prompt_completion", prompt: "source", completion: "target" });
    expect(mappingFor("input_output", columns)).toEqual({
      shape: "input_output",
      input: "source",
      output: "target",
      template: "### Input:\n{source}\n\n### Response:\n",
    });
    expect(mappingFor("preference", ["prompt", "chosen", "rejected"])).toEqual({
      shape: "preference",
      prompt: "prompt",
      chosen: "chosen",
      rejected: "rejected",
    });
    expect(mappingFor("unpaired", ["label", "prompt", "completion"])).toEqual({
      shape: "unpaired",
      prompt: "prompt",
      completion: "completion",
      label: "label",
    });
    expect(mappingFor("messages", ["id", "conversations"])).toEqual({ shape: "messages", messages: "conversations" });
  });

  it("puts an instruction column into the frame", () => {
    const mapping = mappingFor("input_output", ["instruction", "input", "output"]);
    expect(mapping).toMatchObject({ template: "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n" });
  });

  it("takes no prompt for a preference that has only two columns", () => {
    expect(mappingFor("preference", ["chosen", "rejected"])).toMatchObject({ prompt: null });
  });

  it("keeps what the old mapping said where it means the same", () => {
    const old: ColumnMapping = { shape: "prompt_completion", prompt: "note", completion: "id" };
    expect(chosenColumns(mappingFor("input_output", columns, old))).toEqual({ input: "note", output: "id" });
  });

  it("never names one column twice while another is free", () => {
    const named = Object.values(chosenColumns(mappingFor("preference", ["x", "y", "z"])));
    expect(new Set(named).size).toBe(3);
  });
});

describe("guessMapping", () => {
  it("knows the usual names of a text before and after", () => {
    expect(guessMapping(["id", "Source", "Target"])).toMatchObject({ shape: "input_output", input: "Source", output: "Target" });
    expect(guessMapping(["番号", "修正前", "修正後"])).toMatchObject({ input: "修正前", output: "修正後" });
  });

  it("guesses nothing from half a pair or from parts of names", () => {
    expect(guessMapping(["source", "note"])).toBeNull();
    expect(guessMapping(["source_id", "target_id"])).toBeNull();
    expect(guessMapping(["vorher", "nachher"])).toBeNull();
  });
});

describe("withColumn", () => {
  it("renames the input inside the frame", () => {
    const mapping = withColumn(mappingFor("input_output", ["a", "b"]), "input", "b");
    expect(mapping).toMatchObject({ input: "b", template: "### Input:\n{b}\n\n### Response:\n" });
  });

  it("lets a preference go without a prompt", () => {
    const mapping = mappingFor("preference", ["prompt", "chosen", "rejected"]);
    expect(withColumn(mapping, "prompt", null)).toMatchObject({ prompt: null });
  });
});

describe("mappingFaults", () => {
  it("finds nothing wrong with a good mapping", () => {
    expect(mappingFaults(mappingFor("input_output", ["source", "target"]), ["source", "target"])).toEqual([]);
  });

  it("names columns that are missing or named twice", () => {
    const mapping: ColumnMapping = { shape: "prompt_completion", prompt: "gone", completion: "a" };
    expect(mappingFaults(mapping, ["a"])).toEqual([{ field: "prompt", fault: "missing", column: "gone" }]);
    expect(mappingFaults({ shape: "prompt_completion", prompt: "a", completion: "a" }, ["a"])).toEqual([
      { field: "completion", fault: "same", column: "a" },
    ]);
  });

  it("looks into the frame", () => {
    const frame = (template: string): ColumnMapping => ({ shape: "input_output", input: "a", output: "b", template });
    const at = (template: string): unknown => mappingFaults(frame(template), ["a", "b"]).map((f) => f.fault);
    expect(at("{a}")).toEqual([]);
    expect(at("{a")).toEqual(["brace"]);
    expect(at("a}")).toEqual(["brace"]);
    expect(at("{{a}}")).toEqual(["no_column"]);
    expect(at("{a} {c}")).toEqual(["missing"]);
  });
});

// Which column of a file is what: the shapes, their fields, a good first guess for each, and what is wrong with a choice.
import type { ColumnMapping } from "$lib/api";
import { parseFrame } from "./frame";

export type Shape = ColumnMapping["shape"];
export type Field = "text" | "messages" | "prompt" | "completion" | "input" | "output" | "chosen" | "rejected" | "label";

/** The shapes in the order in which a person meets them. */
export const SHAPES: readonly Shape[] = ["prompt_completion", "input_output", "messages", "preference", "unpaired", "text"];

/** The columns that each shape names. */
export const FIELDS: Readonly<Record<Shape, readonly Field[]>> = {
  prompt_completion: ["prompt", "completion"],
  input_output: ["input", "output"],
  messages: ["messages"],
  preference: ["prompt", "chosen", "rejected"],
  unpaired: ["prompt", "completion", "label"],
  text: ["text"],
};

/** Names under which files carry each field, best first; compared without case, then as a part of the name. */
const NAMES: Readonly<Record<Field, readonly string[]>> = {
  text: ["text", "content", "document", "body", "本文", "文章", "テキスト"],
  messages: ["messages", "conversations", "conversation", "dialog", "chat", "会話", "対話"],
  prompt: ["prompt", "question", "query", "instruction", "input", "source", "プロンプト", "質問", "指示", "原文"],
  completion: ["completion", "response", "answer", "reply", "output", "target", "回答", "応答", "出力", "訳文"],
  input: ["input", "source", "src", "original", "before", "draft", "casual", "informal", "原文", "入力", "変換前", "修正前"],
  output: ["output", "target", "tgt", "response", "rewrite", "after", "polite", "formal", "出力", "変換後", "修正後", "敬語", "丁寧"],
  chosen: ["chosen", "preferred", "better", "winner", "accepted", "採用", "良い"],
  rejected: ["rejected", "dispreferred", "worse", "loser", "不採用", "悪い"],
  label: ["label", "good", "desirable", "accepted", "thumbs_up", "ラベル", "評価", "良い"],
};

/** The frame of instruction rows; a paragraph whose columns are all empty is left out of a row. */
export function instructionFrame(input: string, instruction: string | undefined): string {
  const ask = instruction ? `### Instruction:\n${brace(instruction)}\n\n` : "";
  return `${ask}### Input:\n${brace(input)}\n\n### Response:\n`;
}

function brace(column: string): string {
  return `{${column}}`;
}

/** The column that fits a field best; the first that is not taken if no name says so. */
export function guessColumn(field: Field, columns: readonly string[], taken: readonly string[] = []): string | undefined {
  const free = columns.filter((column) => !taken.includes(column));
  for (const name of NAMES[field]) {
    const exact = free.find((column) => column.toLowerCase() === name);
    if (exact !== undefined) return exact;
  }
  for (const name of NAMES[field]) {
    const near = free.find((column) => column.toLowerCase().includes(name));
    if (near !== undefined) return near;
  }
  return free[0];
}

/** The fields of a mapping with the columns they name; a preference without a prompt column names none for it. */
export function chosenColumns(mapping: ColumnMapping): Partial<Record<Field, string>> {
  switch (mapping.shape) {
    case "text":
      return { text: mapping.text };
    case "messages":
      return { messages: mapping.messages };
    case "prompt_completion":
      return { prompt: mapping.prompt, completion: mapping.completion };
    case "input_output":
      return { input: mapping.input, output: mapping.output };
    case "preference":
      return { ...(mapping.prompt === null ? {} : { prompt: mapping.prompt }), chosen: mapping.chosen, rejected: mapping.rejected };
    case "unpaired":
      return { prompt: mapping.prompt, completion: mapping.completion, label: mapping.label };
  }
}

/** A mapping of another shape for the same columns: what the old one says is kept where it means the same. */
export function mappingFor(shape: Shape, columns: readonly string[], old?: ColumnMapping | null): ColumnMapping {
  const had = old ? chosenColumns(old) : {};
  const asks = had.prompt ?? had.input;
  const answers = had.completion ?? had.output ?? had.chosen;
  const taken: string[] = [];
  const pick = (field: Field, kept: string | undefined): string => {
    const column = kept !== undefined && columns.includes(kept) && !taken.includes(kept) ? kept : guessColumn(field, columns, taken);
    if (column !== undefined) taken.push(column);
    return column ?? "";
  };
  switch (shape) {
    case "text":
      return { shape, text: pick("text", had.text) };
    case "messages":
      return { shape, messages: pick("messages", had.messages) };
    case "prompt_completion": {
      const prompt = pick("prompt", asks);
      return { shape, prompt, completion: pick("completion", answers) };
    }
    case "input_output": {
      const input = pick("input", asks);
      const output = pick("output", answers);
      const instruction = columns.find((column) => column.toLowerCase() === "instruction" && !taken.includes(column));
      return { shape, input, output, template: instructionFrame(input, instruction) };
    }
    case "preference": {
      const chosen = pick("chosen", answers);
      const rejected = pick("rejected", had.rejected);
      const left = columns.filter((column) => !taken.includes(column));
      return { shape, prompt: left.length > 0 ? pick("prompt", asks) : null, chosen, rejected };
    }
    case "unpaired": {
      const label = pick("label", had.label);
      const prompt = pick("prompt", asks);
      return { shape, prompt, completion: pick("completion", answers), label };
    }
  }
}

/**
 * A mapping for columns that the importer does not know but a person would: two columns that are named as a text before and
 * after. To be checked by the user; null where the names leave a doubt.
 */
export function guessMapping(columns: readonly string[]): ColumnMapping | null {
  const named = (field: Field): string | undefined =>
    NAMES[field].map((name) => columns.find((column) => column.trim().toLowerCase() === name)).find((column) => column !== undefined);
  const [input, output] = [named("input"), named("output")];
  if (input === undefined || output === undefined || input === output) return null;
  return mappingFor("input_output", columns, { shape: "input_output", input, output, template: "" });
}

/** The mapping with another column for one field. In an input/output frame, a brace that named the old input names the new one. */
export function withColumn(mapping: ColumnMapping, field: Field, column: string | null): ColumnMapping {
  if (mapping.shape === "preference" && field === "prompt") return { ...mapping, prompt: column };
  if (column === null) return mapping;
  if (mapping.shape === "input_output" && field === "input") {
    return { ...mapping, input: column, template: mapping.template.replaceAll(brace(mapping.input), brace(column)) };
  }
  return { ...mapping, [field]: column };
}

/** What is wrong with a mapping, to be said beside the field. */
export type MappingFault =
  | { field: Field; fault: "none" }
  | { field: Field; fault: "missing"; column: string }
  | { field: Field; fault: "same"; column: string }
  | { field: "template"; fault: "brace" }
  | { field: "template"; fault: "missing"; column: string }
  | { field: "template"; fault: "no_column" };

export function mappingFaults(mapping: ColumnMapping, columns: readonly string[]): MappingFault[] {
  const faults: MappingFault[] = [];
  const chosen = chosenColumns(mapping);
  const seen = new Set<string>();
  for (const field of FIELDS[mapping.shape]) {
    const column = chosen[field];
    if (column === undefined) continue;
    if (column === "") faults.push({ field, fault: "none" });
    else if (!columns.includes(column)) faults.push({ field, fault: "missing", column });
    else if (seen.has(column)) faults.push({ field, fault: "same", column });
    seen.add(column);
  }
  if (mapping.shape === "input_output") {
    const frame = parseFrame(mapping.template);
    if (frame === null) faults.push({ field: "template", fault: "brace" });
    else {
      const named = frame.flatMap((part) => (part.kind === "column" ? [part.name] : []));
      if (named.length === 0) faults.push({ field: "template", fault: "no_column" });
      for (const column of new Set(named)) {
        if (!columns.includes(column)) faults.push({ field: "template", fault: "missing", column });
      }
    }
  }
  return faults;
}

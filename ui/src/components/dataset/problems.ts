// Rows that an import left out: what would obviously repair one, and the list as CSV. A repair is proposed, never applied:
// the file belongs to the user, and a dataset version is frozen.
import type { DatasetFormat } from "$lib/api";
import type { RowProblem } from "$lib/api";

/** A text that would be read, and what was done to get it. */
export interface Repair {
  text: string;
  how: "quoted_field" | "json_trailing_comma" | "json_quotes" | "json_python" | "json_closed";
}

/** What is known of the file when a repair is looked for. */
export interface FileFacts {
  format: DatasetFormat;
  /** Columns of the file; fewer than two where they are not known. */
  columns: readonly string[];
}

/** A repair that leaves no doubt; null where there is none, or where the row was shown only in part. */
export function proposeRepair(problem: RowProblem, file: FileFacts): Repair | null {
  if (problem.kind !== "unreadable" || problem.excerpt.endsWith("…") || problem.excerpt.includes("\u{fffd}")) return null;
  switch (file.format) {
    case "csv":
      return repairCsv(problem.excerpt, file.columns.length);
    case "json":
    case "jsonl":
      return repairJson(problem.excerpt);
    case "parquet":
      return null;
  }
}

/** A comma inside a text that was not quoted: joined where a comma is followed by a space and the others are not. */
function repairCsv(row: string, columns: number): Repair | null {
  const separator = row.includes(",") ? "," : row.includes("\t") ? "\t" : ";";
  if (columns < 2 || row.includes('"') || row.includes("\n")) return null;
  const fields = row.split(separator);
  const tooMany = fields.length - columns;
  if (tooMany <= 0) return null;
  const inner = fields.map((field, i) => i > 0 && (field.startsWith(" ") || field.startsWith("\u3000")));
  if (inner.filter(Boolean).length !== tooMany) return null;
  const joined: string[] = [];
  fields.forEach((field, i) => {
    if (inner[i]) joined[joined.length - 1] += separator + field;
    else joined.push(field);
  });
  return { text: joined.map((field) => (field.includes(separator) ? `"${field}"` : field)).join(separator), how: "quoted_field" };
}

const JSON_TRIES: readonly (readonly [Repair["how"], (text: string) => string])[] = [
  ["json_trailing_comma", (text) => text.replace(/,\s*$/, "").replace(/,(\s*[}\]])/g, "$1")],
  ["json_quotes", (text) => text.replace(/[“”]/g, '"')],
  ["json_quotes", (text) => (text.includes('"') ? text : text.replaceAll("'", '"'))],
  ["json_python", (text) => text.replace(/:\s*None\b/g, ": null").replace(/:\s*True\b/g, ": true").replace(/:\s*False\b/g, ": false")],
  ["json_closed", (text) => `${text}}`],
  ["json_closed", (text) => `${text}"}`],
];

function repairJson(row: string): Repair | null {
  for (const [how, change] of JSON_TRIES) {
    const text = change(row.trim());
    if (text !== row.trim() && isRecord(text)) return { text, how };
  }
  return null;
}

function isRecord(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** Problems as CSV (RFC 4180) with a byte-order mark, so that spreadsheets read Japanese; a cell never begins a formula. */
export function problemsCsv(problems: readonly RowProblem[], file: FileFacts): string {
  const lines = problems.map((problem) => [
    String(problem.line),
    problem.kind,
    problem.reason,
    problem.excerpt,
    proposeRepair(problem, file)?.text ?? "",
  ]);
  return `\u{feff}${[["line", "kind", "reason", "excerpt", "proposed"], ...lines].map((cells) => cells.map(cell).join(",")).join("\r\n")}\r\n`;
}

function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// Comma-separated text as RFC 4180 has it. A missing number is an empty field.

/** One column of a table. */
export interface CsvColumn {
  readonly title: string;
  readonly values: ArrayLike<number | string>;
}

/** The text of a table: a line of titles, then the rows; lines end with CRLF. Numbers keep every digit and use a point whatever the locale. */
export function csv(columns: readonly CsvColumn[]): string {
  const rows = columns.reduce((most, column) => Math.max(most, column.values.length), 0);
  const lines = [columns.map((column) => field(column.title)).join(",")];
  for (let row = 0; row < rows; row++) {
    lines.push(columns.map((column) => (row < column.values.length ? field(column.values[row]) : "")).join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}

function field(value: number | string | undefined): string {
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  if (value === undefined) return "";
  // A text that a spreadsheet would run as a formula is led by an apostrophe (CWE-1236).
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

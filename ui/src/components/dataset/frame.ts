// The frame of input/output rows: a text with `{column}` for any column. Reads and fills it exactly as the importer does.

export type FramePart = { kind: "text"; text: string } | { kind: "column"; name: string };

/** The parts of a frame; null where a brace has no partner. `{{` and `}}` stand for braces. */
export function parseFrame(frame: string): FramePart[] | null {
  const parts: FramePart[] = [];
  let text = "";
  let at = 0;
  while (at < frame.length) {
    const two = frame.slice(at, at + 2);
    if (two === "{{" || two === "}}") {
      text += two[0];
      at += 2;
      continue;
    }
    const one = frame[at];
    if (one === "}") return null;
    if (one === "{") {
      const end = frame.indexOf("}", at);
      if (end < 0) return null;
      if (text !== "") parts.push({ kind: "text", text });
      text = "";
      parts.push({ kind: "column", name: frame.slice(at + 1, end) });
      at = end + 1;
      continue;
    }
    text += one;
    at += 1;
  }
  if (text !== "") parts.push({ kind: "text", text });
  return parts;
}

/** A frame filled with one record; null where the importer would leave the row out. */
export function fillFrame(frame: string, record: Readonly<Record<string, unknown>>): string | null {
  const kept: string[] = [];
  let any = false;
  for (const paragraph of frame.split("\n\n")) {
    const parts = parseFrame(paragraph);
    if (parts === null) return null;
    let columns = 0;
    let full = 0;
    let text = "";
    for (const part of parts) {
      if (part.kind === "text") {
        text += part.text;
        continue;
      }
      if (!Object.hasOwn(record, part.name)) return null;
      const value = record[part.name];
      const said = value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
      columns += 1;
      if (said.trim() !== "") full += 1;
      text += said;
    }
    any ||= full > 0;
    if (columns === 0 || full > 0) kept.push(text);
  }
  return any ? kept.join("\n\n") : null;
}

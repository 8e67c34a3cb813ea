// Files that feedback is written to. Pure.

export type FileFormat = "jsonl" | "csv";

/** The format that a file's ending names; undefined if it names none. */
export function formatOf(path: string): FileFormat | undefined {
  const match = /[^\\/]\.(jsonl|csv)$/i.exec(path.trim());
  return match?.[1]?.toLowerCase() as FileFormat | undefined;
}

/** "feedback-20251121-143105.jsonl": a name that is not taken yet. */
export function proposedName(format: FileFormat, now: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return `feedback-${day}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}.${format}`;
}

/** A file in a folder, in the manner of the folder's path. */
export function joined(folder: string, name: string): string {
  return `${folder.replace(/[\\/]+$/, "")}${folder.includes("\\") ? "\\" : "/"}${name}`;
}

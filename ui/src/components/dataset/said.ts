// What a row says, as turns to show: the same five shapes everywhere a row is seen.
import type { Example } from "$lib/api";
import type { Said } from "$lib/api";

export { langOf } from "$components/shared/text/marks";

export type TurnRole = "system" | "user" | "assistant" | "tool" | "prompt" | "completion" | "chosen" | "rejected" | "good" | "bad" | "text";

export interface Turn {
  role: TurnRole;
  text: string;
  /** Whether it is an answer: what a model learns, not what it is given. */
  answer: boolean;
}

const ROLES: readonly string[] = ["system", "user", "assistant", "tool"];

function turns(said: Said, plain: TurnRole, answer: boolean): Turn[] {
  if (typeof said === "string") return [{ role: plain, text: said, answer }];
  return said.map((message) => {
    const role = (ROLES.includes(message.role) ? message.role : plain) as TurnRole;
    return { role: answer && role === "assistant" ? plain : role, text: message.content, answer: answer || role === "assistant" };
  });
}

/** The turns of a row in reading order. */
export function turnsOf(example: Example): Turn[] {
  if ("chosen" in example) {
    return [
      ...turns(example.prompt, "prompt", false),
      ...turns(example.chosen, "chosen", true),
      ...turns(example.rejected, "rejected", true),
    ];
  }
  if ("label" in example) {
    return [...turns(example.prompt, "prompt", false), ...turns(example.completion, example.label ? "good" : "bad", true)];
  }
  if ("completion" in example) return [...turns(example.prompt, "prompt", false), ...turns(example.completion, "completion", true)];
  if ("messages" in example) return turns(example.messages, "user", false);
  return [{ role: "text", text: example.text, answer: true }];
}

/** A row in two cells of a table: what is asked, what is answered. */
export function rowCells(example: Example): { asked: string; answered: string } {
  const all = turnsOf(example);
  const asked = all.filter((turn) => !turn.answer).map((turn) => turn.text);
  const answered = all.filter((turn) => turn.answer).map((turn) => turn.text);
  return { asked: oneLine(asked.join(" ")), answered: oneLine(answered.join(" ⇢ ")) };
}

/** A text on one line: breaks become a mark. */
export function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ↵ ").trim();
}

/** Whether a row holds a text, without case and in either width; an empty text is in every row. */
export function rowHas(example: Example, more: Readonly<Record<string, unknown>>, wanted: string): boolean {
  const plain = (text: string): string => text.normalize("NFKC").toLowerCase();
  const needle = plain(wanted.trim());
  if (needle === "") return true;
  if (turnsOf(example).some((turn) => plain(turn.text).includes(needle))) return true;
  return Object.values(more).some((value) => plain(typeof value === "string" ? value : JSON.stringify(value)).includes(needle));
}

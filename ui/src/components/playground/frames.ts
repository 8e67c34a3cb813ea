// How a text reaches a model: as it is, as a chat message, or in the frame in which its dataset puts it. A model that
// learnt "<|user|>Rewrite politely:\n…<|assistant|>" answers well only inside that frame.
import type { Example } from "$lib/api";
import type { Message } from "$lib/api";
import type { Row } from "$lib/api";

/** What stands before and after the user's text. */
export interface Frame {
  before: string;
  after: string;
}

/** The three ways. A conversation keeps the turns before the last user's. */
export type Framing = { kind: "plain" } | { kind: "chat"; earlier: Message[] } | { kind: "frame"; frame: Frame };

/** A held-out row as something to try: the text, its way to the model, and what was wanted. */
export interface Trial {
  text: string;
  framing: Framing;
  /** What the row says a good answer is; none for plain texts. */
  reference: string | null;
}

function oneMessage(role: string, content: string): Message {
  return { role, content } as Message;
}

/** Columns that hold the text to rewrite, by the names that files give them. */
const OWN_TEXT = /^(?:source|src|input|original|before|draft|question|query|原文|入力|変換前|修正前|質問)$/i;

/** Splits a prompt around the column that holds the user's own text: a column named so, else the longest, that stands in it exactly once. */
export function frameOf(prompt: string, more: Readonly<Record<string, unknown>>): { text: string; frame: Frame } | null {
  let best: { text: string; named: boolean } | null = null;
  for (const [column, value] of Object.entries(more)) {
    if (typeof value !== "string" || value.trim() === "" || value === prompt) continue;
    const at = prompt.indexOf(value);
    if (at < 0 || prompt.indexOf(value, at + 1) >= 0) continue;
    const named = OWN_TEXT.test(column);
    if (best === null || (named && !best.named) || (named === best.named && value.length > best.text.length)) best = { text: value, named };
  }
  if (best === null) return null;
  const at = prompt.indexOf(best.text);
  return { text: best.text, frame: { before: prompt.slice(0, at), after: prompt.slice(at + best.text.length) } };
}

function answerText(said: string | Message[]): string {
  return typeof said === "string" ? said : said.map((message) => message.content).join("\n");
}

function fromMessages(messages: readonly Message[], reference: string | null): Trial {
  const at = messages.findLastIndex((message) => message.role === "user");
  if (at < 0) return { text: messages.map((m) => m.content).join("\n"), framing: { kind: "chat", earlier: [] }, reference };
  return { text: messages[at]?.content ?? "", framing: { kind: "chat", earlier: messages.slice(0, at) }, reference };
}

function fromPrompt(prompt: string | Message[], more: Readonly<Record<string, unknown>>, reference: string | null): Trial {
  if (typeof prompt !== "string") return fromMessages(prompt, reference);
  const framed = frameOf(prompt, more);
  if (framed === null) return { text: prompt, framing: { kind: "plain" }, reference };
  return { text: framed.text, framing: { kind: "frame", frame: framed.frame }, reference };
}

/** What a row gives to try. */
export function trialOf(row: Pick<Row, "example" | "more">): Trial {
  const example: Example = row.example;
  if ("chosen" in example) return fromPrompt(example.prompt, row.more, answerText(example.chosen));
  // A bad answer is nothing to be compared with.
  if ("label" in example) return fromPrompt(example.prompt, row.more, example.label ? answerText(example.completion) : null);
  if ("completion" in example) return fromPrompt(example.prompt, row.more, answerText(example.completion));
  if ("messages" in example) {
    const at = example.messages.findLastIndex((message) => message.role === "assistant");
    return fromMessages(example.messages.slice(0, Math.max(at, 0)), example.messages[at]?.content ?? null);
  }
  // A plain text is gone on with from its first half.
  const half = firstHalf(example.text);
  return { text: half, framing: { kind: "plain" }, reference: example.text.slice(half.length) || null };
}

function firstHalf(text: string): string {
  const middle = Math.ceil(text.length / 2);
  const at = text.slice(middle).search(/[\s。、.!?]/);
  return text.slice(0, at < 0 ? middle : middle + at + 1);
}

/** What the model is given. */
export function sent(text: string, framing: Framing): { messages: Message[] } | { prompt: string } {
  switch (framing.kind) {
    case "plain":
      return { prompt: text };
    case "chat":
      return { messages: [...framing.earlier, oneMessage("user", text)] };
    case "frame":
      return { prompt: framing.frame.before + text + framing.frame.after };
  }
}

export function sameFrame(a: Frame, b: Frame): boolean {
  return a.before === b.before && a.after === b.after;
}

/** The frames that rows use, the commonest first. */
export function framesOf(rows: readonly Pick<Row, "example" | "more">[]): Frame[] {
  const found: { frame: Frame; count: number }[] = [];
  for (const row of rows) {
    const { framing } = trialOf(row);
    if (framing.kind !== "frame") continue;
    const known = found.find((one) => sameFrame(one.frame, framing.frame));
    if (known) known.count += 1;
    else found.push({ frame: framing.frame, count: 1 });
  }
  // A "frame" that only one row uses is part of that row's text.
  const shared = found.length > 1 ? found.filter((one) => one.count > 1) : found;
  return shared.sort((a, b) => b.count - a.count).map((one) => one.frame);
}

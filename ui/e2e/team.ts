// What a small team has done, so that pages have something to show: a labelling project that two reviewers have judged, in part each in
// their own way, and the feedback of two months on the newest model.
import type { Page } from "playwright-core";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { rpc } from "./browser";
import type { Host } from "./host";

const ITEMS = 60;
const ROWS = 900;
const DAY_MS = 86_400_000;
const NAMES = { aki: "aki.tanaka", ben: "ben.okafor" } as const;

interface Said {
  example: { messages: { role: string; content: string }[] } | { prompt: string; completion: string };
}
interface Hand {
  tasks: { item_id: string; input_text: string; outputs: string[] }[];
}

/** A number below 1 that is always the same for a place (the mixing of SplitMix32). */
function chance(place: number, of: number): number {
  let mixed = (Math.imul(place + 1, 0x9e3779b9) + Math.imul(of + 1, 0x85ebca6b)) | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
}

function clamp(stars: number): number {
  return Math.min(5, Math.max(1, Math.round(stars)));
}

/** Lets the team work; gives the project's id. Without a dataset or a model there is nothing to work on. */
export async function teamwork(host: Host, owner: Page): Promise<string> {
  const [dataset] = await rpc<{ id: string }[]>(owner, "data_list");
  const [model] = await rpc<{ id: string }[]>(owner, "model_list");
  if (!dataset || !model) throw new Error("the sample must have run");
  const project = await judge(host, owner, dataset.id);
  await collect(host, owner, dataset.id, model.id);
  return project;
}

async function judge(host: Host, owner: Page, dataset: string): Promise<string> {
  const made = await rpc<{ id: string }>(owner, "label_project_create", {
    name: "Polite requests",
    guidelines: "## What counts\n\nRate how **polite** the answer is to a customer:\n\n1. Nothing that was asked may be lost.\n2. No slang, no shortening.\n3. A fact that was not in the text is a *1*.\n\nCorrect the answer whenever you can make it better.",
    source: { kind: "dataset", dataset_id: dataset, split: "train" },
    overlap: 2,
    max_items: ITEMS,
    transformation_type: "casual_to_polite",
  });
  for (const [who, name] of Object.entries(NAMES)) {
    await rpc(owner, "user_add", { name, role: "reviewer", password: `${name} has a password` });
    const { secret } = await rpc<{ secret: string }>(owner, "token_create", { name: "scripts", user: name, expires_in_days: 1 });
    await review(host, secret, made.id, who === "aki" ? 1 : 2, who === "aki" ? 44 : 31);
  }
  return made.id;
}

/** Judges so many items; passes one on, and flags another. */
async function review(host: Host, secret: string, project: string, who: number, items: number): Promise<void> {
  const ask = async <T>(command: string, args: object): Promise<T> => {
    const answer = await fetch(`${host.origin}/rpc/${command}`, { method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${secret}` }, body: JSON.stringify(args) });
    const said = (await answer.json()) as T;
    if (!answer.ok) throw new Error(`${command}: ${JSON.stringify(said)}`);
    return said;
  };
  let hand = await ask<Hand>("label_take", { project_id: project, hold: 1 });
  for (let n = 0; n < items; n++) {
    const task = hand.tasks[0];
    if (!task) return;
    const at = [...task.input_text].reduce((sum, character) => (sum * 31 + character.codePointAt(0)!) % 9973, 7);
    if (n === 9) await ask("label_flag", { item_id: task.item_id, note: "Says more than the source does.", clear: false });
    if (n === 17) {
      await ask("label_skip", { item_id: task.item_id, note: "I do not know this product." });
      hand = await ask<Hand>("label_take", { project_id: project, hold: 1 });
      continue;
    }
    // Mostly of one mind; a third of the time one of them is a star or two away.
    const rating = clamp(2.4 + 3 * chance(at, 0) + (chance(at, who) > 0.7 ? (who === 1 ? -1 : 1) * (chance(at, 3) > 0.7 ? 2 : 1) : 0));
    const answers = rating < 4 ? { rating, correction: `${task.outputs[0]!} Thank you very much.` } : { rating };
    hand = (await ask<{ hand: Hand }>("label_submit", { item_id: task.item_id, answers, duration_ms: 6000 + Math.round(20_000 * chance(at, 4 + who)), hold: 1 })).hand;
  }
}

async function collect(host: Host, owner: Page, dataset: string, model: string): Promise<void> {
  const { rows } = await rpc<{ rows: Said[] }>(owner, "data_rows", { id: dataset, split: "train", limit: 100 });
  const pairs = rows.map(({ example }) => ("messages" in example ? [example.messages.at(-2)?.content ?? "", example.messages.at(-1)!.content] : [example.prompt, example.completion]) as [string, string]);
  const now = Date.now();
  const lines = Array.from({ length: ROWS }, (_, n) => {
    const [input_text, output_text] = pairs[n % pairs.length]!;
    // It got better over two months, with a bad week.
    const age = (60 * (ROWS - n)) / ROWS;
    const stars = 4.4 - age / 60 - (age > 24 && age < 31 ? 1.1 : 0) + 2.4 * (chance(n, 7) - 0.6);
    const row = { input_text, output_text, model_id: model, transformation_type: chance(n, 8) < 0.6 ? "casual_to_polite" : chance(n, 9) < 0.6 ? "shorten" : "to_bullets", created_at_ms: Math.round(now - age * DAY_MS), idempotency_key: `row ${n}` };
    const kind = chance(n, 10);
    if (kind < 0.7) return { ...row, rating: clamp(stars), duration_ms: Math.round(4000 + 20_000 * chance(n, 11)) };
    if (kind < 0.85) return { ...row, thumbs: stars > 3.1 ? "up" : "down" };
    if (kind < 0.95) return { ...row, rating: clamp(stars - 1), corrected_text: `${output_text.replace(/[.!?]*$/, "")}, please.` };
    return { ...row, critique: "Polite, but longer than it needs to be." };
  });
  const path = join(host.home, "feedback.jsonl");
  writeFileSync(path, lines.map((line) => JSON.stringify(line)).join("\n"));
  await rpc(owner, "feedback_import", { path, dry_run: false });
}

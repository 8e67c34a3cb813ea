// Two hundred texts that attack pages, files and terminals, wherever a page shows what somebody else wrote: they stay text, every
// character of them can be seen, nothing runs, nothing is fetched, and an export holds them to the byte.
import type { Browser, Page } from "playwright-core";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cut, piecesUpTo, segmentsOf } from "../src/components/shared/text/marks";
import { feedback } from "../src/lib/i18n/en/feedback";
import { review } from "../src/lib/i18n/en/review";
import { launch, open, rpc, settle } from "./browser";
import { Host } from "./host";
import { everyPage } from "./pages";

const COUNT = 200;
/** Characters that a detail shows at first, and its lines (LongText); those of a text to judge (ReadText). */
const [MOST, LINES, MOST_TO_JUDGE] = [1200, 16, 20_000];

const PIECES = JSON.parse(readFileSync(join(import.meta.dirname, "../../tests/golden/data/hostile.json"), "utf8")) as string[];

/** Each piece alone, then pieces put together, the last three a megabyte long. */
function hostile(): string[] {
  let state = 7;
  const below = (n: number): number => (state = (state * 48271) % 2147483647) % n;
  const piece = (): string => PIECES[below(PIECES.length)]!;
  const texts = [...PIECES];
  while (texts.length < COUNT - 3) texts.push(Array.from({ length: 2 + below(6) }, piece).join(""));
  while (texts.length < COUNT) {
    const long: string[] = [];
    for (let bytes = 0; bytes < 1_000_000; bytes += Buffer.byteLength(long.at(-1)!)) long.push(piece());
    texts.push(long.join(""));
  }
  return texts;
}

const TEXTS = hostile();
const short = (n: number): string => (TEXTS[n % COUNT]!.length < 1000 ? TEXTS[n % COUNT]! : "short");
const name = (n: number): string => [...short(n)].slice(0, 40).join("");

/** A text as a page writes it: hidden characters by their names. */
function seen(text: string): string {
  return segmentsOf(text).map((segment) => (segment.kind !== "mark" ? segment.text : `${segment.name}${segment.times > 1 ? `\u00a0×${segment.times}` : ""}`)).join("");
}

let host: Host;
let browser: Browser;
let page: Page;
/** What must stay empty: complaints of the page, dialogs, requests to elsewhere or that no page makes, windows. */
let complaints: string[];
const misdeeds: string[] = [];

beforeAll(async () => {
  host = await Host.start();
  browser = await launch();
  ({ page, complaints } = await open(browser, host.link));
  await settle(page);
  page.on("dialog", (dialog) => {
    misdeeds.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.context().on("page", (other) => misdeeds.push(`window: ${other.url()}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    const isOurs = url.origin === host.origin && /^\/($|rpc\/|events|_app\/|first\.js$|icon\.svg$|feedback|datasets|preferences|people|home|runs|base-models|models|playground|settings)/.test(url.pathname);
    if (!isOurs) misdeeds.push(`request: ${request.url().slice(0, 200)}`);
  });
});

afterAll(async () => {
  await browser?.close();
  await host?.remove();
});

/** Nothing of the texts became an element, ran, or went anywhere. */
async function isInert(what: string): Promise<void> {
  const found = await page.evaluate(() => {
    const made = "script, iframe, object, embed, img, style, meta, base, link, video, audio, math, foreignObject, form[action], a[href^='javascript' i], a[href^='data' i], [onload], [onerror], [onfocus]";
    const all = [...document.querySelectorAll(`main :is(${made}), [role=dialog] :is(${made})`)].map((element) => element.outerHTML.slice(0, 120));
    // eslint-disable-next-line no-control-regex -- these are what is looked for
    return { all, title: /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(document.title), frames: window.frames.length };
  });
  expect(found, what).toEqual({ all: [], title: false, frames: 0 });
  expect(misdeeds, what).toEqual([]);
  expect(complaints, what).toEqual([]);
}

/** Follows a link within the program, as a click on it does. */
async function goTo(path: string): Promise<void> {
  await page.evaluate((path) => {
    const link = document.createElement("a");
    link.href = path;
    document.body.append(link);
    link.click();
    link.remove();
  }, path);
  await page.waitForURL(host.origin + path);
}

describe.sequential("two hundred hostile texts", () => {
  let project: string;

  test("are taken in everywhere", async () => {
    expect(new Set(TEXTS).size).toBe(COUNT);
    for (const [n, text] of TEXTS.entries()) {
      await rpc(page, "feedback_submit", {
        idempotency_key: `hostile ${n}`, session_id: name(n), model_id: null, input_text: text, output_text: short(n + 1), corrected_text: short(n + 2), transformation_type: name(n + 4), rating: 1 + (n % 5), thumbs: null,
        choice: null, critique: short(n + 5), flags: [name(n + 6)], answers: {}, duration_ms: null,
      });
    }
    const path = join(host.home, "hostile.jsonl");
    writeFileSync(path, TEXTS.map((text, n) => JSON.stringify({ prompt: `#${n} ${text}`, completion: `#${n} ${short(n + 1)}` })).join("\n"));
    const dataset = await rpc<{ id: string; num_samples: number }>(page, "data_import", { path, validation_share: 0, test_share: 0 });
    expect(dataset.num_samples).toBe(COUNT);
    const made = await rpc<{ id: string; num_items: number }>(page, "label_project_create", {
      name: PIECES.slice(0, 3).join(" "),
      guidelines: PIECES.join("\n\n"),
      source: { kind: "dataset", dataset_id: dataset.id, split: "train" },
      transformation_type: name(9),
    });
    expect(made.num_items).toBe(COUNT);
    project = made.id;
  });

  test("are shown inert by every page", async () => {
    for (const [what, path] of await everyPage(page)) {
      if (/undefined/.test(path)) continue;
      await page.goto(host.origin + path);
      await settle(page);
      await isInert(what);
    }
  });

  test("are each read in full in their row", async () => {
    const rows = await rpc<{ id: string; input_text: string; output_text: string }[]>(page, "feedback_list", { limit: 500, selection: {} });
    expect(rows.map((row) => row.input_text).sort()).toEqual([...TEXTS].sort());
    await page.goto(`${host.origin}/feedback/rows`);
    await settle(page);
    for (const row of rows) {
      await goTo(`/feedback/rows?row=${row.id}`);
      const region = page.getByRole("region", { name: feedback.input, exact: true });
      await region.waitFor();
      const shown = piecesUpTo([{ change: "same", text: row.input_text }], MOST, LINES)[0]!.text;
      const cutOff = shown.length < row.input_text.length ? "…" : "";
      await expect.poll(async () => (await region.locator("p").allTextContents()).join(""), { interval: 10 }).toBe(seen(shown) + cutOff);
      await isInert(`row with ${JSON.stringify(cut(row.input_text, 80))}`);
    }
  });

  test("are each judged by keyboard", async () => {
    await page.goto(`${host.origin}/feedback/${project}/review`);
    await settle(page);
    const region = page.getByRole("region", { name: review.source, exact: true });
    const read = async (): Promise<string> => (await region.locator(".read").evaluate((box) => box.textContent));
    const judged = new Set<number>();
    let last = "";
    for (let i = 0; i < COUNT; i++) {
      await expect.poll(read, { interval: 10, timeout: 20_000 }).not.toBe(last);
      last = await read();
      const n = Number(/^#(\d+) /.exec(last)![1]);
      judged.add(n);
      const text = `#${n} ${TEXTS[n]!}`;
      const shown = cut(text, MOST_TO_JUDGE);
      expect(last, `text ${n}`).toBe(seen(shown) + (shown.length < text.length ? "…" : ""));
      await isInert(`review of ${n}`);
      await page.keyboard.press(String(1 + (n % 5)));
      await page.keyboard.press("Enter");
    }
    expect(judged.size).toBe(COUNT);
    await expect.poll(async () => (await rpc<{ progress: { mine: number } }>(page, "label_project_get", { id: project })).progress.mine).toBe(COUNT);
  });

  test("are exported to the byte", async () => {
    const path = join(host.home, "exports", "hostile.jsonl");
    const made = await rpc<{ rows: number }>(page, "feedback_export", { path, selection: { source: "workbench" } });
    expect(made.rows).toBe(COUNT);
    const lines = readFileSync(path, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line) as { input_text: string; output_text: string; corrected_text: string; critique: string; session_id: string; flags: string[] });
    const byKey = (texts: string[]): string[] => [...texts].sort();
    const all = (of: (n: number) => string): string[] => byKey(TEXTS.map((_, n) => of(n)));
    expect(byKey(lines.map((line) => line.input_text))).toEqual(all((n) => TEXTS[n]!));
    expect(byKey(lines.map((line) => line.output_text))).toEqual(all((n) => short(n + 1)));
    expect(byKey(lines.map((line) => line.corrected_text))).toEqual(all((n) => short(n + 2)));
    expect(byKey(lines.map((line) => line.critique))).toEqual(all((n) => short(n + 5)));
    expect(byKey(lines.map((line) => line.session_id))).toEqual(all(name));
    expect(byKey(lines.flatMap((line) => line.flags))).toEqual(all((n) => name(n + 6)));
  });
});

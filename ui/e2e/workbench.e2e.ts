// The main trip of a new user in a browser, through a crash of the program, and what every page must hold to afterwards.
import type { Browser, Page } from "playwright-core";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { home } from "../src/lib/i18n/en/home";
import { models } from "../src/lib/i18n/en/models";
import { playground } from "../src/lib/i18n/en/playground";
import { LANGUAGES, THEMES, launch, open, rpc, settle, violations } from "./browser";
import { Host } from "./host";
import { Hub } from "./hub";
import { everyPage } from "./pages";
import { teamwork } from "./team";

let host: Host;
let browser: Browser;
let hub: Hub;

beforeAll(async () => {
  hub = await Hub.start();
  process.env.HF_ENDPOINT = hub.address;
  host = await Host.start();
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await host?.remove();
  hub?.stop();
});

/** Steps whose points the program has stored. */
async function storedSteps(page: Page, id: string): Promise<number[]> {
  const { steps } = await rpc<{ steps: { step: number }[] }>(page, "job_metrics", { id });
  return steps.map(({ step }) => step);
}

/** The training losses that the page itself holds: its chart saved as CSV. */
async function shownSteps(page: Page): Promise<number[]> {
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: /save|export/i }).first().click();
  await page.getByRole("menuitem", { name: "CSV" }).click();
  const stream = await (await download).createReadStream();
  let text = "";
  for await (const chunk of stream) text += String(chunk);
  const [head, ...lines] = text.trim().split("\n");
  const column = head!.split(",").findIndex((name) => /step/i.test(name));
  return [...new Set(lines.map((line) => Number(line.split(",")[column])))];
}

describe.sequential("a new user", () => {
  let page: Page;
  let complaints: string[];
  let run: string;

  test("tries the sample with one click and sees its chart move", async () => {
    ({ page, complaints } = await open(browser, host.link));
    await page.getByRole("button", { name: home["sample.start"] }).click();
    await page.waitForURL(/\/runs\/job_/);
    run = new URL(page.url()).pathname.split("/").pop()!;
    await expect.poll(async () => (await storedSteps(page, run)).length, { timeout: 120_000, interval: 1000 }).toBeGreaterThan(20);
    await settle(page);
    expect(await page.locator("canvas").count()).toBeGreaterThan(0);
    expect(complaints).toEqual([]);
  });

  test("loses no point when the program is killed and started again", async () => {
    await host.kill();
    const before = complaints.length;
    await host.restart();
    await expect.poll(async () => (await storedSteps(page, run).catch(() => [])).length, { timeout: 60_000, interval: 1000 }).toBeGreaterThan(60);
    // The page was told of the lost connection by the browser; nothing else may have gone wrong.
    complaints.splice(before);
    await page.reload();
    await settle(page);
    const shown = await shownSteps(page);
    expect(shown.length).toBeGreaterThan(60);
    expect(shown).toEqual(Array.from({ length: shown.length }, (_, i) => shown[0]! + i));
    expect(shown[0]).toBe(1);
  });

  test("gets a model and answers from it and its base", async () => {
    await expect
      .poll(async () => (await rpc<{ status: string }>(page, "job_get", { id: run })).status, { timeout: 900_000, interval: 2000 })
      .toBe("completed");
    await page.locator('a[href^="/models/mdl_"]').first().click();
    await page.waitForURL(/\/models\/mdl_/);
    await settle(page);
    await page.getByRole("button", { name: models.try }).first().click();
    await page.waitForURL(/\/playground/);
    await settle(page);
    await page.getByRole("button", { name: playground.run, exact: true }).click();
    await expect.poll(() => page.getByText(/tokens\/s/).count(), { timeout: 120_000 }).toBeGreaterThanOrEqual(2);
    expect(complaints).toEqual([]);
  });
});

describe.sequential("base models", () => {
  let page: Page;
  let complaints: string[];

  test("come from the hub with their progress, and go on where they were stopped", async () => {
    const sample = join(host.home, "sample");
    hub.offer(join(sample, readdirSync(sample)[0]!, "base"));
    ({ page, complaints } = await open(browser, host.link));
    await page.goto(`${host.origin}/base-models`);
    await settle(page);
    await page.keyboard.press("A");
    await page.getByLabel(models.hub_name).fill(`${hub.address}/me/tiny`);
    hub.share = 0.5;
    await page.getByRole("button", { name: models.download, exact: true }).click();
    const bar = page.getByRole("progressbar", { name: /me\/tiny/ });
    await expect.poll(async () => Number(await bar.getAttribute("aria-valuenow")), { timeout: 30_000 }).toBeGreaterThan(30);
    expect(await violations(page)).toEqual([]);
    await page.getByRole("button", { name: models.download_stop, exact: true }).click();
    await page.getByRole("button", { name: models.download_go_on }).waitFor();
    hub.share = 1;
    await page.getByRole("button", { name: models.download_go_on }).click();
    await page.getByRole("row", { name: /me\/tiny/ }).waitFor();
    expect(complaints).toEqual([]);
  });

  test("say who they are, where they come from and how a conversation reaches them", async () => {
    await page.getByRole("row", { name: /me\/tiny/ }).click();
    await settle(page);
    const pane = page.getByRole("complementary", { name: models.base_detail });
    for (const text of ["apache-2.0", "me/tiny @ 0123456789ab", "q_proj", "Hello"]) await pane.getByText(text).first().waitFor();
    expect(await violations(page)).toEqual([]);
  });

  test("that cannot be used are named with the reason, and leave the list again", async () => {
    const folder = join(host.home, "models", "odd");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "config.json"), JSON.stringify({ model_type: "mamba" }));
    await page.reload();
    await settle(page);
    await page.getByText(/mamba/).waitFor();
    await page.getByRole("row", { name: /me\/tiny/ }).click();
    await page.getByRole("button", { name: models.remove_confirm }).click();
    await page.getByRole("dialog").getByRole("button", { name: models.remove_confirm }).click();
    await page.getByRole("row", { name: /me\/tiny/ }).waitFor({ state: "detached" });
    expect(complaints).toEqual([]);
    await page.context().close();
  });
});

describe.sequential("every page", () => {
  beforeAll(async () => {
    const { page } = await open(browser, host.link);
    await teamwork(host, page);
    await page.context().close();
  });

  for (const theme of THEMES) {
    for (const language of LANGUAGES) {
      test(`passes axe without a complaint: ${theme}, ${language}`, async () => {
        const { page, complaints } = await open(browser, host.link, theme, language);
        for (const [name, path] of await everyPage(page)) {
          await page.goto(host.origin + path);
          await settle(page);
          expect(await violations(page), `${name} ${theme} ${language}`).toEqual([]);
          expect(await page.locator("html").getAttribute("lang"), name).toBe(language);
        }
        expect(complaints).toEqual([]);
        await page.context().close();
      });
    }
  }

  test("holds from 900 to 2560 pixels", async () => {
    const { page } = await open(browser, host.link);
    for (const width of [900, 1100, 1440, 2560]) {
      await page.setViewportSize({ width, height: 900 });
      for (const [name, path] of await everyPage(page)) {
        await page.goto(host.origin + path);
        await settle(page);
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(over, `${name} at ${width}`).toBeLessThanOrEqual(0);
      }
    }
    await page.context().close();
  });
});

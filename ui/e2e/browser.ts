// Debian's Chromium through playwright-core, with everything watched that a page must not do.
import AxeBuilder from "@axe-core/playwright";
import { chromium, type Browser, type Page } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

export type Theme = "light" | "dark";
export type Language = "en" | "ja";
export const THEMES: Theme[] = ["light", "dark"];
export const LANGUAGES: Language[] = ["en", "ja"];

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

/** A page in a profile of its own, and what it complained about. */
export async function open(browser: Browser, link: string, theme: Theme = "light", language: Language = "en", size = { width: 1440, height: 900 }) {
  const context = await browser.newContext({ viewport: size, locale: language === "ja" ? "ja-JP" : "en-US", colorScheme: theme, reducedMotion: "reduce", acceptDownloads: true });
  await context.addInitScript(
    ([theme, language]) => {
      localStorage.setItem("tonebridge.theme", theme!);
      localStorage.setItem("tonebridge.language", language!);
    },
    [theme, language],
  );
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
  await page.goto(link);
  return { page, complaints };
}

/** Waits until a page has its data: nothing is marked busy any more. */
export async function settle(page: Page): Promise<void> {
  await page.waitForLoadState("load");
  await page.locator("main").waitFor();
  await page.waitForFunction(() => !document.querySelector('[aria-busy="true"]'), undefined, { timeout: 20_000 });
  await page.evaluate(() => document.fonts.ready);
}

/** What axe finds wrong with the page, in words. */
export async function violations(page: Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
}

/** Asks the host as the page would. */
export async function rpc<T>(page: Page, command: string, args: object = {}): Promise<T> {
  return page.evaluate(
    async ([command, args]) => {
      const answer = await fetch(`/rpc/${command}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(args) });
      const said: unknown = await answer.json();
      if (!answer.ok) throw new Error(`${command as string}: ${JSON.stringify(said)}`);
      return said;
    },
    [command, args] as const,
  ) as Promise<T>;
}

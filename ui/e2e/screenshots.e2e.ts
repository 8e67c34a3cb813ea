// `cargo xtask screenshots`: every page in both themes and languages, from a home folder that has run the sample and
// holds what a small team made of it.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "vitest";
import { LANGUAGES, THEMES, launch, open, rpc, settle } from "./browser";
import { Host } from "./host";
import { everyPage } from "./pages";
import { teamwork } from "./team";

const home = process.env.TONEBRIDGE_HOME;
const folder = process.env.TONEBRIDGE_SCREENSHOTS;

test.runIf(home && folder)("every page is pictured", async () => {
  mkdirSync(folder!, { recursive: true });
  const host = await Host.start(home);
  const browser = await launch();
  const { page: owner } = await open(browser, host.link);
  if ((await rpc<unknown[]>(owner, "label_project_list")).length === 0) await teamwork(host, owner);
  await owner.context().close();
  for (const theme of THEMES) {
    for (const language of LANGUAGES) {
      const { page } = await open(browser, host.link, theme, language);
      for (const [name, path] of await everyPage(page)) {
        await page.goto(host.origin + path);
        await settle(page);
        // Curves are drawn in the frame after their data.
        await page.waitForTimeout(400);
        await page.screenshot({ path: join(folder!, `${name}.${theme}.${language}.png`) });
      }
      await page.context().close();
    }
  }
  await browser.close();
  await host.kill();
});

// What keeps inline code out of the built page.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import adapter from "@sveltejs/adapter-static";

/**
 * adapter-static, with the start script that SvelteKit writes into the page moved to a file of its own. The script finds
 * its element through `document.currentScript`, which a classic external script has too.
 * @param {NonNullable<Parameters<typeof adapter>[0]>} options
 * @returns {import("@sveltejs/kit").Adapter}
 */
export function pageWithoutInlineCode(options) {
  const base = adapter(options);
  return {
    ...base,
    name: "static-page-without-inline-code",
    async adapt(builder) {
      await base.adapt(builder);
      const folder = String(options.pages);
      const page = join(folder, String(options.fallback));
      writeFileSync(page, externalise(readFileSync(page, "utf8"), folder));
    },
  };
}

/**
 * Writes each inline script of `html` to a file under `folder` and names it instead.
 * @param {string} html
 * @param {string} folder
 */
function externalise(html, folder) {
  const out = html.replace(/<script>([\s\S]*?)<\/script>/g, (_, /** @type {string} */ code) => {
    const name = `_app/start.${createHash("sha256").update(code).digest("hex").slice(0, 8)}.js`;
    writeFileSync(join(folder, name), `${code.trim().replace(/^\t{1,5}/gm, "")}\n`);
    return `<script src="/${name}"></script>`;
  });
  if (/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=/.test(out)) throw new Error("inline code is left in the page");
  return out;
}

/**
 * Takes the style attribute off the element in which SvelteKit announces a navigation; base.css hides it instead.
 * @returns {import("vite").Plugin}
 */
export function announcerWithoutInlineStyle() {
  return {
    name: "announcer-without-inline-style",
    enforce: "pre",
    transform(code, id) {
      if (!id.endsWith("/generated/root.svelte")) return null;
      return { code: code.replace(/(id="svelte-announcer"[^>]*?)\s+style="[^"]*"/, "$1"), map: null };
    },
  };
}

// @vitest-environment jsdom
import { flushSync, mount, unmount } from "svelte";
import { afterEach, describe, expect, it } from "vitest";
import Markdown from "./Markdown.svelte";
import { readMarkdown, textOf, webAddress, type Block } from "./markdown";

let shown: Record<string, unknown> | undefined;

function render(source: string, links = false): HTMLElement {
  shown = mount(Markdown, { target: document.body, props: { source, links } });
  flushSync();
  return document.body.querySelector(".markdown") as HTMLElement;
}

afterEach(async () => {
  if (shown) await unmount(shown);
  shown = undefined;
  document.body.replaceChildren();
});

/** Every element that a card may consist of, and every attribute that one may carry. */
const ELEMENTS = new Set(
  "div,dl,dt,dd,h2,h3,h4,h5,h6,p,pre,code,blockquote,ul,ol,li,span,table,thead,tbody,tr,th,td,hr,strong,em,del,br".split(","),
);
const ATTRIBUTES = new Set(["class", "tabindex", "start", "aria-hidden", "dir"]);

const HOSTILE = [
  "<script>window.pwned = 1</script>",
  "<img src=x onerror=window.pwned=1>",
  "![x](https://evil.example/pixel.png)",
  "![x](javascript:window.pwned=1)",
  "[click](javascript:window.pwned=1)",
  "[click](JaVaScRiPt:window.pwned=1)",
  "[click](data:text/html,<script>window.pwned=1</script>)",
  "[click](vbscript:msgbox(1))",
  "[click](file:///etc/passwd)",
  "<javascript:window.pwned=1>",
  "<a href=\"javascript:window.pwned=1\">click</a>",
  "<iframe src=https://evil.example></iframe>",
  "<svg onload=window.pwned=1><animate onbegin=window.pwned=1></svg>",
  "<math><mtext><style><img src=x onerror=window.pwned=1></style></mtext></math>",
  "<style>@import url(https://evil.example/x.css)</style>",
  "<link rel=stylesheet href=https://evil.example/x.css>",
  "<meta http-equiv=refresh content='0;url=https://evil.example'>",
  "<base href=https://evil.example/>",
  "<form action=https://evil.example><input name=x autofocus onfocus=window.pwned=1></form>",
  "<details open ontoggle=window.pwned=1>x</details>",
  "<video><source onerror=window.pwned=1></video>",
  "<object data=https://evil.example/x.swf></object>",
  "<x onclick=window.pwned=1 style=position:fixed;inset:0>cover</x>",
  "a <b onmouseover=window.pwned=1>bold</b> c",
  "| a |\n| --- |\n| <img src=x onerror=window.pwned=1> |",
  "# <script>window.pwned = 1</script>",
  "- <script>window.pwned = 1</script>\n  - <img src=x onerror=window.pwned=1>",
  "> <iframe srcdoc=\"<script>parent.pwned=1</script>\"></iframe>",
  "```html\n<script>window.pwned = 1</script>\n```",
  "`<script>window.pwned = 1</script>`",
  "&lt;script&gt;window.pwned = 1&lt;/script&gt;",
  "&#60;img src=x onerror=window.pwned=1&#62;",
  "[a]: javascript:window.pwned=1\n\n[a]",
  "[![x](https://evil.example/a.png)](https://evil.example)",
  "<!-- --><img src=x onerror=window.pwned=1> <!-- -->",
  "<![CDATA[<script>window.pwned=1</script>]]>",
  "<?php echo 1 ?>",
  "---\nbase_model: \"<img src=x onerror=window.pwned=1>\"\n---\n\n# x",
  "https://evil.example/auto www.evil.example me@evil.example",
  "{@html '<img src=x onerror=window.pwned=1>'} {window.pwned = 1}",
];

describe("a hostile card", () => {
  it.each(HOSTILE)("stays text: %s", (source) => {
    const shownAt = render(source);
    for (const element of [shownAt, ...shownAt.querySelectorAll("*")]) {
      expect(ELEMENTS, element.outerHTML).toContain(element.localName);
      for (const { name } of element.attributes) expect(ATTRIBUTES, element.outerHTML).toContain(name);
    }
    expect((window as unknown as { pwned?: number }).pwned).toBeUndefined();
  });

  it.each(HOSTILE)("leads nowhere but to the web where links may be followed: %s", (source) => {
    const shownAt = render(source, true);
    for (const element of shownAt.querySelectorAll("*")) {
      expect([...ELEMENTS, "a"], element.outerHTML).toContain(element.localName);
      if (element.localName !== "a") continue;
      expect(element.getAttribute("href")).toMatch(/^https?:\/\/[a-z]/);
      expect(element.getAttribute("rel")).toContain("noopener");
      expect(element.getAttribute("target")).toBe("_blank");
    }
    expect((window as unknown as { pwned?: number }).pwned).toBeUndefined();
  });

  it("follows only whole web addresses without a name before the host", () => {
    expect(webAddress("HTTPS://example.org/a b")).toBe("https://example.org/a%20b");
    for (const bad of ["javascript:x", "//evil.example", "/settings", "https://bank.example@evil.example", "https:evil", "data:text/html,x", "ftp://x.example", "http://"]) {
      expect(webAddress(bad), bad).toBeUndefined();
    }
  });

  it("shows characters that would hide or reorder", () => {
    expect(render("a\u202eb \u200b").textContent).toContain("aRLOb");
  });

  it("does not lose what the markup said", () => {
    expect(render("a <b>bold</b> c").querySelector("p")?.textContent).toBe("a <b>bold</b> c");
    expect(readMarkdown("[click](javascript:x)").blocks).toEqual([
      { type: "paragraph", children: [{ type: "link", children: [{ type: "text", text: "click" }], address: "javascript:x" }] },
    ]);
  });

  it("may be as deep or as long as it likes", () => {
    const depth = (blocks: Block[]): number => 1 + Math.max(0, ...blocks.map((block) => (block.type === "quote" ? depth(block.blocks) : 0)));
    expect(depth(readMarkdown(">".repeat(5000)).blocks)).toBeLessThan(40);
    expect(readMarkdown("a".repeat(300_000)).blocks).toHaveLength(1);
    for (const odd of ["[".repeat(5000), "*a ".repeat(3000), "- ".repeat(2000), "`".repeat(5000), "|".repeat(5000)]) {
      expect(() => readMarkdown(odd)).not.toThrow();
    }
  });
});

describe("a card of ours", () => {
  const card = [
    "---",
    'base_model: "Qwen3-4B"',
    "tags: [tone-rewriting, tonebridge]",
    "---",
    "",
    "# tone\\_polite v3",
    "",
    "Rows with \\| and &lt;marks&gt; & `code`.",
    "",
    "| Metric | this model |",
    "| --- | ---: |",
    "| chrF (%) ↑ | **94.1** |",
    "",
    "- one",
    "- two",
  ].join("\n");

  const words = (block: Block | undefined): string => (block && "children" in block ? textOf(block.children) : "");

  it("reads front matter, escapes, tables and lists", () => {
    const { front, blocks } = readMarkdown(card);
    expect(front[0]).toEqual({ key: "base_model", value: "Qwen3-4B" });
    expect(blocks.map((block) => block.type)).toEqual(["heading", "paragraph", "table", "list"]);
    expect(words(blocks[0])).toBe("tone_polite v3");
    expect(words(blocks[1])).toBe("Rows with | and <marks> & code.");
    expect(blocks[2]).toMatchObject({ align: ["left", "right"] });
  });

  it("is drawn with headings below the page's own title", () => {
    const drawn = render(card);
    expect(drawn.querySelector("h2")?.textContent).toBe("tone_polite v3");
    expect(drawn.querySelector("td.right strong")?.textContent).toBe("94.1");
  });
});

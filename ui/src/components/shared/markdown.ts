// Markdown as a tree of harmless parts. A card may come from a stranger: markup stays text, an address is shown, a
// picture is its description. Whatever is not named here becomes plain text.
import { lexer, type Token, type Tokens } from "marked";

/** Longest card that is read as Markdown; a longer one is shown as plain text. */
const MOST_CHARACTERS = 200_000;
/** Deepest nesting that is followed. */
const MOST_DEPTH = 24;

export type Inline =
  | { type: "text"; text: string }
  | { type: "code"; text: string }
  | { type: "strong"; children: Inline[] }
  | { type: "em"; children: Inline[] }
  | { type: "del"; children: Inline[] }
  | { type: "break" }
  /** A link's words with the address behind them, as text. */
  | { type: "link"; children: Inline[]; address: string }
  | { type: "image"; alt: string };

export type Align = "left" | "right" | "center";

export type Block =
  | { type: "heading"; depth: 1 | 2 | 3 | 4 | 5 | 6; children: Inline[] }
  | { type: "paragraph"; children: Inline[] }
  | { type: "code"; text: string }
  | { type: "quote"; blocks: Block[] }
  | { type: "list"; ordered: boolean; start: number; items: { done: boolean | null; blocks: Block[] }[] }
  | { type: "table"; align: Align[]; header: Inline[][]; rows: Inline[][][] }
  | { type: "rule" };

export interface Document {
  /** Front matter as written, line by line. */
  front: { key: string; value: string }[];
  blocks: Block[];
}

/** Reads Markdown. Never throws: what cannot be read is one paragraph of plain text. */
export function readMarkdown(source: string): Document {
  const { front, body } = splitFront(source);
  if (body.length > MOST_CHARACTERS) return { front, blocks: [{ type: "code", text: body }] };
  try {
    return { front, blocks: blocksOf(lexer(body, { gfm: true, breaks: false, pedantic: false }), 0) };
  } catch {
    return { front, blocks: [{ type: "code", text: body }] };
  }
}

function splitFront(source: string): { front: Document["front"]; body: string } {
  const match = /^---\r?\n([\s\S]*?)\r?\n---\r?\n/.exec(source);
  if (!match) return { front: [], body: source };
  const front = (match[1] ?? "").split(/\r?\n/).flatMap((line) => {
    const at = line.indexOf(":");
    return at > 0 ? [{ key: line.slice(0, at).trim(), value: line.slice(at + 1).trim().replace(/^"(.*)"$/, "$1") }] : [];
  });
  return { front, body: source.slice(match[0].length) };
}

function blocksOf(tokens: readonly Token[], depth: number): Block[] {
  return tokens.flatMap((token) => blockOf(token, depth));
}

function plain(text: string): Block[] {
  return text.trim() === "" ? [] : [{ type: "paragraph", children: [{ type: "text", text }] }];
}

function blockOf(token: Token, depth: number): Block[] {
  if (depth > MOST_DEPTH) return plain(token.raw);
  switch (token.type) {
    case "space":
    case "def":
      return [];
    case "heading": {
      const { depth: level, tokens } = token as Tokens.Heading;
      return [{ type: "heading", depth: Math.min(6, Math.max(1, level)) as 1, children: inlinesOf(tokens, depth) }];
    }
    case "paragraph":
      return [{ type: "paragraph", children: inlinesOf((token as Tokens.Paragraph).tokens, depth) }];
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return [{ type: "paragraph", children: tokens ? inlinesOf(tokens, depth) : [{ type: "text", text: unescaped(text) }] }];
    }
    case "code":
      return [{ type: "code", text: (token as Tokens.Code).text }];
    case "blockquote":
      return [{ type: "quote", blocks: blocksOf((token as Tokens.Blockquote).tokens, depth + 1) }];
    case "list": {
      const list = token as Tokens.List;
      const items = list.items.map((item) => ({ done: item.task ? item.checked === true : null, blocks: blocksOf(item.tokens, depth + 1) }));
      return [{ type: "list", ordered: list.ordered, start: typeof list.start === "number" ? list.start : 1, items }];
    }
    case "table": {
      const table = token as Tokens.Table;
      const cells = (row: readonly Tokens.TableCell[]): Inline[][] => row.map((cell) => inlinesOf(cell.tokens, depth));
      return [{ type: "table", align: table.align.map((a) => a ?? "left"), header: cells(table.header), rows: table.rows.map(cells) }];
    }
    case "hr":
      return [{ type: "rule" }];
    default:
      // HTML and whatever an extension might add.
      return plain(token.raw);
  }
}

function inlinesOf(tokens: readonly Token[], depth: number): Inline[] {
  return merged(tokens.flatMap((token) => inlineOf(token, depth + 1)));
}

function inlineOf(token: Token, depth: number): Inline[] {
  if (depth > MOST_DEPTH) return [{ type: "text", text: token.raw }];
  switch (token.type) {
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens ? inlinesOf(tokens, depth) : [{ type: "text", text: unescaped(text) }];
    }
    case "escape":
      return [{ type: "text", text: unescaped((token as Tokens.Escape).text) }];
    case "strong":
    case "em":
    case "del":
      return [{ type: token.type, children: inlinesOf((token as Tokens.Strong).tokens, depth) }];
    case "codespan":
      return [{ type: "code", text: (token as Tokens.Codespan).text }];
    case "br":
      return [{ type: "break" }];
    case "link": {
      const link = token as Tokens.Link;
      return [{ type: "link", children: inlinesOf(link.tokens, depth), address: link.href }];
    }
    case "image":
      return [{ type: "image", alt: unescaped((token as Tokens.Image).text) }];
    case "checkbox":
      return [];
    default:
      return [{ type: "text", text: token.raw }];
  }
}

/** Neighbouring texts become one. */
function merged(parts: Inline[]): Inline[] {
  const out: Inline[] = [];
  for (const part of parts) {
    const last = out.at(-1);
    if (part.type === "text" && last?.type === "text") last.text += part.text;
    else out.push(part);
  }
  return out;
}

const NAMED: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'", nbsp: "\u00a0" };

/** Character references as the characters they stand for; the result is only ever shown as text. */
function unescaped(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w{2,6}));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return NAMED[name] ?? whole;
    const code = decimal !== undefined ? Number.parseInt(decimal, 10) : Number.parseInt(hex ?? "", 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

/** The address of a page on the web, written out in full; undefined for every other scheme and for what is no address. */
export function webAddress(address: string): string | undefined {
  // Relative addresses would lead into the program's own pages.
  if (!/^https?:\/\//i.test(address)) return undefined;
  try {
    const { protocol, href, username, password } = new URL(address);
    // A name before the host makes one host look like another.
    return (protocol === "http:" || protocol === "https:") && username === "" && password === "" ? href : undefined;
  } catch {
    return undefined;
  }
}

/** The words of a part, without marks. */
export function textOf(parts: readonly Inline[]): string {
  return parts
    .map((part) => {
      switch (part.type) {
        case "text":
        case "code":
          return part.text;
        case "break":
          return "\n";
        case "image":
          return part.alt;
        case "strong":
        case "em":
        case "del":
        case "link":
          return textOf(part.children);
      }
    })
    .join("");
}

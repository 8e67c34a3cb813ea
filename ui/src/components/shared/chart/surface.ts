// Two papers that a picture can be drawn on: an SVG text and a canvas. Units are CSS pixels.

/** How a line looks. */
export interface LineStyle {
  readonly colour: string;
  readonly width: number;
  readonly opacity?: number;
  readonly dash?: readonly number[];
}

/** How a text looks. */
export interface TextStyle {
  readonly colour: string;
  readonly size: number;
  readonly weight?: number;
  readonly anchor?: "start" | "middle" | "end";
}

/** Draws lines, areas and texts. A path is a list of `M x y`, `L x y` commands. */
export interface Surface {
  path(commands: readonly PathCommand[], style: LineStyle): void;
  /** A filled outline. */
  area(outline: readonly (readonly [number, number])[], colour: string, opacity: number): void;
  circle(x: number, y: number, radius: number, colour: string): void;
  text(text: string, x: number, y: number, style: TextStyle): void;
  /** Everything until `unclip` is cut at this box. */
  clip(x: number, y: number, width: number, height: number): void;
  unclip(): void;
}

/** `M` begins a line, `L` goes on with it. */
export type PathCommand = readonly ["M" | "L", number, number];

const FONT = "Inter, 'Inter Variable', 'Noto Sans CJK JP', 'Hiragino Sans', sans-serif";

/** Collects an SVG document. */
export class SvgSurface implements Surface {
  readonly #parts: string[] = [];
  #clips = 0;

  constructor(
    readonly width: number,
    readonly height: number,
    readonly background: string,
    readonly title: string,
  ) {}

  path(commands: readonly PathCommand[], { colour, width, opacity, dash }: LineStyle): void {
    if (commands.length === 0) return;
    const d = commands.map(([kind, x, y]) => `${kind}${short(x)} ${short(y)}`).join("");
    const more = `${opacity === undefined ? "" : ` stroke-opacity="${opacity}"`}${dash ? ` stroke-dasharray="${dash.join(" ")}"` : ""}`;
    this.#parts.push(`<path d="${d}" stroke="${colour}" stroke-width="${width}"${more}/>`);
  }

  area(outline: readonly (readonly [number, number])[], colour: string, opacity: number): void {
    const points = outline.map(([x, y]) => `${short(x)},${short(y)}`).join(" ");
    this.#parts.push(`<polygon points="${points}" fill="${colour}" fill-opacity="${opacity}"/>`);
  }

  circle(x: number, y: number, radius: number, colour: string): void {
    this.#parts.push(`<circle cx="${short(x)}" cy="${short(y)}" r="${radius}" fill="${colour}"/>`);
  }

  text(text: string, x: number, y: number, { colour, size, weight, anchor }: TextStyle): void {
    const more = `${weight ? ` font-weight="${weight}"` : ""}${anchor && anchor !== "start" ? ` text-anchor="${anchor}"` : ""}`;
    this.#parts.push(`<text x="${short(x)}" y="${short(y)}" fill="${colour}" font-size="${size}"${more}>${escape(text)}</text>`);
  }

  clip(x: number, y: number, width: number, height: number): void {
    this.#clips += 1;
    const id = `clip${this.#clips}`;
    const box = `<rect x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}"/>`;
    this.#parts.push(`<clipPath id="${id}">${box}</clipPath><g clip-path="url(#${id})">`);
  }

  unclip(): void {
    this.#parts.push("</g>");
  }

  /** The document. */
  toString(): string {
    const { width, height } = this;
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
      `<title>${escape(this.title)}</title><rect width="${width}" height="${height}" fill="${this.background}"/>`,
      `<g fill="none" stroke-linejoin="round" stroke-linecap="butt" font-family="${FONT}" style="font-variant-numeric:tabular-nums">`,
      ...this.#parts,
      "</g></svg>",
    ].join("\n");
  }
}

function short(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** Draws on a canvas that is `ratio` times as fine as CSS pixels. */
export class CanvasSurface implements Surface {
  constructor(
    readonly ctx: CanvasRenderingContext2D,
    ratio: number,
    background: string,
  ) {
    ctx.fillStyle = background;
    ctx.fillRect(0, 0, ctx.canvas.width, ctx.canvas.height);
    ctx.scale(ratio, ratio);
    ctx.lineJoin = "round";
  }

  path(commands: readonly PathCommand[], { colour, width, opacity, dash }: LineStyle): void {
    const { ctx } = this;
    ctx.globalAlpha = opacity ?? 1;
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.setLineDash([...(dash ?? [])]);
    ctx.beginPath();
    for (const [kind, x, y] of commands) {
      if (kind === "M") ctx.moveTo(x, y);
      else ctx.lineTo(x, y);
    }
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  }

  area(outline: readonly (readonly [number, number])[], colour: string, opacity: number): void {
    const { ctx } = this;
    ctx.globalAlpha = opacity;
    ctx.fillStyle = colour;
    ctx.beginPath();
    outline.forEach(([x, y], i) => (i === 0 ? ctx.moveTo(x, y) : ctx.lineTo(x, y)));
    ctx.fill();
    ctx.globalAlpha = 1;
  }

  circle(x: number, y: number, radius: number, colour: string): void {
    const { ctx } = this;
    ctx.fillStyle = colour;
    ctx.beginPath();
    ctx.arc(x, y, radius, 0, 2 * Math.PI);
    ctx.fill();
  }

  text(text: string, x: number, y: number, { colour, size, weight, anchor }: TextStyle): void {
    const { ctx } = this;
    ctx.font = `${weight ?? 400} ${size}px ${FONT}`;
    ctx.fillStyle = colour;
    ctx.textAlign = anchor === "middle" ? "center" : anchor === "end" ? "right" : "left";
    ctx.fillText(text, x, y);
  }

  clip(x: number, y: number, width: number, height: number): void {
    const { ctx } = this;
    ctx.save();
    ctx.beginPath();
    ctx.rect(x, y, width, height);
    ctx.clip();
  }

  unclip(): void {
    this.ctx.restore();
  }
}

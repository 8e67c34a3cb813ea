// A chart as a file: SVG and PNG of the picture, CSV of the numbers.

import { t } from "$lib/i18n/index.svelte";
import { axisTick, axisTitle } from "./axis";
import { csv } from "./csv";
import type { Curve } from "./curve";
import { palette } from "./palette";
import { drawPicture, type PictureOptions } from "./picture";
import type { Quantity } from "./quantity";
import { CanvasSurface, SvgSurface } from "./surface";
import { tableColumns, type TableColumn } from "./table";
import type { ViewOptions } from "./view";

/** The kinds of file. */
export type ChartFile = "svg" | "png" | "csv";

/** What the file is made of. */
export interface ChartContent extends ViewOptions {
  readonly quantity: Quantity;
  /** What the lines mean, under the title. */
  readonly note: string;
  /** The name of a column's kind: "EMA 0.90", "raw", "val". */
  kind(column: TableColumn): string;
}

const WIDTH = 960;
const HEIGHT = 480;
const PNG_RATIO = 2;

function pictureOf(content: ChartContent): PictureOptions {
  const { quantity, axis } = content;
  return {
    ...content,
    width: WIDTH,
    height: HEIGHT,
    title: quantity.unit ? `${quantity.name}, ${quantity.unit}` : quantity.name,
    axisTitle: axisTitle(axis),
    palette: palette(),
    formatX: (value, ticks) => axisTick(axis, value, ticks),
    formatY: (value, ticks) => quantity.tick(value, ticks),
    label: (curve: Curve) => `${curve.name} ${quantity.format(curve.main.latest())}`,
  };
}

function png(content: ChartContent): Promise<Blob> {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH * PNG_RATIO, HEIGHT * PNG_RATIO];
  const ctx = canvas.getContext("2d");
  if (!ctx) throw new Error("this browser has no 2D canvas");
  const picture = pictureOf(content);
  drawPicture(new CanvasSurface(ctx, PNG_RATIO, picture.palette.background), picture);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(t("training.chart_no_picture")))), "image/png");
  });
}

/** The file's content. */
export async function contentOf(file: ChartFile, content: ChartContent): Promise<Blob> {
  for (const curve of content.curves) curve.main.sync();
  if (file === "png") return png(content);
  if (file === "svg") {
    const picture = pictureOf(content);
    const surface = new SvgSurface(WIDTH, HEIGHT, picture.palette.background, picture.title);
    drawPicture(surface, picture);
    return new Blob([surface.toString()], { type: "image/svg+xml" });
  }
  const columns = tableColumns(content.curves, content.axis, axisTitle(content.axis), (column) => `${column.curve.name} ${content.kind(column)}`.trim());
  return new Blob([csv(columns)], { type: "text/csv" });
}

/** A name for the file: "loss-2025-11-21.svg". */
export function fileName(quantity: string, file: ChartFile, now: Date): string {
  const plain = quantity.toLowerCase().replace(/[\s/]+/g, "-");
  return `${plain}-${now.toISOString().slice(0, 10)}.${file}`;
}

// @vitest-environment jsdom
import { expect, test } from "vitest";
import type { Curve } from "./curve";
import type { Palette } from "./palette";
import { drawPicture } from "./picture";
import { SvgSurface } from "./surface";
import { Rows, Track } from "./track";

const palette: Palette = {
  series: { 1: "#111111", 2: "#222222", 3: "#333333", 4: "#444444", 5: "#555555", 6: "#666666", rest: "#777777" },
  background: "#ffffff",
  grid: "#eeeeee",
  axis: "#888888",
  text: "#000000",
  muted: "#999999",
  cursor: "#000000",
  limit: "#ff0000",
  font: "sans-serif",
};

function curve(name: string, length: number): Curve {
  const rows = new Rows(1);
  const main = new Track(rows);
  const raw = new Track(rows);
  for (let i = 0; i < length; i++) {
    rows.push(i + 1, i, i);
    main.push(2 + Math.sin(i / 500));
    raw.push(2 + Math.sin(i));
  }
  return { id: name, name, slot: 2, main, raw, second: null, isLive: false, isFront: false, planned: {} };
}

function svg(curves: Curve[]): string {
  const surface = new SvgSurface(960, 480, palette.background, "Loss");
  drawPicture(surface, {
    curves,
    axis: "step",
    zoom: null,
    growth: "linear",
    floor: "data",
    limits: [{ value: 2.5, name: "limit" }],
    end: null,
    width: 960,
    height: 480,
    title: "Loss, nats",
    axisTitle: "Step",
    note: "thin: raw",
    palette,
    formatX: String,
    formatY: (value) => value.toFixed(1),
    label: (one) => one.name,
  });
  return surface.toString();
}

test("the picture is an SVG document with title, axes, names and lines in the palette's colours", () => {
  const text = svg([curve('a <"&>', 50)]);
  const parsed = new DOMParser().parseFromString(text, "image/svg+xml");
  expect(parsed.querySelector("parsererror")).toBeNull();
  expect(parsed.documentElement.getAttribute("viewBox")).toBe("0 0 960 480");
  const words = Array.from(parsed.querySelectorAll("text"), (one) => one.textContent);
  expect(words).toContain("Loss, nats");
  expect(words).toContain("Step");
  expect(words).toContain('a <"&>');
  expect(parsed.querySelectorAll(`path[stroke="${palette.series[2]}"]`).length).toBeGreaterThanOrEqual(2);
  expect(parsed.querySelectorAll(`path[stroke="${palette.limit}"]`)).toHaveLength(1);
  expect(text).not.toContain("NaN");
});

test("a picture of 100,000 points is as large as its pixels, not as its points", () => {
  expect(svg([curve("long", 100_000)]).length).toBeLessThan(150_000);
});

test("a picture without points is an empty chart", () => {
  expect(svg([curve("none", 0)])).not.toContain("NaN");
});

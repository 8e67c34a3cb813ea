import { expect, test } from "vitest";
import type { Curve } from "./curve";
import { endLabels } from "./ends";
import type { Layout } from "./plot";
import { Rows, Track } from "./track";

function curve(id: string, values: number[], more: Partial<Curve> = {}): Curve {
  const rows = new Rows(1);
  const main = new Track(rows);
  values.forEach((value, i) => {
    rows.push(i, i, i);
    main.push(value);
  });
  return { id, name: id, slot: 1, main, raw: null, second: null, isLive: false, isFront: false, planned: {}, ...more };
}

const layout: Layout = {
  left: 40,
  top: 10,
  width: 500,
  height: 200,
  view: { x: { min: 0, max: 100 }, y: { min: 0, max: 10, step: 2, isBroken: false } },
  x: { growth: "linear", min: 0, max: 100, from: 40, to: 540 },
  y: { growth: "linear", min: 0, max: 10, from: 210, to: 10 },
};
const flat = (length: number, value: number) => new Array<number>(length).fill(value);

test("names at the right edge stand in the gutter and never overlap", () => {
  const labels = endLabels([curve("a", flat(101, 5)), curve("b", flat(101, 5.1)), curve("c", flat(101, 5.2))], "step", layout, () => 60);
  expect(labels.every(({ left }) => left > 540)).toBe(true);
  const middles = labels.map(({ middle }) => middle).sort((x, y) => x - y);
  expect((middles[1] as number) - (middles[0] as number)).toBeGreaterThanOrEqual(28);
  expect((middles[2] as number) - (middles[1] as number)).toBeGreaterThanOrEqual(28);
});

test("the name of a line that ends early stands beside its end, where no line crosses it", () => {
  const labels = endLabels([curve("short", flat(50, 5)), curve("long", flat(101, 5))], "step", layout, () => 60);
  const short = labels.find((label) => label.curve.id === "short");
  expect(short?.left).toBeLessThan(320);
  expect(Math.abs((short?.middle ?? 0) - 110)).toBeGreaterThan(14);
  expect(short?.isMoved).toBe(true);
});

test("a line whose end is not in sight has no name", () => {
  const zoomed: Layout = { ...layout, x: { ...layout.x, min: 60, max: 100 } };
  expect(endLabels([curve("short", flat(50, 5))], "step", zoomed, () => 60)).toEqual([]);
});

test("when there is no room, the values go first and then the greys", () => {
  const many = Array.from({ length: 16 }, (_, i) => curve(`r${i}`, flat(101, 5), { slot: i < 6 ? 1 : "rest" }));
  const labels = endLabels(many, "step", layout, () => 60);
  expect(labels.length).toBeLessThan(16);
  expect(labels.every(({ hasDetail }) => !hasDetail)).toBe(true);
  for (let i = 0; i < 6; i++) expect(labels.some((label) => label.curve.id === `r${i}`)).toBe(true);
});

test("several lines that end early at one place have their names in a stack", () => {
  const labels = endLabels([curve("a", flat(50, 5)), curve("b", flat(51, 5)), curve("c", flat(52, 5))], "step", layout, () => 60);
  const middles = labels.map(({ middle }) => middle).sort((x, y) => x - y);
  expect((middles[1] as number) - (middles[0] as number)).toBeGreaterThanOrEqual(28);
  expect((middles[2] as number) - (middles[1] as number)).toBeGreaterThanOrEqual(28);
});

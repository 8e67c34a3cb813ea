import { expect, test } from "vitest";
import { placeLabels } from "./labels";

const wishes = (...ys: number[]) => ys.map((y) => ({ y, height: 20 }));

test("labels that do not touch stay where they are", () => {
  expect(placeLabels(wishes(50, 100, 150), 4, 0, 200)).toEqual([50, 100, 150]);
});

test("two that overlap move apart by the same way", () => {
  expect(placeLabels(wishes(100, 102), 4, 0, 200)).toEqual([89, 113]);
});

test("the order of the wishes is kept in the answer", () => {
  expect(placeLabels(wishes(102, 100), 4, 0, 200)).toEqual([113, 89]);
});

test("equal wishes keep the order in which they came", () => {
  const [a, b, c] = placeLabels(wishes(100, 100, 100), 0, 0, 200) as [number, number, number];
  expect([a, b, c]).toEqual([80, 100, 120]);
});

test("labels stay inside and never overlap while they fit", () => {
  for (let k = 0; k < 200; k++) {
    const ys = Array.from({ length: 7 }, (_, i) => (Math.sin(k * 13.7 + i * i * 2.1) + 1) * 110 - 10);
    const placed = placeLabels(wishes(...ys), 2, 0, 200).sort((p, q) => p - q);
    expect(placed[0]).toBeGreaterThanOrEqual(10 - 1e-9);
    expect(placed.at(-1)).toBeLessThanOrEqual(190 + 1e-9);
    for (let i = 1; i < placed.length; i++) {
      expect((placed[i] as number) - (placed[i - 1] as number)).toBeGreaterThanOrEqual(22 - 1e-9);
    }
  }
});

test("what does not fit is stacked from the top", () => {
  expect(placeLabels(wishes(5, 5, 5), 0, 0, 30)).toEqual([10, 30, 50]);
});

test("heights may differ", () => {
  const placed = placeLabels(
    [
      { y: 50, height: 32 },
      { y: 52, height: 16 },
    ],
    0,
    0,
    200,
  ) as [number, number];
  expect(placed[1] - placed[0]).toBe(24);
});

test("no label, no place", () => {
  expect(placeLabels([], 2, 0, 100)).toEqual([]);
});

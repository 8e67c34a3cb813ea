import { expect, test } from "vitest";
import { Crosshair } from "./crosshair.svelte";
import { latestUpTo, readingAt, snap, stepAlong, type Curve } from "./curve";
import { cell, places, tableColumns } from "./table";
import { Rows, Track } from "./track";
import { keyboardZoom } from "./zoom";

function curve(id: string, steps: number[], values: number[], stride = 1): Curve {
  const rows = new Rows(stride);
  const main = new Track(rows);
  steps.forEach((step, i) => {
    rows.push(step, step * 10, step / 2);
    main.push(values[i] ?? NaN);
  });
  return { id, name: id, slot: 1, main, raw: null, second: null, isLive: false, isFront: false, planned: {} };
}

test("the crosshair snaps to the nearest point of any curve", () => {
  const curves = [curve("a", [1, 10, 20], [1, 2, 3], 10), curve("b", [1, 2, 3, 4], [1, 2, 3, 4])];
  expect(snap(curves, "step", 3.2)).toBe(3);
  expect(snap(curves, "step", 18)).toBe(20);
  expect(snap([], "step", 18)).toBeNull();
});

test("a curve shows nothing before, after and inside a gap", () => {
  const one = curve("a", [1, 2, 3, 50, 51], [1, 2, 3, 4, 5]);
  expect(readingAt(one, "step", 3)?.main).toBe(3);
  expect(readingAt(one, "step", 20)).toBeNull();
  expect(readingAt(one, "step", 49.9)?.main).toBe(4);
  expect(readingAt(one, "step", 90)).toBeNull();
  expect(readingAt(curve("b", [], []), "step", 1)).toBeNull();
});

test("validation shows the last evaluation up to the place", () => {
  const evals = curve("v", [100, 200], [1.5, 1.2]).main;
  expect(latestUpTo(evals, "step", 99)).toBeNaN();
  expect(latestUpTo(evals, "step", 100)).toBe(1.5);
  expect(latestUpTo(evals, "step", 199)).toBe(1.5);
  expect(latestUpTo(evals, "step", 1000)).toBe(1.2);
});

test("keys move the crosshair along the longest curve and stop at its ends", () => {
  const curves = [curve("a", [1, 2], [1, 1]), curve("b", [1, 2, 3, 4], [1, 1, 1, 1])];
  expect(stepAlong(curves, "step", 2, 1)).toBe(3);
  expect(stepAlong(curves, "step", 4, 10)).toBe(4);
  expect(stepAlong(curves, "step", 1, -1)).toBe(1);
  expect(stepAlong(curves, "step", null, 1)).toBe(1);
  expect(stepAlong(curves, "step", null, -1)).toBe(4);
  expect(stepAlong([], "step", null, 1)).toBeNull();
});

test("all charts of a screen follow one crosshair; a pinned one moves by keys only", () => {
  const crosshair = new Crosshair();
  crosshair.move(10, "loss", "pointer");
  expect([crosshair.x, crosshair.owner]).toEqual([10, "loss"]);
  crosshair.toggle(10, "loss");
  crosshair.move(20, "memory", "pointer");
  crosshair.move(null, "memory", "pointer");
  expect([crosshair.x, crosshair.isPinned]).toEqual([10, true]);
  crosshair.move(11, "loss", "key");
  expect(crosshair.x).toBe(11);
  crosshair.toggle(30, "loss");
  expect([crosshair.x, crosshair.isPinned]).toEqual([30, false]);
  crosshair.zoom = [1, 2];
  crosshair.axis = "tokens";
  expect([crosshair.x, crosshair.zoom]).toEqual([null, null]);
});

test("a table has a row for each place of any curve, and every value where it belongs", () => {
  const curves = [curve("a", [1, 3], [10, 30]), curve("b", [1, 2, 3], [1, 2, NaN])];
  const column = places(curves, "step");
  expect(Array.from(column.data.subarray(0, column.length))).toEqual([1, 2, 3]);
  expect(cell((curves[0] as Curve).main, "step", 2)).toBeNaN();
  const table = tableColumns(curves, "step", "Step", ({ curve: of }) => of.name);
  expect(table.map(({ title, values }) => [title, ...Array.from(values as Float64Array)])).toEqual([
    ["Step", 1, 2, 3],
    ["a", 10, NaN, 30],
    ["b", 1, 2, NaN],
  ]);
});

test("zooming by keys halves and doubles around the crosshair and ends at everything", () => {
  expect(keyboardZoom({ min: 0, max: 100 }, 40, true, 100)).toEqual([20, 70]);
  expect(keyboardZoom({ min: 0, max: 100 }, null, true, 100)).toEqual([25, 75]);
  expect(keyboardZoom({ min: 20, max: 70 }, 40, false, 100)).toBeNull();
  expect(keyboardZoom({ min: 40, max: 50 }, 45, false, 100)).toEqual([35, 55]);
});

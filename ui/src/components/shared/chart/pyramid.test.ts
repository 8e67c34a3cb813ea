import { expect, test } from "vitest";
import { Column } from "./column";
import { Pyramid } from "./pyramid";

/** A reproducible sequence in [0, 1). */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

function slowly(values: Column, from: number, to: number): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let i = from; i < to; i++) {
    const value = values.at(i);
    if (Number.isNaN(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

function agrees(pyramid: Pyramid, values: Column, random: () => number, times: number): void {
  for (let k = 0; k < times; k++) {
    const a = Math.floor(random() * (values.length + 1));
    const b = Math.floor(random() * (values.length + 1));
    const [from, to] = a < b ? [a, b] : [b, a];
    pyramid.query(from, to);
    expect([pyramid.low, pyramid.high]).toEqual(slowly(values, from, to));
  }
}

test("every range has the extremes that a plain loop finds, while the column grows", () => {
  const random = sequence(7);
  const values = new Column();
  const pyramid = new Pyramid(values);
  for (const length of [1, 7, 8, 9, 63, 64, 65, 500, 513, 4097, 9000]) {
    while (values.length < length) values.push(random() < 0.05 ? NaN : random() * 100 - 50);
    pyramid.sync();
    agrees(pyramid, values, random, 60);
  }
});

test("a cut column that grows again has no extreme of what was cut", () => {
  const random = sequence(11);
  const values = new Column();
  const pyramid = new Pyramid(values);
  for (let i = 0; i < 5000; i++) values.push(random() + 1000);
  pyramid.sync();
  for (const cut of [4097, 4096, 700, 64, 63, 8, 1, 0]) {
    pyramid.truncate(cut);
    values.truncate(cut);
    agrees(pyramid, values, random, 20);
    for (let i = 0; i < 50; i++) values.push(random());
    pyramid.sync();
    agrees(pyramid, values, random, 40);
    pyramid.truncate(cut);
    values.truncate(cut);
  }
});

test("a range without values has no extremes", () => {
  const pyramid = new Pyramid(Column.of([NaN, NaN, 3]));
  pyramid.query(0, 2);
  expect(pyramid.low).toBe(Infinity);
  expect(pyramid.high).toBe(-Infinity);
});

import { expect, test } from "vitest";
import { Ema, smooth } from "./ema";
import { Rows, SmoothTrack, Track } from "./track";

test("golden numbers: debiased as TensorBoard does it", () => {
  // w = 0.9, y = 1, 2, 3. By hand: 0.1/0.1 = 1; (0.09 + 0.2)/0.19 = 29/19; (0.261 + 0.3)/0.271 = 561/271.
  const result = smooth([1, 2, 3], 0.9);
  expect(result[0]).toBeCloseTo(1, 12);
  expect(result[1]).toBeCloseTo(29 / 19, 12);
  expect(result[2]).toBeCloseTo(561 / 271, 12);
});

test("golden numbers at weight 0.6", () => {
  // last: 0.4·4 = 1.6; 0.96 + 0.4·2 = 1.76; 1.056 + 0.4·8 = 4.256. Divided by 1 - 0.6^n = 0.4, 0.64, 0.784.
  const result = smooth([4, 2, 8], 0.6);
  expect(Array.from(result, (v) => Number(v.toFixed(10)))).toEqual([4, 2.75, Number((4.256 / 0.784).toFixed(10))]);
});

test("a constant stays what it is from the first point on", () => {
  for (const value of smooth(new Array(50).fill(2.5), 0.99)) expect(value).toBeCloseTo(2.5, 10);
});

test("weight 0 shows the values", () => {
  expect(Array.from(smooth([3, 1, 2], 0))).toEqual([3, 1, 2]);
});

test("a missing value is missing in the average and does not pull it", () => {
  const result = smooth([1, NaN, 2, 3], 0.9);
  expect(result[1]).toBeNaN();
  expect(result[2]).toBeCloseTo(29 / 19, 12);
});

test("a weight outside [0, 1) is refused", () => {
  expect(() => new Ema(1)).toThrow(RangeError);
  expect(() => new Ema(-0.1)).toThrow(RangeError);
});

test("a smoothed track that followed in parts equals one smoothed at once", () => {
  const rows = new Rows(1);
  const track = new Track(rows);
  const smooth = new SmoothTrack(track, 0.8);
  for (let i = 0; i < 300; i++) {
    rows.push(i + 1, 0, 0);
    track.push(Math.sin(i) + 2);
    if (i % 7 === 0) smooth.sync();
  }
  smooth.sync();
  const once = new SmoothTrack(track, 0.8);
  expect(smooth.y.data.subarray(0, 300)).toEqual(once.y.data.subarray(0, 300));
  smooth.reweigh(0.2);
  expect(smooth.y.at(10)).toBeCloseTo(new SmoothTrack(track, 0.2).y.at(10), 12);
});

test("a smoothed track starts anew when its rows were cut", () => {
  const rows = new Rows(1);
  const track = new Track(rows);
  for (let i = 0; i < 20; i++) {
    rows.push(i + 1, 0, 0);
    track.push(i);
  }
  const smooth = new SmoothTrack(track, 0.5);
  track.truncate(10);
  rows.truncate(10);
  for (let i = 10; i < 20; i++) {
    rows.push(i + 1, 0, 0);
    track.push(100);
  }
  smooth.sync();
  expect(smooth.y.at(19)).toBeCloseTo(new SmoothTrack(track, 0.5).y.at(19), 12);
});

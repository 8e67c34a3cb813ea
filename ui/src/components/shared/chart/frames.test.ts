// @vitest-environment jsdom
// How often charts draw.
import { afterEach, beforeEach, expect, test, vi } from "vitest";

let { drawArrivals, drawNever, drawSoon } = await import("./frames");

beforeEach(async () => {
  vi.useFakeTimers();
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => setTimeout(run, 16));
  vi.resetModules();
  ({ drawArrivals, drawNever, drawSoon } = await import("./frames"));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("arrivals are drawn at once after a rest, then four times a second", () => {
  const drawn = { draw: vi.fn() };
  drawArrivals(drawn);
  vi.advanceTimersByTime(20);
  expect(drawn.draw).toHaveBeenCalledTimes(1);
  for (let i = 0; i < 100; i++) {
    drawArrivals(drawn);
    vi.advanceTimersByTime(10);
  }
  expect(drawn.draw.mock.calls.length).toBeGreaterThanOrEqual(4);
  expect(drawn.draw.mock.calls.length).toBeLessThanOrEqual(5);
});

test("what the user does is drawn in the next frame, and what is gone never", () => {
  const [kept, gone] = [{ draw: vi.fn() }, { draw: vi.fn() }];
  drawArrivals(kept);
  vi.advanceTimersByTime(20);
  drawArrivals(gone);
  drawSoon(kept);
  drawNever(gone);
  vi.advanceTimersByTime(500);
  expect(kept.draw).toHaveBeenCalledTimes(2);
  expect(gone.draw).not.toHaveBeenCalled();
});

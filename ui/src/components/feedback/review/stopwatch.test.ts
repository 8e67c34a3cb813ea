import { describe, expect, it } from "vitest";
import { Stopwatch } from "./stopwatch";

describe("the stopwatch", () => {
  it("adds up the time that each item was looked at", () => {
    let now = 0;
    const watch = new Stopwatch(() => now);
    watch.look("a");
    now = 5000;
    watch.look("b");
    now = 8000;
    watch.look("a");
    now = 9000;
    expect([watch.spent_ms("a"), watch.spent_ms("b")]).toEqual([6000, 3000]);
  });

  it("stands still while nobody looks, and counts a break up to a minute", () => {
    let now = 0;
    const watch = new Stopwatch(() => now);
    watch.look("a");
    now = 1000;
    watch.look(undefined);
    now = 500_000;
    watch.look("a");
    now = 501_000;
    watch.touch();
    now = 1_000_000;
    expect(watch.spent_ms("a")).toBe(1000 + 1000 + 60_000);
  });
});

import { describe, expect, it, vi } from "vitest";
import type { Backend } from "./backend";
import { FROM_NOW } from "./backend";
import { Events, type AppHandler } from "./events.svelte";
import type { Event, StepPoint } from "./types";

const point = (step: number) => ({ step }) as StepPoint;
const pointEvent = (seq: number): Event => ({ seq, at_ms: 0, body: { type: "points", job_id: "job_a", points: [point(seq)] } });

function started() {
  const app = { stale: vi.fn(), job: vi.fn(), missed: vi.fn() } satisfies AppHandler;
  const subscribe = vi.fn<Backend["subscribe"]>(() => () => undefined);
  const events = new Events();
  events.start({ subscribe } as unknown as Backend, app);
  return { events, app, subscribe };
}

describe("events", () => {
  it("begin with what happens from now on", () => {
    const { subscribe } = started();
    expect(subscribe.mock.calls[0]?.[0]).toBe(FROM_NOW);
  });

  it("reach a job's listeners in order, each once", () => {
    const { events } = started();
    const seen: number[] = [];
    events.onPoints("job_a", { points: (points) => seen.push(...points.map((p) => p.step)) });
    for (const seq of [5, 6, 6, 5, 7]) events.take(pointEvent(seq));
    expect(seen).toEqual([5, 6, 7]);
  });

  it("tell of a gap before they give what follows it", () => {
    const { events, app } = started();
    const order: string[] = [];
    events.onPoints("job_a", { points: () => order.push("points"), missed: () => order.push("missed") });
    events.take(pointEvent(5));
    events.take(pointEvent(8));
    expect(order).toEqual(["points", "missed", "points"]);
    expect(app.missed).toHaveBeenCalledOnce();
  });

  it("miss nothing over a reconnection once a number is known", () => {
    const { events, app } = started();
    events.turn("open");
    expect(app.missed).toHaveBeenCalledOnce();
    events.take(pointEvent(5));
    events.turn("lost");
    expect(events.lost_at_ms).toBeGreaterThan(0);
    events.turn("open");
    expect(app.missed).toHaveBeenCalledOnce();
    expect(events.lost_at_ms).toBe(0);
  });

  it("end with their listener", () => {
    const { events } = started();
    const points = vi.fn();
    const end = events.onPoints("job_a", { points });
    end();
    events.take(pointEvent(5));
    expect(points).not.toHaveBeenCalled();
  });
});

import { describe, expect, it } from "vitest";
import type { Evaluation } from "$lib/api";
import type { Job } from "$lib/api";
import type { MetricValue } from "$lib/api";
import type { Model } from "$lib/api";
import { baseFor, difference, evaluationsUnderWay, measuresBase, metricLines, whiskerScale } from "./metrics";

const metric = (name: string, value: number, interval: [number, number] | null = null): MetricValue => ({ name, value, interval, n: 300 });
const model = { id: "model_1", base_model: "/m/base" } as Model;
const job = (over: Partial<Job>): Job =>
  ({ id: "job_1", kind: "evaluate", status: "completed", model_id: null, base_model: "/m/base", dataset_id: "d", config: {}, ...over }) as Job;
const evaluation = (over: Partial<Evaluation>, sha = "s", rows = 300): Evaluation =>
  ({ id: "e", job_id: "job_1", model_id: null, dataset_id: "d", created_at_ms: 1, report: { data_sha256: sha, rows }, ...over }) as Evaluation;

describe("difference", () => {
  it("combines both intervals", () => {
    const d = difference("chrf", metric("chrf", 90, [87, 93]), metric("chrf", 20, [16, 24]));
    expect(d.value).toBe(70);
    // sqrt(3² + 4²) = 5
    expect(d.interval).toEqual([65, 75]);
    expect(d.reading).toBe("better");
  });

  it("knows that less perplexity is better", () => {
    expect(difference("perplexity", metric("", 2, [1.9, 2.1]), metric("", 9, [8, 10])).reading).toBe("better");
    expect(difference("chrf", metric("", 2, [1.9, 2.1]), metric("", 9, [8, 10])).reading).toBe("worse");
  });

  it("claims nothing across zero, nor without intervals", () => {
    expect(difference("chrf", metric("", 52, [48, 56]), metric("", 50, [46, 54])).reading).toBe("not_told_apart");
    expect(difference("chrf", metric("", 52), metric("", 50, [46, 54]))).toEqual({ value: 2, interval: null, reading: "no_interval" });
  });
});

describe("metricLines", () => {
  it("keeps metrics of one side, in the order people read", () => {
    const lines = metricLines([metric("edit", 3), metric("chrf", 1)], [metric("perplexity", 2), metric("chrf", 2)]);
    expect(lines.map((line) => line.name)).toEqual(["chrf", "edit", "perplexity"]);
    expect(lines[1]).toMatchObject({ base: null, difference: null });
  });
});

describe("baseFor", () => {
  it("pairs only the same base on the same rows, the newest first", () => {
    const tuned = evaluation({ model_id: "model_1" });
    const old = evaluation({ id: "old", created_at_ms: 1 });
    const fresh = evaluation({ id: "new", created_at_ms: 2 });
    expect(baseFor(tuned, model, [old, fresh], [job({})])?.id).toBe("new");
    expect(baseFor(tuned, model, [evaluation({}, "other")], [job({})])).toBeNull();
    expect(baseFor(tuned, model, [evaluation({}, "s", 10)], [job({})])).toBeNull();
    expect(baseFor(tuned, model, [fresh], [job({ base_model: "/m/other" })])).toBeNull();
  });

  it("never takes an adapter on the base for the base", () => {
    const adapter = job({ config: { task: { model: { base: "/m/base", adapter: "/a" } } } });
    expect(measuresBase(adapter)).toBe(false);
    expect(measuresBase(job({ config: { task: { model: { base: "/m/base", adapter: null } } } }))).toBe(true);
    expect(baseFor(evaluation({ model_id: "model_1" }), model, [evaluation({})], [adapter])).toBeNull();
  });
});

describe("evaluationsUnderWay", () => {
  it("finds what is running for either side", () => {
    const jobs = [job({ id: "a", status: "running", model_id: "model_1" }), job({ id: "b", status: "pending" }), job({ id: "c" })];
    const { tuned, base } = evaluationsUnderWay(model, "d", jobs);
    expect([tuned?.id, base?.id]).toEqual(["a", "b"]);
  });
});

describe("whiskerScale", () => {
  it("is a round number that holds every interval", () => {
    const lines = metricLines([metric("chrf", 90, [87, 93])], [metric("chrf", 20, [16, 24])]);
    expect(whiskerScale(lines)).toBe(100);
    expect(whiskerScale([])).toBe(1);
  });
});

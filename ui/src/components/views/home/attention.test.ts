import { describe, expect, it } from "vitest";
import type { Dataset, Job } from "$lib/api";
import { attentionOf } from "./attention";

const job = (id: string, status: Job["status"], at: number, version = 1) => ({ id, status, version, created_at_ms: at, started_at_ms: null, completed_at_ms: null }) as Job;
const dataset = (name: string, version: number, num_problems: number, at: number) => ({ id: `${name}${version}`, name, version, num_problems, created_at_ms: at }) as Dataset;

describe("what needs attention", () => {
  it("is what stopped on its own or was paused, newest first", () => {
    const jobs = [job("a", "failed", 1), job("b", "completed", 2), job("c", "paused", 3), job("d", "interrupted", 4), job("e", "running", 5), job("f", "stopped", 6)];
    expect(attentionOf(jobs, [], new Set()).map((line) => line.key.slice(0, 1))).toEqual(["d", "c", "a"]);
  });

  it("is the newest version of a dataset only", () => {
    const sets = [dataset("mail", 1, 5, 1), dataset("mail", 2, 0, 2), dataset("chat", 1, 3, 3)];
    expect(attentionOf([], sets, new Set()).map((line) => line.key)).toEqual(["chat1"]);
  });

  it("stays hidden until the job changes again", () => {
    const hidden = new Set(["a failed 1"]);
    expect(attentionOf([job("a", "failed", 1)], [], hidden)).toEqual([]);
    expect(attentionOf([job("a", "failed", 1, 2)], [], hidden)).toHaveLength(1);
  });
});

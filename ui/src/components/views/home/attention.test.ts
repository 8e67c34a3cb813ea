import { describe, expect, it } from "vitest";
import type { Dataset, Job, Mark, Model, ProjectSummary } from "$lib/api";
import { attentionOf } from "./attention";

const job = (id: string, status: Job["status"], at: number, version = 1) => ({ id, status, version, created_at_ms: at, started_at_ms: null, completed_at_ms: null }) as Job;
const dataset = (name: string, version: number, num_problems: number, at: number) => ({ id: `${name}${version}`, name, version, num_problems, created_at_ms: at }) as Dataset;

describe("what needs attention", () => {
  it("is what stopped on its own or was paused, newest first", () => {
    const jobs = [job("a", "failed", 1), job("b", "completed", 2), job("c", "paused", 3), job("d", "interrupted", 4), job("e", "running", 5), job("f", "stopped", 6)];
    expect(attentionOf({ jobs }, new Set()).map((line) => line.key.slice(0, 1))).toEqual(["d", "c", "a"]);
  });

  it("is the newest version of a dataset only", () => {
    const sets = [dataset("mail", 1, 5, 1), dataset("mail", 2, 0, 2), dataset("chat", 1, 3, 3)];
    expect(attentionOf({ datasets: sets }, new Set()).map((line) => line.key)).toEqual(["chat1"]);
  });

  it("is what learned from feedback that was withdrawn, until it is hidden or more is", () => {
    const marks: Mark[] = [{ id: "mail1", withdrawn: 2 }, { id: "m", withdrawn: 1 }, { id: "deleted", withdrawn: 1 }];
    const looked = { datasets: [dataset("mail", 1, 0, 1)], models: [{ id: "m", name: "tone", version: 3, created_at_ms: 2 } as Model], marks };
    expect(attentionOf(looked, new Set()).map((line) => line.key)).toEqual(["m withdrawn 1", "mail1 withdrawn 2"]);
    expect(attentionOf(looked, new Set(["mail1 withdrawn 1", "m withdrawn 1"])).map((line) => line.key)).toEqual(["mail1 withdrawn 2"]);
  });

  it("is what there is to judge, after what went wrong", () => {
    const project = (id: string, status: string, left: number) => ({ project: { id, status, created_at_ms: 9 }, progress: { left } }) as ProjectSummary;
    const looked = { jobs: [job("a", "failed", 1)], projects: [project("p", "active", 3), project("q", "active", 0), project("r", "paused", 3)] };
    expect(attentionOf(looked, new Set()).map((line) => line.key)).toEqual(["a failed 1", "p review"]);
  });

  it("stays hidden until the job changes again", () => {
    const hidden = new Set(["a failed 1"]);
    expect(attentionOf({ jobs: [job("a", "failed", 1)] }, hidden)).toEqual([]);
    expect(attentionOf({ jobs: [job("a", "failed", 1, 2)] }, hidden)).toHaveLength(1);
  });
});

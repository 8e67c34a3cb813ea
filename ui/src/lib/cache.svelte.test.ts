// @vitest-environment jsdom
import { flushSync } from "svelte";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { useBackend, type Backend, type Job } from "./api";
import { clearCache, invalidate, patch, query, type Query } from "./cache.svelte";

type Answer = { resolve: (value: unknown) => void; reject: (error: unknown) => void };

let asked: (Answer & { name: string; args: unknown })[] = [];
const settle = () => vi.waitFor(() => flushSync());

beforeEach(() => {
  clearCache();
  asked = [];
  const rpc = (name: string, args: unknown) => new Promise((resolve, reject) => asked.push({ name, args, resolve, reject }));
  useBackend({ kind: "browser", rpc } as unknown as Backend);
});

/** Sets up a component that shows a query. */
function shown<T>(make: () => T): { value: T; end: () => void } {
  let value: T | undefined;
  const end = $effect.root(() => {
    value = make();
  });
  flushSync();
  return { value: value as T, end };
}
const job = (id: string) => ({ id }) as Job;
const ask = () => query("job_get", { id: "job_a" }, ["jobs"]);

describe("a query", () => {
  it("asks once for all who show the same", async () => {
    const one = shown(ask);
    const two = shown(ask);
    await vi.waitFor(() => expect(asked).toHaveLength(1));
    asked[0]?.resolve(job("job_a"));
    await vi.waitFor(() => expect(two.value.data).toEqual(job("job_a")));
    expect(one.value.data).toBe(two.value.data);
    one.end();
    two.end();
  });

  it("keeps old data while it asks again, and after a failure", async () => {
    const { value, end } = shown(ask);
    await vi.waitFor(() => expect(asked).toHaveLength(1));
    asked[0]?.resolve(job("job_a"));
    await vi.waitFor(() => expect(value.data).toBeDefined());
    invalidate(["jobs"]);
    await vi.waitFor(() => expect(asked).toHaveLength(2));
    expect([value.loading, value.data]).toEqual([true, job("job_a")]);
    asked[1]?.reject({ code: "unavailable", message: "gone", hint: "" });
    await vi.waitFor(() => expect(value.error?.code).toBe("unavailable"));
    expect(value.data).toEqual(job("job_a"));
    end();
  });

  it("is fetched again when a tag is stale: at once if shown, else when shown next", async () => {
    const first = shown(ask);
    await vi.waitFor(() => expect(asked).toHaveLength(1));
    asked[0]?.resolve(job("job_a"));
    await vi.waitFor(() => expect(first.value.data).toBeDefined());
    invalidate(["models"]);
    first.end();
    invalidate(["jobs"]);
    await settle();
    expect(asked).toHaveLength(1);
    const second = shown(ask);
    await vi.waitFor(() => expect(asked).toHaveLength(2));
    expect(second.value.data).toEqual(job("job_a"));
    second.end();
  });

  it("asks once more after an answer that became stale on its way", async () => {
    const { value, end } = shown(ask);
    await vi.waitFor(() => expect(asked).toHaveLength(1));
    invalidate(["jobs"]);
    invalidate(["jobs"]);
    asked[0]?.resolve(job("old"));
    await vi.waitFor(() => expect(asked).toHaveLength(2));
    asked[1]?.resolve(job("new"));
    await vi.waitFor(() => expect(value.data?.id).toBe("new"));
    expect(asked).toHaveLength(2);
    end();
  });

  it("follows its arguments and asks nothing for null", async () => {
    let id = $state<string | null>(null);
    const { value, end } = shown((): Query<"job_get"> => query("job_get", () => (id === null ? null : { id }), ["jobs"]));
    await settle();
    expect([asked.length, value.loading, value.data]).toEqual([0, false, undefined]);
    id = "job_b";
    flushSync();
    await vi.waitFor(() => expect(asked[0]?.args).toEqual({ id: "job_b" }));
    end();
  });

  it("can be changed in place by an event", async () => {
    const { value, end } = shown(ask);
    await vi.waitFor(() => expect(asked).toHaveLength(1));
    asked[0]?.resolve(job("job_a"));
    await vi.waitFor(() => expect(value.data).toBeDefined());
    patch("job_get", (old) => ({ ...old, progress: 0.5 }));
    expect(value.data?.progress).toBe(0.5);
    end();
  });
});

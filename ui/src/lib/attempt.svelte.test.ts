import { describe, expect, it } from "vitest";
import { Attempt } from "./attempt.svelte";

describe("an attempt", () => {
  it("runs one try at a time and says how it went", async () => {
    const attempt = new Attempt();
    let finish = () => {};
    const first = attempt.run(() => new Promise<void>((done) => (finish = done)));
    expect(attempt.busy).toBe(true);
    let ran = false;
    expect(await attempt.run(async () => void (ran = true))).toBe(false);
    expect(ran).toBe(false);
    finish();
    expect(await first).toBe(true);
    expect([attempt.busy, attempt.error]).toEqual([false, undefined]);
  });

  it("keeps why a try failed until the next", async () => {
    const attempt = new Attempt();
    const refusal = { code: "conflict", message: "Nothing was changed.", hint: null };
    expect(await attempt.run(() => Promise.reject(refusal))).toBe(false);
    expect([attempt.busy, attempt.error?.message]).toEqual([false, "Nothing was changed."]);
    expect(await attempt.run(async () => {})).toBe(true);
    expect(attempt.error).toBeUndefined();
    await attempt.run(() => Promise.reject(refusal));
    attempt.clear();
    expect(attempt.error).toBeUndefined();
  });
});

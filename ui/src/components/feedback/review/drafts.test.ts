// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Answers } from "./answers";
import { Drafts } from "./drafts";

beforeEach(() => {
  localStorage.clear();
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

const made = (save: (item: string, answers: Answers) => Promise<unknown>, user = "u") => new Drafts(user, "p", save);

describe("drafts", () => {
  it("are in this browser at once and go to the core when the typing rests", async () => {
    const save = vi.fn(() => Promise.resolve());
    const drafts = made(save);
    drafts.set("i", { note: "a" });
    drafts.set("i", { note: "ab" });
    expect(made(save).read("i")).toEqual({ note: "ab" });
    expect(save).not.toHaveBeenCalled();
    await vi.runAllTimersAsync();
    expect(save.mock.calls).toEqual([["i", { note: "ab" }]]);
    expect(localStorage).toHaveLength(0);
  });

  it("stay in this browser while the core has not confirmed them", async () => {
    const drafts = made(() => Promise.reject(new Error("away")));
    drafts.set("i", { rating: 2 });
    await vi.runAllTimersAsync();
    expect(drafts.read("i")).toEqual({ rating: 2 });
  });

  it("stay when they changed while they were saved", async () => {
    let done = (): void => {};
    const drafts = made(() => new Promise<void>((resolve) => (done = resolve)));
    drafts.set("i", { rating: 2 });
    await vi.advanceTimersByTimeAsync(1000);
    drafts.set("i", { rating: 3 });
    done();
    await vi.advanceTimersByTimeAsync(0);
    expect(drafts.read("i")).toEqual({ rating: 3 });
  });

  it("are kept apart by person, and forgotten when the item is through", async () => {
    const save = vi.fn(() => Promise.resolve());
    const drafts = made(save);
    drafts.set("i", { rating: 2 });
    expect(made(save, "other").read("i")).toBeUndefined();
    drafts.forget("i");
    await vi.runAllTimersAsync();
    expect([drafts.read("i"), save.mock.calls.length]).toEqual([undefined, 0]);
  });

  it("of large texts are written when the typing rests, or the page goes", () => {
    const drafts = made(() => new Promise(() => {}));
    const large = { fix: "x".repeat(30_000) };
    drafts.set("i", large);
    expect([localStorage.length, drafts.read("i")]).toEqual([0, large]);
    drafts.flush();
    expect(made(() => Promise.resolve()).read("i")).toEqual(large);
  });

  it("that cannot be read are none", () => {
    localStorage.setItem("tonebridge.draft.u.p.i", "{");
    localStorage.setItem("tonebridge.draft.u.p.j", "[1]");
    const drafts = made(() => Promise.resolve());
    expect([drafts.read("i"), drafts.read("j")]).toEqual([undefined, undefined]);
  });
});

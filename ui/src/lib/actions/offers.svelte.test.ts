// @vitest-environment jsdom
import { flushSync } from "svelte";
import { describe, expect, it } from "vitest";
import { available, useAction } from "./registry.svelte";

describe("offers", () => {
  it("of a page that comes outlive the page that goes in the same moment", () => {
    let page = $state<"list" | "detail">("list");
    const end = $effect.root(() => {
      $effect.pre(() => {
        if (page === "detail") useAction("dataset.train", () => {});
      });
      $effect.pre(() => {
        if (page === "list") useAction("list.next", () => {});
      });
    });
    flushSync();
    expect([available("dataset.train"), available("list.next")]).toEqual([false, true]);
    page = "detail";
    flushSync();
    expect([available("dataset.train"), available("list.next")]).toEqual([true, false]);
    end();
    expect(available("dataset.train")).toBe(false);
  });
});

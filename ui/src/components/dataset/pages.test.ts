import { describe, expect, it, vi } from "vitest";
import type { Row } from "$lib/api";
import { PAGE_ROWS, RowPages, RowSearch, type FetchRows } from "./pages.svelte";

const row = (i: number): Row => ({ line: i + 1, example: { text: i % 250 === 7 ? `needle ${i}` : `row ${i}` }, more: {} });
const all = Array.from({ length: 1234 }, (_, i) => row(i));
const fetch: FetchRows = (offset, limit) => Promise.resolve({ rows: all.slice(offset, offset + limit), total: all.length });
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

describe("RowPages", () => {
  it("fetches each page once, however many rows of it are looked at", async () => {
    const spy = vi.fn(fetch);
    const pages = new RowPages(all.length, spy);
    expect([pages.at(0), pages.at(5), pages.at(PAGE_ROWS)]).toEqual([undefined, undefined, undefined]);
    await settled();
    expect(spy.mock.calls).toEqual([[0, PAGE_ROWS], [PAGE_ROWS, PAGE_ROWS]]);
    expect(pages.at(PAGE_ROWS)).toEqual(all[PAGE_ROWS]);
  });

  it("keeps what came when a page fails, and fetches it again on request", async () => {
    let broken = true;
    const pages = new RowPages(all.length, (offset, limit) => (offset > 0 && broken ? Promise.reject(new Error("gone")) : fetch(offset, limit)));
    pages.at(0);
    pages.at(500);
    await settled();
    expect(pages.error?.message).toBe("gone");
    expect(pages.at(3)).toEqual(all[3]);
    broken = false;
    pages.retry();
    await settled();
    expect([pages.error, pages.at(500)]).toEqual([undefined, all[500]]);
  });
});

describe("RowSearch", () => {
  it("reads the whole split and says how far it is", async () => {
    const search = new RowSearch("NEEDLE", all.length, fetch);
    await search.run();
    expect([search.found, search.read, search.done]).toEqual([[7, 257, 507, 757, 1007], 1234, true]);
  });

  it("keeps what it found when it fails, and goes on from there", async () => {
    let broken = true;
    const search = new RowSearch("needle", all.length, (offset, limit) => (offset >= 500 && broken ? Promise.reject(new Error("gone")) : fetch(offset, limit)));
    await search.run();
    expect([search.found, search.read, search.done, search.error?.message]).toEqual([[7, 257], 500, false, "gone"]);
    broken = false;
    await search.run();
    expect(search.found).toHaveLength(5);
  });

  it("stops when nobody waits any more", async () => {
    const spy = vi.fn(fetch);
    const search = new RowSearch("needle", all.length, spy);
    const run = search.run();
    search.stop();
    await run;
    expect(spy).toHaveBeenCalledOnce();
    expect(search.done).toBe(false);
  });
});

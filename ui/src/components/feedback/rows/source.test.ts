import { describe, expect, it } from "vitest";
import { ApiError, type Feedback } from "$lib/api";
import { PAGE_ROWS, RowSource, type Host } from "./source.svelte";

const row = (n: number): Feedback => ({ id: `fbk_${n}` }) as Feedback;
/** Rows `first` down to 1, newest first. */
function hostOf(first: { n: number }, more: Partial<Host> = {}): Host & { asked: (string | undefined)[] } {
  const asked: (string | undefined)[] = [];
  return {
    asked,
    list: (_, after, limit) => {
      asked.push(after);
      const from = after ? Number(after.slice(4)) - 1 : first.n;
      return Promise.resolve(Array.from({ length: Math.min(limit, from) }, (_, i) => row(from - i)));
    },
    get: (id) => (id === "fbk_404" ? Promise.reject(new ApiError("not_found", "")) : Promise.resolve(row(Number(id.slice(4))))),
    ...more,
  };
}

describe("rows as they come", () => {
  it("follow each other by key to the last one", async () => {
    const host = hostOf({ n: 230 });
    const source = new RowSource({ selection: {} as never }, host);
    while (!source.done) await source.more();
    await source.more();
    expect(source.rows).toHaveLength(230);
    expect(host.asked).toEqual([undefined, "fbk_131", "fbk_31"]);
  });

  it("are kept when a page fails, and asked for again only on demand", async () => {
    let down = false;
    const host = hostOf({ n: 150 });
    const list = host.list;
    host.list = (...args) => (down ? Promise.reject(new ApiError("internal", "disk")) : list(...args));
    const source = new RowSource({ selection: {} as never }, host);
    await source.more();
    down = true;
    await source.more();
    expect([source.rows.length, source.error?.message]).toEqual([PAGE_ROWS, "disk"]);
    await source.more();
    down = false;
    await source.retry();
    expect([source.rows.length, source.error, source.done]).toEqual([150, undefined, true]);
  });

  it("take in new ones at the head without losing the place", async () => {
    const first = { n: 220 };
    const source = new RowSource({ selection: {} as never }, hostOf(first));
    await source.more();
    await source.more();
    first.n = 225;
    await source.refresh();
    expect(source.rows).toHaveLength(205);
    expect([source.rows[0]?.id, source.rows.at(-1)?.id]).toEqual(["fbk_225", "fbk_21"]);
  });

  it("come by id in their order, without those that are gone", async () => {
    const source = new RowSource({ ids: ["fbk_3", "fbk_404", "fbk_1"] }, hostOf({ n: 3 }));
    await source.more();
    expect(source.rows.map(({ id }) => id)).toEqual(["fbk_3", "fbk_1"]);
    expect(source.done).toBe(true);
  });

  it("are dropped when nobody waits for them any more", async () => {
    const source = new RowSource({ selection: {} as never }, hostOf({ n: 10 }));
    const coming = source.more();
    source.end();
    await coming;
    expect(source.rows).toEqual([]);
  });
});

import { describe, expect, it } from "vitest";
import { eventsOf, itemsOf } from "./lines";

/** An answer whose body comes in these pieces. */
function answer(pieces: string[], type: string): Response {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      controller.close();
    },
  });
  return new Response(body, { headers: { "content-type": type } });
}
async function all<T>(items: AsyncGenerator<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}

describe("a streamed answer", () => {
  it("gives each line as an item, however the network cuts them", async () => {
    const items = await all(itemsOf(answer(['{"a":', '1}\n{"a":2}\n\n{"a"', ":3}"], "application/x-ndjson")));
    expect(items).toEqual([{ a: 1 }, { a: 2 }, { a: 3 }]);
  });

  it("ends with the error that its last line tells", async () => {
    const items = itemsOf(answer(['{"a":1}\n{"error":{"code":"worker_lost","message":"gone","hint":""}}\n'], "application/x-ndjson"));
    expect((await items.next()).value).toEqual({ a: 1 });
    await expect(items.next()).rejects.toMatchObject({ code: "worker_lost", message: "gone" });
  });

  it("reads numbers, data and heartbeats of server-sent events", async () => {
    const events = await all(eventsOf(answer(["retry: 1000\nid: 7\n\n", ":\n\nid: 8\r\nda", 'ta: {"seq":8}\r\n\r\n'], "text/event-stream")));
    expect(events).toEqual([{ id: "7", data: "" }, { id: undefined, data: "" }, { id: "8", data: '{"seq":8}' }]);
  });
});

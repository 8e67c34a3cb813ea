import { ApiError } from "$lib/api";
import { describe, expect, it } from "vitest";
import { Outbox, type Sending } from "./outbox";

const refused = new ApiError("invalid_argument", "no");
const away = new ApiError("unavailable", "");

function setup() {
  const [sent, failed] = [[] as string[], [] as string[][]];
  const outbox = new Outbox<Sending>((all, error) => void failed.push([error.code, ...all.map(({ item }) => item ?? "")]));
  const send = (item: string, how: () => Promise<unknown> = () => Promise.resolve()): void =>
    outbox.add({ item, send: async () => { await how(); sent.push(item); } });
  return { outbox, sent, failed, send };
}

describe("the outbox", () => {
  it("sends one after the other, in order, however long each takes", async () => {
    const { outbox, sent, send } = setup();
    let open = 0;
    const slow = (ms: number) => async () => {
      expect(++open).toBe(1);
      await new Promise((done) => setTimeout(done, ms));
      open -= 1;
    };
    [8, 0, 3].forEach((ms, i) => send(String(i), slow(ms)));
    expect(outbox.all.map(({ item }) => item)).toEqual(["0", "1", "2"]);
    await outbox.idle();
    expect([sent, outbox.all]).toEqual([["0", "1", "2"], []]);
  });

  it("gives back what was refused and goes on", async () => {
    const { outbox, sent, failed, send } = setup();
    send("a", () => Promise.reject(refused));
    send("b");
    await outbox.idle();
    expect([sent, failed]).toEqual([["b"], [["invalid_argument", "a"]]]);
  });

  it("gives everything back in order when nobody can be reached", async () => {
    const { outbox, sent, failed, send } = setup();
    send("a");
    send("b", () => Promise.reject(away));
    send("c");
    await outbox.idle();
    expect([sent, failed]).toEqual([["a"], [["unavailable", "b", "c"]]]);
    send("d");
    await outbox.idle();
    expect(sent).toEqual(["a", "d"]);
  });

  it("takes back only what is not under way, and only if it fits", async () => {
    const { outbox, sent, send } = setup();
    send("a");
    expect(outbox.takeBack(() => true)).toBeUndefined();
    send("b");
    expect(outbox.takeBack(({ item }) => item === "a")).toBeUndefined();
    expect(outbox.takeBack(({ item }) => item === "b")?.item).toBe("b");
    await outbox.idle();
    expect(sent).toEqual(["a"]);
  });
});

import { describe, expect, it } from "vitest";
import type { BaseModel, Model } from "$lib/api";
import { baseKey, firstSides, NONE, sideOf } from "./sides";

const base = (path: string): BaseModel => ({ path, name: path }) as BaseModel;
const model = (id: string, base_model: string, created_at_ms: number, status: Model["status"] = "draft"): Model =>
  ({ id, base_model, created_at_ms, status }) as Model;

const bases = [base("/a"), base("/b")];
const models = [model("m1", "/a", 1), model("m2", "/b", 2), model("old", "/b", 3, "archived")];

describe("firstSides", () => {
  it("sets the newest version against its own base", () => {
    expect(firstSides({ a: null, b: null }, bases, models)).toEqual({ a: baseKey("/b"), b: "m2" });
  });

  it("follows the address where that exists", () => {
    expect(firstSides({ a: null, b: "m1" }, bases, models)).toEqual({ a: baseKey("/a"), b: "m1" });
    expect(firstSides({ a: "m1", b: "m2" }, bases, models)).toEqual({ a: "m1", b: "m2" });
    expect(firstSides({ a: baseKey("/a"), b: null }, bases, models)).toEqual({ a: baseKey("/a"), b: "m1" });
    expect(firstSides({ a: null, b: "gone" }, bases, models)).toEqual({ a: baseKey("/b"), b: "m2" });
  });

  it("leaves a side out where there is only one model, or the same twice", () => {
    expect(firstSides({ a: null, b: null }, [base("/a")], [])).toEqual({ a: baseKey("/a"), b: NONE });
    expect(firstSides({ a: "m1", b: "m1" }, bases, models)).toEqual({ a: "m1", b: NONE });
    expect(firstSides({ a: null, b: null }, [], [])).toEqual({ a: NONE, b: NONE });
  });
});

describe("sideOf", () => {
  it("says what the host is asked for", () => {
    expect([sideOf(baseKey("/x:y")), sideOf("m1"), sideOf(NONE)]).toEqual([{ base_model: "/x:y" }, { model_id: "m1" }, null]);
  });
});

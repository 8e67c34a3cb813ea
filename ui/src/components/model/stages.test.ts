import { describe, expect, it } from "vitest";
import type { Model } from "$lib/api";
import { byStage, folderName, modelHas, stageActions, stageAfter } from "./stages";

const model = (over: Partial<Model>): Model =>
  ({ id: "m", name: "tone-polite", version: 3, base_model: "/models/Qwen3-4B/", model_type: "tone_adjustment", status: "draft", created_at_ms: 0, ...over }) as Model;

describe("stages", () => {
  it("offers only what the state machine allows", () => {
    expect(stageActions("draft")).toEqual(["stage", "archive"]);
    expect(stageActions("staging")).toEqual(["archive"]);
    expect(stageActions("production")).toEqual([]);
    expect(stageActions("archived").map(stageAfter)).toEqual(["draft"]);
  });

  it("sorts versions into stages, the newest first", () => {
    const board = byStage([model({ id: "a", created_at_ms: 1 }), model({ id: "b", created_at_ms: 2 }), model({ id: "c", status: "archived" })]);
    expect(board.draft.map((m) => m.id)).toEqual(["b", "a"]);
    expect(board.archived).toHaveLength(1);
  });

  it("finds by name, version and base", () => {
    expect(modelHas(model({}), "polite v3 qwen")).toBe(true);
    expect(modelHas(model({}), "polite v4")).toBe(false);
    expect(modelHas(model({}), "")).toBe(true);
  });

  it("names a folder by its last part on every platform", () => {
    expect([folderName("/a/b/"), folderName("C:\\models\\llm"), folderName("x")]).toEqual(["b", "llm", "x"]);
  });
});

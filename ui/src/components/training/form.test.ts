import { expect, test } from "vitest";
import type { Dataset, FieldInfo, Job } from "$lib/api";
import { autoName, draftOf, EMPTY_DRAFT, formOf, isComplete, listValue, nearestRuns, readDraft, valueOf, withValue, type Draft } from "./form";

const field = (key: string, value: unknown): FieldInfo => ({ key, default: value, accepts: "", help: "", basic: false });
const fields = [field("lora_r", 16), field("learning_rate", 2e-4), field("num_train_epochs", 3), field("target_modules", ["q_proj", "v_proj"]), field("packing", false)];
const ready: Draft = { ...EMPTY_DRAFT, origin: { kind: "base", path: "/models/tiny" }, dataset_id: "ds_1" };

test("only what differs from the defaults is a change", () => {
  const changed = withValue(ready, "lora_r", 32, fields);
  expect(changed.values).toEqual({ lora_r: 32 });
  expect(valueOf(changed, "lora_r", fields)).toBe(32);
  expect(withValue(changed, "lora_r", 16, fields).values).toEqual({});
  expect(withValue(ready, "target_modules", "q_proj,v_proj", fields).values).toEqual({});
});

test("the form that is sent holds the choices and nothing twice", () => {
  const draft = { ...withValue(ready, "learning_rate", 5e-4, fields), data: "/tmp/x.jsonl" };
  expect(formOf(draft, "auto")).toEqual({
    name: "auto",
    method: "sft",
    model_type: null,
    base_model: "/models/tiny",
    adapter: null,
    model_id: null,
    dataset_id: "ds_1",
    data: null,
    eval_data: null,
    mapping: null,
    hyperparameters: { learning_rate: 5e-4 },
    device: null,
  });
});

test("a form survives the way through draft and back", () => {
  const form = formOf({ ...withValue(ready, "lora_r", 8, fields), name: "mine", device: "cpu" }, "");
  expect(formOf(draftOf(form, fields), "")).toEqual(form);
  const plain = { ...form, dataset_id: null, data: "/tmp/a.csv", eval_data: "/tmp/b.csv", mapping: { shape: "text" as const, text: "body" }, adapter: "/tmp/adapter" };
  expect(formOf(draftOf(plain, fields), "")).toEqual(plain);
  expect(draftOf({ model_id: "mdl_1", base_model: "/x" }, fields).origin).toEqual({ kind: "model", id: "mdl_1" });
  expect(draftOf(null, fields)).toEqual(EMPTY_DRAFT);
  expect(draftOf({ hyperparameters: { gone: 1, lora_r: 16 } }, fields).values).toEqual({});
});

test("a kept draft that cannot be read is none", () => {
  expect(readDraft(JSON.stringify(ready))).toEqual(ready);
  for (const text of [undefined, "", "{", "null", "[]", '{"a":1}']) expect(readDraft(text)).toBeNull();
});

test("a run is named after its data and rank", () => {
  expect(autoName(ready, { name: "polite" } as Dataset, fields)).toBe("polite-r16");
  expect(autoName({ ...ready, data: "/tmp/pairs.v2.jsonl" }, undefined, fields)).toBe("pairs.v2-r16");
  expect(autoName(EMPTY_DRAFT, undefined, fields)).toBe("r16");
});

test("a run needs an origin and data", () => {
  expect(isComplete(ready)).toBe(true);
  expect(isComplete({ ...ready, dataset_id: null })).toBe(false);
  expect(isComplete({ ...ready, origin: null })).toBe(false);
});

test("a list of modules is a list, a pattern and all-linear are texts", () => {
  expect(listValue(" q_proj, v_proj ")).toEqual(["q_proj", "v_proj"]);
  expect(listValue("all-linear")).toBe("all-linear");
  expect(listValue(".*_proj")).toBe(".*_proj");
});

test("the nearest earlier runs share base and data and have been measured", () => {
  const job = (id: string, learning_rate: number, more: Partial<Job> = {}) =>
    ({ id, dataset_id: "ds_1", base_model: "/models/tiny", created_at_ms: 0, metrics: { eval_loss: 1 }, hyperparameters: { learning_rate, lora_r: 16, num_train_epochs: 3 }, ...more }) as unknown as Job;
  const jobs = [job("far", 5e-3), job("near", 2.2e-4), job("other", 2e-4, { dataset_id: "ds_2" }), job("unmeasured", 2e-4, { metrics: {} }), job("same", 2e-4)];
  expect(nearestRuns(jobs, ready, fields, null, 2).map(({ id }) => id)).toEqual(["same", "near"]);
});

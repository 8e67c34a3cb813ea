import { describe, expect, it } from "vitest";
import { ASKING, ended, isSameWish, secondsLeft, shareDone, take, wantedOf } from "./download";
import type { DownloadItem } from "$lib/api";

const progress = (done_bytes: number, received_bytes: number, bytes_per_s: number | null = null): DownloadItem => ({
  type: "progress", file: "model.safetensors", file_done_bytes: done_bytes, file_bytes: 1000, done_bytes, total_bytes: 1000, received_bytes, bytes_per_s,
});
const model = { repo: "a/b", commit: "c", path: "/hub/a--b", size_bytes: 1000 };

describe("a download", () => {
  it("shows how far it is, and what an earlier try had left", () => {
    const view = take(take(ASKING, progress(400, 0)), progress(700, 300, 100));
    expect(view).toMatchObject({ state: "running", doneBytes: 700, keptBytes: 400 });
    expect([shareDone(view), secondsLeft(view)]).toEqual([0.7, 3]);
  });

  it("has no share before the hub has answered, and no time left before there is a pace", () => {
    expect(shareDone(ASKING)).toBeUndefined();
    expect(secondsLeft(take(ASKING, progress(400, 0)))).toBeNull();
    expect(secondsLeft(take(ASKING, progress(400, 400, 0)))).toBeNull();
  });

  it("ends once", () => {
    const done = take(take(ASKING, progress(1000, 1000)), { type: "done", model });
    expect(take(done, progress(1, 1))).toBe(done);
    expect(ended(done, { code: "unavailable", message: "late", hint: "" })).toBe(done);
  });

  it("that the user stopped is no failure; one that broke says why and keeps its figures", () => {
    const view = take(ASKING, progress(400, 400, 10));
    expect(ended(view, null)).toMatchObject({ state: "stopped", error: null, doneBytes: 400 });
    expect(ended(view, { code: "cancelled", message: "", hint: "" })).toMatchObject({ state: "stopped" });
    const broken = ended(view, { code: "unavailable", message: "cut", hint: "again" });
    expect(broken).toMatchObject({ state: "failed", bytesPerS: null, doneBytes: 400 });
    expect(broken.error?.message).toBe("cut");
  });

  it("of a GGUF repository asks which file", () => {
    const view = take(ASKING, { type: "choice", files: [{ name: "a-Q8_0.gguf", size_bytes: 9 }] });
    expect([view.state, view.offered.length]).toEqual(["choosing", 1]);
  });
});

describe("what is wanted", () => {
  it("is read from a name, with a revision, and from an address", () => {
    expect(wantedOf(" Qwen/Qwen3-0.6B ")).toEqual({ repo: "Qwen/Qwen3-0.6B", revision: "main" });
    expect(wantedOf("Qwen/Qwen3-0.6B@v1.0")).toEqual({ repo: "Qwen/Qwen3-0.6B", revision: "v1.0" });
    expect(wantedOf("https://huggingface.co/Qwen/Qwen3-0.6B")).toEqual({ repo: "Qwen/Qwen3-0.6B", revision: "main" });
    expect(wantedOf("https://huggingface.co/Qwen/Qwen3-0.6B/tree/dev/")).toEqual({ repo: "Qwen/Qwen3-0.6B", revision: "dev" });
    expect(wantedOf("https://hf.example/a/b/blob/main/b-Q4_K_M.gguf?download=true")).toEqual({ repo: "a/b", revision: "main", file: "b-Q4_K_M.gguf" });
    expect(wantedOf("https://hf.example/a/b/blob/main/config.json")).toEqual({ repo: "a/b", revision: "main" });
  });

  it("is nothing where the text is no model", () => {
    for (const text of ["", "gpt2", "a/b/c", "/home/me/model", "../x", "a/", "a/b@", "https://huggingface.co/datasets/x/y"]) {
      expect(wantedOf(text), text).toBeNull();
    }
  });

  it("is the same whatever its revision, and another for another file", () => {
    expect(isSameWish({ repo: "a/b", revision: "main" }, { repo: "a/b", revision: "c0ffee" })).toBe(true);
    expect(isSameWish({ repo: "a/b", revision: "main", file: "x.gguf" }, { repo: "a/b", revision: "main" })).toBe(false);
  });
});

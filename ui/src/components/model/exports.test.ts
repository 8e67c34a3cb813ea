import { describe, expect, it } from "vitest";
import { aboutBytes, certificateLines, exportBytes, FORMATS } from "./exports";

const base = { parameters: 135_000_000, dtype: "BF16", vocabulary: 49_152, hidden_size: 576 };

describe("the size of an export", () => {
  it("is the adapter's for PEFT and follows the stored numbers when merged", () => {
    expect(aboutBytes("peft", undefined, 1000)).toBe(1000);
    expect(aboutBytes("merged", base, 1000)).toBe(270_000_000);
    expect(aboutBytes("merged", { ...base, dtype: "F32" }, 1000)).toBe(540_000_000);
    expect(aboutBytes("gguf_f16", base, 0)).toBe(270_000_000);
    expect(aboutBytes("gguf_q8_0", base, 0)).toBe(135_000_000 * 34 / 32);
  });

  it("of a model whose rows fit into blocks of 256 falls to about five bits, else only to eight", () => {
    const wide = { ...base, hidden_size: 2048, vocabulary: 32_000, parameters: 1_100_000_000 };
    expect((aboutBytes("gguf_q4_k_m", wide, 0) ?? 0) * 8 / wide.parameters).toBeCloseTo(4.95, 1);
    expect(aboutBytes("gguf_q4_k_m", base, 0)).toBe(aboutBytes("gguf_q8_0", base, 0));
  });

  it("is not guessed without its base", () => {
    expect(FORMATS.filter((format) => aboutBytes(format, undefined, 1) === null)).toEqual(["merged", "gguf_f16", "gguf_q8_0", "gguf_q4_k_m"]);
  });
});

describe("a certificate", () => {
  const limits = { max_logit_difference: 0.5, mean_kl_nats: 1e-3, top1_agreement: 0.99 };

  it("tells each figure beside its limit", () => {
    const lines = certificateLines({ max_logit_difference: 0.1, mean_kl_nats: 2e-3, top1_agreement: 0.99, limits });
    expect(lines.map(({ holds }) => holds)).toEqual([true, false, true]);
  });

  it("without a limit holds whatever is finite, and nothing else", () => {
    const without = { ...limits, max_logit_difference: null };
    expect(certificateLines({ max_logit_difference: 99, mean_kl_nats: 0, top1_agreement: 1, limits: without })[0]?.holds).toBe(true);
    // JSON has no NaN: what is not finite comes as null.
    expect(certificateLines({ max_logit_difference: null as unknown as number, mean_kl_nats: 0, top1_agreement: 1, limits: without })[0]?.holds).toBe(false);
  });

  it("counts the bytes of its files", () => {
    const file = (size_bytes: number) => ({ path: "a", size_bytes, sha256: "" });
    expect(exportBytes({ files: [file(2), file(3)] })).toBe(5);
  });
});

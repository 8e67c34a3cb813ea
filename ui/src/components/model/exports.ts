// Exports of a model version: the forms, about how large each becomes, and what a certificate says line by line. Pure.
import type { BaseModel, ExportCertificate, ExportFormat } from "$lib/api";

/** The forms, in the order in which they are offered. */
export const FORMATS = ["peft", "merged", "gguf_f16", "gguf_q8_0", "gguf_q4_k_m"] as const satisfies readonly ExportFormat[];

/** Sizes of weight files that are offered for a merged model, in bytes; 0 is one file. */
export const SHARDS = [0, 2e9, 5e9, 10e9] as const;

/** Bits of a weight in blocks of llama.cpp, scales included. */
const Q8_0_BITS = 34 * 8 / 32;
const Q6_K_BITS = 210 * 8 / 256;
/** The mixture of q4_k and q6_k over the layers of a block. */
const Q4_K_M_BITS = 4.85;

/** About how many bytes an export has; null where nothing tells. */
export function aboutBytes(format: ExportFormat, base: Pick<BaseModel, "parameters" | "dtype" | "vocabulary" | "hidden_size"> | undefined, adapterBytes: number): number | null {
  if (format === "peft") return adapterBytes;
  if (!base) return null;
  const { parameters } = base;
  switch (format) {
    case "merged":
      return (parameters * storedBits(base.dtype)) / 8;
    case "gguf_f16":
      return parameters * 2;
    case "gguf_q8_0":
      return (parameters * Q8_0_BITS) / 8;
    case "gguf_q4_k_m": {
      const table = Math.min(base.vocabulary * base.hidden_size, parameters);
      // Blocks of 256 need rows of that length; other rows are held in 8 bits.
      const bits = base.hidden_size % 256 === 0 ? ([Q6_K_BITS, Q4_K_M_BITS] as const) : ([Q8_0_BITS, Q8_0_BITS] as const);
      return (table * bits[0] + (parameters - table) * bits[1]) / 8;
    }
  }
}

function storedBits(dtype: string): number {
  return /^(F32|F64|I32)$/i.test(dtype) ? 32 : 16;
}

/** One figure of a certificate beside what is usual for its form. */
export interface CertificateLine {
  readonly name: "max_logit_difference" | "mean_kl_nats" | "top1_agreement";
  readonly value: number;
  /** The limit; null where the form has none. */
  readonly limit: number | null;
  /** Whether the value is within it. */
  readonly holds: boolean;
}

/** The three figures. One that is not finite never holds. */
export function certificateLines(certificate: Pick<ExportCertificate, "max_logit_difference" | "mean_kl_nats" | "top1_agreement" | "limits">): CertificateLine[] {
  const { limits } = certificate;
  const most = (name: "max_logit_difference" | "mean_kl_nats", limit: number | null): CertificateLine => {
    const value = certificate[name];
    return { name, value, limit, holds: Number.isFinite(value) && (limit === null || value <= limit) };
  };
  return [
    most("max_logit_difference", limits.max_logit_difference),
    most("mean_kl_nats", limits.mean_kl_nats),
    { name: "top1_agreement", value: certificate.top1_agreement, limit: limits.top1_agreement, holds: certificate.top1_agreement >= limits.top1_agreement },
  ];
}

/** Bytes of all files of an export. */
export function exportBytes(certificate: Pick<ExportCertificate, "files">): number {
  return certificate.files.reduce((sum, file) => sum + file.size_bytes, 0);
}

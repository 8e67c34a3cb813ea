// What a refused or failed command says: a code that programs act on, a sentence of what happened, a hint of what to do.
import type { ErrorCode } from "./generated/ErrorCode";

/** An error as the service layer gives it. Its message is empty where the page itself found out: the code says it all. */
export class ApiError extends Error {
  readonly code: ErrorCode;
  /** What to do next; empty if nothing. */
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint = "") {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.hint = hint;
  }
}

const CODES: readonly string[] = [
  "invalid_argument", "data_invalid", "not_found", "conflict", "forbidden", "unauthenticated", "out_of_memory", "disk_full",
  "not_finite", "worker_lost", "unavailable", "cancelled", "internal",
] satisfies ErrorCode[];

/** Reads whatever was thrown or answered as an `ApiError`. */
export function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (typeof thrown === "object" && thrown !== null && "message" in thrown) {
    const { code, message, hint } = thrown as { code?: unknown; message: unknown; hint?: unknown };
    const known = typeof code === "string" && CODES.includes(code);
    return new ApiError(known ? (code as ErrorCode) : "internal", String(message), typeof hint === "string" ? hint : "");
  }
  return new ApiError("internal", typeof thrown === "string" ? thrown : JSON.stringify(thrown));
}

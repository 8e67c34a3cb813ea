import { describe, expect, it } from "vitest";
import { passwordProblem, standing } from "./words";

describe("a new password", () => {
  it("is long enough as people count, and the same twice", () => {
    expect(passwordProblem("short", "short")).toBe("short");
    expect(passwordProblem("👍👍👍👍👍", "👍👍👍👍👍")).toBe("short");
    expect(passwordProblem("あいことばはひみつです", "あいことばはひみつで")).toBe("differ");
    expect(passwordProblem("correct horse", "correct horse")).toBeUndefined();
  });
});

describe("how a person stands", () => {
  it("is disabled before all else", () => {
    expect(standing({ disabled_at_ms: 1, has_password: true }).word).toBe("Disabled");
    expect(standing({ disabled_at_ms: null, has_password: false }).word).toBe("No password");
    expect(standing({ disabled_at_ms: null, has_password: true }).word).toBe("Active");
  });
});

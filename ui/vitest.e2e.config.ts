// Tests in a real browser against the real server: `cargo xtask e2e` builds what they need and starts them.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["e2e/**/*.e2e.ts"], environment: "node", fileParallelism: false, testTimeout: 1_200_000, hookTimeout: 60_000 },
});

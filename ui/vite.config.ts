// How the front end is built, served while it is written, and tested.
import { sveltekit } from "@sveltejs/kit/vite";
import { defineConfig } from "vitest/config";
import { announcerWithoutInlineStyle } from "./build-tools/page.js";

/** The server that answers while the page is served by Vite; its token comes from the environment. */
const server = process.env.TONEBRIDGE_URL ?? "http://127.0.0.1:4310";
const token = process.env.TONEBRIDGE_TOKEN;
const headers = { origin: server, ...(token ? { authorization: `Bearer ${token}` } : {}) };
const proxy = Object.fromEntries(
  ["/rpc", "/stream", "/events", "/upload", "/files"].map((path) => [path, { target: server, changeOrigin: true, headers }]),
);

export default defineConfig(({ mode }) => ({
  plugins: [announcerWithoutInlineStyle(), sveltekit()],
  build: { target: "es2022", reportCompressedSize: false, assetsInlineLimit: 0 },
  server: { port: 4311, strictPort: true, proxy },
  preview: { port: 4312, proxy },
  // A test that needs a page begins with `// @vitest-environment jsdom`. Tests run the browser's half of Svelte.
  ...(mode === "test" ? { resolve: { conditions: ["browser"] } } : {}),
  test: { include: ["src/**/*.test.ts"], environment: "node", restoreMocks: true },
}));

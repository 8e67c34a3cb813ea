// Measures the benchmark page of the built front end in headless Chromium and prints frame times. `npm run bench` builds first.
// Exits with 1 when a case of the live chart falls under 50 frames per second.
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const LEAST_FPS = 50;
const SECONDS = Number(process.env.BENCH_SECONDS ?? 6);
const BUILD = fileURLToPath(new URL("../../../build", import.meta.url));
/** @type {Record<string, string>} */
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2" };

/**
 * Serves the built page; there is no server behind it, and the benchmark asks none.
 * @returns {Promise<import("node:http").Server>}
 */
function serve() {
  const server = createServer((request, answer) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const wanted = join(BUILD, pathname);
    const file = wanted.startsWith(BUILD) && existsSync(wanted) && statSync(wanted).isFile() ? wanted : join(BUILD, "index.html");
    if (request.method !== "GET") {
      answer.writeHead(503).end();
      return;
    }
    answer.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" }).end(readFileSync(file));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/**
 * What happens while frames are measured, besides points that arrive.
 * @type {{ name: string; query: string; must: boolean; act: (page: import("playwright-core").Page, until: number) => Promise<unknown> }[]}
 */
const CASES = [
  { name: "1 chart, points arrive", query: "charts=1", act: async () => {}, must: true },
  { name: "5 charts, points arrive", query: "charts=5", act: async () => {}, must: true },
  {
    name: "1 chart, pointer moves too",
    query: "charts=1",
    must: true,
    act: async (page, until) => {
      for (let i = 0; Date.now() < until; i++) {
        await page.mouse.move(300 + ((i * 7) % 700), 200 + (i % 40));
        await page.waitForTimeout(16);
      }
    },
  },
  {
    name: "1 chart, every frame another zoom",
    query: "charts=1",
    must: false,
    act: (page, until) =>
      page.evaluate(
        (end) =>
          new Promise((done) => {
            let i = 0;
            const frame = () => {
              const { crosshair } = /** @type {any} */ (window).bench;
              i += 1;
              crosshair.zoom = [200 * (i % 100), 60_000 + 300 * (i % 100)];
              if (Date.now() < end) requestAnimationFrame(frame);
              else done(undefined);
            };
            frame();
          }),
        until,
      ),
  },
];

const server = await serve();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
let failed = false;
console.log(`10 series of 100,000 points, raw, smoothed and validation lines, 20 points per second to each series; ${SECONDS} s per case`);
for (const { name, query, act, must } of CASES) {
  await page.goto(`http://127.0.0.1:${port}/bench?${query}`);
  await page.waitForFunction(() => /** @type {any} */ (window).bench?.result().painted > 3, undefined, { timeout: 120_000 });
  await page.waitForTimeout(1000);
  await page.evaluate(() => /** @type {any} */ (window).bench.begin());
  const until = Date.now() + SECONDS * 1000;
  await Promise.all([act(page, until), page.waitForTimeout(SECONDS * 1000)]);
  const result = await page.evaluate(() => /** @type {any} */ (window).bench.result());
  /** @param {number} value */
  const ms = (value) => value.toFixed(1).padStart(6);
  const low = result.fps < LEAST_FPS;
  failed ||= must && low;
  console.log(
    `${name.padEnd(34)} p50 ${ms(result.p50_ms)} ms   p95 ${ms(result.p95_ms)} ms   worst ${ms(result.worst_ms)} ms   ${result.fps.toFixed(1)} fps   ${result.points.toLocaleString("en")} points${low && must ? "   TOO SLOW" : ""}`,
  );
}
await browser.close();
server.close();
process.exitCode = failed ? 1 : 0;

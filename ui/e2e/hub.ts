// A small hub on this machine: it offers one folder as the model `me/tiny`, and sends weights only as far as it is told to.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

export class Hub {
  readonly #server: Server;
  #files = new Map<string, Buffer>();
  /** The share of the weights that is sent before the hub waits; 1 sends all. */
  share = 1;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async start(): Promise<Hub> {
    const hub = new Hub();
    await new Promise<void>((done) => hub.#server.listen(0, "127.0.0.1", done));
    return hub;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Offers the files of a model's folder, with a card that names a licence. */
  offer(folder: string): void {
    this.#files = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
    this.#files.set("README.md", Buffer.from("---\nlicense: apache-2.0\n---\n# Tiny\n"));
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? "").split("?")[0] ?? "";
    const json = (body: unknown) => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (path.startsWith("/api/models/me/tiny/tree/")) {
      // Git names a file by the hash of its length and bytes.
      const oid = (bytes: Buffer) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
      return void json([...this.#files].map(([name, bytes]) => ({ type: "file", path: name, size: bytes.length, oid: oid(bytes) })));
    }
    if (path.startsWith("/api/models/me/tiny")) return void json({ id: "me/tiny", _id: "1", sha: COMMIT });
    const name = path.startsWith(`/me/tiny/resolve/${COMMIT}/`) ? (path.split("/").pop() ?? "") : "";
    const bytes = this.#files.get(name);
    if (!bytes) return void response.writeHead(404, { "content-type": "application/json" }).end("{}");
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const body = bytes.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, { "content-length": body.length, "x-repo-commit": COMMIT, etag: '"x"' });
    // Asked for the header alone; until `end` nothing of it would be sent.
    if (request.method === "HEAD") return void response.end();
    const until = name.endsWith(".safetensors") ? Math.max(0, Math.floor(bytes.length * this.share) - from) : body.length;
    response.write(body.subarray(0, until));
    if (until === body.length) response.end();
  }
}

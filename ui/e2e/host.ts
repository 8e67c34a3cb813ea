// A real `tonebridge serve` on a home folder of its own, which can be killed and started again on the same port.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const program = process.env.TONEBRIDGE ?? "tonebridge";

export class Host {
  readonly home: string;
  #process: ChildProcess | undefined;
  /** The link with the access token. */
  link = "";
  /** Where pages are, without a slash at the end. */
  origin = "";

  private constructor(home: string) {
    this.home = home;
  }

  static async start(home = mkdtempSync(join(tmpdir(), "tonebridge-e2e-"))): Promise<Host> {
    const host = new Host(home);
    await host.up(0);
    return host;
  }

  /** Kills the program as a crash would, and waits until it is gone. Workers go on. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (!process || process.exitCode !== null) return;
    const gone = new Promise((done) => process.once("exit", done));
    process.kill("SIGKILL");
    await gone;
  }

  async restart(): Promise<void> {
    await this.up(Number(new URL(this.origin).port));
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5 });
  }

  private async up(port: number): Promise<void> {
    const ui = join(import.meta.dirname, "..", "build");
    const child = spawn(program, ["serve", "--port", String(port), "--ui", ui, "--json"], {
      env: { ...process.env, TONEBRIDGE_HOME: this.home },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = child;
    const line = await new Promise<string>((told, failed) => {
      let text = "";
      child.once("exit", (code) => failed(new Error(`tonebridge serve ended with ${code}`)));
      child.stdout.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        const end = text.indexOf("\n");
        if (end >= 0) told(text.slice(0, end));
      });
    });
    const { url } = JSON.parse(line) as { url: string };
    this.link = url;
    this.origin = new URL(url).origin;
  }
}

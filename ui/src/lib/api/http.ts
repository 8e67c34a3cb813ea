// The browser's side: the server that gave us this page, by fetch and server-sent events.
import type { Backend, Connection, FileKind, PickedFile, Result } from "./backend";
import { ApiError, toApiError } from "./error";
import type { Event } from "./generated/Event";
import { eventsOf, itemsOf } from "./lines";

/** Waits before each next attempt to reach the event stream; the last one repeats. */
const RETRY_MS = [250, 500, 1000, 2000, 5000];
/** The server sends a heartbeat at least every 15 s; a stream silent for so long is dead. */
const SILENT_MS = 40_000;

const ACCEPT: Record<FileKind, string> = {
  dataset: ".jsonl,.ndjson,.json,.csv,.tsv,.parquet",
  adapter: ".safetensors,.json",
  model_folder: ".safetensors,.json",
  gguf: ".gguf",
  folder: "",
};

/** The backend of a page that a server gave. */
export function httpBackend(): Backend {
  return { kind: "browser", rpc, subscribe, stream, pickFiles, onFileDrop, upload, saveFile };
}

async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
  } catch (thrown) {
    throw unreachable(thrown);
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

function unreachable(thrown: unknown): ApiError {
  // No message: what the page itself finds out it says in its own language, by the code.
  return new ApiError(thrown instanceof DOMException && thrown.name === "AbortError" ? "cancelled" : "unavailable", "");
}

async function refusal(answer: Response): Promise<ApiError> {
  const text = await answer.text();
  try {
    return toApiError(JSON.parse(text));
  } catch {
    // Not from the command table: a proxy or the sign-in check.
    const code = answer.status === 401 ? "unauthenticated" : answer.status >= 502 ? "unavailable" : "internal";
    return new ApiError(code, code === "internal" ? `HTTP ${answer.status}` : "");
  }
}

const rpc: Backend["rpc"] = async (name, args, signal) => {
  const answer = await post(`/rpc/${name}`, args, signal);
  return (await answer.json()) as Result<typeof name>;
};

const stream: Backend["stream"] = async (name, args, onItem, signal) => {
  const answer = await post(`/stream/${name}`, args, signal);
  try {
    for await (const item of itemsOf(answer)) onItem(item as Parameters<typeof onItem>[0]);
  } catch (thrown) {
    throw thrown instanceof ApiError ? thrown : unreachable(thrown);
  }
};

/**
 * Follows the event stream by fetch, not by EventSource: that hides heartbeats, and why a connection was refused. Every
 * attempt resumes after the last number; the server names its number at once, so that even a silent time has no gap.
 */
function subscribe(afterSeq: number, onEvent: (event: Event) => void, onState: (state: Connection) => void): () => void {
  const ends = new AbortController();
  let last = afterSeq;
  let failures = 0;
  let wake: (() => void) | undefined;

  async function follow(): Promise<void> {
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    ends.signal.addEventListener("abort", stop);
    let watch = setTimeout(stop, SILENT_MS);
    try {
      const answer = await fetch(`/events?after_seq=${last}`, { signal: attempt.signal, headers: { accept: "text/event-stream" } });
      if (!answer.ok) throw await refusal(answer);
      failures = 0;
      onState("open");
      for await (const { id, data } of eventsOf(answer)) {
        clearTimeout(watch);
        watch = setTimeout(stop, SILENT_MS);
        if (data) onEvent(JSON.parse(data) as Event);
        if (id !== undefined) last = Number(id);
      }
    } finally {
      clearTimeout(watch);
      ends.signal.removeEventListener("abort", stop);
    }
  }
  async function keepFollowing(): Promise<void> {
    onState("connecting");
    while (!ends.signal.aborted) {
      // Why it ended makes no difference: the server went, the network did, or the token changed. Commands tell the user which.
      await follow().catch(() => undefined);
      if (ends.signal.aborted) return;
      onState("lost");
      const wait = RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)];
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, wait);
      });
    }
  }
  // A laptop that woke up, or a user who came back, does not wait for timers.
  const wakeUp = () => {
    if (!document.hidden) wake?.();
  };
  addEventListener("online", wakeUp, { signal: ends.signal });
  document.addEventListener("visibilitychange", wakeUp, { signal: ends.signal });
  void keepFollowing();
  return () => ends.abort();
}

function pickFiles(kind: FileKind): Promise<PickedFile[]> {
  return new Promise((resolve) => {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = ACCEPT[kind];
    input.multiple = true;
    input.onchange = () => resolve(picked(input.files));
    input.oncancel = () => resolve([]);
    input.click();
  });
}

function picked(files: FileList | null | undefined): PickedFile[] {
  return Array.from(files ?? [], (file) => ({ name: file.name, size_bytes: file.size, file }));
}

function onFileDrop(onDrop: (files: PickedFile[]) => void, onHover: (over: boolean) => void): () => void {
  // dragenter and dragleave come for every element on the way: only the outermost pair counts.
  let depth = 0;
  const carriesFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") === true;
  const ends = new AbortController();
  const on = (type: "dragenter" | "dragover" | "dragleave" | "drop", act: (event: DragEvent) => void) =>
    addEventListener(type, (event) => carriesFiles(event) && act(event), { signal: ends.signal });
  on("dragenter", () => depth++ === 0 && onHover(true));
  on("dragover", (event) => event.preventDefault());
  on("dragleave", () => --depth === 0 && onHover(false));
  on("drop", (event) => {
    event.preventDefault();
    depth = 0;
    onHover(false);
    onDrop(picked(event.dataTransfer?.files));
  });
  return () => ends.abort();
}

/** XMLHttpRequest, because fetch tells nothing of an upload's progress. */
function upload(file: File, onProgress?: (share: number) => void): Promise<{ path: string }> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/upload?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && onProgress?.(event.loaded / event.total);
    request.onerror = () => reject(unreachable(undefined));
    request.onload = () => {
      if (request.status === 200) return resolve(JSON.parse(request.responseText) as { path: string });
      void refusal(new Response(request.responseText, { status: request.status })).then(reject);
    };
    request.send(file);
  });
}

async function saveFile(suggestedName: string, content: Blob): Promise<boolean> {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = suggestedName;
  link.click();
  // The download has its own reference by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return true;
}

// The window's side: the core in the same process, by `invoke` and channels.
import { Channel, invoke } from "@tauri-apps/api/core";
import { listen } from "@tauri-apps/api/event";
import { getCurrentWebview } from "@tauri-apps/api/webview";
import type { Backend, Connection, CoreState, Desktop, PickedFile, Result } from "./backend";
import { ApiError, toApiError } from "./error";
import type { Event } from "./generated/Event";

/** What a stream's channel carries besides items. */
type StreamLine = { type: "item"; item: unknown } | { type: "end" } | { type: "error"; error: unknown };

/** The backend of the desktop window. */
export function tauriBackend(): Backend {
  return {
    kind: "desktop",
    rpc,
    subscribe,
    stream,
    pickFiles: (kind) => call<PickedFile[]>("pick_files", { kind }),
    onFileDrop,
    upload: () => Promise.reject(new ApiError("internal", "The window reads files by their path.")),
    saveFile,
    reveal: (path) => call<void>("reveal", { path }),
    desktop,
  };
}

async function call<T>(name: string, args: Record<string, unknown>): Promise<T> {
  try {
    return await invoke<T>(name, args);
  } catch (thrown) {
    throw toApiError(thrown);
  }
}

const rpc: Backend["rpc"] = (name, args) => call<Result<typeof name>>("rpc", { name, args });

function subscribe(afterSeq: number, onEvent: (event: Event) => void, onState: (state: Connection) => void): () => void {
  const channel = new Channel<Event>();
  let ended = false;
  channel.onmessage = (event) => {
    if (!ended) onEvent(event);
  };
  onState("connecting");
  const id = call<number>("subscribe", { afterSeq, channel });
  id.then(
    () => !ended && onState("open"),
    () => !ended && onState("lost"),
  );
  return () => {
    ended = true;
    void id.then(stop, () => undefined);
  };
}

/** Ends a subscription or a stream; the page's own end does so too. */
async function stop(id: number): Promise<void> {
  await invoke("stream_stop", { id }).catch(() => undefined);
}

const stream: Backend["stream"] = async (name, args, onItem, signal) => {
  const channel = new Channel<StreamLine>();
  const ended = new Promise<void>((resolve, reject) => {
    channel.onmessage = (line) => {
      if (line.type === "item") onItem(line.item as Parameters<typeof onItem>[0]);
      else if (line.type === "end") resolve();
      else reject(toApiError(line.error));
    };
    signal.addEventListener("abort", () => reject(new ApiError("cancelled", "")));
  });
  // Without a handler of its own a refusal before the await below would go unhandled.
  ended.catch(() => undefined);
  const id = await call<number>("stream", { name, args, channel });
  const abort = () => void stop(id);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  try {
    await ended;
  } finally {
    signal.removeEventListener("abort", abort);
  }
};

function onFileDrop(onDrop: (files: PickedFile[]) => void, onHover: (over: boolean) => void): () => void {
  const listening = getCurrentWebview().onDragDropEvent(({ payload }) => {
    if (payload.type === "enter") onHover(true);
    else if (payload.type === "leave") onHover(false);
    else if (payload.type === "drop") {
      onHover(false);
      onDrop(payload.paths.map((path) => ({ name: path.split(/[\\/]/).pop() ?? path, size_bytes: null, path })));
    }
  });
  return () => void listening.then((unlisten) => unlisten());
}

/** The bytes go as they are: as JSON numbers a picture would be four times its size. */
async function saveFile(suggestedName: string, content: Blob): Promise<boolean> {
  const bytes = new Uint8Array(await content.arrayBuffer());
  try {
    return await invoke<boolean>("save_file", bytes, { headers: { "x-suggested-name": encodeURIComponent(suggestedName) } });
  } catch (thrown) {
    throw toApiError(thrown);
  }
}

const desktop: Desktop = {
  onAction: (run) => on<string>("action", run),
  onOpen: (go) => on<string>("open", go),
  onCore(give) {
    void call<CoreState>("core_state", {}).then(give, () => undefined);
    return on<CoreState>("core", give);
  },
  retryCore: () => call<void>("core_retry", {}),
  setAppearance: (language, theme) => call<void>("appearance", { language, theme }),
};

function on<T>(event: string, give: (payload: T) => void): () => void {
  const listening = listen<T>(event, ({ payload }) => give(payload));
  return () => void listening.then((unlisten) => unlisten());
}

// What the front end needs of its host. Two implementations: `tauri.ts` in the window, `http.ts` in a browser.
import type { Commands, Streams } from "./types";
import type { Event } from "./generated/Event";

/** A command's name. */
export type CommandName = keyof Commands;
/** A command's arguments. */
export type Args<N extends CommandName> = Commands[N]["args"];
/** A command's result. */
export type Result<N extends CommandName> = Commands[N]["result"];
/** A stream's name. */
export type StreamName = keyof Streams;

/** Whether the host answers. */
export type Connection = "connecting" | "open" | "lost";

/** What a file is wanted for. */
export type FileKind = "dataset" | "adapter" | "model_folder" | "gguf" | "folder";

/** A file that the user chose or dropped: a path on this machine (window), or the bytes (browser). */
export interface PickedFile {
  name: string;
  size_bytes: number | null;
  path?: string;
  file?: File;
}

/** `after_seq` of a subscriber that wants only what happens from now on: no stored event has so high a number. */
export const FROM_NOW = Number.MAX_SAFE_INTEGER;

/** How far the core behind a window is. */
export type CoreState = { state: "opening" } | { state: "open" } | { state: "failed"; error: { code: string; message: string; hint: string } };

/** What only the window has: a native menu, a tray, a core in the same process. */
export interface Desktop {
  /** Calls back with the id of an action that was chosen in the menu. */
  onAction(run: (id: string) => void): () => void;
  /** Calls back with a path to go to: a notification or the tray was clicked. */
  onOpen(go: (path: string) => void): () => void;
  /** Calls back with the core's state, now and at each change. */
  onCore(give: (state: CoreState) => void): () => void;
  /** Opens the core again after a failure. */
  retryCore(): Promise<void>;
  /** Gives menu, tray and window frame the page's language and theme. */
  setAppearance(language: "en" | "ja", theme: "system" | "light" | "dark"): Promise<void>;
}

export interface Backend {
  readonly kind: "desktop" | "browser";
  /** Runs a command. Rejects with an `ApiError`. */
  rpc<N extends CommandName>(name: N, args: Args<N>, signal?: AbortSignal): Promise<Result<N>>;
  /** Gives every event after a number, in order, each once; reconnects by itself. Returns the way to end it. */
  subscribe(afterSeq: number, onEvent: (event: Event) => void, onState: (state: Connection) => void): () => void;
  /** Runs a stream to its end; aborting the signal stops the work behind it. */
  stream<N extends StreamName>(name: N, args: Streams[N]["args"], onItem: (item: Streams[N]["item"]) => void, signal: AbortSignal): Promise<void>;
  /** Lets the user choose files; none when the user changes their mind. */
  pickFiles(kind: FileKind): Promise<PickedFile[]>;
  /** Calls back when files are dragged over the page (`true`, `false`) and when they are dropped. */
  onFileDrop(onDrop: (files: PickedFile[]) => void, onHover: (over: boolean) => void): () => void;
  /** Brings a file's bytes to the host. */
  upload(file: File, onProgress?: (share: number) => void): Promise<{ path: string }>;
  /** Lets the user keep a file made here. Resolves to false when the user changes their mind. */
  saveFile(suggestedName: string, content: Blob): Promise<boolean>;
  /** Shows a file in the platform's file manager. */
  reveal?(path: string): Promise<void>;
  readonly desktop?: Desktop;
}

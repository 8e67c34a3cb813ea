// One download of a model from the hub, from the moment it is asked for to its end: what its row shows. No network here.
import type { DownloadItem, DownloadModel, DownloadedModel, OfferedFile } from "$lib/api";

export type DownloadState = "asking" | "running" | "choosing" | "done" | "stopped" | "failed";

/** What a row shows. */
export interface DownloadView {
  readonly state: DownloadState;
  readonly file: string;
  readonly doneBytes: number;
  /** 0 until the hub has listed the files. */
  readonly totalBytes: number;
  readonly bytesPerS: number | null;
  /** Bytes that an earlier try had left. */
  readonly keptBytes: number;
  readonly offered: readonly OfferedFile[];
  readonly model: DownloadedModel | null;
  readonly error: { readonly code: string; readonly message: string; readonly hint: string } | null;
}

export const ASKING: DownloadView = {
  state: "asking", file: "", doneBytes: 0, totalBytes: 0, bytesPerS: null, keptBytes: 0, offered: [], model: null, error: null,
};

/** The row after an item. What comes after the end changes nothing. */
export function take(view: DownloadView, item: DownloadItem): DownloadView {
  if (view.state !== "asking" && view.state !== "running") return view;
  switch (item.type) {
    case "progress":
      return {
        ...view,
        state: "running",
        file: item.file,
        doneBytes: item.done_bytes,
        totalBytes: item.total_bytes,
        bytesPerS: item.bytes_per_s,
        keptBytes: item.done_bytes - item.received_bytes,
      };
    case "choice":
      return { ...view, state: "choosing", offered: item.files };
    case "done":
      return { ...view, state: "done", model: item.model, doneBytes: view.totalBytes, bytesPerS: null };
  }
}

/** The row after the stream failed, or after the user stopped it. */
export function ended(view: DownloadView, error: DownloadView["error"]): DownloadView {
  if (view.state !== "asking" && view.state !== "running") return view;
  const stopped = error === null || error.code === "cancelled";
  return { ...view, state: stopped ? "stopped" : "failed", error: stopped ? null : error, bytesPerS: null };
}

/** Seconds until the end at the present pace; null while that is unknown. */
export function secondsLeft(view: DownloadView): number | null {
  if (view.state !== "running" || view.bytesPerS === null || view.bytesPerS <= 0) return null;
  return (view.totalBytes - view.doneBytes) / view.bytesPerS;
}

/** The share that is here; undefined while the size is unknown. */
export function shareDone(view: DownloadView): number | undefined {
  return view.totalBytes > 0 ? view.doneBytes / view.totalBytes : undefined;
}

const NAME = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;

/**
 * What a typed or pasted text asks for: `owner/name`, `owner/name@revision`, or the address of a model or file on a hub.
 * Null if it is none of these.
 */
export function wantedOf(text: string): DownloadModel | null {
  let rest = text.trim().replace(/[?#].*$/, "");
  const isAddress = /^https?:\/\/[^/]+\//i.test(rest);
  rest = rest.replace(/^https?:\/\/[^/]+\//i, "").replace(/^models\//, "").replace(/\/+$/, "");
  const at = isAddress ? -1 : rest.indexOf("@");
  const [name, said] = at < 0 ? [rest, undefined] : [rest.slice(0, at), rest.slice(at + 1)];
  const [owner, model, kind, revision, ...file] = name.split("/");
  const repo = `${owner ?? ""}/${model ?? ""}`;
  if (!NAME.test(repo) || said === "") return null;
  if (kind === undefined) return { repo, revision: said ?? "main" };
  if (!isAddress || !["tree", "blob", "resolve"].includes(kind) || revision === undefined) return null;
  if (kind === "tree" || file.length === 0) return { repo, revision };
  return file.length === 1 && file[0]?.endsWith(".gguf") ? { repo, revision, file: file[0] } : { repo, revision };
}

/** Whether two requests want the same files. */
export function isSameWish(a: DownloadModel, b: DownloadModel): boolean {
  return a.repo === b.repo && (a.file ?? null) === (b.file ?? null);
}

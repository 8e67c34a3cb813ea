// One question to two models, from the moment it is sent to the last word: what each side shows. No network here.
import type { Finish, GenerateItem } from "$lib/api";

export type SideState = "idle" | "waiting" | "streaming" | "done" | "stopped" | "failed";

export interface SideView {
  state: SideState;
  /** The model's name as the host gave it. */
  name: string;
  text: string;
  /** Tokens of the finished answer. */
  tokens: number | null;
  tokensPerS: number | null;
  timeMs: number | null;
  firstTokenMs: number | null;
  promptTokens: number | null;
  /** Why the answer ended. */
  finish: Finish | null;
  error: { message: string; hint: string } | null;
}

export const IDLE: SideView = {
  state: "idle", name: "", text: "", tokens: null, tokensPerS: null, timeMs: null, firstTokenMs: null, promptTokens: null, finish: null, error: null,
};

/** Both sides as they stand when a question is sent. */
export function asked(sides: number): SideView[] {
  return Array.from({ length: sides }, () => ({ ...IDLE, state: "waiting" as const }));
}

/** The sides after one item; an item for a side that has ended or does not exist changes nothing. */
export function take(views: readonly SideView[], item: GenerateItem): SideView[] {
  return views.map((view, i) => {
    if (i !== item.side || ended(view.state)) return view;
    switch (item.type) {
      case "started":
        return { ...view, name: item.name, promptTokens: item.prompt_tokens };
      case "text":
        return { ...view, state: "streaming", text: view.text + item.text };
      case "done":
        return {
          ...view,
          state: item.finish === "stopped" ? "stopped" : "done",
          tokens: item.tokens,
          tokensPerS: item.tokens_per_s,
          timeMs: item.time_ms,
          firstTokenMs: item.first_token_ms,
          promptTokens: item.prompt_tokens,
          finish: item.finish,
        };
      case "failed":
        return { ...view, state: "failed", error: { message: item.error.message, hint: item.error.hint ?? "" } };
    }
  });
}

/** The sides after the user stopped, or the stream ended: what was still running keeps its words and says it was stopped. */
export function stopped(views: readonly SideView[]): SideView[] {
  return views.map((view) => (view.state === "waiting" || view.state === "streaming" ? { ...view, state: "stopped" } : view));
}

/** The sides after the stream as a whole failed. */
export function failed(views: readonly SideView[], error: { message: string; hint?: string | null }): SideView[] {
  return views.map((view) =>
    ended(view.state) ? view : { ...view, state: "failed", error: { message: error.message, hint: error.hint ?? "" } },
  );
}

function ended(state: SideState): boolean {
  return state === "done" || state === "stopped" || state === "failed";
}

export function running(views: readonly SideView[]): boolean {
  return views.some((view) => view.state === "waiting" || view.state === "streaming");
}

/** Whether an answer is the reference, white space and width aside. */
export function sameText(a: string, b: string): boolean {
  const plain = (text: string): string => text.normalize("NFKC").trim().replace(/\s+/g, " ");
  return plain(a) === plain(b);
}

/** Whether a key press sends the question: never while an input method composes, nor for the Enter that ends it. */
export function sends(event: Pick<KeyboardEvent, "key" | "isComposing" | "keyCode" | "metaKey" | "ctrlKey">): boolean {
  // 229 is what browsers report while an input method handles the key; WebKit ends composition before that keydown.
  return event.key === "Enter" && (event.metaKey || event.ctrlKey) && !event.isComposing && event.keyCode !== 229;
}

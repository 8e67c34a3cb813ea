// The list of runs as the URL holds it: filter, selection, tab, what is shown and pinned.

import { goto } from "$app/navigation";
import { page } from "$app/state";
import type { JobId } from "$lib/api";
import { RUN_TABS, type RunTab } from "./RunPane.svelte";
import { readShown, writeShown, type Shown } from "./shown";

/** A change of the URL; null takes a name away. */
type Change = Partial<Record<"q" | "run" | "tab" | "show" | "pin", string | null>>;

/** The state of the list of runs. Reactive; writing it changes the URL without a step in the history. */
export class RunsUrl {
  get filter(): string {
    return page.url.searchParams.get("q") ?? "";
  }
  set filter(text: string) {
    this.#write({ q: text || null });
  }

  get selected(): JobId | null {
    return page.url.searchParams.get("run");
  }

  get tab(): RunTab {
    const wanted = page.url.searchParams.get("tab");
    return RUN_TABS.find((tab) => tab === wanted) ?? "overview";
  }
  set tab(tab: RunTab) {
    this.#write({ tab: tab === "overview" ? null : tab });
  }

  /** What the user has chosen to show; null before any choice. */
  get shown(): Shown[] | null {
    return readShown(page.url.searchParams.get("show"));
  }
  set shown(shown: readonly Shown[]) {
    this.#write({ show: writeShown(shown) });
  }

  get pins(): ReadonlySet<JobId> {
    return new Set((page.url.searchParams.get("pin") ?? "").split(",").filter(Boolean));
  }
  set pins(pins: ReadonlySet<JobId>) {
    this.#write({ pin: [...pins].join(",") || null });
  }

  /** Selects a run; null closes the details. */
  select(id: JobId | null): void {
    this.#write({ run: id, ...(id === null ? { tab: null } : {}) });
  }

  #write(change: Change): void {
    const url = new URL(page.url);
    for (const [name, value] of Object.entries(change)) {
      if (value === null) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    if (url.href !== page.url.href) void goto(url, { replaceState: true, keepFocus: true, noScroll: true });
  }
}

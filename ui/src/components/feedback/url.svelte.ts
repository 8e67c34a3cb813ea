// The filters of the page shown, in its address.
import { goto } from "$app/navigation";
import { page } from "$app/state";
import { FILTER_NAMES, readFilters, type Filters } from "./filters";

/** Reactive; writing changes the address without a step in the history. */
export class FeedbackUrl {
  get filters(): Filters {
    return readFilters(page.url.searchParams);
  }

  /** The row whose details are shown. */
  get row(): string | undefined {
    return page.url.searchParams.get("row") ?? undefined;
  }

  /** The dataset version or model whose rows are shown. */
  get of(): string | undefined {
    return page.url.searchParams.get("of") ?? undefined;
  }

  /** Rows named one by one. */
  get ids(): string[] {
    return (page.url.searchParams.get("ids") ?? "").split(",").filter(Boolean);
  }

  /** Changes some filters; undefined takes one away. */
  change(changes: { [K in keyof Filters]?: Filters[K] | undefined }): void {
    this.write(changes as Record<string, string | number | undefined>);
  }

  clear(): void {
    this.write(Object.fromEntries([...FILTER_NAMES, "of", "ids"].map((name) => [name, undefined])));
  }

  write(changes: Record<string, string | number | undefined>): void {
    const url = new URL(page.url);
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined) url.searchParams.delete(name);
      else url.searchParams.set(name, String(value));
    }
    if (url.href !== page.url.href) void goto(url, { replaceState: true, keepFocus: true, noScroll: true });
  }
}

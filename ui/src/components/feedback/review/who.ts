// Under whose name drafts are kept in this browser.
import { session } from "$lib/api";

/** The one who sits here. */
export function reviewer(): string {
  return session.who?.user?.id ?? "owner";
}

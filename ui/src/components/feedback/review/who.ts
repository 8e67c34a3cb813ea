// Under whose name drafts are kept in this browser.

/** The one who sits here. Until the program knows users, there is one. */
export function reviewer(): string {
  return "local";
}

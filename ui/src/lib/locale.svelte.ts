// The language of the interface and what goes with it. The first choice is the system's.
import { keep, read } from "./stored";

export type Language = "en" | "ja";

/** What the system asks for. */
function preferred(): Language {
  return globalThis.navigator?.language?.slice(0, 2) === "ja" ? "ja" : "en";
}

class Locale {
  /** The user's choice; none follows the system. */
  chosen = $state<Language | undefined>(read("language", ["en", "ja"]));
  language = $derived<Language>(this.chosen ?? preferred());
  /** For `Intl`. English dates are written day first, without a comma: 21 Nov 2025. */
  tag = $derived(this.language === "ja" ? "ja-JP" : "en-GB");
  number = $derived(new Intl.NumberFormat(this.tag));
  plural = $derived(new Intl.PluralRules(this.tag));

  /** Chooses a language, or the system's. */
  choose(language: Language | undefined): void {
    this.chosen = language;
    keep("language", language);
  }
}

export const locale = new Locale();

// Theme and density: the system's theme until the user chooses. `static/first.js` does the same before the first paint.
import { keep, read } from "./stored";

export type Theme = "light" | "dark";
export type Density = "compact" | "roomy";

class Appearance {
  #system = $state<Theme>("light");
  /** The user's choice; none follows the system. */
  chosen = $state<Theme | undefined>(read("theme", ["light", "dark"]));
  /** The theme in force. Charts read it to draw anew. */
  theme = $derived<Theme>(this.chosen ?? this.#system);
  density = $state<Density>(read("density", ["compact", "roomy"]) ?? "compact");

  constructor() {
    const dark = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
    if (!dark) return;
    this.#system = dark.matches ? "dark" : "light";
    dark.addEventListener("change", () => {
      this.#system = dark.matches ? "dark" : "light";
      this.#apply();
    });
  }

  /** Chooses a theme, or the system's. */
  choose(theme: Theme | undefined): void {
    this.chosen = theme;
    keep("theme", theme);
    this.#apply();
  }

  setDensity(density: Density): void {
    this.density = density;
    keep("density", density);
    this.#apply();
  }

  #apply(): void {
    document.documentElement.dataset.theme = this.theme;
    document.documentElement.dataset.density = this.density;
  }
}

export const appearance = new Appearance();

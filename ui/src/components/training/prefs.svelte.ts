// How this user likes charts: smoothing and what the x axis counts. Kept in this browser.

import type { XAxis } from "$components/shared/chart/track";
import { keep, read, readText } from "$lib/stored";

/** Weights of the smoothing slider; close to 1 they need finer steps. */
export const WEIGHTS = [0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999] as const;
const AXES = ["step", "tokens", "time"] as const;

class ChartPrefs {
  #weight = $state(Number(readText("chart.smoothing") ?? 0.9));
  #axis = $state<XAxis>(read("chart.axis", AXES) ?? "step");

  /** The share of the past in the smoothed loss. */
  get weight(): number {
    return WEIGHTS.find((weight) => weight === this.#weight) ?? 0.9;
  }
  set weight(weight: number) {
    this.#weight = weight;
    keep("chart.smoothing", String(weight));
  }

  /** What the x axis counts. */
  get axis(): XAxis {
    return this.#axis;
  }
  set axis(axis: XAxis) {
    this.#axis = axis;
    keep("chart.axis", axis);
  }
}

export const prefs = new ChartPrefs();

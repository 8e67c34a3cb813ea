// How a chart writes its numbers.

import type { Ticks } from "./ticks";

/** What the y axis measures. */
export interface Quantity {
  /** "Loss". */
  readonly name: string;
  /** "nats"; empty where the name says it. */
  readonly unit: string;
  /** A value where it stands alone. */
  format(value: number): string;
  /** A mark of the axis. */
  tick(value: number, ticks: Ticks): string;
}

// Shares of the splits: what they leave to learn from, and about how many rows each will get.
import type { SplitName } from "$lib/api";

/** Shares held out, in percent. */
export interface HeldOut {
  validation: number;
  test: number;
}

/** The least and the greatest share that a split may have, percent. */
export const LEAST = 0;
export const GREATEST = 90;

export type ShareFault = { split: "validation" | "test"; fault: "range" } | { split: "both"; fault: "nothing_left" };

/** What is wrong with the shares; an own test file takes no share from the first. */
export function shareFaults(held: HeldOut, ownTestFile: boolean): ShareFault[] {
  const faults: ShareFault[] = [];
  const bad = (share: number): boolean => !Number.isFinite(share) || share < LEAST || share > GREATEST;
  if (bad(held.validation)) faults.push({ split: "validation", fault: "range" });
  if (!ownTestFile && bad(held.test)) faults.push({ split: "test", fault: "range" });
  if (faults.length === 0 && held.validation + (ownTestFile ? 0 : held.test) >= 100) {
    faults.push({ split: "both", fault: "nothing_left" });
  }
  return faults;
}

/** Rows that each split will get, about: a row's place follows from its prompt, so shares are met in the long run only. */
export function expectedRows(rows: number, held: HeldOut, ownTestFile: boolean): Record<SplitName, number> {
  const validation = Math.round((rows * held.validation) / 100);
  const test = ownTestFile ? 0 : Math.round((rows * held.test) / 100);
  return { train: Math.max(0, rows - validation - test), validation, test };
}

/** Fewer held-out rows than this say little about a model. */
export const FEW_ROWS = 50;

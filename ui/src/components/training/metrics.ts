// The five charts of a run: which track each shows, how its axis begins, which limits it has.

import type { Curve } from "$components/shared/chart/curve";
import type { Slot } from "$components/shared/chart/palette";
import type { Floor } from "$components/shared/chart/range";
import type { Limit } from "$components/shared/chart/view";
import { decimal } from "$lib/format";
import { t } from "$lib/i18n/index.svelte";
import type { Job, JobId } from "$lib/api";
import type { RunCurves } from "./curves";

/** The charts in their order; the first is large unless the user enlarges another. */
export const METRICS = ["loss", "learningRate", "gradNorm", "tokensPerS", "memoryGib"] as const;
export type Metric = (typeof METRICS)[number];

/** What a curve needs to know of its run; equal values draw an equal curve. */
export interface RunLook {
  readonly id: JobId;
  readonly name: string;
  readonly slot: Slot;
  readonly isLive: boolean;
  readonly isFront: boolean;
  readonly totalSteps: number | null;
}

/** The curve of a run in a chart. */
export function curveOf(metric: Metric, look: RunLook, curves: RunCurves, weight: number): Curve {
  const { totalSteps, ...shared } = look;
  const planned = totalSteps === null || !look.isLive ? {} : { step: totalSteps };
  const plain = { ...shared, planned, second: metric === "loss" ? curves.evalLoss : null };
  const track = curves[metric];
  // Without smoothing the solid line is the raw one.
  if (!isSmoothed(metric) || weight === 0) return { ...plain, main: track, raw: null };
  return { ...plain, main: curves.smooth(track, weight), raw: track };
}

/** Whether a chart's values jump from step to step, so that they are smoothed. */
export function isSmoothed(metric: Metric): boolean {
  return metric === "loss" || metric === "gradNorm" || metric === "tokensPerS";
}

/** Whether a chart's axis begins at 0 always, or where the values lie. */
export function floorOf(metric: Metric): Floor {
  return metric === "loss" ? "data" : "zero";
}

/** The lines with a meaning in a chart, from the run in front. */
export function limitsOf(metric: Metric, front: Job | undefined, deviceGib: number | null): Limit[] {
  if (metric === "gradNorm" && front && front.hyperparameters.max_grad_norm > 0) {
    const value = front.hyperparameters.max_grad_norm;
    return [{ value, name: t("training.limit_clip", { value: decimal(value, 1) }) }];
  }
  if (metric === "memoryGib" && deviceGib !== null) {
    return [{ value: deviceGib, name: t("training.limit_memory", { value: decimal(deviceGib, 1) }) }];
  }
  return [];
}

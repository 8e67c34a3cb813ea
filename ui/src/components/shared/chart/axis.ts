// How the x axis writes its places, in the chosen language.

import { count, dayDate, decimal, durationShort, shortCount } from "$lib/format";
import { t } from "$lib/i18n/index.svelte";
import type { Ticks } from "./ticks";
import type { XAxis } from "./track";

/** A small chart has no room for six digits. */
const SHORT_FROM = 100_000;

/** A mark. */
export function axisTick(axis: XAxis, value: number, ticks: Ticks, isSmall = false): string {
  if (axis === "tokens") return shortCount(value);
  if (axis === "time") return ticks.decimals > 0 ? decimal(value, ticks.decimals) : durationShort(value);
  if (axis === "day") return dayDate(value);
  return isSmall && value >= SHORT_FROM ? shortCount(value) : count(value);
}

/** A place in the box of values: "Step 800". */
export function axisPlace(axis: XAxis, value: number): string {
  if (axis === "tokens") return t("training.chart_at_tokens", { value: count(value) });
  if (axis === "time") return t("training.chart_at_time", { value: durationShort(value) });
  if (axis === "day") return dayDate(value, { year: true });
  return t("training.chart_at_step", { value: count(value) });
}

/** The title of the axis. */
export function axisTitle(axis: XAxis): string {
  return t(`training.chart_axis_${axis}`);
}

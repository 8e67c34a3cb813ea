// The curves of a trend: mean ratings per day, week or month with their intervals. Pure.
import type { Trend, TrendLine } from "$lib/api";
import type { Curve } from "$components/shared/chart/curve";
import type { Slot } from "$components/shared/chart/palette";
import { Rows, Track } from "$components/shared/chart/track";

const DAY_MS = 86_400_000;
const SLOTS: readonly Slot[] = [1, 2, 3, 4, 5, 6];

/** One line; a point without ratings is a gap. None where nothing was rated at all. */
export function curveOf(line: TrendLine, trend: Pick<Trend, "at_ms" | "days_per_point">, id: string, name: string, slot: Slot): Curve | null {
  const rows = new Rows(trend.days_per_point);
  const [main, low, high] = [new Track(rows), new Track(rows), new Track(rows)];
  trend.at_ms.forEach((at_ms, i) => {
    const figure = line.rating[i];
    if (!figure) return;
    const day = Math.floor(at_ms / DAY_MS);
    rows.push(day, 0, 0, day);
    main.push(figure.value);
    low.push(figure.low ?? Number.NaN);
    high.push(figure.high ?? Number.NaN);
  });
  if (rows.length === 0) return null;
  return { id, name, slot, main, raw: null, second: null, band: { low, high }, isLive: false, isFront: false, planned: {} };
}

/** The lines of the versions, at most six, each with its colour. */
export function modelCurves(trend: Trend, nameOf: (line: TrendLine) => string): Curve[] {
  return trend.models.slice(0, SLOTS.length).flatMap((line, i) => curveOf(line, trend, line.model_id ?? `other-${i}`, nameOf(line), SLOTS[i] ?? "rest") ?? []);
}

/** Which words say how much time a point stands for. */
export function perPoint(days: number): "day" | "week" | "days" {
  return days === 1 ? "day" : days === 7 ? "week" : "days";
}

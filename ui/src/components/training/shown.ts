// Which runs the charts show, in which colours, which stay on top: as text for the URL. Pure.

import { SLOTS, type Slot } from "$components/shared/chart/palette";
import type { Job, JobId } from "$lib/api";

/** A run that is shown, and its colour. */
export interface Shown {
  readonly id: JobId;
  readonly slot: Slot;
}

/** Runs shown before the user has chosen any. */
const SHOWN_AT_FIRST = 4;

/** Reads the URL's text; null if there is none. */
export function readShown(text: string | null): Shown[] | null {
  if (text === null) return null;
  return text.split(",").flatMap((part) => {
    const dot = part.lastIndexOf(".");
    if (dot <= 0) return [];
    const mark = part.slice(dot + 1);
    const slot = SLOTS.find((one) => String(one) === mark) ?? "rest";
    return [{ id: part.slice(0, dot), slot }];
  });
}

/** The URL's text. */
export function writeShown(shown: readonly Shown[]): string {
  return shown.map(({ id, slot }) => `${id}.${slot === "rest" ? "0" : slot}`).join(",");
}

/** The first colour that no run has; grey if all are taken. */
export function freeSlot(shown: readonly Shown[]): Slot {
  return SLOTS.find((slot) => !shown.some((one) => one.slot === slot)) ?? "rest";
}

/** Shows a run, or hides it. The others keep their colours. */
export function toggled(shown: readonly Shown[], id: JobId): Shown[] {
  if (shown.some((one) => one.id === id)) return shown.filter((one) => one.id !== id);
  return [...shown, { id, slot: freeSlot(shown) }];
}

/** Shows exactly these runs; those that were shown keep their colours. */
export function onlyThese(shown: readonly Shown[], ids: readonly JobId[]): Shown[] {
  const kept = shown.filter((one) => ids.includes(one.id));
  return ids.filter((id) => !kept.some((one) => one.id === id)).reduce((all, id) => toggled(all, id), kept);
}

/** Gives a run a colour; who had that colour takes the run's. Grey belongs to many. */
export function recoloured(shown: readonly Shown[], id: JobId, slot: Slot): Shown[] {
  const before = shown.find((one) => one.id === id)?.slot;
  if (before === undefined) return [...shown, { id, slot }];
  return shown.map((one) => {
    if (one.id === id) return { id, slot };
    return slot !== "rest" && one.slot === slot ? { ...one, slot: before } : one;
  });
}

/** What is shown at first: the selected run, what runs, then the newest that have learnt something. */
export function shownAtFirst(jobs: readonly Job[], selected: JobId | null): Shown[] {
  const rank = (job: Job) => (job.id === selected ? 0 : job.status === "running" ? 1 : 2);
  const started = jobs.filter((job) => job.id === selected || job.status === "running" || (job.metrics.step ?? 0) > 0);
  const first = started.map((job, i) => ({ job, i })).sort((a, b) => rank(a.job) - rank(b.job) || a.i - b.i);
  const ids = new Set(first.slice(0, SHOWN_AT_FIRST).map(({ job }) => job.id));
  // Colours in the order of the table, so that the picture does not change its colours with the selection.
  return onlyThese([], jobs.filter((job) => ids.has(job.id)).map((job) => job.id));
}

/** Pinned runs first, each group in the order in which it came. */
export function pinnedFirst(jobs: readonly Job[], pins: ReadonlySet<JobId>): Job[] {
  return [...jobs.filter((job) => pins.has(job.id)), ...jobs.filter((job) => !pins.has(job.id))];
}

/** The runs whose name, base, state or method holds every word of the filter. */
export function filtered(jobs: readonly Job[], filter: string, textOf: (job: Job) => string): readonly Job[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return jobs;
  return jobs.filter((job) => {
    const text = textOf(job).toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

// Times: durations, ages, dates.
import { locale } from "../locale.svelte";
import { NO_VALUE } from "./numbers";

type Maybe = number | null | undefined;
const there = (value: Maybe): value is number => value !== null && value !== undefined && Number.isFinite(value);

const WORDS = {
  en: { day: " d", hour: " h", minute: " min", second: " s", gap: " ", ago: (text: string) => `${text} ago`, now: "now" },
  ja: { day: " 日", hour: " 時間", minute: " 分", second: " 秒", gap: " ", ago: (text: string) => `${text}前`, now: "今" },
} as const;

/** A duration in its two largest units: 12 min 46 s. */
export function duration(seconds: Maybe): string {
  if (!there(seconds)) return NO_VALUE;
  const words = WORDS[locale.language];
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), words.day],
    [Math.floor(whole / 3600) % 24, words.hour],
    [Math.floor(whole / 60) % 60, words.minute],
    [whole % 60, words.second],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return seconds > 0 ? `<1${words.second}` : `0${words.second}`;
  const shown = parts.slice(first, first + 2).filter(([value]) => value > 0);
  return shown.map(([value, word]) => `${value}${word}`).join(words.gap);
}

/** A duration as a clock: 12:46 or 1:35:58. */
export function durationShort(seconds: Maybe): string {
  if (!there(seconds)) return NO_VALUE;
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** How long ago, in one unit: 5 min ago. */
export function age(at_ms: Maybe, now_ms: number): string {
  if (!there(at_ms)) return NO_VALUE;
  const words = WORDS[locale.language];
  const seconds = Math.round((now_ms - at_ms) / 1000);
  if (seconds < 5) return words.now;
  if (seconds < 60) return words.ago(`${seconds}${words.second}`);
  if (seconds < 3600) return words.ago(`${Math.floor(seconds / 60)}${words.minute}`);
  if (seconds < 86_400) return words.ago(`${Math.floor(seconds / 3600)}${words.hour}`);
  if (seconds < 7 * 86_400) return words.ago(`${Math.floor(seconds / 86_400)}${words.day}`);
  return date(at_ms, now_ms);
}

/** A day: 21 Nov, with the year when it is not this one. */
export function date(at_ms: Maybe, now_ms: number): string {
  if (!there(at_ms)) return NO_VALUE;
  const same = new Date(at_ms).getFullYear() === new Date(now_ms).getFullYear();
  return new Intl.DateTimeFormat(locale.tag, { day: "numeric", month: "short", ...(same ? {} : { year: "numeric" }) }).format(at_ms);
}

/** A day counted from 1970, UTC: 21 Nov, on request with its year. */
export function dayDate(day: Maybe, more: { year?: boolean } = {}): string {
  if (!there(day)) return NO_VALUE;
  return new Intl.DateTimeFormat(locale.tag, { timeZone: "UTC", day: "numeric", month: "short", ...(more.year ? { year: "numeric" } : {}) }).format(day * 86_400_000);
}

/** A time of day: 14:31. */
export function time(at_ms: Maybe): string {
  if (!there(at_ms)) return NO_VALUE;
  return new Intl.DateTimeFormat(locale.tag, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(at_ms);
}

/** Day and time in full, for a tooltip. */
export function dateTime(at_ms: Maybe): string {
  if (!there(at_ms)) return NO_VALUE;
  return new Intl.DateTimeFormat(locale.tag, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" }).format(at_ms);
}

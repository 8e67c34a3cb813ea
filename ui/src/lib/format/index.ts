// Numbers, sizes, times and dates as people read them, in the chosen language. Every function is reactive to it.
export { bytes, bytesIn, count, decimal, NO_VALUE, percent, rate, scientific, shortCount, signed, unitOf, type ByteUnit } from "./numbers";
export { nowMs } from "./clock.svelte";
export { age, date, dateTime, dayDate, duration, durationShort, time } from "./times";

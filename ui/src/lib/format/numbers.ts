// Numbers: counts, decimals, shares, sizes.
import { locale } from "../locale.svelte";

/** What stands for a value that is not there. */
export const NO_VALUE = "–";

type Maybe = number | null | undefined;
const there = (value: Maybe): value is number => value !== null && value !== undefined && Number.isFinite(value);

const formats = new Map<string, Intl.NumberFormat>();
function format(value: number, options: Intl.NumberFormatOptions): string {
  const key = `${locale.tag} ${JSON.stringify(options)}`;
  let made = formats.get(key);
  if (!made) formats.set(key, (made = new Intl.NumberFormat(locale.tag, options)));
  // The minus of typography is as wide as a digit.
  return made.format(value).replace(/^-/, "−");
}

/** A whole number with separators: 1,240. */
export function count(value: Maybe): string {
  return there(value) ? format(value, { maximumFractionDigits: 0 }) : NO_VALUE;
}

/** A large count in three digits: 3.84 M, 12.9 k. */
export function shortCount(value: Maybe): string {
  if (!there(value)) return NO_VALUE;
  const size = Math.abs(value);
  if (size < 1000) return count(value);
  const [unit, name] = size >= 1e12 ? [1e12, "T"] : size >= 1e9 ? [1e9, "B"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
  return `${format(value / unit, { maximumSignificantDigits: 3 })} ${name}`;
}

/** A number with a fixed count of decimals: 0.941. */
export function decimal(value: Maybe, decimals: number): string {
  return there(value) ? format(value, { minimumFractionDigits: decimals, maximumFractionDigits: decimals }) : NO_VALUE;
}

/** The same with its sign: +2.1, −0.4. */
export function signed(value: Maybe, decimals: number): string {
  if (!there(value)) return NO_VALUE;
  return format(value, { minimumFractionDigits: decimals, maximumFractionDigits: decimals, signDisplay: "exceptZero" });
}

/** A share from 0 to 1 in percent, with the thin gap that this interface writes: 68.9 %. */
export function percent(share: Maybe, decimals = 0): string {
  return there(share) ? `${decimal(share * 100, decimals)} %` : NO_VALUE;
}

/** A small number as it is typed into a field: 0.0002 is 2e-4. */
export function scientific(value: Maybe, digits = 2): string {
  if (!there(value)) return NO_VALUE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 0.01 && size < 10_000) return String(Number(value.toPrecision(digits + 1)));
  const [mantissa = "0", exponent = "0"] = value.toExponential(digits - 1).split("e");
  return `${String(Number(mantissa))}e${Number(exponent)}`.replace(/^-/, "−");
}

/** Per second, in three digits: 3,465 or 12.4. */
export function rate(value: Maybe): string {
  if (!there(value)) return NO_VALUE;
  return Math.abs(value) >= 100 ? count(value) : format(value, { maximumSignificantDigits: 3 });
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
export type ByteUnit = (typeof UNITS)[number];

/** A size with its unit: 17.2 GiB. */
export function bytes(value: Maybe): string {
  if (!there(value)) return NO_VALUE;
  const unit = unitOf(value);
  return `${bytesIn(value, unit)} ${unit}`;
}

/** A size in a given unit, without it: for a column whose header has the unit. */
export function bytesIn(value: Maybe, unit: ByteUnit): string {
  if (!there(value)) return NO_VALUE;
  return decimal(value / 1024 ** UNITS.indexOf(unit), unit === "B" ? 0 : 1);
}

/** The unit in which a size has one to four digits before the point. */
export function unitOf(value: number): ByteUnit {
  let index = 0;
  for (let size = Math.abs(value); size >= 1024 && index < UNITS.length - 1; size /= 1024) index += 1;
  return UNITS[index] ?? "B";
}

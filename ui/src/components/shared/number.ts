// Numbers as people type them: 0.0002, 2e-4, 1,024, ２０ (full width).

/** What is wrong with a typed number. */
export type NumberProblem = "not_a_number" | "not_whole" | "too_small" | "too_large";

export interface NumberRule {
  min?: number | undefined;
  max?: number | undefined;
  whole?: boolean;
}

/** Reads a typed number; undefined if it is none. */
export function readNumber(text: string): number | undefined {
  const plain = text.normalize("NFKC").replace(/−/g, "-").replace(/[,\s_]/g, "");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain)) return undefined;
  const value = Number(plain);
  return Number.isFinite(value) ? value : undefined;
}

/** What is wrong with a value; undefined if nothing. */
export function problemOf(value: number | undefined, rule: NumberRule): NumberProblem | undefined {
  if (value === undefined) return "not_a_number";
  if (rule.whole && !Number.isInteger(value)) return "not_whole";
  if (rule.min !== undefined && value < rule.min) return "too_small";
  if (rule.max !== undefined && value > rule.max) return "too_large";
  return undefined;
}

/** A value as it stands in its field: the shortest text that reads back the same. */
export function writeNumber(value: number): string {
  const size = Math.abs(value);
  if (value === 0 || (size >= 0.001 && size < 1e7)) return String(value);
  const [mantissa = "0", exponent = "0"] = value.toExponential().split("e");
  return `${mantissa}e${Number(exponent)}`;
}

/** The next value in a direction: by `step`, or for values that live on a scale of powers by a tenth of their power. */
export function stepped(value: number, direction: 1 | -1, step: number | "relative", rule: NumberRule): number {
  let next: number;
  if (step === "relative") {
    const power = 10 ** Math.floor(Math.log10(Math.abs(value) || 1e-5));
    // Down from 1e-4 goes to 9e-5, not to 0.
    const size = direction < 0 && Math.abs(value) <= power * (1 + 1e-9) ? power / 10 : power;
    next = value + direction * size;
  } else {
    next = (Math.round(value / step) + direction) * step;
  }
  const rounded = Number(next.toPrecision(10));
  return Math.min(rule.max ?? Infinity, Math.max(rule.min ?? -Infinity, rounded));
}

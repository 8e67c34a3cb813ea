import { afterEach, describe, expect, it } from "vitest";
import { locale } from "../locale.svelte";
import { age, bytes, bytesIn, count, date, decimal, duration, durationShort, percent, scientific, shortCount, signed } from ".";

afterEach(() => locale.choose("en"));

describe("format", () => {
  it("writes numbers with separators and the wide minus", () => {
    expect([count(1240), decimal(0.9412, 3), signed(2.13, 1), signed(-0.4, 1), percent(0.689, 1)]).toEqual(["1,240", "0.941", "+2.1", "−0.4", "68.9 %"]);
  });

  it("writes a dash for what is not there", () => {
    expect([count(null), decimal(Number.NaN, 2), bytes(undefined), duration(Infinity), date(null, 0)]).toEqual(["–", "–", "–", "–", "–"]);
  });

  it("shortens large counts to three digits", () => {
    expect([shortCount(999), shortCount(3_840_000), shortCount(12_900), shortCount(4.02e9)]).toEqual(["999", "3.84 M", "12.9 k", "4.02 B"]);
  });

  it("writes learning rates as they are typed", () => {
    expect([scientific(0.0002), scientific(5e-5), scientific(0.05), scientific(0), scientific(1.6e-4)]).toEqual(["2e-4", "5e-5", "0.05", "0", "1.6e-4"]);
  });

  it("writes sizes in binary units", () => {
    expect([bytes(512), bytes(1536), bytes(17.2 * 1024 ** 3), bytesIn(1024 ** 3, "MiB")]).toEqual(["512 B", "1.5 KiB", "17.2 GiB", "1,024.0"]);
  });

  it("writes durations in two units", () => {
    expect([duration(766), duration(3600), duration(0.4), duration(0), duration(90_000)]).toEqual(["12 min 46 s", "1 h", "<1 s", "0 s", "1 d 1 h"]);
    expect([durationShort(766), durationShort(5758)]).toEqual(["12:46", "1:35:58"]);
  });

  it("drops the smaller unit rather than skip one", () => {
    expect(duration(3605)).toBe("1 h");
  });

  it("speaks Japanese", () => {
    locale.choose("ja");
    expect([duration(766), age(0, 300_000), age(0, 1000)]).toEqual(["12 分 46 秒", "5 分前", "今"]);
  });
});

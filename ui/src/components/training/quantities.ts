// What the curves of a run measure and how their numbers are written.

import type { Quantity } from "$components/shared/chart/quantity";
import { decimalsAt } from "$components/shared/chart/ticks";
import { decimal, rate, scientific, shortCount } from "$lib/format";
import { t } from "$lib/i18n/index.svelte";

const fixed = (decimals: number) => (value: number) => decimal(value, decimals);
const tick: Quantity["tick"] = (value, ticks) => decimal(value, decimalsAt(value, ticks));

/** By curve; functions, because names follow the language. */
export const QUANTITIES = {
  loss: (): Quantity => ({ name: t("training.loss"), unit: t("training.unit_nats"), format: fixed(3), tick }),
  learningRate: (): Quantity => ({ name: t("training.learning_rate"), unit: "", format: (value) => scientific(value, 3), tick: (value) => scientific(value) }),
  gradNorm: (): Quantity => ({ name: t("training.grad_norm"), unit: "", format: fixed(2), tick }),
  tokensPerS: (): Quantity => ({ name: t("training.tokens_per_s"), unit: "", format: rate, tick: (value) => shortCount(value) }),
  memoryGib: (): Quantity => ({ name: t("training.memory"), unit: "GiB", format: (value) => decimal(value, value < 10 ? 2 : 1), tick }),
} as const;

import type { Translation } from "../message";
import type { training as english } from "../en/training";

export const training = {
  loss: "損失",
  unit_nats: "nats",
  learning_rate: "学習率",
  grad_norm: "勾配ノルム",
  tokens_per_s: "トークン/秒",
  memory: "メモリ",
  chart_role: "グラフ",
  chart_label: { other: "{n} 件の実行の{name}。矢印キーで十字線を動かし、Enter で固定、+ と - で拡大と縮小、0 で全体を表示します。" },
  chart_at_step: "ステップ {value}",
  chart_at_tokens: "{value} トークン",
  chart_at_time: "学習時間 {value}",
  chart_axis_step: "ステップ",
  chart_axis_tokens: "トークン",
  chart_axis_time: "時間",
  chart_end_values: "{main}、検証 {second}",
} as const satisfies Translation<typeof english>;

// Words of the training pages: runs, charts, the form of a new run.
export const training = {
  loss: "Loss",
  unit_nats: "nats",
  learning_rate: "Learning rate",
  grad_norm: "Gradient norm",
  tokens_per_s: "Tokens/s",
  memory: "Memory",
  chart_role: "chart",
  chart_label: { one: "{name} of {n} run. Arrow keys move the crosshair, Enter pins it, plus and minus zoom, 0 shows everything.", other: "{name} of {n} runs. Arrow keys move the crosshair, Enter pins it, plus and minus zoom, 0 shows everything." },
  chart_at_step: "Step {value}",
  chart_at_tokens: "{value} tokens",
  chart_at_time: "{value} of training",
  chart_axis_step: "Step",
  chart_axis_tokens: "Tokens",
  chart_axis_time: "Time",
  chart_end_values: "{main}, val {second}",
} as const;

// Actions of the training pages.
import type { Action } from "./action";

export const training = [
  { id: "chart.log", title: "training.action_log", scope: "runs", keys: "y" },
  { id: "chart.view", title: "training.action_view", scope: "runs", keys: "v" },
  { id: "chart.reset", title: "training.action_reset", scope: "runs", keys: "z" },
  { id: "run.pause", title: "training.action_pause", scope: "runs", keys: "p", needs: "job_pause" },
  { id: "run.resume", title: "training.action_resume", scope: "runs", keys: "r", needs: "job_resume" },
  { id: "run.stop", title: "training.action_stop", scope: "runs", needs: "job_stop" },
  { id: "run.evaluate_now", title: "training.evaluate_now", scope: "runs", keys: "E", needs: "job_evaluate_now" },
  { id: "run.checkpoint_now", title: "training.checkpoint_now", scope: "runs", keys: "K", needs: "job_checkpoint_now" },
  { id: "run.duplicate", title: "training.duplicate", scope: "runs", keys: "D", needs: "job_start" },
  { id: "run.open", title: "training.open_page", scope: "runs", keys: "o" },
  { id: "sample.previous", title: "training.action_previous_sample", scope: "runs", keys: "[", keysOnly: true },
  { id: "sample.next", title: "training.action_next_sample", scope: "runs", keys: "]", keysOnly: true },
  { id: "form.advanced", title: "training.action_advanced", scope: "new_run", keys: "A" },
  { id: "form.copy_command", title: "training.action_copy_command", scope: "new_run", keys: "C" },
] as const satisfies readonly Action[];

// Actions of feedback rows and of building training data from feedback.
import type { Action } from "./action";

export const preferences = [
  { id: "preferences.new", title: "preferences.action.new", scope: "everywhere", keys: "B" },
  { id: "preferences.advanced", title: "preferences.action.advanced", scope: "preferences", keys: "A" },
  { id: "feedback.import", title: "feedback.action.import", scope: "feedback_rows" },
  { id: "feedback.export", title: "feedback.action.export", scope: "feedback_rows", keys: "e" },
  { id: "feedback.withdraw", title: "feedback.action.withdraw", scope: "feedback_rows", keys: "W" },
] as const satisfies readonly Action[];

// Actions of the labelling projects: the list, a project's page, and deciding between reviewers.
import type { Action } from "./action";

export const feedback = [
  { id: "project.new", title: "labelling.action.new", scope: "feedback", keys: "P" },
  { id: "project.review", title: "labelling.action.review", scope: "feedback", keys: "r" },
  { id: "project.open", title: "labelling.action.open", scope: "feedback", keys: "o" },
  { id: "project.pause", title: "labelling.action.pause", scope: "feedback" },
  { id: "project.resume", title: "labelling.action.resume", scope: "feedback" },
  { id: "project.complete", title: "labelling.action.complete", scope: "feedback" },
  { id: "decide.take_1", title: "labelling.action.take_1", scope: "decide", keys: "1", keysOnly: true },
  { id: "decide.take_2", title: "labelling.action.take_2", scope: "decide", keys: "2", keysOnly: true },
  { id: "decide.take_3", title: "labelling.action.take_3", scope: "decide", keys: "3", keysOnly: true },
  { id: "decide.take_4", title: "labelling.action.take_4", scope: "decide", keys: "4", keysOnly: true },
  { id: "decide.take_5", title: "labelling.action.take_5", scope: "decide", keys: "5", keysOnly: true },
  { id: "decide.own", title: "labelling.action.own", scope: "decide", keys: "e", keysOnly: true },
  { id: "decide.clear_flags", title: "labelling.action.clear_flags", scope: "decide", keys: "c", keysOnly: true },
  { id: "decide.undo", title: "labelling.action.undo", scope: "decide", keys: "u", keysOnly: true },
] as const satisfies readonly Action[];

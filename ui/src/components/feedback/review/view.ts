// How outputs are shown, and whether the guide stands open: kept in this browser.
import { keep, read } from "$lib/stored";

/** With what changed, or plain. */
export type View = "diff" | "plain";

export const keptView = (): View => read("review.view", ["diff", "plain"]) ?? "diff";
export const keepView = (view: View): void => keep("review.view", view);
export const keptGuide = (): boolean => read("review.guide", ["open", "closed"]) !== "closed";
export const keepGuide = (open: boolean): void => keep("review.guide", open ? "open" : "closed");

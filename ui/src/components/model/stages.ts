// The stages of a model version as the board shows them, and what each allows. The machine itself is tb-core's.
import type { Model } from "$lib/api";
import type { ModelStatus } from "$lib/api";

export const STAGES: readonly ModelStatus[] = ["draft", "staging", "production", "archived"];

export type StageAction = "stage" | "archive" | "restore";

/** What a version in this stage can be asked to do here. */
export function stageActions(status: ModelStatus): readonly StageAction[] {
  switch (status) {
    case "draft":
      return ["stage", "archive"];
    case "staging":
      return ["archive"];
    case "production":
      return [];
    case "archived":
      return ["restore"];
  }
}

/** The stage after an action. */
export function stageAfter(action: StageAction): ModelStatus {
  switch (action) {
    case "stage":
      return "staging";
    case "archive":
      return "archived";
    case "restore":
      return "draft";
  }
}

/** Versions by stage, newest first in each. */
export function byStage(models: readonly Model[]): Record<ModelStatus, Model[]> {
  const board: Record<ModelStatus, Model[]> = { draft: [], staging: [], production: [], archived: [] };
  for (const model of [...models].sort((a, b) => b.created_at_ms - a.created_at_ms)) board[model.status].push(model);
  return board;
}

/** The last part of a folder's path. */
export function folderName(path: string): string {
  return path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1) ?? path;
}

/** Whether a version has all the words of a filter in its name, version, base, kind or id. */
export function modelHas(model: Model, filter: string): boolean {
  const said = `${model.name} v${model.version} ${folderName(model.base_model)} ${model.model_type} ${model.status} ${model.id}`.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => said.includes(word));
}

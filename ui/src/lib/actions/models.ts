// Actions of the model and base model pages.
import type { Action } from "./action";

export const models = [
  { id: "model.try", title: "models.action.try", scope: "model", keys: "p" },
  { id: "model.export", title: "models.action.export", scope: "model", keys: "e", needs: "model_export" },
  { id: "models.board", title: "models.action.board", scope: "models", keys: "1" },
  { id: "models.table", title: "models.action.table", scope: "models", keys: "2" },
  { id: "base.add", title: "models.action.add_base", scope: "models", keys: "A", needs: "base_add" },
] as const satisfies readonly Action[];

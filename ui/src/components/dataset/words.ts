// The words for what a dataset is made of: shapes, purposes, splits, problems, roles.
import type { DatasetType, RowProblemKind, RowShape, SplitName } from "$lib/api";
import { t } from "$lib/i18n/index.svelte";
import type { Field, Shape } from "./mapping";
import type { TurnRole } from "./said";

export const shapeWord = (shape: Shape | RowShape): string => t(`datasets.shape.${shape}`);
export const fieldWord = (field: Field): string => t(`datasets.field.${field}`);
export const purposeWord = (purpose: DatasetType): string => t(`datasets.purpose.${purpose}`);
export const splitWord = (split: SplitName): string => t(`datasets.split.${split}`);
export const problemWord = (kind: RowProblemKind): string => t(`datasets.problem.${kind}`);
export const roleWord = (role: TurnRole): string => t(`datasets.role.${role}`);

export const SPLITS: readonly SplitName[] = ["train", "validation", "test"];

/** The beginning of a hash, enough to tell two apart. */
export function shortHash(sha256: string): string {
  return sha256.length > 16 ? `${sha256.slice(0, 8)}…${sha256.slice(-4)}` : sha256;
}

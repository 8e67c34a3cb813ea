// Which models may stand on a side, and how the address names them.
import type { BaseModel, Model, Side } from "$lib/api";

/** A side as the address and the list name it: `base:FOLDER`, a version's id, or `none`. */
export type SideKey = string;

export const NONE: SideKey = "none";

export function baseKey(path: string): SideKey {
  return `base:${path}`;
}

/** What the host is asked for; none for a side that is left out. */
export function sideOf(key: SideKey): Side | null {
  if (key === NONE) return null;
  return key.startsWith("base:") ? { base_model: key.slice(5) } : { model_id: key };
}

/** The sides to begin with: as the address says where that exists; else the newest version against its own base. */
export function firstSides(
  wanted: { a: string | null; b: string | null },
  bases: readonly BaseModel[],
  models: readonly Model[],
): { a: SideKey; b: SideKey } {
  const newest = [...models].filter((one) => one.status !== "archived").sort((x, y) => y.created_at_ms - x.created_at_ms);
  const known = (key: string | null): key is SideKey =>
    key !== null && (key === NONE || bases.some((one) => baseKey(one.path) === key) || models.some((one) => one.id === key || baseKey(one.base_model) === key));
  const tuned = models.find((one) => one.id === wanted.b) ?? models.find((one) => one.id === wanted.a);
  const b = known(wanted.b) ? wanted.b : (madeFrom(wanted.a, newest)?.id ?? newest[0]?.id ?? NONE);
  const version = models.find((one) => one.id === b) ?? tuned;
  const a = known(wanted.a) ? wanted.a : version ? baseKey(version.base_model) : bases[0] ? baseKey(bases[0].path) : NONE;
  return a === b ? { a, b: NONE } : { a, b };
}

/** The newest version tuned from a base that the address names. */
function madeFrom(key: string | null, newest: readonly Model[]): Model | undefined {
  return key?.startsWith("base:") ? newest.find((one) => baseKey(one.base_model) === key) : undefined;
}

// The names of base models: a run knows only the folder.

import { baseModels } from "$lib/lists.svelte";
import { baseName } from "./run";

/** Gives the name of the base model in a folder; of one that is gone, the folder's. Must be called while a component is set up. */
export function baseNames(): (path: string) => string {
  const bases = baseModels();
  const byPath = $derived(new Map((bases.data ?? []).map(({ path, name }) => [path, name])));
  return (path) => byPath.get(path) ?? baseName(path);
}

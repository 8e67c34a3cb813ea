// Folders that the user had checked: the list of the host has the sample, its own folder and what runs used; these are kept
// here until their first run, and read anew each time, so that none is shown as it no longer is.
import { rpc, toApiError, type ApiError, type BaseModel } from "$lib/api";
import { keep, readText } from "$lib/stored";

const NAME = "base_models.folders";

export interface CheckedFolder {
  path: string;
  model: BaseModel | undefined;
  error: ApiError | undefined;
}

function remembered(): string[] {
  try {
    const paths: unknown = JSON.parse(readText(NAME) ?? "[]");
    return Array.isArray(paths) ? paths.filter((path) => typeof path === "string") : [];
  } catch {
    return [];
  }
}

class Folders {
  #all = $state.raw<readonly CheckedFolder[]>([]);

  /** Folders beside those that the host lists. */
  beside(listed: readonly BaseModel[]): readonly CheckedFolder[] {
    return this.#all.filter((one) => !listed.some((other) => other.path === (one.model?.path ?? one.path)));
  }

  /** Checks the remembered folders again. */
  async load(): Promise<void> {
    const paths = remembered();
    this.#all = paths.map((path) => this.#all.find((one) => one.path === path) ?? { path, model: undefined, error: undefined });
    await Promise.all(paths.map((path) => this.#check(path)));
  }

  /** Checks a folder and keeps it if it holds a model. Rejects with what is wrong. */
  async add(path: string): Promise<BaseModel> {
    const model = await rpc("base_inspect", { path });
    this.#put({ path: model.path, model, error: undefined });
    return model;
  }

  forget(path: string): void {
    this.#all = this.#all.filter((one) => one.path !== path);
    this.#keep();
  }

  async #check(path: string): Promise<void> {
    try {
      this.#put({ path, model: await rpc("base_inspect", { path }), error: undefined });
    } catch (thrown) {
      this.#put({ path, model: undefined, error: toApiError(thrown) });
    }
  }

  #put(one: CheckedFolder): void {
    this.#all = [...this.#all.filter((other) => other.path !== one.path), one];
    this.#keep();
  }

  #keep(): void {
    keep(NAME, this.#all.length === 0 ? undefined : JSON.stringify(this.#all.map((one) => one.path)));
  }
}

export const folders = new Folders();

// The model whose tokenizer views count by: one choice for all datasets, kept; at first the first base model there is.
import type { BaseModel } from "$lib/api";
import { keep, readText } from "$lib/stored";

const NAME = "datasets.tokenizer";

class Tokenizer {
  #chosen = $state(readText(NAME));

  /** The folder to use of those that are there; none if there is none. */
  of(models: readonly BaseModel[] | undefined): string | undefined {
    return (models?.find((model) => model.path === this.#chosen) ?? models?.[0])?.path;
  }

  choose(path: string): void {
    this.#chosen = path;
    keep(NAME, path);
  }
}

export const tokenizer = new Tokenizer();

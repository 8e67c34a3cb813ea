// What ids of feedback rows are called: models, reviewers, projects; and which kinds of rewriting there are.
import { allFeedback, labelProjects, modelVersions } from "$lib/lists.svelte";
import type { ModelId } from "$lib/api";
import { t } from "$lib/i18n/index.svelte";
import { visibleText } from "$components/shared/text/marks";

/** A choice of a filter. */
export interface Choosable {
  value: string;
  title: string;
}

/** Must be made while a component is set up. */
export class Names {
  #models = modelVersions();
  #projects = labelProjects();
  #all = allFeedback();

  readonly models = $derived<Choosable[]>((this.#models.data ?? []).map((one) => ({ value: one.id, title: visibleText(`${one.name} v${one.version}`) })));
  readonly projects = $derived<Choosable[]>((this.#projects.data ?? []).map(({ project }) => ({ value: project.id, title: visibleText(project.name) })));
  readonly reviewers = $derived<Choosable[]>((this.#all.data?.reviewers ?? []).filter(({ key }) => key !== "").map(({ key, name }) => ({ value: key, title: visibleText(name) })));
  readonly transformations = $derived<Choosable[]>((this.#all.data?.transformation_types ?? []).map(({ key, name }) => ({ value: key, title: key === "" ? t("feedback.unnamed") : visibleText(name) })));
  /** Whether there is any feedback at all; undefined until that is known. */
  readonly any = $derived(this.#all.data && this.#all.data.total.rows > 0);
  #byId = $derived(new Map([...this.models, ...this.projects, ...this.reviewers].map(({ value, title }) => [value, title])));

  /** The name behind an id; the beginning of the id where it is not known. */
  of(id: string): string {
    return this.#byId.get(id) ?? `${id.slice(0, 12)}…`;
  }

  model(id: ModelId | null): string {
    return id === null ? t("feedback.elsewhere") : this.of(id);
  }
}

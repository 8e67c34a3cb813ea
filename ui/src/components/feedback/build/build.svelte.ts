// A build in preparation: the form, kept over a reload, and what it would make, counted anew after each change.
import { rpc, toApiError, type ApiError, type BuildPreview, type Dataset } from "$lib/api";
import { mutate } from "$lib/cache.svelte";
import { untrack } from "svelte";
import { buildOf, faultsOf, FRESH, restored, type BuildForm, type Fault, type NumberField } from "./form";

const STORED = "tonebridge.build";
/** Pause in typing after which the preview is counted anew. */
const PAUSE_MS = 350;

export class Build {
  form = $state.raw<BuildForm>(FRESH);
  /** The latest preview; the old one stays while a new one is counted. */
  preview = $state.raw<BuildPreview>();
  counting = $state(false);
  building = $state(false);
  /** Why the preview or the build failed. */
  error = $state.raw<ApiError>();
  /** Numbers that were typed and cannot be used. */
  wrong = $state.raw<ReadonlySet<NumberField>>(new Set());
  #number = 0;
  /** What the preview depends on, as text: a name or a description changes no row. */
  #asked = $derived(JSON.stringify({ ...this.form, name: "", description: "" }));

  faults = $derived<Fault[]>(faultsOf(this.form));
  rows = $derived(this.preview?.splits.reduce((sum, split) => sum + split.rows, 0));
  /** What keeps the build from starting. */
  blocked = $derived<Fault | "wrong" | "counting" | "no_rows" | undefined>(
    this.wrong.size > 0 ? "wrong" : (this.faults[0] ?? (this.preview === undefined || this.counting ? "counting" : this.rows === 0 ? "no_rows" : undefined)),
  );

  constructor() {
    try {
      this.form = restored(sessionStorage.getItem(STORED));
    } catch {
      // Storage is refused: the form lives as long as the page.
    }
  }

  change(changes: Partial<BuildForm>): void {
    this.form = { ...this.form, ...changes };
    try {
      sessionStorage.setItem(STORED, JSON.stringify(this.form));
    } catch {
      // As above.
    }
  }

  /** Whether what was typed into a field can be used. */
  tell(field: NumberField, isWrong: boolean): void {
    if (this.wrong.has(field) === isWrong) return;
    const wrong = new Set(this.wrong);
    if (isWrong) wrong.add(field);
    else wrong.delete(field);
    this.wrong = wrong;
  }

  /** Counts anew whenever the form changes. Must be called while a component is set up. */
  follow(): void {
    $effect(() => {
      void this.#asked;
      if (this.faults.length > 0 || this.wrong.size > 0) return;
      untrack(() => (this.counting = true));
      const timer = setTimeout(() => void this.count(), untrack(() => this.preview) ? PAUSE_MS : 0);
      return () => clearTimeout(timer);
    });
  }

  async count(): Promise<void> {
    const number = ++this.#number;
    this.counting = true;
    try {
      const preview = await rpc("preference_preview", buildOf(this.form, new Date()));
      if (number === this.#number) [this.preview, this.error] = [preview, undefined];
    } catch (thrown) {
      if (number === this.#number) this.error = toApiError(thrown);
    } finally {
      if (number === this.#number) this.counting = false;
    }
  }

  async build(): Promise<Dataset | undefined> {
    if (this.blocked !== undefined || this.building) return undefined;
    this.building = true;
    this.error = undefined;
    try {
      const dataset = await mutate("preference_build", buildOf(this.form, new Date()));
      this.change(FRESH);
      return dataset;
    } catch (thrown) {
      this.error = toApiError(thrown);
      return undefined;
    } finally {
      this.building = false;
    }
  }
}

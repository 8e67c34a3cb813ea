// The state of the form: draft kept in this browser, filled from an earlier run or an address, estimated as it changes.

import type { Dataset, FieldInfo, FormLimits, JobEstimate } from "$lib/api";
import { rpc, toApiError, type ApiError } from "$lib/api";
import { keep, readText } from "$lib/stored";
import type { NumberProblem } from "$components/shared/number";
import { isRefused, limitsByKey } from "./limits";
import { autoName, draftOf, EMPTY_DRAFT, formOf, isComplete, readDraft, valueOf, withValue, type Draft } from "./form";

const KEPT = "new-run";
const QUIET_MS = 300;

/** Where the form's first values come from. */
export interface Prefill {
  readonly from: string | null;
  readonly dataset: string | null;
  readonly model: string | null;
  readonly base: string | null;
}

/** One form. Call `follow` while a component is set up. */
export class NewRun {
  draft = $state.raw<Draft>(EMPTY_DRAFT);
  fields = $state.raw<readonly FieldInfo[]>([]);
  /** The chosen dataset, for the automatic name. */
  dataset = $state.raw<Dataset | undefined>(undefined);
  estimate = $state.raw<JobEstimate | null>(null);
  /** Why there is no estimate for what stands in the form now. */
  refusal = $state.raw<ApiError | null>(null);
  isEstimating = $state(false);
  /** What cannot be chosen, for what stood in the form a moment ago; null until the first answer. */
  limits = $state.raw<FormLimits | null>(null);
  saved_at_ms = $state(0);
  /** Fields whose text is no value; nothing is sent while there is one. */
  problems = $state.raw<ReadonlyMap<string, NumberProblem>>(new Map());
  /** Draft and address have been read. */
  isReady = $state(false);

  readonly name = $derived(autoName(this.draft, this.dataset, this.fields));
  readonly form = $derived(formOf(this.draft, this.name));
  readonly isComplete = $derived(isComplete(this.draft));
  readonly limitOf = $derived(limitsByKey(this.limits));
  /** Fields whose value cannot be chosen. */
  readonly refused = $derived([...this.limitOf.values()].filter((limit) => isRefused(limit, this.value(limit.key))));
  readonly isBad = $derived(this.problems.size > 0 || (this.estimate?.checks.some((check) => check.state === "bad") ?? false));

  /** Reads draft, address and earlier run. */
  async fill(prefill: Prefill, fields: readonly FieldInfo[]): Promise<void> {
    this.fields = fields;
    let draft = readDraft(readText(KEPT)) ?? EMPTY_DRAFT;
    try {
      if (prefill.from) {
        const page = await rpc("job_page", { id: prefill.from });
        draft = { ...draftOf(page.spec, fields), name: "" };
      }
    } catch (thrown) {
      this.refusal = toApiError(thrown);
    }
    if (prefill.dataset) draft = { ...draft, dataset_id: prefill.dataset, data: null, eval_data: null, mapping: null };
    if (prefill.model) draft = { ...draft, origin: { kind: "model", id: prefill.model }, adapter: null };
    if (prefill.base) draft = { ...draft, origin: { kind: "base", path: prefill.base }, adapter: null };
    this.draft = draft;
    this.isReady = true;
  }

  /** Fills what is not chosen yet; that alone makes no draft to keep. */
  open(base: string | undefined, dataset: string | undefined): void {
    const { origin, dataset_id, data } = this.draft;
    this.draft = {
      ...this.draft,
      origin: origin ?? (base === undefined ? null : { kind: "base", path: base }),
      dataset_id: dataset_id ?? (data === null ? (dataset ?? null) : null),
    };
  }

  /** Changes the draft and keeps it. */
  change(change: Partial<Draft>): void {
    this.draft = { ...this.draft, ...change };
    this.#keep();
  }

  /** Changes a hyperparameter. */
  set(key: string, value: unknown): void {
    this.draft = withValue(this.draft, key, value, this.fields);
    this.mark(key, undefined);
    this.#keep();
  }

  /** Several hyperparameters at once: a suggestion. */
  setAll(changes: Readonly<Record<string, unknown>>): void {
    for (const [key, value] of Object.entries(changes)) this.set(key, value);
  }

  /** Says what is wrong with a field's text; undefined if nothing is. */
  mark(key: string, problem: NumberProblem | undefined): void {
    if (this.problems.get(key) === problem) return;
    const next = new Map(this.problems);
    if (problem) next.set(key, problem);
    else next.delete(key);
    this.problems = next;
  }

  /** The value of a hyperparameter. */
  value(key: string): unknown {
    return valueOf(this.draft, key, this.fields);
  }

  /** Forgets the draft: the run was started, or the user begins anew. */
  forget(): void {
    keep(KEPT, undefined);
    this.saved_at_ms = 0;
  }

  /** Everything as it was at first. */
  clear(): void {
    this.forget();
    this.draft = EMPTY_DRAFT;
    this.estimate = null;
    this.refusal = null;
  }

  #keep(): void {
    keep(KEPT, JSON.stringify(this.draft));
    this.saved_at_ms = Date.now();
  }

  /** Asks what can be chosen, whenever the form has rested for a moment. Old limits stay until then. */
  followLimits(): void {
    $effect(() => {
      const form = this.form;
      if (!this.isReady) return;
      const abort = new AbortController();
      const timer = setTimeout(() => {
        rpc("job_limits", form, abort.signal)
          .then((limits) => !abort.signal.aborted && (this.limits = limits))
          // Limits are help: without them every choice is offered, and the start says what is wrong.
          .catch(() => !abort.signal.aborted && (this.limits = null));
      }, QUIET_MS);
      return () => {
        clearTimeout(timer);
        abort.abort();
      };
    });
  }

  /** Estimates what stands in the form, whenever it has rested for a moment; an answer that is too late counts for nothing. */
  follow(): void {
    $effect(() => {
      const form = this.form;
      if (!this.isReady || !this.isComplete || this.problems.size > 0) {
        if (!this.isComplete) this.estimate = null;
        return;
      }
      const abort = new AbortController();
      const timer = setTimeout(() => void this.#ask(form, abort.signal), QUIET_MS);
      return () => {
        clearTimeout(timer);
        abort.abort();
      };
    });
  }

  async #ask(form: typeof this.form, signal: AbortSignal): Promise<void> {
    this.isEstimating = true;
    try {
      const estimate = await rpc("job_estimate", form, signal);
      if (signal.aborted) return;
      this.estimate = estimate;
      this.refusal = null;
    } catch (thrown) {
      if (signal.aborted) return;
      this.estimate = null;
      this.refusal = toApiError(thrown);
    } finally {
      if (!signal.aborted) this.isEstimating = false;
    }
  }
}

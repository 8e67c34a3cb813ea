// The state of the form: a draft kept in this browser, questions that follow a preset until they are changed, what is wrong with it.
import type { ApiError, Dataset } from "$lib/api";
import { keep, readText } from "$lib/stored";
import { placeOfRefusal } from "./check";
import { createOf, EMPTY_DRAFT, formProblems, isPair, readDraft, sourceProblem, type Draft } from "./form";
import { fits, presetQuestions, type Preset } from "./presets";
import { draftsOf, questionsOf, type DraftQuestion } from "./questions";

const KEPT = "new-project";

/** One form. */
export class NewProject {
  draft = $state.raw<Draft>(EMPTY_DRAFT);
  /** The chosen dataset: its shape says how many answers its rows have. */
  dataset = $state.raw<Dataset | undefined>(undefined);
  saved_at_ms = $state(0);
  /** The user has tried to create: what is missing is said from now on. */
  isTried = $state(false);
  /** What the core said of what was sent last; a change takes it away. */
  refusal = $state.raw<ApiError | undefined>(undefined);

  readonly pairs = $derived(isPair(this.draft, this.dataset));
  readonly questions = $derived(questionsOf(this.draft.questions));
  readonly problems = $derived(formProblems(this.draft, this.dataset));
  readonly missing = $derived(sourceProblem(this.draft));
  readonly isGood = $derived(this.problems.length === 0 && this.missing === undefined);
  readonly refusedAt = $derived(this.refusal && placeOfRefusal(this.refusal.message, this.questions));

  constructor() {
    const kept = readDraft(readText(KEPT));
    this.draft = kept ?? withPreset(EMPTY_DRAFT, "rate");
    if (kept) this.saved_at_ms = Date.now();
  }

  change(change: Partial<Draft>): void {
    this.draft = { ...this.draft, ...change };
    this.refusal = undefined;
    keep(KEPT, JSON.stringify(this.draft));
    this.saved_at_ms = Date.now();
  }

  /** Changes the questions by hand: they follow no preset any more. */
  ask(questions: readonly DraftQuestion[]): void {
    this.change({ questions, preset: null });
  }

  take(preset: Preset): void {
    this.change({ questions: withPreset(this.draft, preset).questions, preset });
  }

  /** Keeps untouched questions fitting to the items: two answers ask for a choice, one for a rating. */
  fit(): void {
    const { preset } = this.draft;
    if (preset !== null && (preset === "rate" || !fits(preset, this.pairs))) {
      const wanted = this.pairs ? "pair" : "rate";
      if (wanted !== preset) this.take(wanted);
    }
  }

  /** What would be sent now. */
  get form() {
    return createOf(this.draft, Date.now());
  }

  forget(): void {
    keep(KEPT, undefined);
    this.saved_at_ms = 0;
  }

  clear(): void {
    this.forget();
    this.draft = withPreset(EMPTY_DRAFT, "rate");
    this.refusal = undefined;
    this.isTried = false;
  }
}

function withPreset(draft: Draft, preset: Preset): Draft {
  return { ...draft, preset, questions: draftsOf(presetQuestions(preset)) };
}

// A reviewer's work on one project: the hand of items, what is answered, what was done, and what waits to be sent. The next item
// shows at once; sending happens behind it, in order, and whatever fails comes back with its answers.
import { toApiError, type Answer, type ApiError, type Hand, type Progress, type Question, type Task } from "$lib/api";
import { mutate } from "$lib/cache.svelte";
import { sourceOf } from "../asked";
import { answered, baseOf, openQuestions, outgoing, verdictOf, type Answers, type Verdict } from "./answers";
import { Drafts } from "./drafts";
import { Outbox, type Sending } from "./outbox";
import { Stopwatch } from "./stopwatch";
import { NEXT, SUBMIT } from "./timing";
import { reviewer } from "./who";

/** Items held at once. */
export const HOLD = 10;
/** An item that came with all its answers is submitted only after it could be seen: a key pressed twice must not do it. */
const LEAST_LOOK_MS = 400;

/** An item that was submitted in this session. */
export interface DoneLine {
  item: string;
  start: string;
  verdict: Verdict;
}

interface Work extends Sending {
  kind: "submit" | "skip" | "undo" | "flag";
  task?: Task;
}

/** Why something was not saved. */
export interface Trouble {
  kind: Work["kind"];
  /** Items that came back. */
  items: string[];
  error: ApiError;
}

export class Review {
  tasks = $state.raw<readonly Task[]>([]);
  /** Why the hand could not be had. */
  error = $state.raw<ApiError>();
  loading = $state(false);
  opened = $state(false);
  done = $state.raw<readonly DoneLine[]>([]);
  trouble = $state.raw<Trouble>();
  /** How much is on its way. */
  sending = $state(0);
  currentId = $state<string>();
  /** Called when something could not be saved after the reviewer has left. */
  onlost: ((error: ApiError) => void) | undefined;

  #questions: readonly Question[] = $state.raw([]);
  #progress = $state.raw<Progress>();
  #answers = $state.raw<ReadonlyMap<string, Answers>>(new Map());
  #bases = $state.raw<ReadonlyMap<string, number>>(new Map());
  #returned = $state.raw<ReadonlyMap<string, Work["kind"]>>(new Map());
  #underway = $state(0);
  #shown_ms = 0;
  #touched = false;
  readonly #drafts: Drafts;
  readonly #watch = new Stopwatch();
  readonly #outbox: Outbox<Work>;

  constructor(readonly project: string) {
    this.#drafts = new Drafts(reviewer(), project, (item_id, answers) => mutate("label_draft", { item_id, answers: { ...answers } }));
    this.#outbox = new Outbox<Work>(
      (failed, error) => this.#failed(failed, error),
      () => {
        this.sending = this.#outbox.all.length;
        this.#underway = this.#outbox.all.filter(({ kind }) => kind === "submit").length;
      },
    );
  }

  readonly current = $derived(this.tasks.find((task) => task.item_id === this.currentId));
  readonly answers = $derived<Answers>(this.#answers.get(this.currentId ?? "") ?? {});
  /** Which output the correction begins with. */
  readonly base = $derived(this.current ? baseOf(this.#questions, this.answers, this.current, this.#bases.get(this.current.item_id)) : 0);
  readonly start = $derived(this.current?.outputs[this.base] ?? "");
  /** Required questions that are open. */
  readonly open = $derived(openQuestions(this.#questions, this.answers, this.start));
  readonly complete = $derived(this.current !== undefined && this.open.length === 0);
  /** How far the reviewer is, with what is on its way counted as done. */
  readonly progress = $derived.by<Progress | undefined>(() => {
    const now = this.#progress;
    return now && { ...now, mine: now.mine + this.#underway, left: Math.max(0, now.left - this.#underway) };
  });

  /** How far the reviewer is, before the first hand. */
  know(progress: Progress): void {
    this.#progress ??= progress;
  }

  /** What is asked; it may change while the reviewer works. */
  set questions(questions: readonly Question[]) {
    this.#questions = questions;
  }
  get questions(): readonly Question[] {
    return this.#questions;
  }

  /** Whether an item came back because it could not be saved. */
  cameBack(item: string): boolean {
    return this.#returned.has(item);
  }

  answersOf(item: string): Answers {
    return this.#answers.get(item) ?? {};
  }

  /** Takes the items in hand. */
  async take(): Promise<void> {
    this.loading = true;
    try {
      this.#receive(await mutate("label_take", { project_id: this.project, hold: HOLD }));
      this.error = undefined;
      this.opened = true;
    } catch (thrown) {
      this.error = toApiError(thrown);
    } finally {
      this.loading = false;
    }
  }

  /** Fills the list of what was done, after a reload. */
  recall(lines: readonly DoneLine[]): void {
    const known = new Set(this.done.map(({ item }) => item));
    this.done = [...this.done, ...lines.filter(({ item }) => !known.has(item))];
  }

  select(item: string | undefined): void {
    if (item === this.currentId) return;
    this.currentId = item;
    this.#touched = false;
    this.#shown_ms = performance.now();
    this.#watch.look(document.hidden ? undefined : item);
  }

  /** Moves in the queue. */
  move(by: 1 | -1): void {
    const to = this.tasks[this.tasks.findIndex((task) => task.item_id === this.currentId) + by];
    if (to) this.select(to.item_id);
  }

  /** Gives an answer; undefined takes it back. */
  answer(name: string, answer: Answer | undefined): void {
    const item = this.currentId;
    if (!this.current || item === undefined) return;
    this.#touched = true;
    this.#watch.touch();
    const now = answered(this.answers, name, answer);
    this.#put(item, now);
    this.#drafts.set(item, now);
  }

  /** Sets which output the correction begins with. */
  startFrom(base: number): void {
    if (this.current) this.#bases = new Map(this.#bases).set(this.current.item_id, base);
  }

  /** Submits the item and shows the next. False if it is not complete. */
  submit(): boolean {
    const task = this.current;
    if (!task || !this.complete) return false;
    if (!this.#touched && performance.now() - this.#shown_ms < LEAST_LOOK_MS) return false;
    performance.clearMarks(SUBMIT);
    performance.mark(SUBMIT);
    const answers = outgoing(this.#questions, this.answers, this.start);
    const item_id = task.item_id;
    const duration_ms = this.#watch.spent_ms(item_id);
    this.#drafts.stop(item_id);
    this.done = [{ item: item_id, start: sourceOf(task).slice(0, 200), verdict: verdictOf(this.#questions, answers) }, ...this.done];
    this.#leave(task);
    this.#outbox.add({
      kind: "submit",
      item: item_id,
      task,
      send: async () => {
        const { hand } = await mutate("label_submit", { item_id, answers, duration_ms, hold: HOLD });
        this.#forget(item_id);
        this.#receive(hand);
      },
    });
    return true;
  }

  /** Passes the item on to others. */
  skip(): void {
    const task = this.current;
    if (!task) return;
    this.#drafts.stop(task.item_id);
    this.#leave(task);
    this.#outbox.add({
      kind: "skip",
      item: task.item_id,
      task,
      send: async () => {
        const hand = await mutate("label_skip", { item_id: task.item_id, clear: false });
        this.#forget(task.item_id);
        this.#receive(hand);
      },
    });
  }

  readonly canUndo = $derived(this.done.length > 0 || (this.progress?.mine ?? 0) > 0);

  /** Takes the last submission back: before it is sent, or by the core. */
  undo(): void {
    const unsent = this.#outbox.takeBack(({ kind }) => kind === "submit");
    if (unsent?.task) return this.#reopen(unsent.task);
    this.#outbox.add({
      kind: "undo",
      item: undefined,
      send: async () => {
        const hand = await mutate("label_undo", { project_id: this.project });
        this.#receive(hand);
        const task = hand.tasks[0];
        if (!task) return;
        if (task.draft) this.#put(task.item_id, task.draft as Answers);
        this.#reopen(task);
      },
    });
  }

  /** Flags the item, or takes the flag away. */
  flag(): void {
    if (this.current) this.#mark(this.current, !this.current.flagged);
  }

  /** Says why an item is flagged. */
  flagNote(task: Task, note: string): void {
    this.#mark(task, true, note);
  }

  /** Sends once more what came back, in its order. */
  sendAgain(): void {
    const { items = [], kind } = this.trouble ?? {};
    const now = this.currentId;
    this.trouble = undefined;
    if (kind === "undo") return this.undo();
    for (const item of items) {
      const what = this.#returned.get(item);
      this.select(item);
      this.#touched = true;
      if (what === "skip") this.skip();
      else this.submit();
    }
    if (now !== undefined && !items.includes(now)) this.select(now);
  }

  /** Takes the hand anew; what came back and is not given out any more goes, its answers stay in this browser. */
  async takeAnew(): Promise<void> {
    this.trouble = undefined;
    if (this.currentId !== undefined && this.#returned.has(this.currentId)) this.currentId = undefined;
    this.#returned = new Map();
    await this.take();
  }

  /** A sign of life of the reviewer. */
  touch(): void {
    this.#watch.touch();
  }

  /** The page is hidden or seen again. */
  watch(seen: boolean): void {
    this.#watch.look(seen ? this.currentId : undefined);
    if (!seen) this.#drafts.flush();
  }

  /** Resolves when everything is sent or has come back. */
  settled(): Promise<void> {
    return this.#outbox.idle();
  }

  #receive(hand: Hand): void {
    const theirs = new Map(hand.tasks.map((task) => [task.item_id, task]));
    const kept = this.tasks.filter((task) => theirs.has(task.item_id) || task.item_id === this.currentId || this.#returned.has(task.item_id));
    const known = new Set(kept.map((task) => task.item_id));
    const fresh = hand.tasks.filter((task) => !known.has(task.item_id) && !this.#outbox.all.some((one) => one.item === task.item_id && one.task));
    for (const task of fresh) {
      const draft = this.#drafts.read(task.item_id) ?? (task.draft as Answers | null);
      if (draft && !this.#answers.has(task.item_id)) this.#put(task.item_id, draft);
    }
    this.tasks = [...kept, ...fresh];
    this.#progress = hand.progress;
    if (!this.current) this.select(this.#nextOf(0));
  }

  /** Takes an item out of the hand and shows the one after it. */
  #leave(task: Task): void {
    const at = this.tasks.findIndex((one) => one.item_id === task.item_id);
    this.tasks = this.tasks.filter((one) => one.item_id !== task.item_id);
    if (this.#returned.has(task.item_id)) this.#goesOut(task.item_id);
    this.select(this.#nextOf(at));
  }

  /** The item to show from a place on; those that came back wait until the others are done, or are chosen by hand. */
  #nextOf(at: number): string | undefined {
    const order = [...this.tasks.slice(at), ...this.tasks.slice(0, at)];
    return (order.find((task) => !this.#returned.has(task.item_id)) ?? order[0])?.item_id;
  }

  /** An item is in the hand again, as the first, and is shown. */
  #reopen(task: Task): void {
    this.tasks = [task, ...this.tasks.filter((one) => one.item_id !== task.item_id)];
    this.done = this.done.filter(({ item }) => item !== task.item_id);
    this.select(task.item_id);
  }

  #mark(task: Task, flagged: boolean, note?: string): void {
    this.#patch(task.item_id, flagged);
    this.#outbox.add({
      kind: "flag",
      item: task.item_id,
      send: async () => {
        try {
          await mutate("label_flag", { item_id: task.item_id, clear: !flagged, ...(note === undefined ? {} : { note }) });
        } catch (thrown) {
          if (note === undefined) this.#patch(task.item_id, !flagged);
          throw thrown;
        }
      },
    });
  }

  #patch(item: string, flagged: boolean): void {
    this.tasks = this.tasks.map((task) => (task.item_id === item ? { ...task, flagged } : task));
  }

  #failed(failed: Work[], error: ApiError): void {
    const back = failed.flatMap(({ task }) => (task ? [task] : []));
    const items = back.map((task) => task.item_id);
    this.done = this.done.filter(({ item }) => !items.includes(item));
    this.tasks = [...back, ...this.tasks.filter((task) => !items.includes(task.item_id))];
    this.#returned = new Map([...this.#returned, ...failed.flatMap(({ task, kind }) => (task ? [[task.item_id, kind] as const] : []))]);
    for (const item of items) this.#drafts.set(item, this.answersOf(item));
    const before = this.trouble;
    const kind = failed[0]?.kind ?? "submit";
    this.trouble = { kind, error, items: before && before.kind === kind ? [...new Set([...before.items, ...items])] : items };
    if (!this.current) this.select(this.#nextOf(0));
    this.onlost?.(error);
  }

  #goesOut(item: string): void {
    const next = new Map(this.#returned);
    next.delete(item);
    this.#returned = next;
    const left = this.trouble?.items.filter((one) => one !== item);
    if (this.trouble && left) this.trouble = left.length > 0 ? { ...this.trouble, items: left } : undefined;
  }

  #put(item: string, answers: Answers): void {
    this.#answers = new Map(this.#answers).set(item, answers);
  }

  #forget(item: string): void {
    this.#drafts.forget(item);
    this.#watch.forget(item);
    const answers = new Map(this.#answers);
    answers.delete(item);
    this.#answers = answers;
  }
}

/** Measures how long the next item took to be shown; the mark was set when the one before was submitted. */
export function measureNext(): void {
  if (performance.getEntriesByName(SUBMIT, "mark").length === 0) return;
  performance.clearMeasures(NEXT);
  performance.measure(NEXT, SUBMIT);
  performance.clearMarks(SUBMIT);
}

// The live curves of runs. Whoever shows a run holds its feed: history once, then events; what may have been missed is read again.

import { onPoints } from "$lib/api/events.svelte";
import { rpc, toApiError, type ApiError, type EvalPoint, type Job, type JobId, type StepPoint } from "$lib/api";
import { RunCurves } from "./curves";

/** How far the history has come. */
export type FeedState = "loading" | "ready" | "failed";

/** The curves of one run, kept up to date while somebody holds it. */
export class RunFeed {
  readonly curves: RunCurves;
  state = $state<FeedState>("loading");
  error = $state.raw<ApiError | null>(null);
  holders = 0;

  readonly #id: JobId;
  #stop: (() => void) | null = null;
  /** What arrives while history is on its way. */
  #waiting: { points: StepPoint[]; evals: EvalPoint[] } | null = null;
  #reading: Promise<void> = Promise.resolve();

  constructor(job: Job) {
    this.#id = job.id;
    this.curves = new RunCurves(Math.max(1, job.hyperparameters.logging_steps));
  }

  /** Begins to follow. Listening begins before history is asked for, so that no point falls between the two. */
  start(): void {
    if (this.#stop) return;
    this.#stop = onPoints(this.#id, {
      points: (points) => (this.#waiting ? this.#waiting.points.push(...points) : this.curves.put(points)),
      evalPoint: (point) => (this.#waiting ? this.#waiting.evals.push(point) : this.curves.putEvals([point])),
      missed: () => this.read(),
    });
    this.read();
  }

  /** Follows no more; the curves stay. */
  stop(): void {
    this.#stop?.();
    this.#stop = null;
  }

  /** Reads what is not there yet. */
  read = (): void => {
    this.#waiting ??= { points: [], evals: [] };
    this.#reading = this.#reading.then(() => this.#read());
  };

  async #read(): Promise<void> {
    try {
      const { steps, evals } = await rpc("job_metrics", { id: this.#id, after_step: this.curves.lastStep, max_points: 0 });
      this.curves.put(steps);
      this.curves.putEvals(evals);
      this.state = "ready";
      this.error = null;
    } catch (thrown) {
      this.error = toApiError(thrown);
      if (this.state === "loading") this.state = "failed";
    }
    const waiting = this.#waiting;
    this.#waiting = null;
    if (!waiting) return;
    this.curves.put(waiting.points);
    this.curves.putEvals(waiting.evals);
  }
}

/** Feeds that nobody holds are kept, so that a way back shows its curve at once. */
const IDLE_FEEDS = 12;
const feeds = new Map<JobId, RunFeed>();

/** The feed of a run. Call `letGo` when it is shown no more. */
export function hold(job: Job): RunFeed {
  const feed = feeds.get(job.id) ?? new RunFeed(job);
  feeds.delete(job.id);
  feeds.set(job.id, feed);
  feed.holders += 1;
  feed.start();
  return feed;
}

/** Shows a run no more. */
export function letGo(id: JobId): void {
  const feed = feeds.get(id);
  if (!feed) return;
  feed.holders -= 1;
  if (feed.holders === 0) feed.stop();
  const idle = [...feeds].filter(([, { holders }]) => holders === 0);
  for (const [old] of idle.slice(0, Math.max(0, idle.length - IDLE_FEEDS))) feeds.delete(old);
}

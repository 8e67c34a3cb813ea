// The app's one subscription to the host's events: each event once and in order, given to whoever asked for it.
import { backend, FROM_NOW } from "./index";
import type { Backend, Connection } from "./backend";
import type { EvalPoint, Event, Job, JobId, RunEvent, StepPoint, Tag } from "./types";

/** What happened to one job's curves. */
export interface PointsHandler {
  points?: (points: StepPoint[]) => void;
  evalPoint?: (point: EvalPoint) => void;
  /** A line of the worker that is no point: checkpoint, sample, note, evaluation. */
  run?: (event: RunEvent) => void;
  /** Events may have been missed: read the curves again. */
  missed?: () => void;
}

/** What the whole app does with events. */
export interface AppHandler {
  stale(tags: Tag[]): void;
  job(job: Job): void;
  missed(): void;
}

/** Events of one subscription, numbered by the host. */
export class Events {
  /** Whether the host answers. */
  connection = $state<Connection>("connecting");
  /** When the connection was lost, milliseconds since 1970; 0 while it stands. */
  lost_at_ms = $state(0);
  #last = FROM_NOW;
  #app: AppHandler | undefined;
  #jobs = new Map<JobId, Set<(job: Job) => void>>();
  #curves = new Map<JobId, Set<PointsHandler>>();
  #everyEvent = new Set<(event: Event) => void>();

  /** Subscribes from now on. Returns the way to end it. */
  start(host: Backend, app: AppHandler): () => void {
    this.#app = app;
    this.#last = FROM_NOW;
    return host.subscribe(FROM_NOW, this.take, this.turn);
  }

  /** The number of the last event; `FROM_NOW` before the first. */
  get last(): number {
    return this.#last;
  }

  turn = (state: Connection): void => {
    const before = this.connection;
    this.connection = state;
    if (state === "lost" && before !== "lost") this.lost_at_ms = Date.now();
    if (state !== "open") return;
    this.lost_at_ms = 0;
    // Without a number to resume from, what happened in between is unknown. The very first opening counts:
    // answers may have been fetched before the subscription stood.
    if (this.#last === FROM_NOW) this.#missed();
  };

  take = (event: Event): void => {
    if (this.#last !== FROM_NOW) {
      if (event.seq <= this.#last) return;
      if (event.seq > this.#last + 1) this.#missed();
    }
    this.#last = event.seq;
    for (const give of this.#everyEvent) give(event);
    const body = event.body;
    switch (body.type) {
      case "job":
        this.#app?.job(body.job);
        this.#jobs.get(body.job.id)?.forEach((give) => give(body.job));
        return;
      case "points":
        return this.#curve(body.job_id, (to) => to.points?.(body.points));
      case "eval_point":
        return this.#curve(body.job_id, (to) => to.evalPoint?.(body.point));
      case "run":
        return this.#curve(body.job_id, (to) => to.run?.(body.event));
      case "stale":
        this.#app?.stale(body.tags);
        return;
      case "deployment":
        this.#app?.stale(["deployments"]);
        return;
      case "experiment":
        this.#app?.stale(["experiments"]);
        return;
    }
  };

  /** Calls back with each new state of a job. */
  onJob(id: JobId, give: (job: Job) => void): () => void {
    return add(this.#jobs, id, give);
  }

  /** Calls back with what a job's worker reports. */
  onPoints(id: JobId, handler: PointsHandler): () => void {
    return add(this.#curves, id, handler);
  }

  /** Calls back with every event. */
  onEvent(give: (event: Event) => void): () => void {
    this.#everyEvent.add(give);
    return () => void this.#everyEvent.delete(give);
  }

  #curve(id: JobId, give: (to: PointsHandler) => void): void {
    this.#curves.get(id)?.forEach(give);
  }

  #missed(): void {
    this.#app?.missed();
    for (const handlers of this.#curves.values()) for (const handler of handlers) handler.missed?.();
  }
}

function add<T>(map: Map<JobId, Set<T>>, id: JobId, value: T): () => void {
  const set = map.get(id) ?? new Set<T>();
  map.set(id, set.add(value));
  return () => {
    set.delete(value);
    if (set.size === 0 && map.get(id) === set) map.delete(id);
  };
}

/** The app's events. */
export const events = new Events();

/** Calls back with each new state of a job. Returns the way to end it. */
export const onJob = (id: JobId, give: (job: Job) => void): (() => void) => events.onJob(id, give);

/** Calls back with what a job's worker reports. Returns the way to end it. */
export const onPoints = (id: JobId, handler: PointsHandler): (() => void) => events.onPoints(id, handler);

/** Starts the app's subscription. Returns the way to end it. */
export function startEvents(app: AppHandler): () => void {
  let end: (() => void) | undefined;
  let ended = false;
  void backend().then((host) => {
    if (!ended) end = events.start(host, app);
  });
  return () => {
    ended = true;
    end?.();
  };
}

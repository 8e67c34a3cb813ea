import { beforeEach, expect, test } from "vitest";
import { useBackend, type Backend, type EvalPoint, type Event, type EventBody, type Job, type StepPoint } from "$lib/api";
import { events } from "$lib/api/events.svelte";
import { hold, letGo } from "./feed.svelte";

const point = (step: number): StepPoint => ({
  step, epoch: 0, loss: 1 / step, grad_norm: 1, learning_rate: 1e-4, tokens: 10, num_tokens: step * 10, tokens_per_s: 10, peak_memory_bytes: 1, eta_s: 0,
});
const evaluation = (step: number): EvalPoint => ({ step, epoch: 0, eval_loss: 1, mean_token_accuracy: null, is_best: false });
const points = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => point(from + i));

/** Answers to `job_metrics` that the test gives one by one, with what was asked. */
let asked: { after_step: number; answer: (steps: StepPoint[], evals?: EvalPoint[]) => void; fail: () => void }[] = [];
let seq = 0;
let number = 0;

beforeEach(() => {
  asked = [];
  const rpc = (_name: string, args: { after_step: number }) =>
    new Promise((resolve, reject) => {
      asked.push({ after_step: args.after_step, answer: (steps, evals = []) => resolve({ steps, evals }), fail: () => reject(new Error("gone")) });
    });
  useBackend({ rpc } as unknown as Backend);
});

const send = (body: EventBody) => events.take({ seq: ++seq, at_ms: 0, body } as Event);
const settled = () => new Promise((resolve) => setTimeout(resolve, 0));
const job = (): Job => ({ id: `job_${++number}`, hyperparameters: { logging_steps: 1 } }) as unknown as Job;
const steps = (feed: ReturnType<typeof hold>) => Array.from(feed.curves.rows.x.step.data.subarray(0, feed.curves.rows.length));

test("what arrives while history is on its way is neither lost nor there twice", async () => {
  const one = job();
  const feed = hold(one);
  await settled();
  send({ type: "points", job_id: one.id, points: points(4, 6) });
  expect(feed.state).toBe("loading");
  asked[0]?.answer(points(1, 5), [evaluation(2)]);
  await settled();
  expect(feed.state).toBe("ready");
  expect(steps(feed)).toEqual([1, 2, 3, 4, 5, 6]);
  send({ type: "points", job_id: one.id, points: [point(7)] });
  send({ type: "eval_point", job_id: one.id, point: evaluation(7) });
  expect(steps(feed).at(-1)).toBe(7);
  expect(feed.curves.evalRows.length).toBe(2);
  letGo(one.id);
});

test("after events were missed the rest is read, and the curve has no gap", async () => {
  const one = job();
  const feed = hold(one);
  await settled();
  asked[0]?.answer(points(1, 3));
  await settled();
  // A jump in the numbers of events: something was not heard.
  seq += 5;
  send({ type: "points", job_id: one.id, points: [point(9)] });
  await settled();
  expect(asked[1]?.after_step).toBe(3);
  asked[1]?.answer(points(4, 9));
  await settled();
  expect(steps(feed)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(feed.curves.rows.breaks).toEqual([]);
  letGo(one.id);
});

test("a run that is shown again reads only what it does not have", async () => {
  const one = job();
  hold(one);
  await settled();
  asked[0]?.answer(points(1, 3));
  await settled();
  letGo(one.id);
  send({ type: "points", job_id: one.id, points: [point(4)] });
  const feed = hold(one);
  expect(steps(feed)).toEqual([1, 2, 3]);
  await settled();
  expect(asked[1]?.after_step).toBe(3);
  asked[1]?.answer(points(4, 5));
  await settled();
  expect(steps(feed)).toEqual([1, 2, 3, 4, 5]);
  letGo(one.id);
});

test("history that cannot be read says so, and what arrives is shown all the same", async () => {
  const one = job();
  const feed = hold(one);
  await settled();
  asked[0]?.fail();
  await settled();
  expect(feed.state).toBe("failed");
  send({ type: "points", job_id: one.id, points: [point(1)] });
  expect(steps(feed)).toEqual([1]);
  letGo(one.id);
});

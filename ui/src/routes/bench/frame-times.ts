// How long frames last, as the browser shows them.

/** Milliseconds of a sample of frames. */
export interface FrameResult {
  readonly frames: number;
  readonly p50_ms: number;
  readonly p95_ms: number;
  readonly worst_ms: number;
  readonly fps: number;
}

/** Measures the time between frames, each from one animation frame to the next. */
export class FrameTimes {
  #last = 0;
  #times: number[] = [];

  /** Measures until the returned function is called. */
  start(): () => void {
    let request = 0;
    const frame = (now: number) => {
      if (this.#last > 0) this.#times.push(now - this.#last);
      this.#last = now;
      request = requestAnimationFrame(frame);
    };
    request = requestAnimationFrame(frame);
    return () => cancelAnimationFrame(request);
  }

  /** Forgets what was measured. */
  begin(): void {
    this.#times = [];
    this.#last = 0;
  }

  /** What was measured since `begin`. */
  result(): FrameResult {
    const sorted = [...this.#times].sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
    const sum = sorted.reduce((a, b) => a + b, 0);
    return { frames: sorted.length, p50_ms: at(0.5), p95_ms: at(0.95), worst_ms: sorted.at(-1) ?? NaN, fps: (1000 * sorted.length) / sum };
  }
}

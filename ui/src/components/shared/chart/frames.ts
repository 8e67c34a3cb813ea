// One animation frame for all charts: each asks as often as it likes and draws at most once per frame, and never while the page is hidden.

/** Something that draws. */
export interface Drawn {
  draw(): void;
}

/** How often curves follow points that arrive: nobody sees more, and where no GPU draws, each drawing costs the run its time. */
const ARRIVALS_MS = 250;

const waiting = new Set<Drawn>();
let requested = 0;
/** What waits for the next drawing of arrivals. */
const arrived = new Set<Drawn>();
let paced: ReturnType<typeof setTimeout> | undefined;
let pacedAt = -Infinity;

function run(): void {
  requested = 0;
  const due = [...waiting];
  waiting.clear();
  for (const drawn of due) drawn.draw();
}

function request(): void {
  if (requested === 0 && waiting.size > 0 && !document.hidden) requested = requestAnimationFrame(run);
}

if (typeof document !== "undefined") {
  document.addEventListener("visibilitychange", () => {
    // Browsers hold frames back in hidden pages, some only slow them down: a frame that is asked for is taken back.
    if (document.hidden && requested !== 0) {
      cancelAnimationFrame(requested);
      requested = 0;
    }
    request();
  });
}

/** Draws in the next frame. */
export function drawSoon(drawn: Drawn): void {
  waiting.add(drawn);
  request();
}

/** Draws what has arrived: at once after a rest, at most four times a second while more arrives. All charts follow in the same frame. */
export function drawArrivals(drawn: Drawn): void {
  arrived.add(drawn);
  paced ??= setTimeout(() => {
    paced = undefined;
    pacedAt = performance.now();
    for (const one of arrived) waiting.add(one);
    arrived.clear();
    request();
  }, Math.max(0, pacedAt + ARRIVALS_MS - performance.now()));
}

/** Draws no more. */
export function drawNever(drawn: Drawn): void {
  waiting.delete(drawn);
  arrived.delete(drawn);
}

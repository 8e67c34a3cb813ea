// One animation frame for all charts: each asks as often as it likes and draws at most once per frame, and never while the page is hidden.

/** Something that draws. */
export interface Drawn {
  draw(): void;
}

const waiting = new Set<Drawn>();
let requested = 0;

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

/** Draws no more. */
export function drawNever(drawn: Drawn): void {
  waiting.delete(drawn);
}

// When this session of reviewing began: with the browser's tab, so that a reload goes on with it.

/** The host's clock may be a little behind. */
const SLACK_MS = 5000;

/** When the session began, milliseconds since 1970. */
export function sessionStart_ms(project: string): number {
  const name = `tonebridge.review.${project}.since`;
  const now = Date.now() - SLACK_MS;
  try {
    const kept = Number(globalThis.sessionStorage?.getItem(name));
    if (kept > 0) return kept;
    globalThis.sessionStorage?.setItem(name, String(now));
  } catch {
    // Refused: the session begins with this page.
  }
  return now;
}

// The length histogram: bars, ticks, and what a limit cuts. Numbers in, geometry out; drawing is the component's.

export interface Bin {
  from: number;
  to: number;
  rows: number;
}

/** Rows above a limit: exact where a bin begins at it, else a share of the bin that holds it. */
export function rowsOver(bins: readonly Bin[], limit: number): { rows: number; exact: boolean } {
  let rows = 0;
  let exact = true;
  for (const bin of bins) {
    if (bin.from > limit) rows += bin.rows;
    else if (bin.to > limit + 1 && bin.rows > 0) {
      rows += Math.round((bin.rows * (bin.to - limit)) / (bin.to - bin.from));
      exact = false;
    }
  }
  return { rows, exact };
}

/** Round numbers from 0 to at least `most`, at most `count` steps apart evenly. */
export function ticks(most: number, count: number): number[] {
  if (!(most > 0)) return [0];
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, ([1, 2, 2.5, 4, 5, 10].find((m) => m * power >= rough) ?? 10) * power);
  const all: number[] = [];
  for (let at = 0; at < most + step; at += step) {
    all.push(at);
    if (at >= most) break;
  }
  return all;
}

/** Powers of ten from 1 to at least `most`, with 0 below them. */
export function logTicks(most: number): number[] {
  const all = [0];
  for (let at = 1; ; at *= 10) {
    all.push(at);
    if (at >= most) return all;
  }
}

/** Height of a count, 0 to 1; on the log scale 0 stays 0 and 1 row can be seen. */
export function height(rows: number, top: number, scale: "linear" | "log"): number {
  if (rows <= 0 || top <= 0) return 0;
  if (scale === "linear") return rows / top;
  return Math.log10(rows + 1) / Math.log10(top + 1);
}

export interface Marker {
  /** Place on the axis, in its units. */
  at: number;
  label: string;
}

/** Labels that would touch move to lower lines; the answer names the line of each, from 0. */
export function labelLines(markers: readonly (Marker & { x: number; width: number })[]): number[] {
  const ends: number[] = [];
  return markers.map((marker) => {
    let line = ends.findIndex((end) => end <= marker.x);
    if (line < 0) line = ends.length;
    ends[line] = marker.x + marker.width;
    return line;
  });
}

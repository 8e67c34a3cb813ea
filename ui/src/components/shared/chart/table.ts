// A chart as a table: one row per place on the x axis that any curve has. For reading, copying and CSV. Pure.

import { Column } from "./column";
import type { CsvColumn } from "./csv";
import type { Curve } from "./curve";
import { tracksOf } from "./curve";
import type { Rows, Track, XAxis } from "./track";

/** One column of the table. */
export interface TableColumn {
  readonly curve: Curve;
  readonly kind: "main" | "raw" | "second" | "low" | "high";
  readonly track: Track;
}

/** The places of all curves, ascending, each once. */
export function places(curves: readonly Curve[], axis: XAxis): Column {
  const groups = [...new Set<Rows>(curves.flatMap(tracksOf).map((track) => track.rows))];
  const columns = groups.map((rows) => rows.x[axis]).filter((column) => column.length > 0);
  if (columns.length === 1) return columns[0] as Column;
  const union = new Column(columns.reduce((sum, column) => Math.max(sum, column.length), 1));
  const at = columns.map(() => 0);
  for (;;) {
    let next = Infinity;
    columns.forEach((column, i) => {
      const index = at[i] as number;
      if (index < column.length) next = Math.min(next, column.data[index] as number);
    });
    if (next === Infinity) return union;
    union.push(next);
    columns.forEach((column, i) => {
      while ((at[i] as number) < column.length && (column.data[at[i] as number] as number) === next) at[i] = (at[i] as number) + 1;
    });
  }
}

/** The columns of the table: for each curve its values as they were logged, smoothed if they are, and its companion. */
export function columnsOf(curves: readonly Curve[]): TableColumn[] {
  return curves.flatMap((curve) => {
    const columns: TableColumn[] = [];
    if (curve.raw) columns.push({ curve, kind: "raw", track: curve.raw });
    columns.push({ curve, kind: "main", track: curve.main });
    if (curve.band) columns.push({ curve, kind: "low", track: curve.band.low }, { curve, kind: "high", track: curve.band.high });
    if (curve.second) columns.push({ curve, kind: "second", track: curve.second });
    return columns;
  });
}

/** The value at exactly this place; `NaN` if there is none. */
export function cell(track: Track, axis: XAxis, x: number): number {
  const column = track.rows.x[axis];
  const index = column.lowerBound(x);
  return column.at(index) === x ? track.y.at(index) : NaN;
}

/** The table in the shape of a file: the axis, then every column; titles are the caller's. */
export function tableColumns(curves: readonly Curve[], axis: XAxis, axisTitle: string, title: (column: TableColumn) => string): CsvColumn[] {
  const x = places(curves, axis);
  const values = (track: Track) => Float64Array.from({ length: x.length }, (_, i) => cell(track, axis, x.at(i)));
  return [
    { title: axisTitle, values: axis === "day" ? Array.from(x.data.slice(0, x.length), isoDay) : x.data.slice(0, x.length) },
    ...columnsOf(curves).map((column) => ({ title: title(column), values: values(column.track) })),
  ];
}

/** A day as files have it: 2025-11-21. */
function isoDay(day: number): string {
  return new Date(day * 86_400_000).toISOString().slice(0, 10);
}

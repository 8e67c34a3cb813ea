// What a table shows: its columns, the order of its rows, the rows in sight.

/** One column. */
export interface Column<R> {
  id: string;
  title: string;
  /** Numbers right, so that their digits stand under each other. */
  align?: "left" | "right";
  /** CSS width; columns without one share what is left. */
  width?: string;
  /** What the cell says, if the table's `cell` snippet does not draw it. */
  text?: (row: R) => string;
  /** By what the column is sorted; a missing value goes last in both directions. */
  sort?: (row: R) => number | string | null | undefined;
  /** The first click sorts from the largest. */
  descending?: boolean;
  /** The head is for screen readers only: the cells say it themselves. */
  bare?: boolean;
  /** More about the column, on hover: the full name, the unit. */
  hint?: string;
}

/** By which column rows are sorted. */
export interface Sort {
  column: string;
  direction: "ascending" | "descending";
}

/** The rows in order; rows that compare equal keep theirs. */
export function sorted<R>(rows: readonly R[], columns: readonly Column<R>[], sort: Sort | undefined, tag?: string): readonly R[] {
  const by = columns.find((column) => column.id === sort?.column)?.sort;
  if (!sort || !by) return rows;
  const words = new Intl.Collator(tag, { numeric: true, sensitivity: "base" });
  const turn = sort.direction === "ascending" ? 1 : -1;
  return rows
    .map((row, index) => ({ row, index, value: by(row) ?? undefined }))
    .sort((a, b) => {
      if (a.value === undefined || b.value === undefined) return Number(a.value === undefined) - Number(b.value === undefined) || a.index - b.index;
      const order = typeof a.value === "number" && typeof b.value === "number" ? a.value - b.value : words.compare(String(a.value), String(b.value));
      return order * turn || a.index - b.index;
    })
    .map(({ row }) => row);
}

/** The sort after a click on a column's head. */
export function nextSort<R>(column: Column<R>, now: Sort | undefined): Sort {
  const first = column.descending ? "descending" : "ascending";
  if (now?.column !== column.id) return { column: column.id, direction: first };
  return { column: column.id, direction: now.direction === "ascending" ? "descending" : "ascending" };
}

/** Rows drawn beyond each edge of what is in sight. */
const BEYOND = 12;

/** The rows to draw, `from` up to but without `to`, for a scroll position. */
export function rowsInSight(count: number, rowHeight: number, top: number, height: number): { from: number; to: number } {
  const from = Math.max(0, Math.min(count, Math.floor(top / rowHeight)) - BEYOND);
  return { from, to: Math.min(count, Math.ceil((top + height) / rowHeight) + BEYOND) };
}

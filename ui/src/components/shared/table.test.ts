import { describe, expect, it } from "vitest";
import { nextSort, rowsInSight, sorted, type Column } from "./table";

interface Row { name: string; loss: number | null }
const columns: Column<Row>[] = [
  { id: "name", title: "Name", sort: (row) => row.name },
  { id: "loss", title: "Loss", sort: (row) => row.loss, descending: true },
];
const rows: Row[] = [{ name: "run-10", loss: 2 }, { name: "run-9", loss: null }, { name: "Run-1", loss: 1 }, { name: "b", loss: 2 }];
const names = (all: readonly Row[]) => all.map((row) => row.name);

describe("a table", () => {
  it("sorts names as people count", () => {
    expect(names(sorted(rows, columns, { column: "name", direction: "ascending" }, "en"))).toEqual(["b", "Run-1", "run-9", "run-10"]);
  });

  it("puts missing values last in both directions and keeps ties in order", () => {
    expect(names(sorted(rows, columns, { column: "loss", direction: "ascending" }))).toEqual(["Run-1", "run-10", "b", "run-9"]);
    expect(names(sorted(rows, columns, { column: "loss", direction: "descending" }))).toEqual(["run-10", "b", "Run-1", "run-9"]);
  });

  it("turns the order at the second click", () => {
    const loss = columns[1] as Column<Row>;
    const first = nextSort(loss, undefined);
    expect([first.direction, nextSort(loss, first).direction]).toEqual(["descending", "ascending"]);
  });

  it("draws only what is in sight and a little beyond", () => {
    expect(rowsInSight(10_000, 28, 2800, 560)).toEqual({ from: 88, to: 132 });
    expect(rowsInSight(5, 28, 0, 560)).toEqual({ from: 0, to: 5 });
    expect(rowsInSight(0, 28, 400, 560)).toEqual({ from: 0, to: 0 });
  });
});

// What a version is made of, as boxes in columns and lines between them. Geometry only; drawing is the component's.

export type NodeKind = "base" | "dataset" | "parent" | "run" | "version";

export interface LineageNode {
  id: string;
  kind: NodeKind;
  column: number;
  row: number;
}

export interface LineageGraph {
  nodes: LineageNode[];
  edges: { from: string; to: string }[];
  columns: number;
  rows: number;
}

/** The graph of one version: sources, the run, the version. What is not known has no box. */
export function lineageGraph(has: { dataset: boolean; parent: boolean; run: boolean }): LineageGraph {
  const sources: NodeKind[] = ["base", ...(has.parent ? (["parent"] as const) : []), ...(has.dataset ? (["dataset"] as const) : [])];
  const nodes: LineageNode[] = sources.map((kind, row) => ({ id: kind, kind, column: 0, row }));
  const middle = (sources.length - 1) / 2;
  if (has.run) nodes.push({ id: "run", kind: "run", column: 1, row: middle });
  nodes.push({ id: "version", kind: "version", column: has.run ? 2 : 1, row: middle });
  const into = has.run ? "run" : "version";
  const edges: LineageGraph["edges"] = sources.map((from) => ({ from, to: into }));
  if (has.run) edges.push({ from: "run", to: "version" });
  return { nodes, edges, columns: has.run ? 3 : 2, rows: sources.length };
}

/** A line from the right edge of one box to the left edge of another. */
export function edgePath(x1: number, y1: number, x2: number, y2: number): string {
  if (y1 === y2) return `M${x1} ${y1}H${x2}`;
  const middle = (x1 + x2) / 2;
  return `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
}

// Zooming by keys: half or double the part that is shown, around the crosshair. Pure.

/** The new part, null for everything. */
export function keyboardZoom(
  shown: { readonly min: number; readonly max: number },
  around: number | null,
  closer: boolean,
  end: number,
): readonly [number, number] | null {
  const centre = around !== null && around >= shown.min && around <= shown.max ? around : (shown.min + shown.max) / 2;
  const factor = closer ? 0.5 : 2;
  const from = Math.max(0, centre - (centre - shown.min) * factor);
  const to = centre + (shown.max - centre) * factor;
  if (from <= 0 && to >= end) return null;
  if (!(to - from > 0)) return [shown.min, shown.max];
  return [from, to];
}

// Puts the names at the ends of lines where they do not overlap, moved as little as possible.

/** A label's wish: the middle where it would like to be, and its height. */
export interface Wish {
  readonly y: number;
  readonly height: number;
}

/**
 * The middles of the labels, in the order of the wishes: at least `gap` pixels apart, inside `[top, bottom]` while they fit, with the least sum of
 * squared moves (pool adjacent violators, as in isotonic regression). If they do not fit, they are stacked from the top.
 */
export function placeLabels(wishes: readonly Wish[], gap: number, top: number, bottom: number): number[] {
  const order = wishes.map((_, i) => i).sort((a, b) => at(wishes, a).y - at(wishes, b).y || a - b);
  // With the heights taken off, "do not overlap" becomes "ascend".
  const offsets: number[] = [];
  let used = 0;
  for (const index of order) {
    const { height } = at(wishes, index);
    offsets.push(used + height / 2);
    used += height + gap;
  }
  const room = bottom - top - (used - gap);
  const pools: { sum: number; count: number }[] = [];
  order.forEach((index, rank) => {
    pools.push({ sum: at(wishes, index).y - (offsets[rank] as number), count: 1 });
    for (;;) {
      const last = pools.at(-1);
      const before = pools.at(-2);
      if (!last || !before || before.sum / before.count <= last.sum / last.count) break;
      pools.pop();
      before.sum += last.sum;
      before.count += last.count;
    }
  });
  const result = new Array<number>(wishes.length).fill(0);
  let rank = 0;
  for (const { sum, count } of pools) {
    const free = Math.min(Math.max(sum / count, top), Math.max(top, top + room));
    for (let k = 0; k < count; k++, rank++) result[order[rank] as number] = free + (offsets[rank] as number);
  }
  return result;
}

function at(wishes: readonly Wish[], index: number): Wish {
  return wishes[index] as Wish;
}

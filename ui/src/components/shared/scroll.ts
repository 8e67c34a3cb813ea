// Scroll positions by place, so that the way back from a detail ends where it began.
const positions = new Map<string, number>();

/** An attachment that restores an element's scroll position and keeps it under `name`. */
export function keepScroll(name: string): (node: HTMLElement) => () => void {
  return (node) => {
    node.scrollTop = positions.get(name) ?? 0;
    const keep = () => void positions.set(name, node.scrollTop);
    node.addEventListener("scroll", keep, { passive: true });
    return () => node.removeEventListener("scroll", keep);
  };
}

// Names for elements that refer to each other.
let next = 0;

/** A name that no other element of this page has. */
export function freshId(prefix: string): string {
  next += 1;
  return `${prefix}-${next}`;
}

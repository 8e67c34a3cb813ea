// Small choices kept in this browser or window. A browser that refuses storage forgets them, and nothing else happens.

/** The kept value of that name, if it is one of `allowed`. */
export function read<T extends string>(name: string, allowed: readonly T[]): T | undefined {
  const value = readText(name);
  return allowed.find((one) => one === value);
}

/** The kept text of that name. */
export function readText(name: string): string | undefined {
  try {
    return globalThis.localStorage?.getItem(`tonebridge.${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a value; undefined forgets it. */
export function keep(name: string, value: string | undefined): void {
  try {
    if (value === undefined) globalThis.localStorage?.removeItem(`tonebridge.${name}`);
    else globalThis.localStorage?.setItem(`tonebridge.${name}`, value);
  } catch {
    // Full or refused: the choice holds until the page is closed.
  }
}

// One clock for everything that shows an age: ticks each second while somebody reads it and the page is visible.
import { createSubscriber } from "svelte/reactivity";

const subscribe = createSubscriber((update) => {
  const timer = setInterval(() => !document.hidden && update(), 1000);
  return () => clearInterval(timer);
});

/** Now, milliseconds since 1970. Read in a template or an effect, it brings a new value each second. */
export function nowMs(): number {
  subscribe();
  return Date.now();
}

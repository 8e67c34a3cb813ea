// The one door to the host. Views use `lib/cache` for what they show and `rpc` for what they ask once.
import { toApiError } from "./error";
import { session } from "./session.svelte";
import type { Args, Backend, CommandName, Result } from "./backend";

let chosen: Promise<Backend> | undefined;

/** The host's backend; the other side's code is never loaded. */
export function backend(): Promise<Backend> {
  chosen ??=
    "__TAURI_INTERNALS__" in window
      ? import("./tauri").then((side) => side.tauriBackend())
      : import("./http").then((side) => side.httpBackend());
  return chosen;
}

/** Runs a command. Rejects with an `ApiError`. */
export async function rpc<N extends CommandName>(name: N, args: Args<N>, signal?: AbortSignal): Promise<Result<N>> {
  const host = await backend();
  try {
    const result = await host.rpc(name, args, signal);
    session.signedOut = false;
    return result;
  } catch (thrown) {
    const error = toApiError(thrown);
    if (error.code === "unauthenticated") session.signedOut = true;
    throw error;
  }
}

/** Puts another backend in place; for tests. */
export function useBackend(other: Backend): void {
  chosen = Promise.resolve(other);
}

export { ApiError, toApiError } from "./error";
export { COMMAND_NAMES, may, roleFor, ROLES, session, type Needs } from "./session.svelte";
export { FROM_NOW } from "./backend";
export type { Args, Backend, CommandName, Connection, CoreState, Desktop, FileKind, PickedFile, Result, StreamName } from "./backend";
export type * from "./types";

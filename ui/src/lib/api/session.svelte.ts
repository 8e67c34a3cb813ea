// Whether this browser may talk to the server, who sits at it, and what they may do. The window is always signed in.
import type { CommandName, StreamName } from "./backend";
import { COMMAND_ROLES } from "./generated/commands";
import { STREAM_ROLES } from "./generated/streams";
import type { Role } from "./generated/Role";
import type { WhoAmI } from "./generated/WhoAmI";

/** Roles in order: each may do what the ones before it may. */
export const ROLES = ["viewer", "reviewer", "trainer", "admin"] as const satisfies readonly Role[];

/** Every command. */
export const COMMAND_NAMES = Object.keys(COMMAND_ROLES) as CommandName[];

/** What a command or stream needs. */
export type Needs = CommandName | StreamName;

class Session {
  /** The last command was refused because of the access token. */
  signedOut = $state(false);
  /** Who it is; undefined until the host has said so. */
  who = $state.raw<WhoAmI>();
}

export const session = new Session();

/** The least role that may do it. */
export function roleFor(what: Needs): Role {
  return what in COMMAND_ROLES ? COMMAND_ROLES[what as CommandName] : STREAM_ROLES[what as StreamName];
}

/**
 * Whether the one who sits here may run a command or open a stream. Until the host has said who it is the answer is yes: nothing is
 * decided here, the host refuses all the same. Reactive.
 */
export function may(what: Needs): boolean {
  return session.who === undefined || ROLES.indexOf(session.who.role) >= ROLES.indexOf(roleFor(what));
}

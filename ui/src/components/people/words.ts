// Words of roles and of people's states.
import { ROLES, type Role, type UserView } from "$lib/api";
import type { Option } from "$components/shared/Select.svelte";
import type { StateName } from "$components/shared/StateGlyph.svelte";
import { t } from "$lib/i18n/index.svelte";

export const roleWord = (role: Role): string => t(`people.role.${role}`);

/** What a role may do, in a sentence. */
export const roleText = (role: Role): string => t(`people.may.${role}`);

/** The roles to choose from, the least first. */
export const roleOptions = (): Option<Role>[] => ROLES.map((role) => ({ value: role, title: roleWord(role) }));

/** How a person stands: glyph and word. */
export function standing(user: Pick<UserView, "disabled_at_ms" | "has_password">): { state: StateName; word: string } {
  if (user.disabled_at_ms !== null) return { state: "stopped", word: t("people.state.disabled") };
  return user.has_password ? { state: "ok", word: t("people.state.active") } : { state: "draft", word: t("people.state.no_password") };
}

/** Shortest password in characters; the host has the last word. */
export const SHORTEST = 10;

/** What is wrong with a new password, before the host is asked. */
export function passwordProblem(password: string, again: string): "short" | "differ" | undefined {
  // Counted as people count: a letter of two code units is one.
  if ([...password].length < SHORTEST) return "short";
  return password === again ? undefined : "differ";
}

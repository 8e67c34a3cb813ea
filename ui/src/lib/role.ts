// Why something is off for the one who sits here, in words.
import { may, roleFor, type Needs } from "./api/session.svelte";
import { t } from "./i18n/index.svelte";

/** Why a command may not be run, or nothing if it may. Reactive. */
export function whyNot(what: Needs | undefined): string | undefined {
  return what === undefined || may(what) ? undefined : t("people.needs_role", { role: t(`people.role.${roleFor(what)}`) });
}

// Who stands in the audit log, and what can stand there.
import { COMMAND_NAMES, type CommandName, type UserView } from "$lib/api";
import { t } from "$lib/i18n/index.svelte";

/** An actor as people call them; someone who is not known here by their id. */
export function actorWord(actor: string, users: readonly Pick<UserView, "id" | "name">[]): string {
  if (actor === "local") return t("people.owner");
  return users.find((user) => user.id === actor)?.name ?? actor;
}

const READS = /_(list|get|page|rows|stats|problems|tokens|inspect|template|estimate|limits|log|metrics|chart|after|preview|baselines)$|^(status|storage|training_fields|devices|doctor|whoami)$/;

/** What leaves a line: commands that change something, and signing in and out. */
export const CHANGES: readonly (CommandName | "sign_in" | "sign_out")[] = [...COMMAND_NAMES.filter((name) => !READS.test(name)), "sign_in", "sign_out"];

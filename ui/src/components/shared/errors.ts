// An error in the words of the interface: what kind it is, and what it says about itself.
import { hasText, t } from "$lib/i18n/index.svelte";

/** What every error from the host has. */
export interface ShownError {
  code: string;
  message: string;
  hint: string;
}

/** Reads whatever was thrown. */
export function shownError(thrown: unknown): ShownError {
  const { code = "internal", message = String(thrown), hint = "" } = (thrown ?? {}) as Partial<ShownError>;
  return { code, message, hint };
}

/** Its kind, in the interface's language. */
export function errorTitle({ code }: ShownError): string {
  const key = `shared.error.${code}`;
  return hasText(key) ? t(key) : code;
}

/** What happened and what to do: the host's own sentences, else those of the interface. */
export function errorText({ code, message, hint }: ShownError): string[] {
  const key = `shared.error_text.${code}`;
  const said = message === "" && hasText(key) ? t(key) : message;
  return [said, hint].filter(Boolean);
}

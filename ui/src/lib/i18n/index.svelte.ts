// `t("domain.key", values)`: the interface's words in the chosen language. Reactive: a change of language redraws every text.
import { locale } from "../locale.svelte";
import { en } from "./en";
import { ja } from "./ja";
import { fill, type Domains, type KeyOf, type ParamsOf, type Text } from "./message";

/** Every text's name. */
export type Key = KeyOf<typeof en>;
/** The names of texts that take no values. */
export type PlainKey = { [K in Key]: ParamsOf<typeof en, K> extends [] ? K : never }[Key];

const languages: Record<"en" | "ja", Domains> = { en, ja };

/** The text of that name. */
export function t<K extends Key>(key: K, ...[values]: ParamsOf<typeof en, K>): string {
  const dot = key.indexOf(".");
  const text = languages[locale.language][key.slice(0, dot)]?.[key.slice(dot + 1)] as Text | undefined;
  if (text === undefined) return key;
  const given = values as Record<string, string | number> | undefined;
  return fill(formOf(text, given?.n), given, (value) => locale.number.format(value));
}

/** Whether a name made at run time (an error code, a setting) has a text. */
export function hasText(key: string): key is PlainKey {
  const dot = key.indexOf(".");
  return languages.en[key.slice(0, dot)]?.[key.slice(dot + 1)] !== undefined;
}

function formOf(text: Text, n: string | number | undefined): string {
  if (typeof text === "string") return text;
  const form = typeof n === "number" ? locale.plural.select(n) : "other";
  return (form === "one" ? text.one : undefined) ?? text.other;
}

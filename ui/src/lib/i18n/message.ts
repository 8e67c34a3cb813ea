// The types behind `t`: what a text may be, and the names of the values it takes.

/** A text by number: `n` chooses the form. Japanese has `other` only. */
export interface Plural {
  readonly one?: string;
  readonly other: string;
}
export type Text = string | Plural;
export type Texts = Readonly<Record<string, Text>>;
/** Texts by domain. */
export type Domains = Readonly<Record<string, Texts>>;

/** `domain.key` for every text. */
export type KeyOf<D extends Domains> = { [N in keyof D & string]: `${N}.${keyof D[N] & string}` }[keyof D & string];

type TextOf<D extends Domains, K extends string> = K extends `${infer N}.${infer R}` ? (N extends keyof D ? (R extends keyof D[N] ? D[N][R] : never) : never) : never;
type NamesIn<S> = S extends `${string}{${infer P}}${infer R}` ? P | NamesIn<R> : never;
type NamesOf<T> = T extends Plural ? NamesIn<T["other"]> | "n" : NamesIn<T>;

/** The second argument of `t`: none where the text takes no values. */
export type ParamsOf<D extends Domains, K extends string> = [NamesOf<TextOf<D, K>>] extends [never]
  ? []
  : [values: { [P in NamesOf<TextOf<D, K>>]: P extends "n" ? number : string | number }];

/** What another language must offer: the same keys; a plural where English has one. */
export type Translation<T extends Texts> = { readonly [K in keyof T]: T[K] extends string ? string : Plural };

const PLACE = /\{(\w+)\}/g;

/** Puts values into a text's places. A number is written as `number` writes it. */
export function fill(text: string, values: Record<string, string | number> | undefined, number: (value: number) => string): string {
  if (values === undefined) return text;
  return text.replace(PLACE, (place, name: string) => {
    const value = values[name];
    return value === undefined ? place : typeof value === "number" ? number(value) : value;
  });
}

/** The names of a text's places, sorted, each once. */
export function placesOf(text: Text): string[] {
  const all = typeof text === "string" ? text : `${text.one ?? ""} ${text.other}`;
  return [...new Set(Array.from(all.matchAll(PLACE), (match) => match[1] ?? ""))].sort();
}

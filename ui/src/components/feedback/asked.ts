// A prompt as a person reads it: what is to be rewritten, and what is asked around it. Pure.
import { withoutTags } from "$components/shared/text/marks";

/** A prompt, of an item or of a reviewer's task. */
export interface Given {
  /** What the model was given. */
  readonly input_text: string;
  /** The part of it that is to be rewritten, where it holds more. */
  readonly source_text: string | null;
}

/** What is to be rewritten. */
export const sourceOf = ({ input_text, source_text }: Given): string => source_text ?? input_text;

/** What stands before and after it, without a template's tags; empty where the whole prompt is to be rewritten. */
export function askedAround({ input_text, source_text }: Given): { before: string; after: string } {
  const at = source_text === null ? -1 : input_text.indexOf(source_text);
  if (source_text === null || at < 0) return { before: "", after: "" };
  return { before: withoutTags(input_text.slice(0, at)), after: withoutTags(input_text.slice(at + source_text.length)) };
}

// What a run wrote for held-out rows at each evaluation, ordered for reading side by side. Pure.

import type { JobPage } from "$lib/api";

type SampleRow = JobPage["samples"][number];

/** One row of the held-out data with what was written for it over time. */
export interface SampleStory {
  readonly index: number;
  readonly prompt: string;
  readonly reference: string;
  /** In order of steps; `isChanged` where the text differs from the one before, `isReference` where it equals the reference. */
  readonly outputs: readonly { readonly step: number; readonly text: string; readonly isChanged: boolean; readonly isReference: boolean }[];
}

/** The stories in order of their rows. */
export function stories(samples: readonly SampleRow[]): SampleStory[] {
  const byIndex = new Map<number, SampleRow[]>();
  for (const sample of samples) byIndex.set(sample.index, [...(byIndex.get(sample.index) ?? []), sample]);
  return [...byIndex.entries()]
    .sort(([a], [b]) => a - b)
    .flatMap(([index, rows]) => {
      const ordered = [...rows].sort((a, b) => a.step - b.step);
      const first = ordered[0];
      if (!first) return [];
      const outputs = ordered.map(({ step, output }, i) => ({
        step,
        text: output,
        isChanged: i > 0 && output !== ordered[i - 1]?.output,
        isReference: output.trim() === first.reference.trim(),
      }));
      return [{ index, prompt: first.prompt, reference: first.reference, outputs }];
    });
}

/** The steps at which anything was written, ascending. */
export function sampleSteps(all: readonly SampleStory[]): number[] {
  return [...new Set(all.flatMap((story) => story.outputs.map(({ step }) => step)))].sort((a, b) => a - b);
}

/** So many steps spread over all: the first, the last, and those between at equal distances. */
export function spread(steps: readonly number[], most: number): number[] {
  if (steps.length <= most || most < 2) return steps.slice(0, Math.max(most, 0));
  return Array.from({ length: most }, (_, i) => steps[Math.round((i * (steps.length - 1)) / (most - 1))] as number);
}

/** Whether a text is Japanese, so that it gets the right shapes of characters. */
export function languageOf(text: string): "ja" | undefined {
  return /[\u3040-\u30ff\u4e00-\u9fff]/.test(text) ? "ja" : undefined;
}

/** A piece of a rendered prompt: text, or a mark of the chat template such as `<|user|>`. */
export interface Piece {
  readonly text: string;
  readonly isMark: boolean;
}

/** A rendered prompt with its marks apart from the words. */
export function pieces(text: string): Piece[] {
  return text
    .split(/(<\|[^<>|\s]+\|>|<\/?(?:s|bos|eos|pad|start_of_turn|end_of_turn)>|\[\/?INST\])/)
    .filter((part) => part !== "")
    .map((part) => ({ text: part, isMark: /^(<\|.+\|>|<\/?(?:s|bos|eos|pad|start_of_turn|end_of_turn)>|\[\/?INST\])$/.test(part) }));
}

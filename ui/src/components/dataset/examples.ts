// One row of each shape, as a line of JSON in a file.
import type { Shape } from "./mapping";

export const EXAMPLES: Readonly<Record<"en" | "ja", Readonly<Record<Shape, string>>>> = {
  en: {
    prompt_completion: '{"prompt": "Rewrite politely: cant make it", "completion": "I am afraid I cannot attend."}',
    input_output: '{"source": "cant make it", "target": "I am afraid I cannot attend."}',
    messages: '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    preference: '{"prompt": "…", "chosen": "I am afraid I cannot attend.", "rejected": "no"}',
    unpaired: '{"prompt": "…", "completion": "I am afraid I cannot attend.", "label": true}',
    text: '{"text": "Dear customer, thank you for your order …"}',
  },
  ja: {
    prompt_completion: '{"prompt": "丁寧に書き直す: 行けない", "completion": "あいにく出席いたしかねます。"}',
    input_output: '{"source": "行けない", "target": "あいにく出席いたしかねます。"}',
    messages: '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    preference: '{"prompt": "…", "chosen": "あいにく出席いたしかねます。", "rejected": "無理"}',
    unpaired: '{"prompt": "…", "completion": "あいにく出席いたしかねます。", "label": true}',
    text: '{"text": "拝啓 時下ますますご清栄のこととお慶び申し上げます …"}',
  },
};

"""Makes the golden files of tb-data: a small tokenizer, and renderings by transformers of templates x conversations.

Run: python make.py   (transformers, tokenizers and jinja2 installed; the versions are written into the files)
"""

import json
import pathlib

import jinja2
import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# In the manner of Llama 3.1: system header, date, tools, tool calls.
LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {{- "You have these functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
# In the manner of Qwen 2.5: tools in XML, tool answers grouped.
QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
# In the manner of Mistral: alternation is checked with a namespace, the system text goes into the last user message.
MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"].strip() + eos_token }}
    {%- endif %}
{%- endfor %}
"""
# Marks what the assistant says; block tags on lines of their own show trim_blocks and lstrip_blocks.
MARKED = """{% for message in messages %}
    {% if message['role'] == 'assistant' %}
<|im_start|>assistant
        {% generation %}
{{ message['content'] }}<|im_end|>
        {% endgeneration %}
    {% else %}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""
MARKED_TIGHT = (
    "{%- for message in messages %}{%- if message['role'] == 'assistant' %}{{- '<|im_start|>assistant\n' }}"
    "{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}{{- '\n' }}{%- else %}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
# Python habits: methods, slices, break, continue, str() of values, JSON options.
PYTHON = """{% for m in messages if m.role != 'system' %}
{% if loop.index > 4 %}{% break %}{% endif %}
{% if m.content.startswith('skip') %}{% continue %}{% endif %}
{{ m.role.upper() }}: {{ m.content.split('.')[0].strip() }}|{{ m.content[:3] }}|{{ m.content | length }}|{{ loop.first }}|{{ none }}
{% for k, v in m.items() %}{{ k }}={{ v | tojson }};{% endfor %}

{% endfor %}
{{ {'b': [1, 2.5, true, none], 'a': "it's <b>&\\"'"} | tojson(indent=2, sort_keys=true) }}
{{ [1e-05, 1e16, 0.1, 100.0, 1e22] | tojson }} {{ [1, 'a', none, true] }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 'x' ~ 3 }}
"""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place, in °C <today> & tomorrow",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "市の名前"}, "days": {"type": "integer", "default": 1}},
            "required": ["place"],
        },
    },
}


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


CONVERSATIONS = {
    "plain": said(("user", "Hello there."), ("assistant", "Hi! How can I help?")),
    "system_turns": said(
        ("system", "Answer briefly."), ("user", "One?"), ("assistant", "One."), ("user", "Two?"), ("assistant", "Two.")
    ),
    "japanese": said(
        ("system", "丁寧語で答えてください。"), ("user", "明日、休むわ。"), ("assistant", "明日はお休みをいただきたく存じます。🙏")
    ),
    "special": said(
        ("user", " <b>&amp;</b> \"quotes\" 'single' \\n \t tab {{ not }} {% a %} <|im_end|> "),
        ("assistant", "  spaces kept? \n\n new\r\nlines \u200b\u00a0 é e\u0301 "),
    ),
    "tool_use": [
        {"role": "user", "content": "Weather in 東京?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"type": "function", "function": {"name": "get_weather", "arguments": {"place": "東京", "days": 2, "x": 1.0}}}
            ],
        },
        {"role": "tool", "content": "22.5 °C", "name": "get_weather"},
        {"role": "assistant", "content": "It is 22.5 °C."},
    ],
    "two_users": said(("user", "a"), ("user", "b")),
    "skipped": said(("user", "skip this. no"), ("assistant", "one. two"), ("user", "x"), ("assistant", "y"), ("user", "z")),
}
TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "qwen": QWEN,
    "mistral": MISTRAL,
    "marked": MARKED,
    "marked_tight": MARKED_TIGHT,
    "python": PYTHON,
}
USES = {
    "chatml": ["plain", "system_turns", "japanese", "special"],
    "llama3": ["plain", "system_turns", "japanese", "special", "tool_use"],
    "qwen": ["plain", "system_turns", "japanese", "special", "tool_use"],
    "mistral": ["plain", "system_turns", "japanese", "special", "two_users"],
    "marked": ["plain", "system_turns", "japanese", "special"],
    "marked_tight": ["plain", "system_turns", "japanese"],
    "python": ["plain", "system_turns", "japanese", "special", "skipped"],
}


def make_tokenizer(folder):
    """A byte-level BPE with a post-processor that adds the begin token, as Llama 3's does."""
    texts = [m["content"] for c in CONVERSATIONS.values() for m in c] * 4
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    # Tokens once as text and once as an object: both occur.
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False},
        "eos_token": "</s>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "</s>", "pad_token": {"content": "<pad>"}}, indent=1))
    (folder / "chat_template.jinja").write_text(MARKED_TIGHT)


def main():
    folder = HERE / "tokenizer"
    make_tokenizer(folder)
    tok = PreTrainedTokenizerFast.from_pretrained(folder)
    cases = []
    for name, names in USES.items():
        for conversation in names:
            for add in (False, True):
                messages = CONVERSATIONS[conversation]
                tools = [WEATHER] if conversation == "tool_use" else None
                case = {"template": name, "conversation": conversation, "add_generation_prompt": add, "tools": tools}
                marked = "{% generation" in TEMPLATES[name] or "{%- generation" in TEMPLATES[name]
                try:
                    # The date is a variable here, so that the clock has no part in it.
                    out = tok.apply_chat_template(
                        messages, tools=tools, chat_template=TEMPLATES[name], add_generation_prompt=add, tokenize=True,
                        return_dict=True, return_assistant_tokens_mask=marked, date_string="23 Nov 2026",
                    )
                    case["text"] = tok.apply_chat_template(
                        messages, tools=tools, chat_template=TEMPLATES[name], add_generation_prompt=add, tokenize=False,
                        date_string="23 Nov 2026",
                    )
                    case["ids"] = list(out["input_ids"])
                    if marked:
                        case["mask"] = list(out["assistant_masks"])
                except jinja2.exceptions.TemplateError as error:
                    case["error"] = str(error)
                cases.append(case)
    plain = []
    for text in ["Hello there.", "明日はお休み", "", " two  spaces ", "a<|im_end|>b</s>", "🙏 é\n"]:
        plain.append({
            "text": text,
            "with_special": tok(text)["input_ids"],
            "without": tok(text, add_special_tokens=False)["input_ids"],
            "decoded": tok.decode(tok(text)["input_ids"], skip_special_tokens=True),
        })
    # TRL's tokenisation of a plain prompt and completion: prompt, and prompt + completion + EOS; mask by the prompt's count.
    pairs = []
    for prompt, completion in [("Rewrite: hi\n", "Good morning."), ("言い換え: 休むわ → ", "お休みをいただきます。"), ("a b", "c d")]:
        first, whole = tok(prompt)["input_ids"], tok(prompt + completion + tok.eos_token)["input_ids"]
        pairs.append({
            "prompt": prompt, "completion": completion, "ids": whole,
            "labels": [-100 if i < len(first) else t for i, t in enumerate(whole)],
        })
    versions = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "jinja2": jinja2.__version__}
    golden = {
        "versions": versions, "date_string": "23 Nov 2026", "templates": TEMPLATES, "conversations": CONVERSATIONS,
        "cases": cases, "plain": plain, "pairs": pairs,
    }
    (HERE / "chat.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")
    print(len(cases), "cases", versions)


if __name__ == "__main__":
    main()

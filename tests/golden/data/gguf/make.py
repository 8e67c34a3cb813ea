"""Makes tiny tokenizers in GGUF files with llama.cpp's own writer (gguf, PyPI), and the tokens that the same tokenizer gives in
Hugging Face's library when it is set up as the models set it up.

    python tests/golden/data/gguf/make.py    rewrites every file beside this one
"""

import json
from pathlib import Path

import gguf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's 2024, and we'll see 1234567 things!", "the there then they this that those",
    "Please reply by Friday: I've told you, haven't I?  Two  spaces.\nA new line\n\n\tand a tab.", "x = f(1, 23, 456) # ok",
    "東京タワーへ行きました。ご確認のほど、よろしくお願いいたします。", "お世話になっております。営業部の高橋です。", "naïve café über straße",
    "Привет, как дела? Всё хорошо.", "🚀🚀 done ✅",
] * 4
TEXTS = CORPUS[:9] + [
    "", " ", "\n", "  leading", "trailing  ", "a\r\nb\n\n\nc", "I'LL SHOUT'S", "12 345 6789 0", "cafe\u0301 decomposed", "<|end|>", "a<|end|>b <|user|> c",
    "tabs\t\t\tand  spaces \n  mixed", "한국어 문장", "unseen: ☃ ℵ 𝔘", "foo_bar->baz(); // c++", "...!!!???", "<|user|>hi<|end|>",
]
SPECIAL = ["<|bos|>", "<|end|>", "<|user|>"]


def byte_level(name, pre, own, normalizer, ignore_merges, bos):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = own
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL, show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if bos:
        t.post_processor = processors.TemplateProcessing(single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B", special_tokens=[("<|bos|>", 0)])
    model = json.loads(t.to_str())["model"]
    size = t.get_vocab_size()
    w = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    # Two rows more than tokens, as embeddings are often padded.
    w.add_token_list([t.id_to_token(i) for i in range(size)] + [f"[PAD{size}]", f"[PAD{size + 1}]"])
    w.add_token_types([3 if t.id_to_token(i) in SPECIAL else 1 for i in range(size)] + [5, 5])
    w.add_token_merges([" ".join(m) for m in model["merges"]])
    w.add_bos_token_id(0)
    w.add_eos_token_id(1)
    w.add_add_bos_token(bos)
    w.add_chat_template("{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}")
    return t, w


def sentence_piece(name, prefix):
    """A vocabulary with scores: what a trainer has merged first scores best, as SentencePiece writes it."""
    parts = [normalizers.Prepend("▁")] if prefix else []
    t = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Sequence(parts + [normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    t.train_from_iterator([line for line in CORPUS if "🚀" not in line], trainers.BpeTrainer(
        vocab_size=760, special_tokens=special, show_progress=False, max_token_length=12))
    j = json.loads(t.to_str())
    # Byte tokens are no special ones: they are not recognised in text.
    j["added_tokens"] = [a for a in j["added_tokens"] if a["id"] < 3]
    vocab, merges = j["model"]["vocab"], [tuple(m) for m in j["model"]["merges"]]
    by_id = sorted(vocab, key=vocab.get)
    rank = {}
    for i, (a, b) in enumerate(merges):
        rank.setdefault(a + b, i)
    scores = [0.0 if i < 259 else -float(rank.get(token, len(merges))) for i, token in enumerate(by_id)]
    # All pairs that make a token, as Hugging Face derives merges from a SentencePiece model.
    pairs = []
    for token, i in vocab.items():
        if i < 259:
            continue
        local = [(token[:k], token[k:], scores[i]) for k in range(1, len(token)) if token[:k] in vocab and token[k:] in vocab]
        pairs += sorted(local, key=lambda p: (vocab[p[0]], vocab[p[1]]))
    pairs = sorted(pairs, key=lambda p: (p[2], len(p[0]), len(p[1])), reverse=True)
    j["model"]["merges"] = [[a, b] for a, b, _ in pairs]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    j["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}] + strip}
    t = Tokenizer.from_str(json.dumps(j))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    w = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(by_id)
    w.add_token_scores(scores)
    w.add_token_types([2 if i == 0 else 3 if i < 3 else 6 if i < 259 else 1 for i in range(len(by_id))])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    if not prefix:
        w.add_add_space_prefix(False)
    return t, w


def split(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


if __name__ == "__main__":
    kinds = {
        "llama-bpe": byte_level("llama-bpe", "llama-bpe", split(LLAMA3), None, True, True),
        "qwen2": byte_level("qwen2", "qwen2", split(QWEN2), normalizers.NFC(), False, False),
        "smollm": byte_level("smollm", "smollm", pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), None, False, False),
        "gpt-2": byte_level("gpt-2", "gpt-2", pre_tokenizers.ByteLevel(add_prefix_space=False), None, False, False),
        "spm": sentence_piece("spm", True),
        "spm-bare": sentence_piece("spm-bare", False),
    }
    cases = {}
    for name, (t, w) in kinds.items():
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.close()
        texts = [x for x in TEXTS if x or name[:3] != "spm"]
        cases[name] = [dict(text=x, ids=t.encode(x, add_special_tokens=False).ids, with_special=t.encode(x).ids,
                            decoded=t.decode(t.encode(x, add_special_tokens=False).ids)) for x in texts]
    (HERE / "cases.json").write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")) + "\n")
    for f in sorted(HERE.iterdir()):
        print(f.stat().st_size, f.name)

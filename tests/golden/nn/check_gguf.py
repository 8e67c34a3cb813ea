"""Reads GGUF exports with other programs and compares: gguf (PyPI) the head and tensors, llama.cpp tokens and logits.

    python tests/golden/nn/check_gguf.py MODEL_FOLDER FILE.gguf...

MODEL_FOLDER is the model in the Hugging Face layout that the files were made of (`tonebridge export --format merged` writes one).
Needs transformers, torch, gguf and llama-cpp-python. Prints one line per file; ends with 1 if tokens differ, the likeliest token
differs in an f16 file, or a matrix in f16 is not the folder's, rounded.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from llama_cpp import Llama
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "Dear team, please find the report attached. I would be grateful for your comments by Friday.",
    "hey, can you send me the numbers for last week? need them asap, thanks!",
    "The meeting on 14 March is moved to 10:30. Room 2.04 is booked; it's 12,500 EUR.",
    "いつもお世話になっております。株式会社山田の高橋です。ご確認のほど、よろしくお願いいたします。",
    "明日の会議は10時からに変更になりました。資料を準備してください。",
    "- budget\n- deadline: end of June\n\n\t- open?  who   signs",
    "naïve café — “quoted” … 100 % ✅",
]


def rows(tokenizer, vocab):
    if tokenizer is not None:
        return [tokenizer(text).input_ids[:96] for text in TEXTS]
    g = torch.Generator().manual_seed(11)
    return [torch.randint(0, vocab, (n,), generator=g).tolist() for n in (5, 17, 40)]


def tensors(path, model):
    """Every tensor is read; matrices in f16 or f32 must be the folder's."""
    reader = gguf.GGUFReader(path)
    arch = reader.get_field("general.architecture").contents()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], model.config.num_hidden_layers)
    state = {names.get_name(k, try_suffixes=(".weight", ".bias")): v for k, v in model.state_dict().items()}
    config, kinds, wrong = model.config, {}, []
    for t in reader.tensors:
        kinds[t.tensor_type.name] = kinds.get(t.tensor_type.name, 0) + 1
        values = gguf.quants.dequantize(t.data, t.tensor_type)
        if t.name not in state or t.tensor_type.name not in ("F16", "F32"):
            assert np.isfinite(values).all(), t.name
            continue
        theirs = state[t.name].float().numpy()
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(t.name.split(".")[-2])
        if arch in ("llama", "smollm3") and heads:
            theirs = theirs.reshape(heads, 2, theirs.shape[0] // heads // 2, *theirs.shape[1:]).swapaxes(1, 2).reshape(theirs.shape)
        if arch.startswith("gemma") and t.name.endswith("norm.weight"):
            theirs = theirs + 1
        if t.tensor_type.name == "F16":
            theirs = theirs.astype(np.float16).astype(np.float32)
        if not np.array_equal(values.reshape(theirs.shape), theirs):
            wrong.append(t.name)
    return kinds, wrong


def main(folder, files):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    has_tokenizer = (Path(folder) / "tokenizer.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(folder) if has_tokenizer else None
    failed = False
    for path in files:
        kinds, wrong = tensors(path, model)
        llama = Llama(path, n_ctx=128, logits_all=True, verbose=False, n_threads=2)
        other = 0
        if tokenizer is not None:
            for text in TEXTS:
                ours = tokenizer(text).input_ids
                other += llama.tokenize(text.encode(), add_bos=True, special=True) != ours
        largest, divergence, same, positions = 0.0, 0.0, 0, 0
        for ids in rows(tokenizer, model.config.vocab_size):
            with torch.no_grad():
                a = model(torch.tensor([ids])).logits[0].double()
            llama.reset()
            llama.eval(ids)
            b = torch.from_numpy(np.array(llama.scores[:len(ids)], dtype=np.float64))
            largest = max(largest, (a - b).abs().max().item())
            p, q = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
            divergence += (p.exp() * (p - q)).sum().item()
            same += (a.argmax(-1) == b.argmax(-1)).sum().item()
            positions += len(ids)
        print(json.dumps(dict(file=Path(path).name, tensors=kinds, not_the_folders=wrong, texts_with_other_tokens=other, positions=positions,
                              max_logit_difference=round(largest, 6), mean_kl_nats=divergence / positions, top1=same / positions)))
        failed |= bool(wrong) or other > 0 or ("f16" in path and same < positions)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

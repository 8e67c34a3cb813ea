"""Makes tiny models of random shapes of every family, which no test was written for, with their golden numbers.

    python tests/golden/nn/shapes.py FOLDER SEED COUNT       COUNT shapes of each family
    TONEBRIDGE_SHAPES=FOLDER cargo test -p tb-nn --test it shapes_of_a_folder -- --ignored --nocapture
"""

import random
import sys
from pathlib import Path

import families


def maybe(r, **options):
    """Each option or none of it."""
    return {k: v for k, v in options.items() if r.random() < 0.5}


def scaled(r, head_dim, theta, positions, kinds, partial=1.0):
    """A rotary embedding of one of these kinds and what else the configuration says with it."""
    kind = r.choice(kinds)
    rope = dict(rope_type=kind, rope_theta=theta)
    pairs = int(head_dim * partial) // 2
    if kind in ("linear", "dynamic"):
        rope["factor"] = r.choice([1.5, 2.0, 8.0])
    if kind == "yarn":
        rope.update(factor=r.choice([2.0, 4.0, 16.0]), original_max_position_embeddings=r.choice([8, 16]))
        rope.update(maybe(r, beta_fast=r.choice([16.0, 32.0]), beta_slow=r.choice([1.0, 2.0]), attention_factor=r.choice([0.8, 1.2]),
                          truncate=False))
        if r.random() < 0.3:
            rope.update(mscale=r.choice([0.7, 1.0]), mscale_all_dim=r.choice([0.5, 1.0]))
    if kind == "llama3":
        rope.update(factor=r.choice([2.0, 8.0]), low_freq_factor=1.0, high_freq_factor=r.choice([2.0, 4.0]),
                    original_max_position_embeddings=r.choice([8, 16]))
    if kind == "longrope":
        rope.update(short_factor=[r.uniform(1, 1.5) for _ in range(pairs)], long_factor=[r.uniform(1.5, 6) for _ in range(pairs)])
        if r.random() < 0.5:
            rope["factor"] = r.choice([2.0, 4.0])
        if r.random() < 0.3:
            rope["attention_factor"] = 1.1
    return rope


def shape(family, r):
    kv = r.choice([1, 1, 2, 3])
    heads = kv * r.choice([1, 2, 3, 5])
    head_dim = 2 * r.choice([1, 2, 3, 4, 5, 7, 8, 12, 16])
    # A norm over a few values only turns rounding into differences of 1e-4, in f32 against f64 as well.
    head_dim = max(head_dim, 2 * (-(-12 // (2 * heads))))
    hidden = heads * head_dim if family in ("phi3", "olmo2") else heads * max(r.choice([head_dim, head_dim, 4, 7, 12]), -(-12 // heads))
    layers = r.choice([1, 2, 3, 4, 5])
    positions = r.choice([16, 24, 64])
    theta = r.choice([50.0, 500.0, 10000.0, 1e6])
    o = dict(model_type="gemma3_text" if family == "gemma3" else family, vocab_size=r.choice([48, 61, 97]), hidden_size=hidden, intermediate_size=r.choice([8, 17, 32, 50]),
             num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=positions,
             tie_word_embeddings=r.random() < 0.5, rms_norm_eps=r.choice([1e-6, 1e-5, 1e-3]))
    if hidden != heads * head_dim or r.random() < 0.3:
        if family not in ("phi3", "olmo2"):
            o["head_dim"] = head_dim
    if family in ("gemma2", "gemma3", "qwen3", "mistral"):
        o["head_dim"] = head_dim
    if family == "smollm3":
        o["head_dim"] = head_dim
    window = r.choice([2, 5, 9, 40])
    kinds = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"]
    if family == "phi3":
        partial = r.choice([1.0, 0.5, 0.75])
        if int(head_dim * partial) % 2:
            partial = 1.0
        o["rope_parameters"] = scaled(r, head_dim, theta, positions, ["default", "longrope"], partial)
        if partial != 1.0:
            o["rope_parameters"]["partial_rotary_factor"] = partial
        if o["rope_parameters"]["rope_type"] == "longrope":
            o["original_max_position_embeddings"] = r.choice([8, 16])
    elif family == "gemma3":
        o["rope_parameters"] = dict(full_attention=scaled(r, head_dim, theta, positions, ["default", "linear"]),
                                    sliding_attention=dict(rope_type="default", rope_theta=r.choice([50.0, 10000.0])))
    else:
        o["rope_parameters"] = scaled(r, head_dim, theta, positions, kinds)
        if o["rope_parameters"]["rope_type"] == "longrope":
            o["rope_parameters"]["original_max_position_embeddings"] = r.choice([8, 16])
    types = lambda: dict(layer_types=[r.choice(["full_attention", "sliding_attention"]) for _ in range(layers)])
    if family == "llama":
        o.update(maybe(r, attention_bias=True, mlp_bias=True))
    if family == "mistral":
        o["sliding_window"] = r.choice([None, window])
    if family in ("qwen2", "qwen3"):
        if r.random() < 0.6:
            o.update(use_sliding_window=True, sliding_window=window, max_window_layers=r.randrange(layers + 1))
            if r.random() < 0.4:
                o.update(types())
        if family == "qwen3":
            o.update(maybe(r, attention_bias=True))
    if family in ("gemma2", "gemma3"):
        o.update(sliding_window=window, query_pre_attn_scalar=r.choice([7, head_dim, 144]))
        o.update(maybe(r, attention_bias=True))
        if r.random() < 0.4:
            o.update(types())
    if family == "gemma2":
        o.update(attn_logit_softcapping=r.choice([None, 2.0, 50.0]), final_logit_softcapping=r.choice([None, 9.0, 30.0]))
    if family == "gemma3":
        o.update(final_logit_softcapping=r.choice([None, 9.0]), sliding_window_pattern=r.choice([2, 3, 6]))
    if family == "phi3":
        o["sliding_window"] = r.choice([None, window])
    if family == "smollm3":
        o.update(maybe(r, attention_bias=True, mlp_bias=True))
        if r.random() < 0.5:
            o["no_rope_layer_interval"] = r.choice([1, 2, 3])
        else:
            o["no_rope_layers"] = [r.randrange(2) for _ in range(layers)]
        if r.random() < 0.5:
            o.update(use_sliding_window=True, sliding_window=window)
            if r.random() < 0.4:
                o.update(types())
    if family == "olmo2":
        o.update(maybe(r, attention_bias=True))
    if r.random() < 0.05:
        o["hidden_activation" if "gemma" in family else "hidden_act"] = r.choice(["silu", "gelu_pytorch_tanh", "gelu", "relu"])
    return o


def main():
    folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    families.HERE = folder
    for family in ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2"):
        for i in range(count):
            name = f"{family}-{seed}-{i}"
            options = shape(family, random.Random(name))
            families.MODELS[name] = options
            try:
                families.write(name, steps=8)
            except Exception as e:  # a shape that transformers itself refuses, or cannot save
                print(f"{name:16} not made: {type(e).__name__}: {str(e)[:300]}\n    {options}")
                import shutil
                shutil.rmtree(folder / name, ignore_errors=True)


if __name__ == "__main__":
    main()

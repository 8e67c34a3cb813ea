"""Makes a tiny model of every family, a PEFT adapter on it and its 50 losses, with transformers and PEFT.

    python tests/golden/nn/families.py            rewrites families/
    python tests/golden/nn/families.py NAME...    only these

Versions as in versions.json; f32 on one thread with eager attention. Weights are rounded to bf16, so that the files are small
and exact. Per model: the checkpoint, golden.safetensors (ids, lengths; logits of the base, with the adapter), lora/ (the adapter
before training), training.json (rows, 50 losses and gradient norms).
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from make import logits, randomise, rows, train

HERE = Path(__file__).parent / "families"
SIZES = dict(vocab_size=48, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
ROPE = dict(rope_theta=500.0)
MODELS = {
    # SmolLM2, Llama 2: tied, heads of 6
    "llama": dict(model_type="llama", tie_word_embeddings=True),
    # untied, every bias, heads of 10, frequencies by wavelength
    "llama_3": dict(model_type="llama", head_dim=10, attention_bias=True, mlp_bias=True, num_key_value_heads=1, rope_parameters=dict(
        rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16, **ROPE)),
    "llama_yarn": dict(model_type="llama", head_dim=24, rope_parameters=dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=16, **ROPE)),
    "llama_dynamic": dict(model_type="llama", num_key_value_heads=4, max_position_embeddings=16,
                          rope_parameters=dict(rope_type="dynamic", factor=2.0, **ROPE)),
    "llama_longrope": dict(model_type="llama", rope_parameters=dict(
        rope_type="longrope", factor=4.0, short_factor=[1.0, 1.1, 1.2], long_factor=[1.5, 2.5, 4.0],
        original_max_position_embeddings=16, **ROPE)),
    # a window in every layer, shorter than the text
    "mistral": dict(model_type="mistral", sliding_window=7),
    # biases of q, k and v; a window from the second layer on
    "qwen2": dict(model_type="qwen2", num_hidden_layers=3, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                  tie_word_embeddings=True, rope_parameters=dict(rope_type="linear", factor=2.0, **ROPE)),
    # norms of each query and key head, three query heads for one key head
    "qwen3": dict(model_type="qwen3", head_dim=10, num_attention_heads=3, num_key_value_heads=1, attention_bias=True),
    # caps of scores and logits, norms around, a window in every other layer
    "gemma2": dict(model_type="gemma2", num_hidden_layers=3, head_dim=10, query_pre_attn_scalar=7, sliding_window=6,
                   attn_logit_softcapping=2.0, final_logit_softcapping=9.0),
    # a rotary embedding of their own for layers with a window
    "gemma3": dict(model_type="gemma3_text", num_hidden_layers=4, head_dim=8, query_pre_attn_scalar=12, sliding_window=5,
                   sliding_window_pattern=3, rope_parameters=dict(
                       full_attention=dict(rope_type="linear", factor=8.0, rope_theta=3000.0),
                       sliding_attention=dict(rope_type="default", rope_theta=90.0))),
    # q, k, v and gate, up in one matrix; three quarters of a head rotated, long texts by other frequencies
    "phi3": dict(model_type="phi3", num_attention_heads=3, num_key_value_heads=1, original_max_position_embeddings=16,
                 rope_parameters=dict(rope_type="longrope", short_factor=[1.0, 1.1, 1.2], long_factor=[1.5, 2.5, 4.0],
                                      partial_rotary_factor=0.75, **ROPE)),
    "phi3_window": dict(model_type="phi3", sliding_window=9, tie_word_embeddings=True),
    # two of four layers without rotation
    "smollm3": dict(model_type="smollm3", num_hidden_layers=4, no_rope_layer_interval=2),
    # norms after each half only, norms of all queries and keys together
    "olmo2": dict(model_type="olmo2", attention_bias=True, num_key_value_heads=1),
}


def build(options):
    config = AutoConfig.for_model(**{**SIZES, **options}, attn_implementation="eager")
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def rounded(model, seed):
    randomise(model, seed)
    zero_centred = "gemma" in model.config.model_type
    with torch.no_grad():
        for name, p in model.named_parameters():
            if zero_centred and "norm" in name:
                p.sub_(1)
            p.copy_(p.bfloat16().float())
    return model.eval()


def write(name, steps=50):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(0)
    rounded(build(MODELS[name]), sum(map(ord, name))).bfloat16().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    load = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    vocab = MODELS[name].get("vocab_size", SIZES["vocab_size"])
    probe = rows(vocab, [34, 21], 3)
    inputs, base = logits(load(), probe)
    torch.manual_seed(1)
    rank = dict(r=3, lora_alpha=5, target_modules="all-linear")
    model = get_peft_model(load(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **rank))
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_B" in key:
                p.normal_(0, 0.05)
    model.save_pretrained(folder / "lora")
    (folder / "lora" / "README.md").unlink()
    config_file = folder / "lora" / "adapter_config.json"
    config = json.loads(config_file.read_text())
    config["base_model_name_or_path"] = name
    config["target_modules"] = sorted(config["target_modules"])
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True))
    model.eval()
    _, adapted = logits(model, probe)
    save_file(dict(ids=inputs["input_ids"], lengths=inputs["attention_mask"].sum(1), logits=base.contiguous(),
                   adapted=adapted.contiguous()), folder / "golden.safetensors")

    # Every micro-batch is as wide as the others: transformers' dynamic rotary embedding remembers the longest text it has seen.
    data = rows(vocab, [20, 13, 11, 20, 20, 16, 9, 20], 5)
    torch.manual_seed(1)
    model = get_peft_model(load(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **rank))
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file
    set_peft_model_state_dict(model, load_file(folder / "lora" / "adapter_model.safetensors"))
    losses, norms = train(model, data, steps)
    record = dict(rows=[dict(ids=i, labels=l) for i, l in data], rows_per_micro=2, micro_per_step=2, learning_rate=1e-3,
                  max_grad_norm=1.0, losses=losses, grad_norms=norms)
    (folder / "training.json").write_text(json.dumps(record))
    print(f"{name:16} logits up to {base.abs().max():.2f}, losses {losses[0]:.3f} to {losses[-1]:.3f}")


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        write(name)
    print(sum(f.stat().st_size for f in HERE.rglob("*") if f.is_file()), "bytes")

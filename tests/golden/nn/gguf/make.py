"""Makes tiny GGUF files with llama.cpp's own writer (gguf, PyPI) and what they must mean.

    python tests/golden/nn/gguf/make.py     rewrites every file beside this one

types.gguf       a llama whose linears are in every supported format: random blocks, since gguf cannot quantise to all of them;
                 types.safetensors has their values by gguf's own dequantisation, under Hugging Face names and in that layout, and logits.
llama_f16.gguf   ../llama_scaled as llama.cpp's converter writes it: f16, rows of q and k permuted, llama3 factors as a tensor.
qwen2_q8_0.gguf  ../qwen2 in Q8_0, rows that are no multiple of 32 in F16.
*.logits.safetensors: ids and logits of the same values in transformers (f32, eager attention).
"""

import math
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
torch.set_num_threads(1)

PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    path, end = name.rsplit(".", 1)
    if path.startswith("model.layers."):
        _, _, layer, part = path.split(".", 3)
        return f"blk.{layer}.{PARTS[part]}.{end}"
    return {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[path] + "." + end


def permute(w, heads):
    """As LlamaModel.permute of llama.cpp's conversion/llama.py."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def writer(path, arch, c):
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_rope_dimension_count(head)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    if c.rope_parameters["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(c.rope_parameters["factor"])
    return w


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def logits(model, name, more={}):
    g = torch.Generator().manual_seed(5)
    ids = torch.randint(0, model.config.vocab_size, (2, 11), generator=g)
    with torch.no_grad():
        out = model(input_ids=ids).logits.float()
    save_file(dict(ids=ids, lengths=torch.tensor([11, 11]), logits=out.contiguous(), **more), HERE / name)


def converted(source, arch, name, kind):
    """A folder of ours in `kind`; the model that answers with exactly these values."""
    model = AutoModelForCausalLM.from_pretrained(HERE.parent / source, dtype=torch.float32, attn_implementation="eager")
    c = model.config
    w = writer(HERE / name, arch, c)
    state = {}
    for hf, value in model.state_dict().items():
        value = value.numpy()
        heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}.get(hf.split(".")[-2])
        moved = arch == "llama" and heads
        stored = permute(value, heads) if moved else value
        if stored.ndim == 1:
            w.add_tensor(gguf_name(hf), stored)
            continue
        this = T.F16 if stored.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] else kind
        packed = gguf.quants.quantize(stored, this)
        w.add_tensor(gguf_name(hf), packed, raw_dtype=this)
        back = gguf.quants.dequantize(packed, this).reshape(stored.shape)
        state[hf] = torch.from_numpy(np.ascontiguousarray(unpermute(back, heads) if moved else back))
    rope = c.rope_parameters
    if rope["rope_type"] == "llama3":
        dim = c.head_dim
        factors = []
        for i in range(0, dim, 2):
            wave = 2 * math.pi * rope["rope_theta"] ** (i / dim)
            low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
            smooth = (old / wave - low) / (high - low)
            factors.append(1.0 if wave < old / high else rope["factor"] if wave > old / low
                           else 1 / ((1 - smooth) / rope["factor"] + smooth))
        w.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    finish(w)
    model.load_state_dict(state, strict=False)
    logits(model, name.replace(".gguf", ".logits.safetensors"))


def types():
    kinds = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.F16, T.BF16, T.F32]
    # q, k and v of one head of 2, gate and up of 4 rows: small, and long enough for blocks of 256.
    c = LlamaConfig(vocab_size=6, hidden_size=256, intermediate_size=4, num_hidden_layers=3, num_attention_heads=1,
                    num_key_value_heads=1, head_dim=2, max_position_embeddings=32, rms_norm_eps=1e-5, tie_word_embeddings=True,
                    attn_implementation="eager")
    torch.manual_seed(1)
    model = LlamaForCausalLM(c).eval()
    rng = np.random.default_rng(1)
    w = writer(HERE / "types.gguf", "llama", c)
    state, named, at = {}, {}, 0
    for hf, value in model.state_dict().items():
        if hf == "lm_head.weight":
            continue
        value = (0.5 * rng.standard_normal(value.shape)).astype(np.float32)
        part = hf.split(".")[-2]
        if part in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"):
            kind = kinds[at % len(kinds)]
            at += 1
            block, size = gguf.GGML_QUANT_SIZES[kind]
            if kind in (T.F16, T.BF16, T.F32):
                packed = gguf.quants.quantize(value, kind)
            else:
                # Random bytes with scales that are small numbers.
                packed = rng.integers(0, 256, (value.shape[0], value.shape[1] // block, size), dtype=np.uint8)
                halves = {T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
                          T.Q4_1: [0, 2], T.Q5_1: [0, 2]}.get(kind, [0])
                for place in halves:
                    scale = (rng.standard_normal(packed.shape[:2]) * 0.01).astype(np.float16)
                    packed[:, :, place:place + 2] = scale[..., None].view(np.uint8)
                packed = packed.reshape(value.shape[0], -1)
            w.add_tensor(gguf_name(hf), packed, raw_dtype=kind)
            value = gguf.quants.dequantize(packed, kind).reshape(value.shape)
            if part in ("q_proj", "k_proj"):
                value = unpermute(value, 1)
            named[f"{kind.name}.{hf}"] = torch.from_numpy(np.ascontiguousarray(value.astype(np.float32)))
        else:
            w.add_tensor(gguf_name(hf), value)
        state[hf] = torch.from_numpy(np.ascontiguousarray(value.astype(np.float32)))
    assert at >= len(kinds)
    finish(w)
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    logits(model, "types.safetensors", named)


if __name__ == "__main__":
    types()
    converted("llama_scaled", "llama", "llama_f16.gguf", T.F16)
    converted("qwen2", "qwen2", "qwen2_q8_0.gguf", T.Q8_0)
    for f in sorted(HERE.iterdir()):
        print(f.stat().st_size, f.name)

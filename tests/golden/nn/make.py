"""Makes the tiny models and golden numbers of tb-nn's tests with transformers, PEFT and torch.

    python tests/golden/nn/make.py        rewrites every folder beside this file

Made with the versions in versions.json. Everything is f32 on one thread with eager attention.
Per model: the checkpoint, golden.safetensors (ids, lengths, labels, logits, log-probabilities), generated.json (greedy ids);
per adapter: start/ (before training, with its logits), golden.safetensors (final weights), training.json (rows, losses, gradient norms).
"""

import json
import shutil
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = Path(__file__).parent
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

SIZES = dict(num_hidden_layers=2, initializer_range=0.02, attn_implementation="eager")
MODELS = {
    # grouped-query attention, tied head, plain rotary embedding
    "llama_tied": (
        LlamaForCausalLM,
        LlamaConfig(vocab_size=96, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
                    tie_word_embeddings=True, max_position_embeddings=128, rms_norm_eps=1e-5, **SIZES),
        None,
    ),
    # untied head, every bias, heads of 10 whose sum is not the width, llama3 scaling short enough to act here
    "llama_scaled": (
        LlamaForCausalLM,
        LlamaConfig(vocab_size=80, hidden_size=36, intermediate_size=40, num_attention_heads=6, num_key_value_heads=3,
                    head_dim=10, attention_bias=True, mlp_bias=True, max_position_embeddings=128,
                    rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
                                         high_freq_factor=4.0, original_max_position_embeddings=32), **SIZES),
        None,
    ),
    # q, k, v biases, untied head, linear scaling, several shards
    "qwen2": (
        Qwen2ForCausalLM,
        Qwen2Config(vocab_size=96, hidden_size=32, intermediate_size=56, num_attention_heads=4, num_key_value_heads=1,
                    max_position_embeddings=128, tie_word_embeddings=False,
                    rope_parameters=dict(rope_type="linear", rope_theta=1000.0, factor=2.0), **SIZES),
        "30KB",
    ),
}
ADAPTERS = {
    "peft_llama": ("llama_tied", dict(r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])),
    "peft_qwen2": ("qwen2", dict(r=3, lora_alpha=5, target_modules="all-linear", use_rslora=True)),
}


def randomise(model, seed):
    """Weights large enough that logits are of order 1, norms and biases not trivial."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_(1 + 0.2 * torch.randn(p.shape, generator=g))
            elif name.endswith("bias"):
                p.copy_(0.2 * torch.randn(p.shape, generator=g))
            elif "embed_tokens" in name:
                p.copy_(0.5 * torch.randn(p.shape, generator=g))
            else:
                p.copy_(torch.randn(p.shape, generator=g) / p.shape[1] ** 0.5)
    return model.eval()


def rows(vocab, lengths, seed):
    """Random rows and labels of which the first half (the prompt) is masked."""
    g = torch.Generator().manual_seed(seed)
    made = []
    for n in lengths:
        ids = torch.randint(3, vocab, (n,), generator=g).tolist()
        made.append((ids, [-100] * (n // 2) + ids[n // 2:]))
    return made


def pad(batch):
    width = max(len(ids) for ids, _ in batch)
    fill = lambda xs, v: xs + [v] * (width - len(xs))
    return dict(
        input_ids=torch.tensor([fill(i, 0) for i, _ in batch]),
        attention_mask=torch.tensor([fill([1] * len(i), 0) for i, _ in batch]),
        labels=torch.tensor([fill(l, -100) for _, l in batch]),
    )


def logits(model, batch):
    inputs = pad(batch)
    with torch.no_grad():
        out = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.float()
    return inputs, out * inputs["attention_mask"][..., None]


def train(model, data, steps):
    """Losses and gradient norms of steps of two micro-batches of two rows each, in order; the loss is divided by the targets of both
    (transformers 5)."""
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
    losses, norms = [], []
    for step in range(steps):
        at = (step * 4) % len(data)
        micro = [pad(data[at:at + 2]), pad(data[at + 2:at + 4])]
        targets = sum(int((m["labels"][:, 1:] != -100).sum()) for m in micro)
        total = 0.0
        for m in micro:
            loss = model(**m, num_items_in_batch=targets).loss
            loss.backward()
            total += loss.item()
        losses.append(total)
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimiser.step()
        optimiser.zero_grad()
    return losses, norms


def supervised_logprobs(out, labels):
    lp = torch.log_softmax(out[:, :-1], -1).gather(-1, labels[:, 1:].clamp(min=0)[..., None])[..., 0]
    return lp[labels[:, 1:] != -100]


def write_model(name, kind, config, shard):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(0)
    model = randomise(kind(config), sum(map(ord, name)))
    prompts = [ids for ids, _ in rows(config.vocab_size, [5, 9, 3], 7)]

    def greedy(eos):
        made = []
        for ids in prompts:
            out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
                                 max_new_tokens=16, eos_token_id=eos, pad_token_id=0)
            made.append(out[0, len(ids):].tolist())
        return made

    # An id that the first prompt produces: one row ends early.
    eos = [greedy(None)[0][6], 1]
    model.config.eos_token_id = model.generation_config.eos_token_id = eos
    model.config.pad_token_id = model.generation_config.pad_token_id = 0
    model.save_pretrained(folder, **(dict(max_shard_size=shard) if shard else {}))
    batch = rows(config.vocab_size, [12, 7, 40], 3)
    inputs, out = logits(model, batch)
    save_file(
        dict(ids=inputs["input_ids"], labels=inputs["labels"], lengths=inputs["attention_mask"].sum(1), logits=out.contiguous(),
             logprobs=supervised_logprobs(out, inputs["labels"])),
        folder / "golden.safetensors",
    )
    (folder / "generated.json").write_text(json.dumps(dict(prompts=prompts, eos=eos, greedy=greedy(eos)), indent=1))


def write_adapter(name, base, options):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(1)
    kind = MODELS[base][0]
    load = lambda: kind.from_pretrained(HERE / base, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(load(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **options))
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_B" in key:
                p.normal_(0, 0.05)
    model.save_pretrained(folder / "start")
    config_file = folder / "start" / "adapter_config.json"
    config = json.loads(config_file.read_text())
    config["base_model_name_or_path"] = base
    config["target_modules"] = sorted(config["target_modules"])  # a set in PEFT: the order differs from run to run
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True))
    (folder / "start" / "README.md").unlink()
    vocab = model.config.vocab_size
    model.eval()
    probe = rows(vocab, [11, 6], 4)
    inputs, out = logits(model, probe)

    data = rows(vocab, [10, 14, 7, 12, 9, 16, 11, 8], 5)
    losses, norms = train(model, data, 20)
    final = {f"final.{k}": v.detach().clone() for k, v in get_peft_model_state_dict(model).items()}
    save_file(
        dict(ids=inputs["input_ids"], lengths=inputs["attention_mask"].sum(1), logits=out.contiguous(), **final),
        folder / "golden.safetensors",
    )
    record = dict(base=base, rows=[dict(ids=i, labels=l) for i, l in data], rows_per_micro=2, micro_per_step=2,
                  learning_rate=1e-3, max_grad_norm=1.0, losses=losses, grad_norms=norms)
    (folder / "training.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    for name, (kind, config, shard) in MODELS.items():
        write_model(name, kind, config, shard)
    for name, (base, options) in ADAPTERS.items():
        write_adapter(name, base, options)
    (HERE / "versions.json").write_text(json.dumps(
        dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__), indent=1) + "\n")
    print(sum(f.stat().st_size for f in HERE.rglob("*") if f.is_file()), "bytes")

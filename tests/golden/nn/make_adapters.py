"""Makes golden adapters of every kind with PEFT: files as PEFT saves them, logits, and the losses of 20 steps that follow.

    python tests/golden/nn/make_adapters.py        rewrites the folder `adapters` beside this file

Made with the versions in versions.json, on the models that make.py makes; f32, one thread, eager attention. Per adapter: start/ (as
saved by PEFT, with values that are not trivial), golden.safetensors (ids, lengths, logits), training.json (rows, losses, gradient norms).
"""

import json
import shutil
import warnings

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from make import HERE, MODELS, logits, rows, train

warnings.simplefilter("ignore")
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "dora": ("llama_scaled", dict(r=3, lora_alpha=5, target_modules=EVERY, use_dora=True)),
    "dora_ends": ("llama_tied", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "lm_head", "q_proj"], use_dora=True)),
    "lora_bias": ("llama_scaled", dict(r=2, lora_alpha=5, target_modules=EVERY, lora_bias=True)),
    "bias_all": ("qwen2", dict(r=2, lora_alpha=3, target_modules=["q_proj", "o_proj"], bias="all")),
    "bias_lora_only": ("llama_scaled", dict(r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"], bias="lora_only")),
    "patterns": ("qwen2", dict(r=2, lora_alpha=3, target_modules=EVERY, exclude_modules=["1.self_attn.k_proj"], use_rslora=True,
                               rank_pattern={"q_proj": 3, r".*\.layers\.0\.mlp\.up_proj": 4}, alpha_pattern={"0.self_attn.v_proj": 7},
                               layers_to_transform=[0, 1], layers_pattern="layers")),
    "one_layer": ("llama_tied", dict(r=2, lora_alpha=3, target_modules=EVERY, layers_to_transform=[1])),
    "ends_tied": ("llama_tied", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "lm_head", "v_proj"])),
    "ends_untied": ("qwen2", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "lm_head", "v_proj"])),
    "save_head": ("llama_tied", dict(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"])),
    "save_embedding": ("llama_tied", dict(r=2, lora_alpha=3, target_modules=["q_proj"], modules_to_save=["embed_tokens", "norm"])),
    "save_linear": ("qwen2", dict(r=2, lora_alpha=3, target_modules=["up_proj"], modules_to_save=["0.self_attn.q_proj", "1.mlp.down_proj"])),
    "pissa": ("qwen2", dict(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights="pissa")),
    "pissa_dora": ("llama_tied", dict(r=3, lora_alpha=5, target_modules=["q_proj", "up_proj"], init_lora_weights="pissa", use_dora=True)),
    "olora": ("llama_tied", dict(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj"], init_lora_weights="olora")),
}
# Adapters that start as they are: what they take from the base is computed, not read.
FRESH = ["pissa", "pissa_dora", "olora"]


def disturb(model):
    """Values that show in the logits, for everything that trains."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if not p.requires_grad:
                continue
            noise = torch.randn(p.shape, generator=g)
            if "magnitude" in key or "norm" in key:
                p.mul_(1 + 0.1 * noise)
            elif "lora_embedding_B" in key or "lora_A" in key:
                pass
            else:
                p.add_(0.05 * noise)


def write(name, base, options):
    folder = HERE / "adapters" / name
    shutil.rmtree(folder, ignore_errors=True)
    kind = MODELS[base][0]
    load = lambda: kind.from_pretrained(HERE / base, dtype=torch.float32, attn_implementation="eager")
    torch.manual_seed(1)
    model = get_peft_model(load(), LoraConfig(task_type="CAUSAL_LM", **options))
    if name not in FRESH:
        disturb(model)
    vocab = model.config.vocab_size
    data = rows(vocab, [10, 14, 7, 12, 9, 16, 11, 8], 5)
    if name in FRESH:
        train(model, data, 3)
        model.eval()
    model.save_pretrained(folder / "start")
    file = folder / "start" / "adapter_config.json"
    config = json.loads(file.read_text())
    config["base_model_name_or_path"] = base
    for key in ["target_modules", "exclude_modules"]:
        if isinstance(config[key], list):
            config[key] = sorted(config[key])
    file.write_text(json.dumps(config, indent=2, sort_keys=True))
    (folder / "start" / "README.md").unlink()
    model.eval()
    probe = rows(vocab, [11, 6], 4)
    inputs, out = logits(model, probe)
    golden = dict(ids=inputs["input_ids"], lengths=inputs["attention_mask"].sum(1), logits=out.contiguous())
    losses, norms = train(model, data, 20)
    model.eval()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    record = dict(base=base, fresh=name in FRESH, rows=[dict(ids=i, labels=l) for i, l in data], rows_per_micro=2, micro_per_step=2,
                  learning_rate=1e-3, max_grad_norm=1.0, losses=losses, grad_norms=norms, trainable=trainable)
    if name in FRESH:
        # From the first values on: what is taken from the base is the same whatever the signs of its vectors.
        torch.manual_seed(1)
        record["fresh_losses"] = train(get_peft_model(load(), LoraConfig(task_type="CAUSAL_LM", **options)), data, 20)[0]
    save_file(golden, folder / "golden.safetensors")
    (folder / "training.json").write_text(json.dumps(record))


if __name__ == "__main__":
    for name, (base, options) in CASES.items():
        write(name, base, options)
        print(name)

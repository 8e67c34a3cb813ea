"""Do PEFT and transformers read our files? Prints the largest difference of the logits and ends 1 if one is above 1e-4.

    cargo run -p tb-nn --example adapter_for_peft -- OUT
    python tests/golden/nn/check_adapter.py OUT
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
OUT = Path(sys.argv[1])
torch.set_num_threads(1)
worst = 0.0


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def compare(what, model, expected):
    global worst
    with torch.no_grad():
        difference = (model(input_ids=expected["ids"]).logits - expected["logits"]).abs().max().item()
    print(f"{what}: {difference:.2e}")
    worst = max(worst, difference if difference == difference else float("inf"))


for base in ["llama_tied", "llama_scaled", "qwen2"]:
    ours = load_file(OUT / base / "adapter_logits.safetensors")
    compare(f"{base} adapter", PeftModel.from_pretrained(load(HERE / base), OUT / base / "adapter"), ours)
    compare(f"{base} merged", load(OUT / base / "merged"), ours)
    compare(f"{base} full", load(OUT / base / "full"), load_file(OUT / base / "full_logits.safetensors"))
for kind in sorted((OUT / "kinds").iterdir()):
    ours = load_file(kind / "adapter_logits.safetensors")
    base = json.loads((kind / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    compare(f"{kind.name} adapter", PeftModel.from_pretrained(load(HERE / base), kind / "adapter"), ours)
    compare(f"{kind.name} merged", load(kind / "merged"), ours)
sys.exit(worst > 1e-4)

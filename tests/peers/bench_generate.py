"""Tokens per second of greedy decoding with transformers on a GPU, rows after prompts of 16 tokens, of a Llama of random weights: the counterpart of
crates/tb-nn/examples/bench_decode.rs with `--device cuda`. With --rank a PEFT adapter is on every linear."""
import argparse, json, time
import torch
from transformers import LlamaConfig, LlamaForCausalLM
p = argparse.ArgumentParser()
for name, value in dict(hidden=1536, layers=28, heads=12, kv=2, inter=8960, vocab=151936, batch=1, tokens=64, rank=0).items():
    p.add_argument("--" + name, type=int, default=value)
a = p.parse_args()
config = LlamaConfig(hidden_size=a.hidden, num_hidden_layers=a.layers, num_attention_heads=a.heads, num_key_value_heads=a.kv,
                     intermediate_size=a.inter, vocab_size=a.vocab, tie_word_embeddings=True, max_position_embeddings=4096)
torch.manual_seed(0)
with torch.device("cuda"):
    model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa", dtype=torch.bfloat16).eval()
if a.rank:
    from peft import LoraConfig, get_peft_model
    model = get_peft_model(model, LoraConfig(r=a.rank, target_modules="all-linear", init_lora_weights=False)).to(torch.bfloat16)
ids = torch.tensor([[100 + row * 31 + t * 7 for t in range(16)] for row in range(a.batch)], device="cuda")
def timed(tokens):
    torch.cuda.synchronize(); start = time.perf_counter()
    model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens, pad_token_id=0)
    torch.cuda.synchronize()
    return time.perf_counter() - start
timed(8)
# What the prompt and the first token take is subtracted.
times = sorted(timed(a.tokens + 1) - timed(1) for _ in range(3))
print(json.dumps(dict(batch=a.batch, tokens=a.tokens, rank=a.rank, tok_s=round(a.batch * a.tokens / times[1], 1))))

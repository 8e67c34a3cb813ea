"""Tokens per second of greedy decoding with llama.cpp on the CPU, one row after a prompt of 16 tokens: the counterpart of
crates/tb-nn/examples/bench_decode.rs."""
import argparse, ctypes, json, time
import llama_cpp as ll, numpy as np
p = argparse.ArgumentParser()
p.add_argument("model"); p.add_argument("--tokens", type=int, default=64); p.add_argument("--threads", type=int, default=2)
# llama.cpp 0.3.36 ends with an illegal instruction where it multiplies by AMX.
p.add_argument("--no-extra-buffers", action="store_true", help="weights as the file holds them: not repacked, and no AMX")
a = p.parse_args()
ll.llama_backend_init()
quiet = ll.llama_log_callback(lambda level, text, data: None)
ll.llama_log_set(quiet, ctypes.c_void_p(0))
of_model = ll.llama_model_default_params()
of_model.use_extra_bufts = not a.no_extra_buffers
model = ll.llama_model_load_from_file(a.model.encode(), of_model)
params = ll.llama_context_default_params()
params.n_ctx, params.n_threads, params.n_threads_batch = 1024, a.threads, a.threads
vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
times = []
for _ in range(3):
    ctx = ll.llama_init_from_model(model, params)
    def step(ids):
        held = (ll.llama_token * len(ids))(*ids)
        batch = ll.llama_batch_get_one(held, len(ids))
        assert ll.llama_decode(ctx, batch) == 0
        logits = ll.llama_get_logits_ith(ctx, -1)
        return int(np.ctypeslib.as_array(logits, shape=(vocab,)).argmax())
    token = step([100 + t * 7 for t in range(16)])
    start = time.perf_counter()
    for _ in range(a.tokens): token = step([token])
    times.append(time.perf_counter() - start)
    ll.llama_free(ctx)
print(json.dumps(dict(batch=1, tokens=a.tokens, tok_s=round(a.tokens / sorted(times)[1], 1))))

#!/usr/bin/env bash
# What is checked on a machine with an NVIDIA GPU: every kernel against its twin on the CPU, the parity suite, and the benchmark in turn with
# PEFT. It needs the folder that `cargo xtask gpu-check` fills and the repository's `tests` folder, no compiler.
#   tests/gpu/check.sh FOLDER [PYTHON]      PYTHON has torch, transformers and peft; without one ours is timed alone
set -u
folder=$1 python=${2:-}
export TONEBRIDGE_ROOT=${TONEBRIDGE_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
# CUDA's libraries, where they came with a Python or a toolkit.
for from in ${python:+$("$python" -c 'import sys, glob; print(*{p.rsplit("/", 1)[0] for p in glob.glob(sys.prefix + "/lib/python3*/site-packages/nvidia/**/lib*.so*", recursive=True)})')} \
  /usr/local/cuda/lib64 /usr/local/nvidia/lib64; do
  LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$from
done
export LD_LIBRARY_PATH
failed=0

echo "== GPU: $(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader)"
"$folder/tonebridge-worker-cuda" --describe || failed=1

echo "== kernels: the largest relative distance from the CPU of each operation"
"$folder/kernel-tests" --ignored gpu_ --test-threads 1 --nocapture 2>&1 | tee "$folder/kernels.log" | grep -E "panicked|^test result" || true
grep -q "^test result: ok" "$folder/kernels.log" || failed=1
sed -n 's/^.*gpu \([a-z0-9_, ]*[a-z0-9_]\) *\(F32\|BF16\): \([0-9.e+-]*\)$/\2 \3 \1/p' "$folder/kernels.log" |
  awk '{n = $0; sub(/^[^ ]* [^ ]* /, "", n); k = $1 " " n; if (!(k in most) || $2 + 0 > most[k] + 0) most[k] = $2} END {for (k in most) print "  " k ": " most[k]}' | sort

# One test at a time: a step of decoding is recorded, and whatever else is started on the device meanwhile would be recorded too.
echo "== parity: the engine's suite on this GPU, in f32"
TONEBRIDGE_TEST_DEVICE=cuda "$folder/parity-tests" --nocapture --test-threads 1 families parity adapters adapter_kinds training quantised packed gradients answering 2>&1 |
  tee "$folder/parity.log" | grep -E "FAILED|panicked|^test result|^\| " || true
grep -q "^test result: ok" "$folder/parity.log" || failed=1

echo "== a LoRA step of the 1.5B shape, 2,048 tokens a row, half of them supervised, bf16"
shape="--hidden 1536 --layers 28 --heads 12 --kv 2 --inter 8960 --vocab 151936 --seq 2048 --dtype bfloat16 --device cuda"
model=${TMPDIR:-/dev/shm}/gpu-check-model
# The first call makes the model and measures nothing.
[ -e "$model/config.json" ] || "$folder/bench_lora" --model "$model" $shape
ours() { "$folder/bench_lora" --model "$model" $shape --steps 10 "$@" || failed=1; }
peft() { if [ -n "$python" ]; then "$python" "$TONEBRIDGE_ROOT/tests/peers/bench_lora.py" $shape --steps 10 "$@" 2>&1 | tail -1; fi; }
for rows in 1 4; do
  echo "-- $rows row(s): ours, PEFT + SDPA"
  ours --batch "$rows"
  peft --batch "$rows"
done
echo "-- 4 rows, recomputed: ours, PEFT + SDPA"
ours --batch 4 --recompute true
peft --batch 4 --ckpt
echo "-- 4 rows, NF4: ours"
ours --batch 4 --load-in nf4
echo "-- where a step's time goes (4 rows)"
ours --batch 4 --profile true

echo "== decoding with the 1.5B shape, bf16, 64 tokens: ours, transformers"
decoded() { "$folder/bench_decode" --model "$model" --device cuda --dtype bfloat16 --weights expanded "$@" || failed=1; }
transformers() { if [ -n "$python" ]; then "$python" "$TONEBRIDGE_ROOT/tests/peers/bench_generate.py" "$@" 2>&1 | tail -1; fi; }
for rows in 1 8 32; do
  decoded --batch "$rows"
  transformers --batch "$rows"
done
echo "-- 1 row with an adapter of rank 8 on every linear: ours, PEFT"
decoded --rank 8
transformers --rank 8
rm -rf "$model"
[ $failed = 0 ] && echo "== all checks passed" || { echo "== FAILED"; exit 1; }

"""Values and their blocks by llama.cpp itself (`ggml_quantize_chunk` of the library in llama-cpp-python).

    python tests/golden/nn/gguf/quantise.py      rewrites quantised.safetensors
"""

import ctypes
from pathlib import Path

import llama_cpp
import numpy as np
import torch
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T
from safetensors.torch import save_file

lib = next(Path(llama_cpp.__file__).parent.rglob("libggml-base.so*"))
ggml = ctypes.CDLL(str(lib))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]

rng = np.random.default_rng(3)
x = rng.standard_normal((8, 256)).astype(np.float32)
x[1] *= 1e-3
x[2, 32:64] = 0                      # a group of nothing
x[3] = np.abs(x[3]) + 1              # all above 0
x[4, ::7] *= 40                      # outliers
x[5] = 0
x[6] = -np.abs(x[6])
x[7] = np.round(x[7] * 4) / 4        # many equal values
out = {"x": torch.from_numpy(x)}
for kind in (T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K):
    block, size = GGML_QUANT_SIZES[kind]
    packed = np.zeros(x.size // block * size, dtype=np.uint8)
    n = ggml.ggml_quantize_chunk(int(kind), x.ctypes.data, packed.ctypes.data, 0, x.shape[0], x.shape[1], None)
    assert n == packed.size
    out[kind.name] = torch.from_numpy(packed)
save_file(out, Path(__file__).parent / "quantised.safetensors")
print({k: v.numel() for k, v in out.items()})

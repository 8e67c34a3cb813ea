"""Makes the golden numbers of quantised weights and 8-bit AdamW with bitsandbytes.

    python tests/golden/nn/make_quant.py        rewrites quant/ beside this file; run make.py first

Everything is on the CPU, one thread, by bitsandbytes' backend in plain PyTorch (`PLAIN`). Its C++ backend, which would be called otherwise, finds
the nearest 8-bit level through a table of 65,536 entries and misses it near zero, and takes the scales of other blocks where a row is no
whole number of blocks.
quant/values.safetensors: per case the weights, then per form codes, scales and the dequantised weights; the 8-bit maps; AdamW8bit's states.
quant/checkpoint: llama_tied as transformers saves it in 4 bits; quant/logits.safetensors: logits with it and with each other form.
"""

import json
import shutil
from pathlib import Path

import bitsandbytes as bnb
import bitsandbytes.backends.cpu.ops as cpu
import bitsandbytes.functional as F
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

HERE = Path(__file__).parent
OUT = HERE / "quant"
torch.set_num_threads(1)
PLAIN = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)


def bytewise(values, code, blocksize=256):
    """quantize_blockwise of the backend in plain PyTorch."""
    return torch.ops.bitsandbytes.quantize_blockwise.default.redispatch(PLAIN, values, code, blocksize)


def widen(packed, absmax, kind, shape):
    """dequantize_4bit likewise."""
    op = torch.ops.bitsandbytes.dequantize_4bit.default
    return op.redispatch(PLAIN, packed, absmax, 64, kind, shape, torch.float32).contiguous()


def four_bit(weight, kind, double):
    packed, absmax = torch.ops.bitsandbytes.quantize_4bit.default(weight, 64, kind, torch.uint8)
    found = dict(packed=packed.flatten(), absmax=absmax)
    if double:
        # quantize_4bit(compress_statistics=True), with the backend of above for the second level.
        offset = absmax.mean()
        map_ = F.create_dynamic_map()
        codes, outer = bytewise(absmax - offset, map_)
        found.update(absmax=codes, outer=outer, offset=offset.reshape(1))
        absmax = F.dequantize_blockwise(codes, absmax=outer, code=map_, blocksize=256) + offset
    found["dequantised"] = widen(packed, absmax, kind, weight.shape)
    return found


def eight_bit(weight):
    values, scales, _ = F.int8_vectorwise_quant(weight.half())
    # A row of zeros is 0 * inf in bitsandbytes: whatever the processor makes of NaN, times a scale of 0.
    values[scales == 0] = 0
    return dict(values=values.view(torch.uint8), scales=scales, dequantised=F.int8_vectorwise_dequant(values, scales))


def cases():
    g = torch.Generator().manual_seed(11)
    normal = lambda *shape: torch.randn(*shape, generator=g)
    zeros = normal(4, 64)
    zeros[1] = 0
    zeros[3, ::2] = 0
    edges = torch.zeros(4, 64)
    for row, kind in enumerate(["nf4", "fp4"]):
        levels, _ = F.get_4bit_type(kind, device="cpu").sort()
        middles = (levels[:-1] + levels[1:]) / 2
        # Each threshold, and the floats on both sides of it, in a block whose scale is 1.
        beside = [torch.nextafter(middles, torch.tensor(s)) for s in (-2.0, 2.0)]
        edges[row] = torch.cat([middles, *beside, levels, torch.tensor([1.0, 0.0, -0.0])])
    edges[2:] = edges[:2] * 0.37
    return dict(
        plain=normal(8, 64) * 0.02,
        odd=normal(5, 13),
        tail=normal(9, 65).bfloat16().float() * 3.0,
        one=normal(1, 7),
        tiny=normal(8, 32) * 1e-7,
        outliers=normal(5, 48) * (1 + 40 * (torch.rand(5, 48, generator=g) > 0.97)),
        zeros=zeros,
        edges=edges,
        many=(normal(260, 64) * 0.05 * (1 + torch.arange(260)[:, None] / 30)).bfloat16(),
    )


def adamw():
    """Six steps of a tensor of 4,160 values: 16 whole blocks of 256 and one of 64."""
    cpu._quant_blockwise_fp32_direct = lambda values, code, absmax, out, block: [
        kept.copy_(new) for kept, new in zip((out, absmax), bytewise(values, code, block))
    ]
    g = torch.Generator().manual_seed(5)
    start = torch.randn(65, 64, generator=g)
    gradient = torch.randn(65, 64, generator=g) * 10 ** torch.randint(-4, 1, (65, 64), generator=g).float()
    p = torch.nn.Parameter(start.clone())
    optimiser = bnb.optim.AdamW8bit([p], lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    found = dict(start=start, gradient=gradient)
    for step in range(6):
        # Powers of two and a rotation: the test makes the same gradients from the first one.
        p.grad = gradient.flatten().roll(step).reshape(65, 64) * 2.0 ** (step % 3 - 1)
        optimiser.step()
        if step in (0, 5):
            state = optimiser.state[p]
            kept = {k: state[k].clone() for k in ("state1", "absmax1", "state2", "absmax2")}
            found.update({f"{step}.{k}": v for k, v in dict(values=p.detach().clone(), **kept).items()})
    return found


def checkpoint():
    """The dequantised weights go into plain layers: for inference on a CPU bitsandbytes packs weights once more, and wants blocks in a row."""
    folder = OUT / "checkpoint"
    load = lambda **how: AutoModelForCausalLM.from_pretrained(HERE / "llama_tied", dtype=torch.float32, attn_implementation="eager", **how)
    ids = torch.randint(3, 96, (2, 11), generator=torch.Generator().manual_seed(2))
    found = dict(ids=ids)

    def logits(weight_of):
        model = load().eval()
        for name, module in model.model.layers.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.data = weight_of(name, module.weight.data)
        with torch.no_grad():
            return model(ids).logits.float().contiguous()

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                bnb_4bit_compute_dtype=torch.float32)
    quantised = load(quantization_config=config)
    quantised.save_pretrained(folder)
    layers = dict(quantised.model.layers.named_modules())

    def stored(name, _):
        state = layers[name].weight.quant_state
        absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
        return widen(layers[name].weight.data, absmax, "nf4", state.shape)

    found["stored"] = logits(stored)
    found["nf4.double"] = logits(lambda _, weight: four_bit(weight, "nf4", True)["dequantised"])
    found["fp4.plain"] = logits(lambda _, weight: four_bit(weight, "fp4", False)["dequantised"])
    found["int8"] = logits(lambda _, weight: eight_bit(weight)["dequantised"])
    save_file(found, OUT / "logits.safetensors")


def checkpoint_int8():
    """As transformers saves a model that it holds in 8 bits; its logits are those of `int8`."""
    config = BitsAndBytesConfig(load_in_8bit=True)
    model = AutoModelForCausalLM.from_pretrained(HERE / "llama_tied", dtype=torch.float32, quantization_config=config)
    model.save_pretrained(OUT / "checkpoint_int8")


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    values = {f"map.{name}": F.create_dynamic_map(signed=signed) for name, signed in (("signed", True), ("unsigned", False))}
    for name, weight in cases().items():
        values[f"{name}.weight"] = weight
        wide = weight.float()
        forms = dict(int8=eight_bit(wide))
        for kind in ("nf4", "fp4"):
            for scales, double in (("plain", False), ("double", True)):
                forms[f"{kind}.{scales}"] = four_bit(wide, kind, double)
        for form, parts in forms.items():
            if name == "many":
                # Too many to keep: what is new here are the scales of more than 256 blocks.
                parts = {k: v for k, v in parts.items() if k in ("absmax", "outer", "offset")} if form == "nf4.double" else {}
            values.update({f"{name}.{form}.{k}": v for k, v in parts.items()})
    values.update({f"adamw.{k}": v for k, v in adamw().items()})
    save_file({k: v.contiguous() for k, v in values.items()}, OUT / "values.safetensors")
    checkpoint()
    checkpoint_int8()
    (OUT / "versions.json").write_text(json.dumps(
        dict(torch=torch.__version__, transformers=transformers.__version__, bitsandbytes=bnb.__version__), indent=1) + "\n")
    print(sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file()), "bytes")

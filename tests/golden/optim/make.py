"""Golden numbers for optim: AdamW and clipping of torch, schedules of transformers. Writes optim.json beside itself."""
import json
import os
import torch
import transformers
from transformers import (get_constant_schedule, get_constant_schedule_with_warmup,
                          get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup)

torch.set_num_threads(1)


def inputs(n, seed):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed)) * 2 - 1


adamw = []
for weight_decay, lr, eps in [(0.0, 2e-4, 1e-8), (0.1, 1e-2, 1e-6)]:
    start = inputs(19, 1)
    p = torch.nn.Parameter(start.clone())
    opt = torch.optim.AdamW([p], lr=lr, betas=(0.9, 0.999), eps=eps, weight_decay=weight_decay, foreach=False)
    gradients, values = [], []
    for step in range(25):
        g = inputs(19, 100 + step) * (10.0 ** (step % 5 - 3))
        p.grad = g.clone()
        opt.step()
        gradients.append(g.tolist())
        values.append(p.detach().tolist())
    adamw.append(dict(weight_decay=weight_decay, lr=lr, eps=eps, start=start.tolist(), gradients=gradients, values=values))

clips = []
for max_norm in [0.5, 1.0, 100.0]:
    a, b = torch.nn.Parameter(torch.zeros(7)), torch.nn.Parameter(torch.zeros(3))
    a.grad, b.grad = inputs(7, 5) * 3, inputs(3, 6) * 3
    before = [a.grad.tolist(), b.grad.tolist()]
    norm = torch.nn.utils.clip_grad_norm_([a, b], max_norm).item()
    clips.append(dict(max_norm=max_norm, norm=norm, before=before, after=[a.grad.tolist(), b.grad.tolist()]))

schedules = []
for kind, make in [
    ("constant", lambda o, w, t: get_constant_schedule(o)),
    ("constant_with_warmup", lambda o, w, t: get_constant_schedule_with_warmup(o, w)),
    ("linear", get_linear_schedule_with_warmup),
    ("cosine", get_cosine_schedule_with_warmup),
]:
    for warmup, total in [(0, 10), (3, 17), (5, 5), (0, 1), (7, 4)]:
        opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
        s = make(opt, warmup, total)
        rates = []
        for _ in range(total + 2):
            rates.append(opt.param_groups[0]["lr"])
            opt.step()
            s.step()
        schedules.append(dict(kind=kind, warmup=warmup, total=total, learning_rate=2e-4, rates=rates))

out = dict(versions=dict(torch=torch.__version__, transformers=transformers.__version__),
           adamw=adamw, clip=clips, schedules=schedules)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "optim.json"), "w") as f:
    json.dump(out, f)
    f.write("\n")

"""PyTorch's side of bench/curvature.ts: gradient, Hessian-vector products and power iteration at the same point, one thread, JSON.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python3 curvature_torch.py REPEATS [POINT FIRST_SEED END]

POINT holds float32: the parameters, 1024 x 256 inputs, 4 x 1024 labels. Power iteration from the starts of these seeds stops as
PyHessian's does: where the Rayleigh quotient changes by less than 1e-3, after 100 products at the latest.
"""
import json
import statistics
import subprocess
import sys
import time

import torch

torch.set_num_threads(1)
torch.manual_seed(0)
sizes = [256, 512, 256, 128]
params = []
for a, b in zip(sizes, sizes[1:]):
    params += [torch.randn(a, b) * (2 / a) ** 0.5, torch.zeros(b)]
for _ in range(4):
    params += [torch.randn(128, 64) * (2 / 128) ** 0.5, torch.zeros(64), torch.randn(64, 1) * 0.1, torch.zeros(1)]
for p in params:
    p.requires_grad_(True)
x = torch.randn(1024, 256)
ys = [(torch.rand(1024) > 0.5).float() for _ in range(4)]
vs = [torch.randn_like(p) for p in params]


def loss():
    h = x
    for i in range(3):
        h = torch.relu(h @ params[2 * i] + params[2 * i + 1])
    total = 0
    for t in range(4):
        w1, b1, w2, b2 = params[6 + 4 * t : 10 + 4 * t]
        z = (torch.relu(h @ w1 + b1) @ w2 + b2)[:, 0]
        total = total + torch.nn.functional.binary_cross_entropy_with_logits(z, ys[t])
    return total


def gradient():
    torch.autograd.grad(loss(), params)


def hvp():
    g = torch.autograd.grad(loss(), params, create_graph=True)
    torch.autograd.grad(sum((a * v).sum() for a, v in zip(g, vs)), params)


def further_hvp():
    """A product at a point whose graph is there."""
    g = torch.autograd.grad(loss(), params, create_graph=True)
    return lambda: torch.autograd.grad(g, params, grad_outputs=vs, retain_graph=True)


def times(f, repeats):
    f()
    out = []
    for _ in range(repeats):
        start = time.process_time()
        f()
        out.append(1000 * (time.process_time() - start))
    return out


maps = open("/proc/self/maps").read()
blas = sorted({line.split("/")[-1].strip() for line in maps.splitlines() if "blas" in line.lower()})
repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def place(path):
    values = torch.from_file(path, size=sum(p.numel() for p in params) + x.numel() + 4 * 1024, dtype=torch.float32)
    at = 0
    with torch.no_grad():
        for target in [*params, x, *ys]:
            target.copy_(values[at : at + target.numel()].view(target.shape))
            at += target.numel()


def power_iteration(tolerance=1e-3, most=100):
    g = torch.autograd.grad(loss(), params, create_graph=True)

    def apply(v):
        return torch.autograd.grad(g, params, grad_outputs=v, retain_graph=True)

    def unit(v):
        norm = sum((a * a).sum() for a in v).sqrt()
        return [a / norm for a in v]

    v = unit([torch.randn_like(p) for p in params])
    value = None
    for products in range(1, most + 1):
        image = apply(v)
        now = sum((a * b).sum() for a, b in zip(image, v)).item()
        residual = sum(((a - now * b) ** 2).sum() for a, b in zip(image, v)).sqrt().item()
        if value is not None and abs(now - value) / (abs(value) + 1e-6) < tolerance:
            break
        value = now
        v = unit(image)
    return {"products": products, "value": now, "residual": residual}


searches = []
if len(sys.argv) > 2:
    place(sys.argv[2])
    for seed in range(*map(int, sys.argv[3:5])):
        torch.manual_seed(seed)
        used, start = time.process_time(), time.perf_counter()
        search = power_iteration()
        search["processor"] = 1000 * (time.process_time() - used)
        search["wall"] = 1000 * (time.perf_counter() - start)
        searches.append(search)
measured = [times(f, repeats) for f in (gradient, hvp, further_hvp())]
print(json.dumps({"torch": torch.__version__, "blas": blas, "times": measured, "searches": searches}))

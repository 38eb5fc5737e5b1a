"""PyTorch's side of bench/curvature.ts: gradient and Hessian-vector product of the same net, one thread, medians in ms as JSON.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python3 curvature_torch.py REPEATS
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
print(json.dumps({"torch": torch.__version__, "blas": blas, "gradient": times(gradient, repeats), "hvp": times(hvp, repeats)}))

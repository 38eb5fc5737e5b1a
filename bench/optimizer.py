"""PyTorch's foreach Adagrad with Clippy, one thread: the peer of bench/optimizer.ts, which runs this. Prints JSON.

Adagrad is written with the same torch._foreach_ operations as torch.optim.Adagrad(foreach=True), so that the update is known
before it is applied; Clippy scales it. In place wherever that saves memory traffic.
"""
import json, sys, time
import torch

torch.set_num_threads(1)
tensors, size, repeats = (int(x) for x in sys.argv[1:4])
torch.manual_seed(0)
w = [torch.rand(size) - 0.5 for _ in range(tensors)]
g = [torch.rand(size) - 0.5 for _ in range(tensors)]
G = [torch.full((size,), 0.1) for _ in range(tensors)]
rate, relative, absolute, eps = 0.05, 0.5, 1e-2, 1e-10


def directions():
    torch._foreach_addcmul_(G, g, g, value=1)
    std = torch._foreach_sqrt(G)
    torch._foreach_add_(std, eps)
    delta = torch._foreach_div(g, std)
    torch._foreach_mul_(delta, rate)
    return delta


def clippy():
    delta = directions()
    sizes = torch._foreach_abs(delta) if hasattr(torch, "_foreach_abs") else [d.abs() for d in delta]
    bounds = torch._foreach_abs(w) if hasattr(torch, "_foreach_abs") else [x.abs() for x in w]
    torch._foreach_mul_(bounds, relative)
    torch._foreach_add_(bounds, absolute)
    torch._foreach_div_(bounds, sizes)
    sigma = [float(b.min().clamp(max=1)) for b in bounds]
    torch._foreach_mul_(delta, sigma)
    torch._foreach_sub_(w, delta)
    return sigma


def adagrad():
    torch._foreach_sub_(w, directions())


def timed(step):
    step()
    out = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        out.append((time.perf_counter() - start) * 1e3)
    return out


print(json.dumps({"torch": torch.__version__, "clippy": timed(clippy), "adagrad": timed(adagrad)}))

"""The top Hessian eigenvalue of a PyTorch model by double backward, plain and preconditioned, as `clippy-diag`
reads it.

Used by clippy_recorder.py (`curvature=`); beside it and clippy_capture.py. Dropout has to be off and BatchNorm
in inference while the loss is computed again; ops without a second derivative (sparse embeddings, some fused
attention) raise. Apache-2.0. """

import math

import numpy as np
import torch

from clippy_capture import number


def curvature_entries(groups, parameters, loss_again, step):
    """Entries of a capture's `curvature`: the top eigenvalue of the Hessian and of P^(-1/2) H P^(-1/2) at the
    parameters before `step`.

    groups      (optimizer, parameter group) pairs
    loss_again  computes the loss of the batch, a function of no arguments
    """
    slopes = torch.autograd.grad(loss_again(), parameters, create_graph=True, allow_unused=True)
    used = [(p, s) for p, s in zip(parameters, slopes) if s is not None and s.requires_grad]
    inputs, slopes = [p for p, _ in used], [s for _, s in used]

    def product(v, scales):
        parts = torch.split(v, [p.numel() for p in inputs])
        vectors = [part.view_as(p) * s for part, p, s in zip(parts, inputs, scales)]
        out = torch.autograd.grad(slopes, inputs, vectors, retain_graph=True, allow_unused=True)
        return torch.cat(
            [((torch.zeros_like(p) if o is None else o) * s).reshape(-1) for o, p, s in zip(out, inputs, scales)]
        )

    rates = {float(g["lr"]) for _, g in groups}
    rate = rates.pop() if len(rates) == 1 and len({id(o) for o, _ in groups}) == 1 else None
    optimizer, group = groups[0]
    kind, beta = type(optimizer).__name__, group.get("betas", (group.get("momentum", 0),))[0]
    entries = []
    for operator in ("hessian", "preconditioned-hessian"):
        scales, factor, rule = [torch.ones((), device=p.device) for p in inputs], None, None
        if operator == "hessian" and kind == "SGD":
            nesterov = group["nesterov"]
            factor, rule = (2 + 2 * beta) / (1 + 2 * beta if nesterov else 1), (
                "(2+2β)/((1+2β)η)" if nesterov else "(2+2β)/η"
            )
        if operator == "preconditioned-hessian":
            roots = [_root(optimizer, group, p, s.detach()) for p, s in zip(inputs, slopes)]
            if kind == "SGD" or any(root is None for root in roots):
                continue
            scales = [root**-0.5 for root in roots]
            factor, rule = (
                ((2 + 2 * beta) / (1 - beta), "(2+2β₁)/((1−β₁)η)") if kind in ("Adam", "AdamW") else (2, "2/η")
            )
        value, residual, largest, count = top_eigenvalue(
            lambda v: product(v, scales), sum(p.numel() for p in inputs), inputs[0]
        )
        limit = None if factor is None or not rate else factor / rate
        entries.append(
            {
                "checkpoint": f"step {step}",
                "step": step,
                "method": "lanczos",
                "operator": operator,
                "block": "all",
                "task": "all",
                "eigenvalues": [
                    {
                        "value": number(value),
                        "residualNorm": number(residual),
                        "iterations": count - 1,
                        "converged": residual <= 1e-3 * abs(value),
                    }
                ],
                "largestMagnitude": number(largest),
                "hvpCount": count,
                "hvpMethod": "double backward",
                "stability": {
                    "learningRate": rate,
                    "limit": limit,
                    "ratio": number(value / limit) if limit else None,
                    **({"rule": rule} if limit else {}),
                },
                "seed": 0,
                "backend": f"pytorch {torch.__version__}",
                "source": "recorded",
            }
        )
    return entries


def top_eigenvalue(product, size, like, iterations=40):
    """Lanczos with full reorthogonalisation: (largest algebraic value, its residual, largest magnitude,
    products used)."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(size, generator=generator).to(like)
    basis, alphas, betas = [q / q.norm()], [], []
    for _ in range(min(iterations, size)):
        w = product(basis[-1])
        alphas.append(torch.dot(w, basis[-1]).item())
        for _ in range(2):
            for q in basis:
                w = w - torch.dot(w, q) * q
        betas.append(w.norm().item())
        if not betas[-1] > 1e-6 * max(map(abs, alphas)):
            break
        basis.append(w / betas[-1])
    n = len(alphas)
    tridiagonal = np.diag(alphas) + np.diag(betas[: n - 1], 1) + np.diag(betas[: n - 1], -1)
    if not np.isfinite(tridiagonal).all():
        return math.nan, math.nan, math.nan, n
    values, vectors = np.linalg.eigh(tridiagonal)
    v = sum(float(c) * q for c, q in zip(vectors[:, -1], basis))
    v = v / v.norm()
    hv = product(v)
    value = torch.dot(v, hv).item()
    return value, (hv - value * v).norm().item(), float(np.abs(values).max()), n + 1


def _root(optimizer, group, parameter, gradient):
    """What the next step divides by: √(G+g²)+ε, √v̂+ε or √v+ε; None before the optimizer has state."""
    state, kind = optimizer.state.get(parameter, {}), type(optimizer).__name__
    if kind == "Adagrad" and "sum" in state:
        return (state["sum"] + gradient**2).sqrt() + group["eps"]
    if "exp_avg_sq" in state:
        v = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
        return (v / (1 - group["betas"][1] ** float(state["step"]))).sqrt() + group["eps"]
    return state["square_avg"].sqrt() + group["eps"] if "square_avg" in state else None

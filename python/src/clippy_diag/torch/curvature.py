"""The top Hessian eigenvalue of any PyTorch model against what its optimizer tolerates, plain and preconditioned.

By double backward and Lanczos; critical sharpness by forward passes alone. docs/curvature.md defines the quantities.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import math
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import numpy as np
import torch

from ..captures import number
from . import words as names

if TYPE_CHECKING:
    from .recorder import Recorder

#: Losses of float32 passes that differ by less, relatively, are the same.
ROUNDING = 1e-6
Trained = list[tuple[torch.nn.Parameter, torch.optim.Optimizer, dict[str, Any]]]


def curvature(
    model: torch.nn.Module,
    optimizers: Any | Sequence[Any],
    loss: Callable[[], torch.Tensor],
    *,
    step: int = 0,
    checkpoint: str | None = None,
    iterations: int = 40,
    critical: bool = True,
) -> list[dict[str, Any]]:
    """Eigenvalues of the loss at the model's parameters, as entries of a capture's or a report's `curvature`.

    model       as it stands: load a checkpoint into it, and into the optimizer, to measure that
    optimizers  whose state gives the preconditioner and whose learning rate gives the limit
    loss        computes the loss of a batch, a scalar; the same value at every call
    step        named in the entries, with `checkpoint`
    iterations  at most so many Hessian-vector products for each eigenvalue, and one more for its residual
    critical    also the critical sharpness 2/η_c (arXiv 2601.16979), by some twenty forward passes

    Parameters, gradients, buffers, random state and optimizer are as before afterwards. An entry's eigenvalue lies within
    `residualNorm` of an eigenvalue; `converged` is residual ≤ 1e-3·|value|. Raises RuntimeError for an operation without
    a second derivative; attention runs on the math kernel, which has one.
    """
    given = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
    plain = names.plain_model(model)
    trained = _trained([names.unwrapped(optimizer) for optimizer in given])
    with undisturbed(plain):
        return _entries(plain, trained, loss, step, checkpoint or f"step {step}", iterations, critical)


def entries_of(recorder: Recorder, step: int, loss: Callable[[], torch.Tensor]) -> list[dict[str, Any]]:
    """The same for a recorder, at the parameters before `step`."""
    with undisturbed(recorder.model):
        return _entries(recorder.model, _trained(recorder.optimizers), loss, step, f"step {step}", 40, False)


def _trained(optimizers: Sequence[torch.optim.Optimizer]) -> Trained:
    return [(p, o, g) for o in optimizers for g in o.param_groups for p in g["params"] if p.requires_grad]


@contextlib.contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Buffers, random state and gradients are afterwards as before; attention runs on the kernel that has a second
    derivative."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({p.device.index for p in model.parameters() if p.is_cuda})
    python, numpy_state = random.getstate(), np.random.get_state()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(torch.enable_grad())
        attention = getattr(torch.nn, "attention", None)
        if attention is not None and hasattr(attention, "sdpa_kernel"):
            stack.enter_context(attention.sdpa_kernel(attention.SDPBackend.MATH))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


class Operator(NamedTuple):
    """S H S of a loss on the trained parameters: H the Hessian, S a diagonal (1, or the inverse root of what a step
    divides by)."""

    size: int
    like: torch.Tensor
    product: Callable[[torch.Tensor], torch.Tensor]


class Graph:
    """The loss with its gradient, kept so that it can be differentiated again."""

    def __init__(self, trained: Trained, loss: torch.Tensor) -> None:
        slopes = torch.autograd.grad(loss, [p for p, _, _ in trained], create_graph=True, allow_unused=True)
        used = [(t, s) for t, s in zip(trained, slopes) if s is not None and s.requires_grad]
        if not used:
            raise RuntimeError("the loss depends linearly, or not at all, on the trained parameters")
        self.trained = [t for t, _ in used]
        self.slopes = [s for _, s in used]
        self.inputs = [p for p, _, _ in self.trained]
        _check_differentiable(self.slopes)

    def operator(self, preconditioned: bool) -> Operator | None:
        """The plain or the preconditioned operator; None where some optimizer divides by nothing that is known."""
        scales = [torch.ones((), device=p.device) for p in self.inputs]
        if preconditioned:
            roots = [divisor(o, g, p, s.detach()) for (p, o, g), s in zip(self.trained, self.slopes)]
            if any(root is None for root in roots):
                return None
            scales = [torch.where(root > 0, root**-0.5, torch.zeros_like(root)) for root in roots if root is not None]

        def product(vector: torch.Tensor) -> torch.Tensor:
            parts = torch.split(vector, [p.numel() for p in self.inputs])
            vectors = [part.view_as(p).to(p) * s for part, p, s in zip(parts, self.inputs, scales)]
            out = torch.autograd.grad(self.slopes, self.inputs, vectors, retain_graph=True, allow_unused=True)
            flat = [
                ((torch.zeros_like(p) if o is None else o) * s).reshape(-1) for o, p, s in zip(out, self.inputs, scales)
            ]
            return torch.cat([part.to(vector) for part in flat])

        like = self.inputs[0].detach()
        like = like if like.dtype in (torch.float32, torch.float64) else like.float()
        return Operator(sum(p.numel() for p in self.inputs), like, product)


def divisor(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], parameter: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor | None:
    """P of a tensor, what the next step divides by, with this batch's own g² in it (docs/curvature.md); None for an
    optimizer that divides by nothing, or by what this does not know.

    Adagrad √(G+g²)+ε; Adam and AdamW √v̂+ε with v ← β₂v + (1−β₂)g², the largest v under amsgrad; RMSprop √v+ε, less
    the square of the mean where it is centered. Weight decay that is added to the gradient is in g.
    """
    kind = type(optimizer).__name__
    if not names.has_formula(optimizer) or kind == "SGD":
        return None
    state = optimizer.state.get(parameter, {})
    decay = group.get("weight_decay", 0)
    if decay and kind != "AdamW" and not group.get("decoupled_weight_decay"):
        gradient = gradient + decay * parameter.detach()
    square = gradient**2
    if kind == "Adagrad":
        return (state["sum"] + square).sqrt() + group["eps"] if "sum" in state else square.sqrt() + group["eps"]
    if kind == "RMSprop":
        rho = group["alpha"]
        second = rho * state.get("square_avg", torch.zeros_like(square)) + (1 - rho) * square
        if group["centered"]:
            mean = rho * state.get("grad_avg", torch.zeros_like(square)) + (1 - rho) * gradient
            second = second - mean**2
        return second.clamp(min=0).sqrt() + group["eps"]
    beta = float(group["betas"][1])
    second = beta * state.get("exp_avg_sq", torch.zeros_like(square)) + (1 - beta) * square
    if group["amsgrad"] and "max_exp_avg_sq" in state:
        second = torch.maximum(second, state["max_exp_avg_sq"])
    taken = float(state.get("step", 0))
    return (second / (1 - beta ** (taken + 1))).sqrt() + group["eps"]


def _check_differentiable(slopes: Sequence[torch.Tensor]) -> None:
    """Raises RuntimeError where a function that can be differentiated only once is in the graph: autograd leaves its part out
    of a product without a word."""
    seen = set()
    waiting = [s.grad_fn for s in slopes if s.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.name().rsplit(":", 1)[-1].startswith(("Error", "DelayedError")):
            raise RuntimeError("double backward: the model has a function that is marked once_differentiable")
        waiting += [following for following, _ in node.next_functions if following is not None]


def check_operator(operator: Operator) -> None:
    """Raises RuntimeError where a product repeated is another one (the model draws random numbers) or uᵀHv is not vᵀHu (a
    derivative is wrong)."""
    generator = torch.Generator().manual_seed(1)
    u, v = (torch.randn(operator.size, generator=generator).to(operator.like) for _ in range(2))
    hu, hv, again = operator.product(u), operator.product(v), operator.product(v)
    size = max(hu.norm().item() * v.norm().item(), hv.norm().item() * u.norm().item())
    if not (hv - again).norm().item() <= 1e-3 * hv.norm().item():
        raise RuntimeError("the same product twice gives two results")
    if not abs(torch.dot(u, hv).item() - torch.dot(v, hu).item()) <= 1e-3 * size:
        raise RuntimeError(
            "double backward: the products are not symmetric, so a second derivative of the model is wrong"
        )


class Limit(NamedTuple):
    """The largest eigenvalue at which a step is stable on a quadratic, with its formula."""

    rate: float
    value: float
    rule: str


def limit_of(trained: Trained, preconditioned: bool) -> Limit | None:
    """The limit of the optimizer at its largest learning rate, an upper bound for the ratio where rates differ; None
    where the operator is not the one its limit is about, or optimizers have different limits."""
    rules = {_rule(o, g, preconditioned) for _, o, g in trained}
    rates = {float(g["lr"]) for _, _, g in trained}
    rule = rules.pop() if len(rules) == 1 else None
    rate = max(rates) if rates else 0.0
    return Limit(rate, rule[0] / rate, rule[1]) if rule is not None and rate > 0 else None


def _rule(optimizer: torch.optim.Optimizer, group: dict[str, Any], preconditioned: bool) -> tuple[float, str] | None:
    kind = type(optimizer).__name__
    if not names.has_formula(optimizer) or preconditioned != (kind != "SGD"):
        return None
    if kind in ("Adam", "AdamW"):
        beta = float(group["betas"][0])
        return (2 + 2 * beta) / (1 - beta), "(2+2β₁)/((1−β₁)η) on P⁻¹H (arXiv 2207.14484)"
    momentum = float(group.get("momentum", 0))
    if kind == "SGD":
        if momentum and group["nesterov"]:
            return (2 + 2 * momentum) / (1 + 2 * momentum), "(2+2β)/((1+2β)η) (Nesterov)"
        if momentum:
            damped = 1 - float(group.get("dampening", 0))
            return (
                2 + 2 * momentum
            ) / damped, "(2+2β)/η (heavy ball)" if damped == 1 else "(2+2β)/((1−d)η) (heavy ball)"
        return 2.0, "2/η (gradient descent)"
    return 2 + 2 * momentum, "(2+2β)/η on P⁻¹H" if momentum else "2/η on P⁻¹H"


class Top(NamedTuple):
    """The largest algebraic eigenvalue that a Krylov space shows."""

    value: float
    residual: float
    largest_magnitude: float
    products: int
    vector: torch.Tensor


def top_eigenvalue(
    operator: Operator, iterations: int, start: torch.Tensor | None = None, tolerance: float = 0.0
) -> Top:
    """Lanczos with full reorthogonalisation, and one product more for the exact residual.

    start      a vector to start from, a random one if None
    tolerance  stops where the estimated residual is below this share of the value; 0 goes on to the end
    """
    if start is None:
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(operator.size, generator=generator).to(operator.like)
    basis, alphas, betas = [start / start.norm()], [], []
    for _ in range(min(iterations, operator.size)):
        w = operator.product(basis[-1])
        alphas.append(torch.dot(w, basis[-1]).item())
        for _ in range(2):
            for q in basis:
                w = w - torch.dot(w, q) * q
        betas.append(w.norm().item())
        if not (math.isfinite(betas[-1]) and betas[-1] > 1e-6 * max(map(abs, alphas))):
            break
        if tolerance and len(alphas) > 1:
            values, vectors = np.linalg.eigh(_tridiagonal(alphas, betas))
            if abs(betas[-1] * vectors[-1, -1]) <= tolerance * abs(values[-1]):
                break
        basis.append(w / betas[-1])
    n = len(alphas)
    matrix = _tridiagonal(alphas, betas)
    if not np.isfinite(matrix).all():
        return Top(math.nan, math.nan, math.nan, n, basis[0])
    values, vectors = np.linalg.eigh(matrix)
    v = sum((float(c) * q for c, q in zip(vectors[:, -1], basis)), torch.zeros_like(basis[0]))
    v = v / v.norm()
    hv = operator.product(v)
    value = torch.dot(v, hv).item()
    return Top(value, (hv - value * v).norm().item(), float(max(values[0], values[-1], key=abs)), n + 1, v)


def _tridiagonal(alphas: list[float], betas: list[float]) -> np.ndarray:
    n = len(alphas)
    return np.diag(alphas) + np.diag(betas[: n - 1], 1) + np.diag(betas[: n - 1], -1)


def _entries(
    model: torch.nn.Module,
    trained: Trained,
    loss: Callable[[], torch.Tensor],
    step: int,
    checkpoint: str,
    iterations: int,
    critical: bool,
) -> list[dict[str, Any]]:
    graph = Graph(trained, loss())
    entries: list[dict[str, Any]] = []
    for name, preconditioned in (("hessian", False), ("preconditioned-hessian", True)):
        operator = graph.operator(preconditioned)
        if operator is None:
            continue
        if not preconditioned:
            check_operator(operator)
        top = top_eigenvalue(operator, iterations)
        limit = limit_of(graph.trained, preconditioned)
        entries.append(
            {
                "checkpoint": checkpoint,
                "step": step,
                "method": "lanczos",
                "operator": name,
                "block": "all",
                "task": "all",
                "eigenvalues": [
                    {
                        "value": number(top.value),
                        "residualNorm": number(top.residual),
                        "iterations": top.products - 1,
                        "converged": bool(top.residual <= 1e-3 * abs(top.value)),
                    }
                ],
                "largestMagnitude": number(top.largest_magnitude),
                "hvpCount": top.products,
                "hvpMethod": "double backward",
                "stability": {
                    "learningRate": limit.rate if limit else max(float(g["lr"]) for _, _, g in trained),
                    "limit": limit.value if limit else None,
                    "ratio": number(top.value / limit.value) if limit else None,
                    **({"rule": limit.rule} if limit else {}),
                },
                "seed": 0,
                "backend": f"pytorch {torch.__version__}",
                "source": "recorded",
            }
        )
    if critical:
        found = critical_sharpness(trained, loss)
        for entry in entries:
            if found is not None and entry["stability"]["ratio"] is not None:
                entry["criticalSharpness"] = {"value": found[0], "criticalMultiple": number(found[1])}
    return entries


def critical_sharpness(trained: Trained, loss: Callable[[], torch.Tensor]) -> tuple[float, float] | None:
    """Critical sharpness 2/η_c along the optimizer's own update (arXiv 2601.16979), and η_c in multiples of the learning
    rate: the smallest step that raises the loss. Forward passes, after one gradient.

    Brackets by factors of 2 from 1/64 of the learning rate on, then bisects to 1 %. (0, ∞) where no step up to 4096
    times raises the loss; None where none lowers it by more than rounding before one raises it. Any optimizer whose
    `step` takes no closure.
    """
    parameters = [p for p, _, _ in trained]
    rate = max(float(g["lr"]) for _, _, g in trained)
    before = [p.detach().clone() for p in parameters]
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    kept = [p.grad for p in parameters]
    optimizers = list({id(o): o for _, o, _ in trained}.values())
    try:
        for p, gradient in zip(parameters, gradients):
            p.grad = gradient
        with torch.no_grad():
            for optimizer in optimizers:
                _step_of_a_copy(optimizer)
            updates = [b - p.detach() for b, p in zip(before, parameters)]
    finally:
        for p, gradient in zip(parameters, kept):
            p.grad = gradient
        _put(parameters, before)

    def loss_at(multiple: float) -> float:
        with torch.no_grad():
            for p, b, u in zip(parameters, before, updates):
                p.copy_(b - multiple * u)
            return float(loss())

    try:
        return _first_rise(loss_at, rate)
    finally:
        _put(parameters, before)


def _first_rise(loss_at: Callable[[float], float], rate: float) -> tuple[float, float] | None:
    here = loss_at(0.0)
    same, lowest = ROUNDING * abs(here), here

    def raises(multiple: float) -> bool:
        nonlocal lowest
        value = loss_at(multiple)
        lowest = min(lowest, value) if value == value else lowest
        return not value <= here + same

    high = 1 / 64
    while not raises(high):
        high *= 2
        if high > 4096:
            return 0.0, math.inf
    low = 0.0 if high == 1 / 64 else high / 2
    while high - low > 0.01 * high and high > 1e-12:
        middle = (low + high) / 2
        if raises(middle):
            high = middle
        else:
            low = middle
    return (2 / (high * rate), high) if lowest < here - same else None


def _put(parameters: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for p, value in zip(parameters, values):
            p.copy_(value)


def _step_of_a_copy(optimizer: torch.optim.Optimizer) -> None:
    """Takes the optimizer's step with a copy of its state, groups and without its hooks."""
    twin = copy.copy(optimizer)
    twin.param_groups = [dict(group) for group in optimizer.param_groups]
    twin.state = collections.defaultdict(dict)
    for parameter, state in optimizer.state.items():
        twin.state[parameter] = {
            key: value.clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)
            for key, value in state.items()
        }
    for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        if hasattr(twin, hooks):
            setattr(twin, hooks, collections.OrderedDict())
    type(optimizer).step(twin)

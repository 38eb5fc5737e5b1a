"""The top Hessian eigenvalue of any PyTorch model against what its optimizer tolerates, plain and preconditioned.

By double backward and Lanczos; critical sharpness by forward passes alone. docs/curvature.md defines the quantities.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import torch

from ..spectrum import Limit, Operator, entries_of_operators, first_rise, stability_rule
from . import words as names

if TYPE_CHECKING:
    from .recorder import Recorder

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

    model       in its present state: load a checkpoint into it, and into the optimizer, to measure that.
    optimizers  whose state gives the preconditioner and whose learning rate gives the limit.
    loss        computes the loss of a batch, a scalar; the same value at every call.
    step        named in the entries, with `checkpoint`.
    iterations  at most so many Hessian-vector products for each eigenvalue, and one more for its residual.
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
        size = sum(p.numel() for p in self.inputs)

        def random_vector(seed: int) -> torch.Tensor:
            return torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(like)

        return Operator(size, random_vector, product)


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
    """Raises RuntimeError where a function that can be differentiated only once is in the graph: autograd silently leaves its
    part out of a product."""
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


def limit_of(trained: Trained, preconditioned: bool) -> Limit | None:
    """The limit of the optimizer at its largest learning rate, an upper bound for the ratio where rates differ; None
    where the operator is not the one its limit is about, or optimizers have different limits."""
    counts = {id(o): names.steps_taken(o) for _, o, _ in trained}
    rules = {_rule(o, g, preconditioned, counts[id(o)] + 1) for _, o, g in trained}
    rates = {float(g["lr"]) for _, _, g in trained}
    rule = rules.pop() if len(rules) == 1 else None
    rate = max(rates) if rates else 0.0
    return Limit(rate, rule[0] / rate, rule[1]) if rule is not None and rate > 0 else None


def _rule(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], preconditioned: bool, step: int
) -> tuple[float, str] | None:
    if not names.has_formula(optimizer):
        return None
    options = {"step": step, "decay": group.get("lr_decay", 0), "beta1": group.get("betas", (0,))[0]}
    return stability_rule(type(optimizer).__name__, {**group, **options}, preconditioned)


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
    return entries_of_operators(
        {"hessian": graph.operator(False), "preconditioned-hessian": graph.operator(True)},
        lambda preconditioned: limit_of(graph.trained, preconditioned),
        max(float(g["lr"]) for _, _, g in trained),
        (lambda: critical_sharpness(trained, loss)) if critical else None,
        checkpoint=checkpoint,
        step=step,
        iterations=iterations,
        backend=f"pytorch {torch.__version__}",
    )


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
        return first_rise(loss_at, rate)
    finally:
        _put(parameters, before)


def _put(parameters: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for p, value in zip(parameters, values):
            p.copy_(value)


def _step_of_a_copy(optimizer: torch.optim.Optimizer) -> None:
    """Takes the optimizer's step with a copy of its state, groups and without its hooks."""
    twin = twin_of(optimizer)
    type(optimizer).step(twin)


def twin_of(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An optimizer of the same parameters with a copy of state and groups, without hooks and without what a scheduler put
    around its `step`: take steps by `type(optimizer).step(twin)`."""
    twin = copy.copy(optimizer)
    twin.__dict__.pop("step", None)
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
    return twin

"""What the guard measures of a step that is about to be taken, in one pass over gradients, state and parameters.

The formulas of the optimizers stand here in as few operations as they take, on parts that stay in a processor's cache: a check
is to cost a tenth of a step. The tests hold them against the steps that the optimizers then take.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from ..guarding import ABSOLUTE, LARGEST_SURPRISE, RELATIVE
from . import words as names

#: Entries that are worked on at a time: temporaries of them stay in a processor's cache; on a GPU fewer calls count more.
ON_CPU, ON_GPU = 2**15, 2**24
#: Keeps 0 / 0 of entries that never had a gradient at 0.
_TINY = 1e-30
#: What is measured of a part: Σg², max g², Σu², max |u|/(|w| + absolute/relative), max g²/(the state with g² in it); u is the update
#: without its learning rate.
_VALUES = 5
#: The slot that an optimizer divides by.
SQUARES = {"Adagrad": "sum", "RMSprop": "square_avg", "Adam": "exp_avg_sq", "AdamW": "exp_avg_sq"}

Named = list[tuple[str, torch.nn.Parameter, torch.optim.Optimizer, Mapping[str, Any]]]


class Measures(NamedTuple):
    """What is measured of a tensor."""

    name: str
    #: Sum of g², largest |g|, number of entries.
    square: float
    largest: float
    entries: int
    #: Sum of squares of the update that the optimizer is about to take, without decoupled decay; NaN where its formula is not known.
    update: float
    #: Clippy's factor of that update, 1 where it bounds nothing; NaN as `update`.
    factor: float
    #: Largest |g| over the root of the optimizer's state as it was before this gradient, 1000 at most; NaN where the optimizer
    #: divides by none, or before its first step.
    surprise: float


def measure(named: Named) -> list[Measures]:
    """Measures every parameter that has a gradient; the values come to the host in one copy."""
    scalars: list[torch.Tensor] = []
    counts: list[int] = []
    kinds: list[str | None] = []
    present = [entry for entry in named if entry[1].grad is not None]
    with torch.no_grad():
        for _, parameter, optimizer, group in present:
            state = optimizer.state.get(parameter, {})
            kind = type(optimizer).__name__ if names.has_formula(optimizer) else None
            kinds.append(kind)
            before = len(scalars)
            for gradient, weight, slots in _parts(parameter, state):
                scalars += _of_part(kind, group, gradient, weight, {**state, **slots})
            counts.append((len(scalars) - before) // _VALUES)
    device = scalars[0].device if scalars else None
    flat = torch.stack([value.to(device, torch.float32) for value in scalars]).tolist() if scalars else []
    found, at = [], 0
    for (name, parameter, optimizer, group), kind, count in zip(present, kinds, counts):
        rows = [flat[at + _VALUES * k : at + _VALUES * (k + 1)] for k in range(count)]
        at += _VALUES * count
        found.append(_of_tensor(name, parameter, kind, optimizer.state.get(parameter, {}), group, rows))
    return found


def _of_tensor(
    name: str,
    parameter: torch.nn.Parameter,
    kind: str | None,
    state: Mapping[str, Any],
    group: Mapping[str, Any],
    rows: list[list[float]],
) -> Measures:
    assert parameter.grad is not None
    entries = parameter.grad._values().numel() if parameter.grad.is_sparse else parameter.numel()
    rate = math.nan if kind is None else _rate(kind, group, state)
    most = rate * _most(row[3] for row in rows)
    return Measures(
        name,
        sum(row[0] for row in rows),
        math.sqrt(_most(row[1] for row in rows)),
        entries,
        rate * rate * sum(row[2] for row in rows),
        math.nan if math.isnan(most) else min(1.0, RELATIVE / most) if most > 0 else 1.0,
        math.nan
        if kind is None or SQUARES.get(kind) not in state
        else _surprise(kind, group, state, _most(row[4] for row in rows)),
    )


def _most(values: Iterable[float]) -> float:
    """The largest; NaN where one is."""
    largest = 0.0
    for value in values:
        if math.isnan(value):
            return math.nan
        largest = max(largest, value)
    return largest


def _taken(state: Mapping[str, Any]) -> float:
    return float(state.get("step", 0))


def _rate(kind: str, group: Mapping[str, Any], state: Mapping[str, Any]) -> float:
    """What the update of `_of_part` is multiplied by."""
    rate = float(group["lr"])
    if kind == "Adagrad":
        return rate / (1 + _taken(state) * float(group.get("lr_decay", 0)))
    if kind in ("Adam", "AdamW"):
        first = 1 - float(group["betas"][0]) ** (_taken(state) + 1)
        return rate * _bias(group, state) / float(first)
    return rate


def _surprise(kind: str, group: Mapping[str, Any], state: Mapping[str, Any], ratio: float) -> float:
    """From r = g² / (state with g² in it) to |g| / √(state without): the state without is (state with) - share·g²."""
    if kind == "Adagrad":
        kept, share, unbiased = 1.0, 1.0, 1.0
    else:
        kept = float(group["alpha"] if kind == "RMSprop" else group["betas"][1])
        share = 1 - kept
        unbiased = 1.0 if kind == "RMSprop" else 1 - kept ** _taken(state)
    left = 1 - share * ratio
    squared = kept * unbiased * ratio
    if math.isnan(squared):
        return math.nan
    return min(LARGEST_SURPRISE, math.sqrt(squared / left)) if left > 0 else LARGEST_SURPRISE


def _parts(
    parameter: torch.nn.Parameter, state: Mapping[str, Any]
) -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]]:
    """Gradient, weight and slots, flat, a part at a time; of a sparse gradient the rows that it has."""
    gradient, weight = parameter.grad, parameter.detach()
    assert gradient is not None
    slots = {k: v for k, v in state.items() if isinstance(v, torch.Tensor) and v.dim() and v.shape == weight.shape}
    if gradient.is_sparse:
        gradient = gradient.coalesce()
        if gradient.sparse_dim() == 1:
            rows = gradient.indices()[0]
            weight, slots = weight[rows], {k: v[rows] for k, v in slots.items()}
            gradient = gradient.values()
        else:
            gradient = gradient.to_dense()
    kind = gradient.dtype if gradient.dtype in (torch.float32, torch.float64) else torch.float32
    flat = [tensor.reshape(-1) for tensor in (gradient, weight, *slots.values())]
    size = ON_GPU if weight.is_cuda else ON_CPU
    for at in range(0, flat[0].numel(), size):
        own, near, *others = (tensor[at : at + size].to(kind) for tensor in flat)
        yield own, near, dict(zip(slots, others))


def _of_part(
    kind: str | None, group: Mapping[str, Any], gradient: torch.Tensor, weight: torch.Tensor, state: Mapping[str, Any]
) -> list[torch.Tensor]:
    """The _VALUES of a part. `amax` of squares and of absolute values, not a norm of infinite order: that is ten times slower."""
    squares = gradient * gradient
    square, largest = squares.sum(), squares.amax()
    if kind is None:
        unknown = square.new_full((), math.nan)
        return [square, largest, unknown, unknown, unknown]
    decay = float(group.get("weight_decay", 0))
    if decay and kind != "AdamW" and not group.get("decoupled_weight_decay"):
        gradient = torch.add(gradient, weight, alpha=decay)
        squares = torch.mul(gradient, gradient, out=squares)
    update, ratio = _update(kind, group, gradient, squares, state)
    total = torch.dot(update, update)
    bound = weight.abs().add_(ABSOLUTE / RELATIVE)
    return [square, largest, total, torch.div(update, bound, out=bound).abs_().amax(), ratio]


def _update(
    kind: str, group: Mapping[str, Any], gradient: torch.Tensor, squares: torch.Tensor, state: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next update over its rate, and the largest g² over the state that it is divided by."""
    if kind == "SGD":
        nothing, momentum = gradient.new_zeros(()), float(group.get("momentum", 0))
        if not momentum:
            return gradient, nothing
        buffer = state.get("momentum_buffer")
        new = gradient
        if buffer is not None:
            new = torch.add(buffer * momentum, gradient, alpha=1 - float(group.get("dampening", 0)))
        return torch.add(gradient, new, alpha=momentum) if group.get("nesterov") else new, nothing
    slot, share, kept = SQUARES[kind], 1.0, 1.0
    if kind != "Adagrad":
        kept = float(group["alpha"] if kind == "RMSprop" else group["betas"][1])
        share = 1 - kept
    second = torch.mul(state[slot], kept) if slot in state else torch.zeros_like(gradient)
    second = second.add_(squares, alpha=share).add_(_TINY)
    ratio = torch.div(squares, second, out=squares).amax()
    if group.get("amsgrad") and "max_exp_avg_sq" in state:
        second = torch.maximum(second, state["max_exp_avg_sq"])
    elif group.get("centered"):
        mean = (1 - kept) * gradient
        if "grad_avg" in state:
            mean = mean.add_(state["grad_avg"], alpha=kept)
        second = second.addcmul_(mean, mean, value=-1).clamp_(min=0)
    divisor, epsilon = second.sqrt_(), float(group["eps"])
    if kind == "Adagrad":
        return torch.div(gradient, divisor.add_(epsilon), out=divisor), ratio
    if kind == "RMSprop":
        update = torch.div(gradient, divisor.add_(epsilon), out=divisor)
        momentum = float(group.get("momentum", 0))
        if momentum and "momentum_buffer" in state:
            update = update.add_(state["momentum_buffer"], alpha=momentum)
        return update, ratio
    beta = float(group["betas"][0])
    first = torch.lerp(state["exp_avg"], gradient, 1 - beta) if "exp_avg" in state else gradient * (1 - beta)
    return first.div_(divisor.add_(epsilon * _bias(group, state))), ratio


def _bias(group: Mapping[str, Any], state: Mapping[str, Any]) -> float:
    """What Adam divides the root of its second moment by."""
    return math.sqrt(1 - float(group["betas"][1]) ** (_taken(state) + 1))

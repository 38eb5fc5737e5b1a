"""What the guard measures of a step that is about to be taken, in one pass over gradients, state and parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from . import words as names
from .curvature import divisor_of

#: Entries that are worked on at a time: temporaries of them stay in a processor's cache; on a GPU fewer calls count more.
ON_CPU, ON_GPU = 2**15, 2**24
#: Clippy's bounds (arXiv 2302.09178, appendix): |update| ≤ relative·|w| + absolute.
RELATIVE, ABSOLUTE = 0.5, 1e-2


class Tensors(NamedTuple):
    """Values by tensor, in the order of `names`."""

    names: list[str]
    #: Sum of g².
    square: list[float]
    #: Largest |g| over what the optimizer divides by, with this gradient left out of it; NaN where there is none yet.
    surprise: list[float]
    #: Sum of squares of the update that the optimizer is about to take; NaN where its formula is not known.
    update: list[float]
    #: Clippy's factor of the update, 1 where it bounds nothing; NaN as `update`.
    factor: list[float]
    #: Largest |g|, number of entries, and whether the optimizer divides by a state of its own.
    largest: list[float]
    entries: list[int]
    divides: list[bool]


class Part(NamedTuple):
    """Entries of a tensor."""

    gradient: torch.Tensor
    weight: torch.Tensor
    state: dict[str, Any]


#: The slot that an optimizer divides by.
SQUARES = {"Adagrad": "sum", "RMSprop": "square_avg", "Adam": "exp_avg_sq", "AdamW": "exp_avg_sq"}


def measure(named: list[tuple[str, torch.nn.Parameter, torch.optim.Optimizer, Mapping[str, Any]]]) -> Tensors:
    """Measures every parameter that has a gradient; the values come to the host in one copy."""
    rows: list[torch.Tensor] = []
    found: list[str] = []
    entries: list[int] = []
    divides: list[bool] = []
    with torch.no_grad():
        for name, parameter, optimizer, group in named:
            if parameter.grad is None:
                continue
            kind = type(optimizer).__name__ if names.has_formula(optimizer) else None
            found.append(name)
            rows.append(_of_tensor(kind, parameter, optimizer.state.get(parameter, {}), dict(group)))
            entries.append(parameter.grad._values().numel() if parameter.grad.is_sparse else parameter.numel())
            divides.append(kind in SQUARES)
    table = torch.stack([row.to(rows[0].device) for row in rows]).tolist() if rows else []
    return Tensors(
        found,
        [row[0] for row in table],
        [math.sqrt(row[1]) if row[1] >= 0 else math.nan for row in table],
        [row[2] for row in table],
        [min(1.0, math.sqrt(1 / row[3])) if row[3] > 0 else 1.0 if row[3] == 0 else math.nan for row in table],
        [math.sqrt(row[4]) if row[4] >= 0 else math.nan for row in table],
        entries,
        divides,
    )


def _of_tensor(
    kind: str | None, parameter: torch.nn.Parameter, state: Mapping[str, Any], group: dict[str, Any]
) -> torch.Tensor:
    found: torch.Tensor | None = None
    for part in _parts(parameter, state):
        row = torch.stack(_of_part(kind, group, part)).float()
        # The first and the third are sums, the others largest values.
        found = row if found is None else torch.where(_SUMS.to(row.device), found + row, torch.maximum(found, row))
    return torch.zeros(5, device=parameter.device) if found is None else found


_SUMS = torch.tensor([True, False, True, False, False])


def _parts(parameter: torch.nn.Parameter, state: Mapping[str, Any]) -> Iterator[Part]:
    gradient = parameter.grad
    assert gradient is not None
    weight = parameter.detach()
    slots = {k: v for k, v in state.items() if isinstance(v, torch.Tensor) and v.shape == weight.shape and v.dim()}
    other = {k: v for k, v in state.items() if k not in slots}
    if gradient.is_sparse:
        gradient = gradient.coalesce()
        if gradient.sparse_dim() == 1:
            rows = gradient.indices()[0]
            weight, slots = weight[rows], {k: v[rows] for k, v in slots.items()}
            gradient = gradient.values()
        else:
            gradient = gradient.to_dense()
    size = ON_GPU if weight.is_cuda else ON_CPU
    if weight.numel() <= size or not (weight.is_contiguous() and gradient.is_contiguous()):
        yield Part(gradient, weight, {**other, **slots})
        return
    flat, values = weight.reshape(-1), gradient.reshape(-1)
    flats = {k: v.reshape(-1) for k, v in slots.items()}
    for at in range(0, flat.numel(), size):
        yield Part(
            values[at : at + size], flat[at : at + size], {**other, **{k: v[at : at + size] for k, v in flats.items()}}
        )


def _of_part(kind: str | None, group: dict[str, Any], part: Part) -> list[torch.Tensor]:
    """Σg², max (g/divisor)², Σ update², max (update/bound)², max g²."""
    gradient = part.gradient if part.gradient.dtype in (torch.float32, torch.float64) else part.gradient.float()
    squares = gradient * gradient
    total = squares.sum()
    if not gradient.numel():
        return [total] * 5
    unknown, largest = total.new_full((), math.nan), squares.max()
    if kind is None:
        return [total, unknown, unknown, unknown, largest]
    update, surprise = _update(kind, group, part._replace(gradient=gradient), squares)
    bound = part.weight.abs().mul_(RELATIVE).add_(ABSOLUTE)
    return [total, surprise, (update * update).sum(), ((update / bound) ** 2).max(), largest]


def _update(kind: str, group: dict[str, Any], part: Part, squares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The optimizer's next update of these entries, without the part of decoupled decay, and the largest squared surprise."""
    gradient, state = part.gradient, part.state
    rate = float(group["lr"])
    decay = group.get("weight_decay", 0)
    if decay and kind != "AdamW" and not group.get("decoupled_weight_decay"):
        gradient = gradient + decay * part.weight
    unknown = squares.new_full((), math.nan)
    plain = {**group, "weight_decay": 0}
    divisor = divisor_of(kind, plain, state, part.weight, gradient)
    slot = SQUARES.get(kind)
    surprise = unknown
    if slot is not None and slot in state:
        before = state[slot]
        if slot == "exp_avg_sq":
            before = before / max(1e-12, 1 - group["betas"][1] ** float(state.get("step", 0)))
        surprise = (squares / (before + 1e-16)).max()
    if kind == "SGD":
        momentum = group.get("momentum", 0)
        if not momentum:
            return gradient * rate, surprise
        buffer = state.get("momentum_buffer")
        new = gradient if buffer is None else momentum * buffer + (1 - group.get("dampening", 0)) * gradient
        return rate * (gradient + momentum * new if group.get("nesterov") else new), surprise
    assert divisor is not None
    if kind == "Adagrad":
        rate /= 1 + float(state.get("step", 0)) * group.get("lr_decay", 0)
        return gradient / divisor * rate, surprise
    if kind == "RMSprop":
        update = gradient / divisor
        if group.get("momentum") and "momentum_buffer" in state:
            update = update + group["momentum"] * state["momentum_buffer"]
        return update * rate, surprise
    beta = float(group["betas"][0])
    first = (1 - beta) * gradient
    if "exp_avg" in state:
        first = first + beta * state["exp_avg"]
    return first / divisor * (rate / (1 - beta ** (float(state.get("step", 0)) + 1))), surprise

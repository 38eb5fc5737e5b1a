"""What the guard measures of a step that is about to be taken, in one pass over gradients, state and parameters.

The formulas of the optimizers stand here in as few operations as they take, on parts that stay in a processor's cache: a check
is to cost a tenth of a step. The tests hold them against the steps that the optimizers then take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..guarding import ABSOLUTE, LARGEST_SURPRISE, RELATIVE
from ..rules import Rules
from . import words as names

#: Entries that are worked on at a time: temporaries of them stay in a processor's cache; on a GPU fewer calls count more.
ON_CPU, ON_GPU = 2**18, 2**24
#: What is measured of a part: Σg², max |g| (0 where the optimizer divides by its state), Σu², max |u|/(|w| + _NEAR) or a larger
#: value where that bounds nothing, max |g|/√(the state with g² in it); u is the update without its learning rate.
_VALUES = 5
#: Clippy's bound is relative·(|w| + _NEAR).
_NEAR = ABSOLUTE / RELATIVE
#: The slot that an optimizer divides by.
SQUARES = {"Adagrad": "sum", "RMSprop": "square_avg", "Adam": "exp_avg_sq", "AdamW": "exp_avg_sq"}

#: Stands for NaN where the largest over ranks is taken; all else is above it.
_UNKNOWN = -2.0

Named = list[tuple[str, torch.nn.Parameter, torch.optim.Optimizer, Mapping[str, Any]]]
Reduce = Callable[[torch.Tensor], torch.Tensor]


class Measures(NamedTuple):
    """What is measured of a tensor."""

    name: str
    #: Sum of g², largest |g| where there is no surprise, number of entries.
    square: float
    largest: float
    entries: int
    #: Sum of squares of the update that the optimizer is about to take, decoupled decay and the loop's clipping by norm or value
    #: included; NaN where its formula is not known.
    update: float
    #: Clippy's factor of that update without the decay, 1 where it bounds nothing; NaN as `update`.
    factor: float
    #: Largest |g| over the root of the optimizer's state as it was before this gradient, 1000 at most; NaN where the optimizer
    #: divides by none, or before its first step.
    surprise: float


class Found(NamedTuple):
    """What is measured of a step."""

    tensors: list[Measures]
    loss: float


def measure(named: Named, loss: torch.Tensor, clipping: Rules = ()) -> Found:
    """Measures every parameter that has a gradient, of a sharded one what this rank holds. The values come to the host in one
    copy, with the loss; counts of steps that an optimizer keeps on a GPU (`fused`, `capturable`) in one before it.

    clipping  the loop's own: one rule "global-norm" or "value" is applied to the gradient of the update, others are not"""
    scalars: list[torch.Tensor] = []
    counts: list[int] = []
    present = [entry for entry in named if entry[1].grad is not None]
    states = _states(present)
    kinds = [type(o).__name__ if names.has_formula(o) else None for _, _, o, _ in present]
    with torch.no_grad():
        clipped = _clipped_by(clipping, [parameter.grad for _, parameter, _, _ in present])
        for (_, parameter, _, group), state, kind in zip(present, states, kinds):
            before = len(scalars)
            rate = math.nan if kind is None else _rate(kind, group, state)
            for gradient, weight, slots in _parts(parameter, state):
                scalars += _of_part(kind, group, gradient, weight, {**state, **slots}, rate, clipped)
            counts.append((len(scalars) - before) // _VALUES)
    scalars.append(loss.detach().reshape(()))
    device = scalars[0].device
    *flat, value = torch.stack([scalar.to(device, torch.float32) for scalar in scalars]).tolist()
    tensors, at = [], 0
    for (name, parameter, _, group), state, kind, count in zip(present, states, kinds, counts):
        rows = [flat[at + _VALUES * k : at + _VALUES * (k + 1)] for k in range(count)]
        at += _VALUES * count
        tensors.append(_of_tensor(name, parameter, kind, state, group, rows))
    return Found(tensors, value)


def _clipped_by(
    clipping: Rules, gradients: Sequence[torch.Tensor | None]
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What the loop's clipping makes of a part of a gradient, computed without waiting for a GPU; None without such a rule, or with
    several of them."""
    rule, options = clipping[0] if len(clipping) == 1 else ("none", {})
    if rule == "value":
        limit = float(options["clipValue"])
        return lambda gradient: gradient.clamp(-limit, limit)
    whole = [names.local(g._values() if g.is_sparse else g).float().norm() for g in gradients if g is not None]
    if rule != "global-norm" or not whole:
        return None
    norm = torch.stack([one.to(whole[0].device) for one in whole]).norm()
    factor = (options["maxNorm"] / (norm + 1e-6)).clamp(max=1.0)
    return lambda gradient: gradient * factor.to(gradient)


def _states(present: Named) -> list[dict[str, Any]]:
    """The optimizer's state of each parameter, with its count of steps on the host."""
    states = [dict(optimizer.state.get(parameter, {})) for _, parameter, optimizer, _ in present]
    away = [s for s in states if isinstance(s.get("step"), torch.Tensor) and s["step"].device.type != "cpu"]
    if away:
        steps = torch.stack([state["step"].reshape(()).float() for state in away]).tolist()
        for state, step in zip(away, steps):
            state["step"] = step
    return states


def over_ranks(found: list[Measures], named: Named, total: Reduce, most: Reduce) -> list[Measures]:
    """What is measured of whole tensors of which each rank holds a shard; the same on all ranks.

    found        what this rank measured
    total, most  the sum and the largest of a tensor over all ranks, in place
    """
    own = {one.name: one for one in found}
    sums, tops = [], []
    for name, parameter, *_ in named:
        one = own.get(name)
        if one is None:
            sums.append([0.0] * 4)
            tops.append([_UNKNOWN] * 3)
        else:
            sums.append([value / _copies(parameter) for value in (1.0, one.square, one.entries, one.update)])
            tops.append([_UNKNOWN if math.isnan(v) else v for v in (one.largest, -one.factor, one.surprise)])
    whole_sums = total(torch.tensor(sums, dtype=torch.float32)).tolist()
    whole_tops = most(torch.tensor(tops, dtype=torch.float32)).tolist()
    joined = []
    for (name, *_), (there, square, entries, update), top in zip(named, whole_sums, whole_tops):
        largest, factor, surprise = (math.nan if value == _UNKNOWN else value for value in top)
        if there:
            joined.append(Measures(name, square, largest, round(entries), update, -factor, surprise))
    return joined


def _copies(parameter: torch.Tensor) -> float:
    """How many ranks hold the same entries of a parameter."""
    mesh, placements = getattr(parameter, "device_mesh", None), getattr(parameter, "placements", ())
    return (
        math.prod(mesh.size(k) for k, one in enumerate(placements) if one.is_replicate()) if mesh is not None else 1.0
    )


def _of_tensor(
    name: str,
    parameter: torch.nn.Parameter,
    kind: str | None,
    state: Mapping[str, Any],
    group: Mapping[str, Any],
    rows: list[list[float]],
) -> Measures:
    assert parameter.grad is not None
    entries = parameter.grad._values().numel() if parameter.grad.is_sparse else names.local(parameter).numel()
    rate = math.nan if kind is None else _rate(kind, group, state)
    most = rate * _most(row[3] for row in rows)
    return Measures(
        name,
        sum(row[0] for row in rows),
        _most(row[1] for row in rows),
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


def _surprise(kind: str, group: Mapping[str, Any], state: Mapping[str, Any], root: float) -> float:
    """From |g| / √(state with g² in it) to |g| / √(state without): the state without is (state with) - share·g²."""
    ratio = root * root
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
    assert parameter.grad is not None
    gradient, weight = names.local(parameter.grad), names.local(parameter.detach())
    slots = {
        k: names.local(v)
        for k, v in state.items()
        if isinstance(v, torch.Tensor) and v.dim() and v.shape == parameter.shape
    }
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
    kind: str | None,
    group: Mapping[str, Any],
    gradient: torch.Tensor,
    weight: torch.Tensor,
    state: Mapping[str, Any],
    rate: float,
    clipped: Callable[[torch.Tensor], torch.Tensor] | None,
) -> list[torch.Tensor]:
    """The _VALUES of a part."""
    square, nothing = torch.dot(gradient, gradient), gradient.new_zeros(())
    largest = nothing if SQUARES.get(kind or "") in state else _largest(gradient)
    if kind is None:
        unknown = square.new_full((), math.nan)
        return [square, largest, unknown, unknown, unknown]
    raw = gradient
    if clipped is not None:
        gradient = clipped(gradient)
    decay = float(group.get("weight_decay", 0))
    decoupled = kind == "AdamW" or bool(group.get("decoupled_weight_decay"))
    if decay and not decoupled:
        gradient = torch.add(gradient, weight, alpha=decay)
    update, ratio = _update(kind, group, gradient, state)
    if decay and decoupled and rate:
        # The decay takes lr·decay·w off; `rate`, by which the update is multiplied later, has the bias corrections in it.
        moved = torch.add(update, weight, alpha=float(group["lr"]) * decay / rate)
        total = torch.dot(moved, moved)
    else:
        total = square if update is raw else torch.dot(update, update)
    most = _largest(update)
    bound = most / _NEAR
    # Where the largest update is below the bound of a weight of 0 no weight has to be read. A GPU would have to wait for that.
    if weight.is_cuda or not rate * float(bound) <= RELATIVE:
        near = weight.abs().add_(_NEAR)
        bound = _largest(torch.div(update, near, out=near))
    return [square, largest, total, bound, most if ratio is None else ratio]


def _largest(values: torch.Tensor) -> torch.Tensor:
    """The largest absolute value; NaN where one is. In one pass; a norm of infinite order takes ten times as long."""
    low, high = torch.aminmax(values)
    return torch.maximum(high, -low)


def _update(
    kind: str, group: Mapping[str, Any], gradient: torch.Tensor, state: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The next update over its rate, and the largest |g| over the root of the state that has g² in it; None where that is the
    largest entry of the update."""
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
    if slot not in state:
        second = torch.mul(gradient, gradient).mul_(share)
    elif kind == "Adagrad":
        second = torch.addcmul(state[slot], gradient, gradient)
    else:
        second = torch.mul(state[slot], kept).addcmul_(gradient, gradient, value=share)
    epsilon, ratio = float(group["eps"]), None
    if group.get("amsgrad") or group.get("centered"):
        ratio = _largest(torch.div(gradient, second.sqrt().add_(epsilon)))
    if group.get("amsgrad") and "max_exp_avg_sq" in state:
        second = torch.maximum(second, state["max_exp_avg_sq"])
    elif group.get("centered"):
        mean = (1 - kept) * gradient
        if "grad_avg" in state:
            mean = mean.add_(state["grad_avg"], alpha=kept)
        second = second.addcmul_(mean, mean, value=-1).clamp_(min=0)
    divisor = second.sqrt_()
    if kind in ("Adagrad", "RMSprop"):
        update = torch.div(gradient, divisor.add_(epsilon), out=divisor)
        momentum = float(group.get("momentum", 0))
        if momentum and "momentum_buffer" in state:
            ratio = _largest(update) if ratio is None else ratio
            update = update.add_(state["momentum_buffer"], alpha=momentum)
        return update, ratio
    divisor = divisor.add_(epsilon * _bias(group, state))
    if ratio is None:
        ratio = _largest(torch.div(gradient, divisor))
    beta = float(group["betas"][0])
    first = torch.lerp(state["exp_avg"], gradient, 1 - beta) if "exp_avg" in state else gradient * (1 - beta)
    return first.div_(divisor), ratio


def _bias(group: Mapping[str, Any], state: Mapping[str, Any]) -> float:
    """What Adam divides the root of its second moment by."""
    return math.sqrt(1 - float(group["betas"][1]) ** (_taken(state) + 1))

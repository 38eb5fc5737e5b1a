"""What the guard measures of a step that is about to be taken, in one pass over gradients, state and parameters.

The formulas of the optimizers use as few operations as possible, on parts that stay in a processor's cache: a check should
cost a tenth of a step. The tests compare them with the steps that the optimizers then take.
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
#: Entries up to which tensors are measured together.
SMALL = 2**14
#: What is measured of a part: Σg², max |g| (0 where the optimizer divides by its state), Σu², max |u|/(|w| + _NEAR) or a larger
#: value where that bounds nothing, max |g|/√(the state with g² in it); u is the update without its learning rate.
_VALUES = 5
#: Clippy's bound is relative·(|w| + _NEAR).
_NEAR = ABSOLUTE / RELATIVE
#: The slot that an optimizer divides by.
SQUARES = {"Adagrad": "sum", "RMSprop": "square_avg", "Adam": "exp_avg_sq", "AdamW": "exp_avg_sq"}

#: Replaces NaN where the largest over ranks is taken; every other value is above it.
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


class _Entry(NamedTuple):
    """A parameter that has a gradient."""

    name: str
    parameter: torch.nn.Parameter
    group: Mapping[str, Any]
    state: dict[str, Any]
    #: The optimizer's class where its formula is known.
    kind: str | None
    #: What the update is multiplied by; NaN where its formula is not known.
    rate: float


class _Part(NamedTuple):
    """Entries that are worked on at once: a part of one tensor, or several small tensors one after the other."""

    entries: list[_Entry]
    gradient: torch.Tensor
    weight: torch.Tensor
    slots: dict[str, torch.Tensor]
    #: How many entries each tensor has; None for a part of one.
    lengths: torch.Tensor | None


def measure(named: Named, loss: torch.Tensor, clipping: Rules = ()) -> Found:
    """Measures every parameter that has a gradient, of a sharded one what this rank holds. The values come to the host in one
    copy, with the loss; counts of steps that an optimizer keeps on a GPU (`fused`, `capturable`) in one before it.

    clipping  the loop's own: one rule "global-norm" or "value" is applied to the gradient of the update, others are not"""
    present = _present(named)
    with torch.no_grad():
        clipped = _clipped_by(clipping, [entry.parameter.grad for entry in present])
        parts = list(_parts_of(present))
        values = [value.reshape(-1) for part in parts for value in _of_part(part, clipped)]
    device = values[0].device if values else loss.device
    flat = torch.cat(
        [*(value.to(device, torch.float32) for value in values), loss.detach().reshape(1).to(device, torch.float32)]
    )
    *found, own_loss = flat.tolist()
    rows: dict[int, list[list[float]]] = {id(entry): [] for entry in present}
    at = 0
    for part in parts:
        count = len(part.entries)
        for k, entry in enumerate(part.entries):
            rows[id(entry)].append(found[at + k : at + count * _VALUES : count])
        at += count * _VALUES
    return Found([_of_tensor(entry, rows[id(entry)]) for entry in present], own_loss)


def _present(named: Named) -> list[_Entry]:
    """The parameters that have a gradient, with their optimizer's state and its count of steps on the host."""
    has_formula = {
        id(optimizer): names.has_formula(optimizer) for optimizer in {id(o): o for _, _, o, _ in named}.values()
    }
    given = [entry for entry in named if entry[1].grad is not None]
    states = _states(given)
    kinds = [type(optimizer).__name__ if has_formula[id(optimizer)] else None for _, _, optimizer, _ in given]
    return [
        _Entry(name, parameter, group, state, kind, math.nan if kind is None else _rate(kind, group, state))
        for (name, parameter, _, group), state, kind in zip(given, states, kinds)
    ]


def _clipped_by(
    clipping: Rules, gradients: Sequence[torch.Tensor | None]
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What the loop's clipping makes of a part of a gradient, computed without waiting for a GPU; None without such a rule, or with
    several of them."""
    rule, options = clipping[0] if len(clipping) == 1 else ("none", {})
    if rule == "value":
        limit = float(options["clipValue"])
        return lambda gradient: gradient.clamp(-limit, limit)
    if rule != "global-norm":
        return None
    whole = [names.local(g._values() if g.is_sparse else g).float().norm() for g in gradients if g is not None]
    if not whole:
        return None
    norm = torch.stack([one.to(whole[0].device) for one in whole]).norm()
    factor = (options["maxNorm"] / (norm + 1e-6)).clamp(max=1.0)
    return lambda gradient: gradient * factor.to(gradient)


def _states(present: Named) -> list[dict[str, Any]]:
    """The optimizer's state of each parameter, with its count of steps on the host."""
    states = [dict(optimizer.state.get(parameter, {})) for _, parameter, optimizer, _ in present]
    for state in states:
        if isinstance(state.get("step"), torch.Tensor) and state["step"].device.type == "cpu":
            state["step"] = float(state["step"])
    away = [s for s in states if isinstance(s.get("step"), torch.Tensor)]
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


def _of_tensor(entry: _Entry, rows: list[list[float]]) -> Measures:
    gradient = entry.parameter.grad
    assert gradient is not None
    entries = gradient._values().numel() if gradient.is_sparse else names.local(entry.parameter).numel()
    most = entry.rate * _most(row[3] for row in rows)
    return Measures(
        entry.name,
        sum(row[0] for row in rows),
        _most(row[1] for row in rows),
        entries,
        entry.rate * entry.rate * sum(row[2] for row in rows),
        math.nan if math.isnan(most) else min(1.0, RELATIVE / most) if most > 0 else 1.0,
        math.nan
        if entry.kind is None or SQUARES.get(entry.kind) not in entry.state
        else _surprise(entry.kind, entry.group, entry.state, _most(row[4] for row in rows)),
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


def _slots(entry: _Entry) -> dict[str, torch.Tensor]:
    """The optimizer's state that has the shape of the parameter."""
    shape = entry.parameter.shape
    return {
        k: names.local(v)
        for k, v in entry.state.items()
        if isinstance(v, torch.Tensor) and v.dim() and v.shape == shape
    }


def _parts_of(present: list[_Entry]) -> Iterator[_Part]:
    """Small dense tensors whose steps have the same options and counts together, since a call for each would take longer than its
    work; every other tensor in parts of its own."""
    together: dict[Any, list[tuple[_Entry, list[torch.Tensor]]]] = {}
    for entry in present:
        gradient = entry.parameter.grad
        assert gradient is not None
        if gradient.is_sparse or entry.parameter.numel() > SMALL or not entry.parameter.dim():
            yield from _parts_alone(entry)
            continue
        slots = _slots(entry)
        own = [names.local(gradient), names.local(entry.parameter.detach()), *slots.values()]
        kinds = tuple(tensor.dtype for tensor in own)
        key = (id(entry.group), entry.kind, entry.rate, entry.state.get("step"), tuple(slots), kinds, own[0].device)
        together.setdefault(key, []).append((entry, own))
    for (_, _, _, _, slot_names, _, device), members in together.items():
        entries = [entry for entry, _ in members]
        if len(entries) == 1:
            yield from _parts_alone(entries[0])
            continue
        kind = _worked_in(members[0][1][0])
        flat = [torch.cat([own[k].reshape(-1) for _, own in members]).to(kind) for k in range(len(members[0][1]))]
        lengths = torch.tensor([own[0].numel() for _, own in members], device=device)
        yield _Part(entries, flat[0], flat[1], dict(zip(slot_names, flat[2:])), lengths)


def _worked_in(gradient: torch.Tensor) -> torch.dtype:
    return gradient.dtype if gradient.dtype in (torch.float32, torch.float64) else torch.float32


def _parts_alone(entry: _Entry) -> Iterator[_Part]:
    """Gradient, weight and slots of a tensor, flat, a part at a time; of a sparse gradient the rows that it has."""
    assert entry.parameter.grad is not None
    gradient, weight = names.local(entry.parameter.grad), names.local(entry.parameter.detach())
    slots = _slots(entry)
    if gradient.is_sparse:
        gradient = gradient.coalesce()
        if gradient.sparse_dim() == 1:
            rows = gradient.indices()[0]
            weight, slots = weight[rows], {k: v[rows] for k, v in slots.items()}
            gradient = gradient.values()
        else:
            gradient = gradient.to_dense()
    kind = _worked_in(gradient)
    flat = [tensor.reshape(-1) for tensor in (gradient, weight, *slots.values())]
    size = ON_GPU if weight.is_cuda else ON_CPU
    for at in range(0, flat[0].numel(), size):
        own, near, *others = (tensor[at : at + size].to(kind) for tensor in flat)
        yield _Part([entry], own, near, dict(zip(slots, others)), None)


def _of_part(part: _Part, clipped: Callable[[torch.Tensor], torch.Tensor] | None) -> list[torch.Tensor]:
    """The _VALUES of a part, each for every tensor in it."""
    first = part.entries[0]
    kind, group, rate, lengths = first.kind, first.group, first.rate, part.lengths
    state, gradient, weight = {**first.state, **part.slots}, part.gradient, part.weight
    square = _square(gradient, lengths)
    nothing = torch.zeros_like(square)
    largest = nothing if SQUARES.get(kind or "") in state else _largest(gradient, lengths)
    if kind is None:
        unknown = torch.full_like(square, math.nan)
        return [square, largest, unknown, unknown, unknown]
    raw = gradient
    if clipped is not None:
        gradient = clipped(gradient)
    decay = float(group.get("weight_decay", 0))
    decoupled = kind == "AdamW" or bool(group.get("decoupled_weight_decay"))
    if decay and not decoupled:
        gradient = torch.add(gradient, weight, alpha=decay)
    update, over_root = _update(kind, group, gradient, state)
    if decay and decoupled and rate:
        # The decay takes lr·decay·w off; `rate`, by which the update is multiplied later, has the bias corrections in it.
        total = _square(torch.add(update, weight, alpha=float(group["lr"]) * decay / rate), lengths)
    else:
        total = square if update is raw else _square(update, lengths)
    most = largest if update is raw and largest is not nothing else _largest(update, lengths)
    bound = most / _NEAR
    # Where the largest update is below the bound of a weight of 0 no weight has to be read. A GPU would have to wait for that.
    if weight.is_cuda or not rate * float(bound.max()) <= RELATIVE:
        near = weight.abs().add_(_NEAR)
        bound = _largest(torch.div(update, near, out=near), lengths)
    ratio = nothing if kind == "SGD" else most if over_root is None else _largest(over_root, lengths)
    return [square, largest, total, bound, ratio]


def _square(values: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """The sum of squares, of each tensor where there are several."""
    return (
        torch.dot(values, values) if lengths is None else torch.segment_reduce(values * values, "sum", lengths=lengths)
    )


def _largest(values: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """The largest absolute value, of each tensor where there are several; NaN where one is. In one pass; a norm of infinite order
    takes ten times as long."""
    if lengths is not None:
        return torch.segment_reduce(values.abs(), "max", lengths=lengths)
    low, high = torch.aminmax(values)
    return torch.maximum(high, -low)


def _update(
    kind: str, group: Mapping[str, Any], gradient: torch.Tensor, state: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The next update over its rate, and g over the root of the state that has g² in it; None where that is the update, or where
    the optimizer divides by nothing."""
    if kind == "SGD":
        momentum = float(group.get("momentum", 0))
        if not momentum:
            return gradient, None
        buffer = state.get("momentum_buffer")
        new = gradient
        if buffer is not None:
            new = torch.add(buffer * momentum, gradient, alpha=1 - float(group.get("dampening", 0)))
        return torch.add(gradient, new, alpha=momentum) if group.get("nesterov") else new, None
    slot, share, kept = SQUARES[kind], 1.0, 1.0
    if kind != "Adagrad":
        kept = float(group["alpha"] if kind == "RMSprop" else group["betas"][1])
        share = 1 - kept
    if slot not in state:
        second = torch.mul(gradient, gradient).mul_(share)
    elif kind == "Adagrad":
        second = torch.addcmul(state[slot], gradient, gradient)
    else:
        second = torch.addcmul(state[slot], gradient, gradient, value=share / kept).mul_(kept)
    epsilon, over_root = float(group["eps"]), None
    if group.get("amsgrad") or group.get("centered"):
        over_root = torch.div(gradient, second.sqrt().add_(epsilon))
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
            over_root = update if over_root is None else over_root
            update = torch.add(update, state["momentum_buffer"], alpha=momentum)
        return update, over_root
    divisor = divisor.add_(epsilon * _bias(group, state))
    if over_root is None:
        over_root = torch.div(gradient, divisor)
    beta = float(group["betas"][0])
    first = torch.lerp(state["exp_avg"], gradient, 1 - beta) if "exp_avg" in state else gradient * (1 - beta)
    return first.div_(divisor), over_root


def _bias(group: Mapping[str, Any], state: Mapping[str, Any]) -> float:
    """What Adam divides the root of its second moment by."""
    return math.sqrt(1 - float(group["betas"][1]) ** (_taken(state) + 1))

"""Faults: each makes one thing wrong with a run from a step on, and knows what is true of it.

A maker of a fault is called with the setup, a step and a generator of numbers; the same generator gives the same fault. `NEEDS` says
what a fault needs of a setup, so that the catalogue declares it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from nets import Batch
from training import Fault, Setup, World, make_optimizer, total_of

Maker = Callable[[Setup, int, np.random.Generator], Fault]
AUDIT = ("checkpoints", "capture")
#: What a logged gradient norm tells that becomes k times as large from one step to the next while the loss goes on.
NORM_TELLS = ("trigger", "factor")
FAULTS: dict[str, Maker] = {}
#: Of a fault: what its setup must declare.
NEEDS: dict[str, dict[str, Any]] = {}


def fault(name: str, **needs: Any) -> Callable[[Maker], Maker]:
    """Registers the maker of a fault with what it needs of a setup."""

    def register(maker: Maker) -> Maker:
        FAULTS[name], NEEDS[name] = maker, needs
        return maker

    return register


def _replaced(batch: Batch, names: tuple[str, ...], change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    return {name: change(values) if name in names else values for name, values in batch.items()}


def _inputs(setup: Setup) -> tuple[str, ...]:
    return setup.family.inputs


def _wrong_labels(setup: Setup, batch: Batch, size: float, seed: int) -> Batch:
    """Labels that say the opposite, times a size where they are numbers; text in another order."""
    if setup.model == "transformer":
        order = torch.from_numpy(np.random.default_rng(seed).permutation(12))
        return {"tokens": order[batch["tokens"].flip(1)]}
    if setup.model == "vae":
        return batch | {"x": -size * batch["x"].flip(1)}
    return _replaced(batch, setup.family.labels, lambda y: (y + 1) % 6 if y.dtype == torch.int64 else (1 - y if set(y.unique().tolist()) <= {0.0, 1.0} else -size * y))


def _without_model(setup: Setup, *questions: str) -> tuple[str, ...]:
    """Questions that only a gradient computed again answers: unknown where the capture has no model."""
    return () if setup.family.spec else questions


# ---- data


@fault("data-scale", inputs=True)
def data_scale(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    size, length = float(rng.choice([30, 100, 300])), int(rng.choice([2, 5, 8]))
    return Fault(
        "data-scale", start, "data", triggers=("data",), stop=start + length, rows="all", factor=size,
        unknown=("factor",), batch=lambda w, s, b: _replaced(b, _inputs(setup), lambda x: x * size),
    )  # fmt: skip


@fault("data-labels")
def data_labels(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    size, length = float(rng.choice([5, 10, 20])), int(rng.choice([4, 8, 12]))
    return Fault(
        "data-labels", start, "data", triggers=("data",), stop=start + length, rows="all",
        batch=lambda w, s, b: _wrong_labels(setup, b, size, 7),
    )  # fmt: skip


@fault("data-shift", inputs=True)
def data_shift(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    shift = float(rng.choice([2, 4]))
    return Fault(
        "data-shift", start, "data", triggers=("data",), rows="all",
        batch=lambda w, s, b: _replaced(b, _inputs(setup), lambda x: x * 1.5 + shift),
    )  # fmt: skip


@fault("data-nan", inputs=True)
def data_nan(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    row = int(rng.integers(0, setup.rows))

    def spoil(w: World, s: int, b: Batch) -> Batch:
        def change(x: torch.Tensor) -> torch.Tensor:
            y = x.clone()
            y[row].view(-1)[0] = math.nan
            return y

        return _replaced(b, _inputs(setup)[:1], change)

    return Fault("data-nan", start, "data", triggers=("data",), stop=start + 1, rows=[row], batch=spoil)


@fault("data-rows", inputs=True)
def data_rows(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    rows = sorted(int(k) for k in rng.choice(setup.rows, 2, replace=False))
    size, length = float(rng.choice([300, 1000])), int(rng.choice([1, 3]))

    def spoil(w: World, s: int, b: Batch) -> Batch:
        def change(x: torch.Tensor) -> torch.Tensor:
            y = x.clone()
            y[rows] = y[rows] * size
            return y

        return _replaced(b, _inputs(setup), change)

    return Fault("data-rows", start, "data", triggers=("data",), stop=start + length, rows=rows, batch=spoil)


# ---- order and batches


@fault("repeated-batch")
def repeated_batch(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    return Fault(
        "repeated-batch", start, "order", ("batch",), "repeated-batch", ("order",), shown_in=("capture",),
        batch=lambda w, s, b: w.batch(start),
    )  # fmt: skip


@fault("constant-input", labels=True)
def constant_input(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    names = setup.family.labels or setup.family.inputs
    return Fault(
        "constant-input", start, "order", ("batch",), "constant-input", ("order", "data"), shown_in=("capture",),
        batch=lambda w, s, b: _replaced(b, names, torch.zeros_like),
    )  # fmt: skip


@fault("order-repeated")
def order_repeated(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    back = int(rng.choice([4, 8]))
    return Fault(
        "order-repeated", start, "order", ("batch",), "order-repeated", ("order",), shown_in=("capture",),
        batch=lambda w, s, b: w.batch(start + (s - start) % back),
    )  # fmt: skip


@fault("same-data-on-ranks")
def same_data_on_ranks(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    half = setup.rows // 2

    def twice(w: World, s: int, b: Batch) -> Batch:
        return {name: torch.cat([values[:half], values[:half]]) for name, values in b.items()}

    return Fault(
        "same-data-on-ranks", start, "order", ("ranks", "batch"), "same-data-on-ranks", ("order",), shown_in=("capture",), batch=twice
    )


@fault("label-leak", inputs=True, labels=True)
def label_leak(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    def leak(w: World, s: int, b: Batch) -> Batch:
        label = b[setup.family.labels[-1]].float()
        return _replaced(b, _inputs(setup)[:1], lambda x: x + label.reshape(-1, *[1] * (x.dim() - 1)) * (torch.arange(x[0].numel()) == 0).reshape(x[0].shape) * 3)

    return Fault("label-leak", start, "order", triggers=("order", "data"), shown_in=("capture",), batch=leak)


# ---- mode, loss, gradient


@fault("eval-mode", mode=True)
def eval_mode(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    return Fault("eval-mode", start, "code", ("mode",), "eval-mode", ("code",), shown_in=("capture",), evaluates=lambda w, s: True)


@fault("no-zero-grad", clip=True)
def no_zero_grad(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    return Fault(
        "no-zero-grad", start, "code", ("gradient",), "no-zero-grad", ("code",), shown_in=("capture",),
        keeps_gradient=lambda w, s: True,
    )  # fmt: skip


@fault("loss-changed")
def loss_changed(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """The loss is summed over the rows from a step on, and printed as before."""
    rows = setup.rows // setup.accumulation
    return Fault(
        "loss-changed", start, "code", ("loss", "gradient"), "loss-changed", ("code",), known_from_log=NORM_TELLS, factor=float(rows), shown_in=("log", "capture"),
        unknown=_without_model(setup, "factor", "link", "trigger"), loss=lambda w, s, parts, total: total * rows,
    )  # fmt: skip


@fault("gradient-not-of-loss")
def gradient_not_of_loss(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """The gradient is of the batch before, the printed loss of this one."""

    def stale(w: World, s: int, parts: Any, total: torch.Tensor) -> torch.Tensor:
        return total_of(w.net(w.batch(s - 40)))

    return Fault(
        "gradient-not-of-loss", start, "code", ("gradient",), "gradient-not-of-loss", ("code",), shown_in=("capture",),
        unknown=_without_model(setup, "link", "trigger"), loss=stale,
    )  # fmt: skip


@fault("log-of-zero")
def log_of_zero(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """A term of the loss takes the logarithm of a share that becomes 0."""
    return Fault(
        "log-of-zero", start, "code", ("loss", "none"), None, ("code", "data"), stop=start + 1,
        unknown=("link", "trigger"), loss=lambda w, s, parts, total: total + torch.log(torch.relu(total * 0)),
    )  # fmt: skip


@fault("detached")
def detached(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    def cut(w: World, s: int) -> None:
        for name, p in w.named.items():
            if name.startswith(setup.family.lower):
                p.grad = None

    names = tuple(n for n, _ in setup.family.make().named_parameters() if n.startswith(setup.family.lower))
    return Fault("detached", start, "code", ("gradient",), "detached", ("code",), names, shown_in=AUDIT, gradients=cut)


@fault("dead-tensor")
def dead_tensor(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """A layer whose gradient is zero at every step from the start: its units never fire."""

    def still(w: World, s: int) -> None:
        for name, p in w.named.items():
            if name.startswith(setup.family.lower) and p.grad is not None:
                p.grad.zero_()

    names = tuple(n for n, _ in setup.family.make().named_parameters() if n.startswith(setup.family.lower))
    return Fault("dead-tensor", 0, "code", ("gradient",), "dead-tensor", ("code", "initialisation"), names, shown_in=AUDIT, gradients=still)


@fault("lone-gradient", hardware=True)
def lone_gradient(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    bits, name = int(rng.choice([16, 32, 64])), f"{setup.family.head}.weight"
    place = int(rng.integers(0, 8))

    def flip(w: World, s: int) -> None:
        w.parameter(name).grad.view(-1)[place] *= 2.0**bits

    return Fault(
        "lone-gradient", start, "hardware", ("gradient",), "lone-gradient", ("hardware", "code"), (name,), (place,), 2.0**bits,
        stop=start + 1, shown_in=("capture",), unknown=("factor",), gradients=flip,
    )  # fmt: skip


# ---- accumulation, unscaling, clipping


@fault("not-divided", accumulation=True)
def not_divided(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    parts = setup.accumulation
    return Fault(
        "not-divided", start, "code", ("accumulation", "gradient"), "not-divided", ("code",), known_from_log=NORM_TELLS, factor=float(parts), shown_in=("log", "capture"),
        unknown=_without_model(setup, "link", "factor", "trigger"), divisor=lambda w, s, n: 1.0,
    )  # fmt: skip


@fault("divided-twice", accumulation=True)
def divided_twice(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    parts = setup.accumulation
    return Fault(
        "divided-twice", start, "code", ("accumulation", "gradient"), "divided-twice", ("code",), known_from_log=NORM_TELLS, factor=1 / parts, shown_in=("log", "capture"),
        unknown=_without_model(setup, "link", "factor", "trigger"), divisor=lambda w, s, n: float(n * n),
    )  # fmt: skip


@fault("clip-inactive", clip=True)
def clip_inactive(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    return Fault("clip-inactive", start, "code", ("clip",), "clip-inactive", ("code",), shown_in=("capture",), limit=lambda w, s, limit: None)


@fault("clip-norm-factor", clip=True)
def clip_norm_factor(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    factor = float(rng.choice([0.5, math.sqrt(0.5), 2.0]))
    return Fault(
        "clip-norm-factor", start, "code", ("clip",), "clip-norm-factor", ("code",), factor=factor, shown_in=("capture",),
        limit=lambda w, s, limit: limit / factor,
    )  # fmt: skip


@fault("clip-before-unscale", clip=True, loss_scale=True)
def clip_before_unscale(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    return Fault(
        "clip-before-unscale", start, "code", ("unscale", "clip"), "clip-before-unscale", ("code",), factor=setup.loss_scale,
        shown_in=("capture",), limit=lambda w, s, limit: limit / setup.loss_scale,
    )  # fmt: skip


@fault("clip-removed", clip=True, hot=True)
def clip_removed(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """A run that needs its clipping is resumed without it."""
    return Fault(
        "clip-removed", start, "sharpness", ("clip", "none"), "clip-inactive", ("code", "sharpness"), resumed=start,
        shown_in=("capture",), limit=lambda w, s, limit: None,
    )  # fmt: skip


# ---- optimizer


@fault("rate-factor")
def rate_factor(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """The optimizer takes k times the rate that it holds and that is logged."""
    factor = float(rng.choice([0.5, 2.0, 4.0]))

    def scaled(w: World, s: int) -> None:
        for p, old in zip(w.parameters, w.memory["old"]):
            p.add_(p - old, alpha=factor - 1)

    return Fault(
        "rate-factor", start, "code", ("optimizer",), "rate-factor", ("code",), factor=factor, shown_in=("capture",),
        before_step=lambda w, s: w.memory.update(old=[p.detach().clone() for p in w.parameters]), after_step=scaled,
    )  # fmt: skip


@fault("rate-restarted", schedule="cosine")
def rate_restarted(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    return Fault(
        "rate-restarted", start, "rate", ("optimizer", "none"), "rate-restarted", ("learning-rate",), resumed=start, shown_in=("log", "capture"),
        known_from_log=("trigger",), unknown=("link",), rate=lambda w, s, rate: setup.rate_at(s - start),
    )  # fmt: skip


@fault("decay-kind", optimizer="adamw", decay=0.3)
def decay_kind(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """L2 in the gradient where the decay was declared decoupled."""

    def coupled(w: World, s: int) -> None:
        for group in w.optimizer.param_groups:
            group["weight_decay"] = 0.0
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.add_(p, alpha=setup.weight_decay)

    def back(w: World, s: int) -> None:
        for group in w.optimizer.param_groups:
            group["weight_decay"] = setup.weight_decay

    with_no_gradient = torch.no_grad()(coupled)
    return Fault("decay-kind", start, "code", ("optimizer",), "decay-kind", ("code",), shown_in=("capture",), before_step=with_no_gradient, after_step=back)


@fault("decay-factor", optimizer="adamw", decay=0.3)
def decay_factor(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    factor = float(rng.choice([0.1, 10.0]))

    def change(w: World, s: int) -> None:
        for group in w.optimizer.param_groups:
            group["weight_decay"] = setup.weight_decay * factor

    def back(w: World, s: int) -> None:
        for group in w.optimizer.param_groups:
            group["weight_decay"] = setup.weight_decay

    return Fault(
        "decay-factor", start, "code", ("optimizer",), "decay-factor", ("code",), factor=factor, shown_in=("capture",), before_step=change, after_step=back
    )


def _forget(w: World) -> None:
    w.optimizer.state.clear()


@fault("state-fresh", slots=True)
def state_fresh(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    return Fault(
        "state-fresh", start, "state", ("optimizer",), "state-fresh", ("optimizer-state",), stop=start + 1, resumed=start, shown_in=AUDIT,
        between=lambda w, s: _fresh_state(w),
    )  # fmt: skip


def _fresh_state(w: World) -> None:
    fresh = make_optimizer(w.setup, w.parameters).state
    _forget(w)
    for p, slots in fresh.items():
        w.optimizer.state[p] = slots


@fault("state-stale", slots=True)
def state_stale(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """The second moment (or momentum) of a time when gradients were small."""
    kept = float(rng.choice([1e-4, 1e-3]))

    def age(w: World, s: int) -> None:
        for slots in w.optimizer.state.values():
            for name, value in slots.items():
                if name in ("exp_avg_sq", "sum", "square_avg"):
                    value.mul_(kept)

    return Fault(
        "state-stale", start, "state", ("optimizer",), "state-stale", ("optimizer-state",), stop=start + 1, shown_in=AUDIT,
        unknown=("factor",), between=age,
    )  # fmt: skip


@fault("state-of-other", slots=True)
def state_of_other(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """Tensors of the same shape get each other's state."""

    def swap(w: World, s: int) -> None:
        for name, other in _pairs(w):
            a, b = w.parameter(name), w.parameter(other)
            w.optimizer.state[a], w.optimizer.state[b] = w.optimizer.state[b], w.optimizer.state[a]

    def _pairs(w: World) -> list[tuple[str, str]]:
        seen: dict[tuple[int, ...], str] = {}
        pairs = []
        for name, p in w.named.items():
            shape = tuple(p.shape)
            if shape in seen:
                pairs.append((seen.pop(shape), name))
            else:
                seen[shape] = name
        return pairs

    net = setup.family.make()
    pairs = _pairs(World(setup, 0, net, make_optimizer(setup, list(net.parameters()))))
    return Fault(
        "state-of-other", start, "state", ("optimizer",), "state-of-other", ("optimizer-state",), tuple(n for pair in pairs for n in pair),
        stop=start + 1, shown_in=("capture",), between=swap,
    )  # fmt: skip


@fault("options-changed", optimizer="adam")
def options_changed(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    def change(w: World, s: int) -> None:
        for group in w.optimizer.param_groups:
            group["betas"] = (0.0, 0.5)

    return Fault("options-changed", start, "code", ("between", "optimizer"), "options-changed", ("code",), shown_in=AUDIT, before_step=change)


@fault("not-in-optimizer")
def not_in_optimizer(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    head = setup.family.head
    names = tuple(n for n, _ in setup.family.make().named_parameters() if n.startswith(head))

    def leave_out(w: World) -> None:
        w.optimizer = make_optimizer(w.setup, [p for n, p in w.named.items() if n not in names])

    return Fault("not-in-optimizer", 0, "code", ("optimizer",), "not-in-optimizer", ("code",), names, shown_in=AUDIT, prepare=leave_out)


@fault("twice-in-optimizer")
def twice_in_optimizer(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """A second optimizer holds the output too, so that it is stepped twice."""
    name = f"{setup.family.head}.weight"

    def again(w: World, s: int) -> None:
        p = w.parameter(name)
        p.add_(p - w.memory["old"])

    return Fault(
        "twice-in-optimizer", start, "code", ("optimizer",), "twice-in-optimizer", ("code",), (name,), shown_in=("capture",),
        before_step=lambda w, s: w.memory.update(old=w.parameter(name).detach().clone()), after_step=again,
    )  # fmt: skip


# ---- weights, and what writes to them between steps


@fault("rounded")
def rounded(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    def narrow(w: World, s: int) -> None:
        for p in w.parameters:
            p.copy_(p.bfloat16().float())

    return Fault("rounded", start, "precision", ("optimizer", "weights"), "rounded", ("precision",), shown_in=AUDIT, after_step=narrow)


@fault("entries-changed", hardware=True)
def entries_changed(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    bits, name = int(rng.choice([4, 8, 16])), f"{setup.family.lower}.weight"
    if setup.model == "mmoe-ranker":
        name = "experts.0.0.weight"
    place = int(rng.integers(0, 16))

    def flip(w: World, s: int) -> None:
        w.parameter(name).view(-1)[place] *= 2.0**bits

    return Fault(
        "entries-changed", start, "hardware", ("between", "weights"), "entries-changed", ("hardware", "code"), (name,), (place,), 2.0**bits,
        stop=start + 1, shown_in=AUDIT, after_step=flip,
    )  # fmt: skip


@fault("all-scaled")
def all_scaled(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    factor = float(rng.choice([0.9, 0.5]))

    def shrink(w: World, s: int) -> None:
        if (s - start) % 12 == 0:
            for p in w.parameters:
                p.mul_(factor)

    return Fault("all-scaled", start, "code", ("between", "weights"), "all-scaled", ("code",), factor=factor, shown_in=AUDIT, after_step=shrink)


@fault("weights-replaced")
def weights_replaced(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """Somebody loads the weights of the start into a layer while the run goes on."""
    names = tuple(n for n, _ in setup.family.make().named_parameters() if n.startswith(setup.family.lower))

    def load(w: World, s: int) -> None:
        torch.default_generator.manual_seed(w.seed)
        fresh = dict(setup.family.make().named_parameters())
        for name in names:
            w.parameter(name).copy_(fresh[name])

    return Fault(
        "weights-replaced", start, "code", ("between", "weights"), "weights-replaced", ("code",), names, stop=start + 1, shown_in=AUDIT, after_step=load
    )


# ---- rates, decay, precision, starts


@fault("rate-jump")
def rate_jump(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    factor, length = float(rng.choice([30, 100])), int(rng.choice([5, 1000]))
    return Fault(
        "rate-jump", start, "rate", triggers=("learning-rate",), factor=factor, stop=None if length > 100 else start + length,
        shown_in=("log", "capture"), known_from_log=("trigger", "factor"), rate=lambda w, s, rate: rate * factor,
    )  # fmt: skip


@fault("rate-ramp")
def rate_ramp(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """A warm-up that never ends: the rate grows by some percent a step."""
    growth = 1 + float(rng.choice([0.04, 0.06]))
    return Fault(
        "rate-ramp", start, "rate", triggers=("learning-rate", "sharpness"), shown_in=("log", "capture"), known_from_log=("trigger",),
        rate=lambda w, s, rate: rate * growth ** (s - start),
    )  # fmt: skip


@fault("rate-zero")
def rate_zero(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """The schedule ends long before the run: a scheduler that is stepped once for each micro-batch."""
    return Fault(
        "rate-zero", 20, "rate", triggers=("learning-rate", "schedule"), shown_in=("log", "capture"), known_from_log=("trigger",),
        rate=lambda w, s, rate: rate * max(0.0, 1 - (s - 20) / 20),
    )  # fmt: skip


@fault("rate-from-start")
def rate_from_start(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """A typing error: the rate is 300 or 1,000 times what it should be."""
    factor = float(rng.choice([300, 1000]))
    return Fault(
        "rate-from-start", 0, "rate", triggers=("learning-rate",), factor=factor, shown_in=("log", "capture"), unknown=("factor",),
        rate=lambda w, s, rate: rate * factor,
    )  # fmt: skip


@fault("weight-decay", optimizer="adamw", decay=0.01)
def weight_decay(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    factor = float(rng.choice([3000, 10000]))

    def change(w: World, s: int) -> None:
        for group in w.optimizer.param_groups:
            group["weight_decay"] = setup.weight_decay * factor

    return Fault(
        "weight-decay", start, "decay", ("between", "none"), "options-changed", ("weight-decay",), factor=factor, shown_in=AUDIT, before_step=change
    )


@fault("overflow")
def overflow(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """The loss scale grows without an upper limit, and gradients go through half precision."""
    every = int(rng.choice([1, 2]))

    def through_half(w: World, s: int) -> None:
        scale = 256.0 * 4.0 ** (1 + (s - start) // every)
        for p in w.parameters:
            if p.grad is not None:
                p.grad.copy_((p.grad * scale).half().float() / scale)

    return Fault("overflow", start, "precision", ("gradient", "none"), None, ("precision",), unknown=("link", "factor"), gradients=through_half)


@fault("start-too-large")
def start_too_large(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """Weights that begin far too large."""
    size = float(rng.choice([8, 16]))

    def grow(w: World) -> None:
        with torch.no_grad():
            for p in w.parameters:
                p.mul_(size)

    return Fault("start-too-large", 0, "init", triggers=("initialisation",), factor=size, unknown=("factor",), prepare=grow)


@fault("start-at-zero")
def start_at_zero(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """All weights begin at 0: no unit differs from another."""

    def zero(w: World) -> None:
        with torch.no_grad():
            for p in w.parameters:
                p.zero_()

    return Fault("start-at-zero", 0, "init", ("gradient", "none"), "dead-tensor", ("initialisation",), shown_in=AUDIT, prepare=zero)


@fault("sharp", hot=True, schedule="cosine")
def sharp(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """Nothing changes but the surface: a rate at the limit, held up by its schedule's peak."""
    size = float(rng.choice([8, 15]))
    return Fault(
        "sharp", 0, "rate", triggers=("sharpness", "learning-rate"), shown_in=("capture",), unknown=("factor",),
        rate=lambda w, s, rate: rate * size,
    )  # fmt: skip


@fault("evaluation-alone")
def evaluation_alone(setup: Setup, start: int, rng: np.random.Generator) -> Fault:
    """Evaluation reads its rows through other preprocessing; training is well."""

    def worse(w: World, s: int, value: float) -> float:
        return value * 3 + 2

    return Fault("evaluation-alone", start, "evaluation", triggers=("evaluation",), shown_in=("log", "capture"), known_from_log=("trigger",), evaluation=worse)




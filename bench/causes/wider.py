"""Ten families of nets and eleven of causes that the first set lacks, and five healthy twins of them.

A net and a cause are drawn apart: the k-th run of a turn has the k-th cause, and each turn moves the nets on by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from training import RENAME, RENAME_WIDER, Batch, Run

_CLICK = {"name": "click", "units": [8], "loss": "sigmoid-cross-entropy", "weight": 1}
_WATCH = {"name": "watch", "units": [8], "loss": "mean-squared-error", "weight": 1}
_COUNT = {"name": "count", "units": [8], "loss": "poisson", "weight": 1}
_TABLES = [{"name": name, "type": "categorical", "vocabulary": 40, "dim": 3} for name in ("user", "item", "place")]
_MORE = [{**_WATCH, "name": name} for name in ("like", "share")]


def _shared(units: list[int], activation: str = "relu", **more: Any) -> dict[str, Any]:
    return {"type": "shared-bottom", "units": units, "activation": activation, "layerNorm": False, **more}


#: What a net has in place of one hidden layer of 24 relu units and one tower.
NETS: dict[str, dict[str, Any]] = {
    "linear": {"shared": _shared([]), "tasks": [{**_WATCH, "units": []}]},
    "layer-norm": {"shared": _shared([24, 24], layerNorm=True)},
    "experts": {"shared": {"type": "mmoe", "experts": 3, "units": [16], "activation": "relu"}, "tasks": [_WATCH, _CLICK]},
    "crossed": {"cross": {"type": "dcn-v2", "layers": 2}},
    "crossed-tables": {"cross": {"type": "dcn-v2", "layers": 1}, "tables": _TABLES, "tasks": [_CLICK]},
    "deep": {"shared": _shared([16, 16, 16, 16], "tanh")},
    "self-normal": {"shared": _shared([24, 24], "selu")},
    "smooth": {"shared": _shared([32, 16], "gelu"), "tasks": [_CLICK]},
    "counts": {"shared": _shared([24], "softplus"), "tasks": [_COUNT]},
    "four-tasks": {"shared": _shared([32], "elu"), "tasks": [_WATCH, _CLICK, *_MORE]},
}  # fmt: skip

#: Each cause once, and the healthy twins.
CAUSES = (
    "decay-written", "healthy-warmup", "momentum-written", "group-rate", "healthy-cosine", "unfrozen", "gradients-times",
    "weights-times", "healthy-drop", "opt-momentum", "data-nan", "healthy-clipped", "data-sentinel", "data-offset",
    "healthy-unfrozen", "lr-cycle",
)  # fmt: skip
#: The trigger of each; the healthy ones have none.
TRIGGERS = {
    "decay-written": "weight-decay", "momentum-written": "code", "group-rate": "learning-rate", "unfrozen": "learning-rate",
    "gradients-times": "code", "weights-times": "code", "opt-momentum": "optimizer-state", "data-nan": "data",
    "data-sentinel": "data", "data-offset": "data", "lr-cycle": "learning-rate",
}  # fmt: skip
OPTIMIZERS = {
    "decay-written": ["sgd", "momentum"], "momentum-written": ["momentum", "nesterov"], "opt-momentum": ["momentum", "nesterov"],
    "gradients-times": ["sgd", "momentum"], "unfrozen": ["sgd", "momentum", "adam"], "healthy-unfrozen": ["sgd", "momentum", "adam"],
}  # fmt: skip


def net_of(name: str, rng: np.random.Generator) -> dict[str, Any]:
    """The `ranking` spec of a family of nets."""
    own = NETS[name]
    return {
        "kind": "ranking",
        "version": 1,
        "features": [*own.get("tables", []), {"name": "dense", "type": "dense", "size": int(rng.choice([6, 8, 12]))}],
        **({"cross": own["cross"]} if "cross" in own else {}),
        "shared": own.get("shared", _shared([24])),
        "tasks": own.get("tasks", [_WATCH]),
        "rename": {**RENAME, **RENAME_WIDER},
    }


def put_in(run: Run, rng: np.random.Generator, start: int) -> None:
    """Puts the cause of its family into a run, its strength drawn."""
    run.cause = TRIGGERS.get(run.family)
    _PUT[run.family](run, rng, start)


def _size(run: Run, rng: np.random.Generator, low: float, high: float) -> float:
    size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    run.strength = {"times": size}
    return size


def _written(option: str, low: float, high: float) -> Callable[[Run, np.random.Generator, int], None]:
    def put(run: Run, rng: np.random.Generator, start: int) -> None:
        size = _size(run, rng, low, high)
        value = size / run.rate if option == "weight_decay" else 1 + size

        def write(own: torch.optim.Optimizer) -> None:
            for group in own.param_groups:
                group[option] = value

        run.meddle = write

    return put


def _rates(times: Callable[[int, int, float], float], low: float, high: float) -> Callable[..., None]:
    """times: of (step, start, size)."""

    def put(run: Run, rng: np.random.Generator, start: int) -> None:
        size = _size(run, rng, low, high)
        run.times = lambda step: times(step, start, size)

    return put


def _towers(low: float, high: float, *, frozen: bool) -> Callable[..., None]:
    def put(run: Run, rng: np.random.Generator, start: int) -> None:
        size = _size(run, rng, low, high)
        run.frozen = frozen
        run.towers = lambda step, fixed: size if step >= start and not fixed else 1.0

    return put


def _gradients(run: Run, rng: np.random.Generator, start: int) -> None:
    size = _size(run, rng, 8, 150)
    run.gradients = lambda step: size if step >= start else 1.0


def _weights(run: Run, rng: np.random.Generator, _start: int) -> None:
    size = _size(run, rng, 3, 30)

    def rewrite(net: torch.nn.Module) -> None:
        for p in net.parameters():
            p.mul_(size)

    run.rewrite = rewrite


def _momentum(run: Run, rng: np.random.Generator, _start: int) -> None:
    size = _size(run, rng, 30, 1000)

    def meddle(own: torch.optim.Optimizer) -> None:
        for state in own.state.values():
            state["momentum_buffer"].mul_(-size)

    run.meddle = meddle


def _spoilt(change: Callable[[torch.Tensor, float], None], low: float, high: float, most: int) -> Callable[..., None]:
    def put(run: Run, rng: np.random.Generator, start: int) -> None:
        size, length = _size(run, rng, low, high), int(rng.integers(1, most + 1))
        run.bad = frozenset(range(start, start + length))

        def spoil(step: int) -> Batch:
            batch = run.stream.batch(step)
            change(batch["dense"], size)
            return batch

        run.spoil = spoil

    return put


def _no_number(dense: torch.Tensor, _size: float) -> None:
    dense[0, 0] = float("nan")


def _sentinel(dense: torch.Tensor, size: float) -> None:
    dense[:, 0] = -size


def _offset(dense: torch.Tensor, size: float) -> None:
    dense += size


def _clipped(run: Run, _rng: np.random.Generator, _start: int) -> None:
    run.rule = "global-norm:1"


def _cycle(step: int, start: int, size: float) -> float:
    """One cycle between 0.1 and 1, then a faster climb to a peak that is too high, and stays."""
    peak, phase = (1.0, step / start) if step < start else (size, min(0.5, 4 * (step - start) / start))
    return 0.1 + (peak - 0.1) * 0.5 * (1 - math.cos(2 * math.pi * phase))


_PUT: dict[str, Callable[..., None]] = {
    "decay-written": _written("weight_decay", 0.05, 3),
    "momentum-written": _written("momentum", 0.03, 1),
    "group-rate": _towers(8, 150, frozen=False),
    "unfrozen": _towers(8, 150, frozen=True),
    "gradients-times": _gradients,
    "weights-times": _weights,
    "opt-momentum": _momentum,
    "data-nan": _spoilt(_no_number, 1, 2, 1),
    "data-sentinel": _spoilt(_sentinel, 50, 1000, 8),
    "data-offset": _spoilt(_offset, 10, 100, 8),
    "lr-cycle": _rates(_cycle, 8, 150),
    "healthy-warmup": _rates(lambda step, start, _size: min(1.0, 0.05 + step / start), 1, 2),
    "healthy-cosine": _rates(lambda step, start, _size: 0.5 * (1 + math.cos(math.pi * step / (start + 60))), 1, 2),
    "healthy-drop": _rates(lambda step, start, _size: 1.0 if step < start else 0.1, 1, 2),
    "healthy-clipped": _clipped,
    "healthy-unfrozen": _towers(1, 2, frozen=True),
}

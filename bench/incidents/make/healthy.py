"""Healthy runs that look ill: what a judge that counts spikes, steps and flat stretches takes for an incident.

Each is written as a fault whose hooks do what the run's author wants, so that the same loop trains it. Nothing is wrong with any.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from nets import Batch
from training import Fault, Setup, World, train

HEALTHY: dict[str, Callable[[Setup, np.random.Generator], Fault]] = {}
#: What a kind needs of its setup.
HEALTHY_NEEDS: dict[str, dict[str, Any]] = {}


def healthy(name: str, **needs: Any) -> Callable[[Callable[[Setup, np.random.Generator], Fault]], Any]:
    """Registers a kind of healthy run with what it needs of its setup."""

    def register(maker: Callable[[Setup, np.random.Generator], Fault]) -> Any:
        HEALTHY[name], HEALTHY_NEEDS[name] = maker, needs
        return maker

    return register


def _calm(name: str, **hooks: Any) -> Fault:
    return Fault(name, 0, "none", **hooks)


#: Kinds whose settings alone make them look ill.
for _name, _needs in {
    "warm-restarts": {"schedule": "cycles"},
    "long-warm-up": {"schedule": "linear", "rate_times": 2},
    "small-batches": {"rows": 4},
    "always-clipped": {"clip": 0.1},
    "accumulated-rightly": {"accumulation": 4, "clip": 1.0},
    "scaled-rightly": {"loss_scale": 1024.0, "clip": 1.0},
    "momentum-noise": {"optimizer": "momentum"},
    "lion": {"optimizer": "lion"},
    "decay-and-embedding": {"optimizer": "adamw", "weight_decay": 0.05},
}.items():
    HEALTHY[_name] = lambda setup, rng, _name=_name: _calm(_name)
    HEALTHY_NEEDS[_name] = _needs


def _noisy(batch: Batch, setup: Setup, size: torch.Tensor | float, seed: int) -> Batch:
    """Noise on the numbers that the net is to predict, or on its input where it predicts classes."""
    out = dict(batch)
    names = [n for n in setup.family.labels if batch[n].dtype == torch.float32] or list(setup.family.inputs)
    for k, name in enumerate(names):
        if set(batch[name].unique().tolist()) <= {0.0, 1.0}:
            continue
        noise = torch.from_numpy(np.random.default_rng([seed, k]).normal(0, 1, tuple(batch[name].shape)).astype(np.float32))
        out[name] = batch[name] + size * noise
    return out


@healthy("curriculum", inputs=True)
def curriculum(setup: Setup, rng: np.random.Generator) -> Fault:
    """Each third of a run has harder rows: the loss steps up and falls again."""
    return _calm("curriculum", batch=lambda w, s, b: _noisy(b, setup, (0.0, 0.8, 1.6)[min(2, s // 74)], 10_000 + s))


@healthy("mixup", inputs=True)
def mixup(setup: Setup, rng: np.random.Generator) -> Fault:
    def mix(w: World, s: int, b: Batch) -> Batch:
        share = float(np.random.default_rng(20_000 + s).beta(0.4, 0.4))
        return {n: share * v + (1 - share) * v.flip(0) if v.dtype == torch.float32 else v for n, v in b.items()}

    return _calm("mixup", batch=mix)


@healthy("heavy-tails", inputs=True)
def heavy_tails(setup: Setup, rng: np.random.Generator) -> Fault:
    """A few rows of any batch are far out, as rows of the world are; the loss of a step has a heavy tail from the start."""

    def far(w: World, s: int, b: Batch) -> Batch:
        tail = np.abs(np.random.default_rng(30_000 + s).standard_t(2.5, setup.rows)).astype(np.float32)
        names = [n for n in setup.family.labels if b[n].dtype == torch.float32] or list(setup.family.inputs)
        size = torch.from_numpy(0.3 * tail)
        out = dict(b)
        for name in names[-1:]:
            out[name] = b[name] + size.reshape(-1, *[1] * (b[name].dim() - 1))
        return out

    return _calm("heavy-tails", batch=far)


@healthy("daily-cycle", inputs=True)
def daily_cycle(setup: Setup, rng: np.random.Generator) -> Fault:
    return _calm("daily-cycle", batch=lambda w, s, b: _noisy(b, setup, 1.0 + math.sin(2 * math.pi * s / 44), 40_000 + s))


@healthy("resumed-rightly")
def resumed_rightly(setup: Setup, rng: np.random.Generator) -> Fault:
    """A job that died is resumed from its checkpoint: some steps are printed twice."""
    return _calm("resumed-rightly", resumed=int(rng.integers(90, 125)))


@healthy("fine-tuned", rate_times=0.1)
def fine_tuned(setup: Setup, rng: np.random.Generator) -> Fault:
    """It begins from good weights: the loss is flat from its first step."""

    def load(w: World) -> None:
        earlier = train(Setup(setup.model, setup.optimizer, setup.rate * 10, rows=setup.rows), w.seed, None)
        with torch.no_grad():
            place = 0
            for p in w.parameters:
                p.copy_(earlier.weights[place : place + p.numel()].reshape(p.shape))
                place += p.numel()

    return _calm("fine-tuned", prepare=load)


@healthy("unfrozen-later")
def unfrozen_later(setup: Setup, rng: np.random.Generator) -> Fault:
    """The lower layer is frozen at first, as planned."""

    def frozen(w: World, s: int) -> None:
        if s < 90:
            for name, p in w.named.items():
                if name.startswith(setup.family.lower):
                    p.grad = None

    return _calm("unfrozen-later", gradients=frozen)


@healthy("smoothed-print")
def smoothed_print(setup: Setup, rng: np.random.Generator) -> Fault:
    """What is printed is a running mean."""
    return _calm("smoothed-print")


@healthy("rate-raised-as-planned")
def rate_raised(setup: Setup, rng: np.random.Generator) -> Fault:
    """A one-cycle schedule: the rate rises to its peak in the middle of the run."""
    return _calm("rate-raised-as-planned", rate=lambda w, s, rate: rate * (0.2 + 1.3 * math.sin(math.pi * s / setup.steps)))


@healthy("adversarial", family="gan")
def adversarial(setup: Setup, rng: np.random.Generator) -> Fault:
    return _calm("adversarial")


@healthy("policy", family="bandit")
def policy(setup: Setup, rng: np.random.Generator) -> Fault:
    return _calm("policy")

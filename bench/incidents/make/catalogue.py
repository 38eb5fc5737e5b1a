"""The 240 cases: which fault, net, optimizer and trainer each has, and the seed that it is made from."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

import numpy as np
from chronicles import CHRONICLES
from faults import FAULTS, NEEDS
from healthy import HEALTHY, HEALTHY_NEEDS
from nets import FAMILIES, HIDDEN, OPEN
from trainers import TRAINERS
from training import Fault, Setup

RATES = {"momentum": 0.01, "adam": 0.003, "adamw": 0.003, "adagrad": 0.05, "rmsprop": 0.001, "lion": 0.002}
#: Nets that need another rate than the others.
RATE_TIMES = {("dcn-ranker", "momentum"): 0.3, ("gru", "adagrad"): 2.0, ("mlp-ranker", "momentum"): 0.4, ("transformer", "momentum"): 3.0}
#: A threshold that acts at many of a net's steps.
CLIPS = {"mlp-ranker": 1.0, "mmoe-ranker": 1.0, "dcn-ranker": 1.0, "transformer": 0.3, "cnn": 0.5, "gru": 0.5, "vae": 1.0, "classifier": 0.5}
ORDER = ("adam", "adamw", "adagrad", "momentum", "rmsprop", "lion")
WITH_SLOTS = ("adam", "adamw", "adagrad", "rmsprop")
#: Faults that ranking nets have once more, with the optimizers of the paper: 12 in each half.
RANKING_AGAIN = (
    "data-scale", "data-labels", "data-rows", "data-shift", "rate-jump", "rate-ramp", "sharp", "clip-removed", "overflow",
    "state-fresh", "loss-changed", "weights-replaced",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One case before it is made."""

    id: str
    kind: str
    half: str
    fault: str
    setup: Setup
    trainer: str
    chronicle: dict[str, str] | None = None
    #: A seed of its own for the fault's numbers, so that a chronicle keeps its own.
    numbers: tuple[int, ...] = ()


def seed_of(case: Case, secret: bytes | None) -> int:
    """The seed of a case: of its name in the open half, of its name and the secret in the hidden one."""
    if case.half == "open":
        return int.from_bytes(hashlib.sha256(case.id.encode()).digest()[:3], "big")
    if secret is None:
        raise ValueError("the hidden half needs a secret (--secret-file)")
    return int.from_bytes(hmac.new(secret, case.id.encode(), "sha256").digest()[:3], "big")


def fault_of(case: Case, seed: int) -> Fault | None:
    """The fault of a case; the benign changes of a healthy one."""
    rng = np.random.default_rng([seed, 5])
    if case.kind == "healthy":
        return HEALTHY[case.fault](case.setup, rng)
    return FAULTS[case.fault](case.setup, int(rng.integers(90, 125)), rng)


def _suits(model: str, needs: dict[str, Any]) -> bool:
    family = FAMILIES[model]
    if needs.get("inputs") and not family.inputs:
        return False
    if needs.get("labels") and not (family.labels or model == "vae"):
        return False
    return not needs.get("mode") or family.has_mode


def setup_of(model: str, optimizer: str, needs: dict[str, Any]) -> Setup:
    """What a run declares, with what its fault needs."""
    optimizer = needs.get("optimizer", optimizer)
    rate = RATES[optimizer] * RATE_TIMES.get((model, optimizer), 1.0) * needs.get("rate_times", 1.0)
    clip = needs.get("clip")
    return Setup(
        model,
        optimizer,
        rate * (6.0 if needs.get("hot") else 1.0),
        weight_decay=needs.get("decay", needs.get("weight_decay", 0.0)),
        clip=CLIPS[model] if clip is True else clip,
        accumulation=4 if needs.get("accumulation") is True else needs.get("accumulation", 1),
        schedule=needs.get("schedule", "constant"),
        loss_scale=1024.0 if needs.get("loss_scale") is True else needs.get("loss_scale", 1.0),
        rows=needs.get("rows", 32),
    )


def _optimizer(k: int, needs: dict[str, Any]) -> str:
    return (WITH_SLOTS if needs.get("slots") else ORDER)[k % (4 if needs.get("slots") else 6)]


def _trainer(k: int) -> str:
    return list(TRAINERS)[k % len(TRAINERS)]


def injected() -> list[Case]:
    """48 faults in each half, and twelve more of ranking nets in each."""
    cases = []
    for half, models in (("open", OPEN), ("hidden", HIDDEN)):
        for k, (name, needs) in enumerate(NEEDS.items()):
            suitable = [m for m in models if _suits(m, needs)]
            model = suitable[k % len(suitable)]
            setup = setup_of(model, _optimizer(k + (half == "hidden"), needs), needs)
            cases.append(Case(f"injected-{name}-{model}", "injected", half, name, setup, _trainer(k + 3 * (half == "hidden"))))
        rankers = [m for m in models if m.endswith("ranker")]
        for k, name in enumerate(RANKING_AGAIN):
            needs = NEEDS[name]
            model = rankers[k % len(rankers)]
            setup = setup_of(model, ("adagrad", "momentum", "adam")[k % (1 if needs.get("slots") else 3)], needs)
            cases.append(Case(f"injected-{name}-{model}-again", "injected", half, name, setup, _trainer(k + 5)))
    return cases


def healthy() -> list[Case]:
    """Twenty kinds, three times each."""
    cases = []
    for k, (name, needs) in enumerate(HEALTHY_NEEDS.items()):
        for turn in range(3):
            half = ("open", "hidden", "open" if k % 2 else "hidden")[turn]
            suitable = [m for m in (OPEN if half == "open" else HIDDEN) if _suits(m, needs)]
            model = needs.get("family") or suitable[(k + turn) % len(suitable)]
            setup = setup_of(model, _optimizer(k + turn, needs), needs)
            cases.append(Case(f"healthy-{name}-{model}-{turn + 1}", "healthy", half, name, setup, _trainer(k + 2 * turn)))
    return cases


def chronicles() -> list[Case]:
    """Incidents that others told in public, rebuilt small."""
    cases = []
    for k, one in enumerate(CHRONICLES):
        needs = {**NEEDS[one.fault], **one.needs}
        setup = setup_of(one.model, needs.get("optimizer", one.optimizer), needs)
        half = "open" if one.model in OPEN else "hidden"
        told = {"source": one.source, "says": one.says}
        cases.append(Case(f"chronicle-{one.name}", "chronicle", half, one.fault, setup, one.trainer or _trainer(k), told))
    return cases


def all_cases() -> list[Case]:
    """All cases, by name."""
    cases = sorted([*injected(), *healthy(), *chronicles()], key=lambda case: case.id)
    if len({case.id for case in cases}) != len(cases):
        raise ValueError("two cases have one name")
    return cases

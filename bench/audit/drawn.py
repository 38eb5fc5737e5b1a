"""What trainings of Keras and JAX have in common: data, faults, files. `trainings.py` has those of PyTorch."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP, STEPS = 60, 26
FEATURES, CLASSES, ROWS = 12, 6, 24
#: cause -> link, as docs/audit.md has them: those that both frameworks can be given.
FAULTS = {
    "clip-inactive": "clip",
    "clip-norm-factor": "clip",
    "rate-factor": "optimizer",
    "decay-factor": "optimizer",
    "not-divided": "accumulation",
    "divided-twice": "accumulation",
    "state-fresh": "optimizer",
    "rounded": "optimizer",
    "entries-changed": "weights",
    "all-scaled": "weights",
    "weights-replaced": "weights",
    "no-zero-grad": "gradient",
    "repeated-batch": "batch",
    "constant-input": "batch",
    "dead-tensor": "gradient",
    "lone-gradient": "gradient",
}


class Plan:
    """One training, drawn from its seed, with a fault or none."""

    def __init__(self, seed: int, fault: str | None) -> None:
        draw = random.Random(seed)
        self.seed, self.fault, self.draw = seed, fault, draw
        kinds = ["sgd", "adam", "adamw", "adagrad", "rmsprop"]
        if fault == "decay-factor":
            kinds = ["adamw"]
        if fault in ("not-divided", "divided-twice", "state-fresh"):
            # What forgets its scale tells a rate from a gradient; a state is none without momentum.
            kinds = ["adam", "adamw"]
        self.kind = draw.choice(kinds)
        self.decay = draw.choice([0.01, 0.1]) if self.kind == "adamw" else 0.0
        self.rate = {"sgd": 0.05, "adagrad": 0.02, "rmsprop": 1e-3}.get(self.kind, 3e-3)
        clips = fault in ("clip-inactive", "clip-norm-factor")
        never = fault in ("not-divided", "divided-twice")
        self.limit = None if never else draw.choice([0.05, 0.1]) if clips else draw.choice([None, 0.3, 0.6])
        self.every = draw.choice([5, 8, 20])
        self.hidden = draw.choice([16, 24])
        # optax counts the steps of a schedule beside those of Adam, and a recorder reads either.
        self.schedule = draw.random() < 0.4 and fault != "state-fresh"
        self.at = WARM_UP + draw.randrange(6, 16)
        self.place = draw.randrange(self.hidden * self.hidden)
        self.factor = {
            "clip-norm-factor": draw.choice([0.5, 2**-0.5, 2.0, 0.25, 1.7]),
            "rate-factor": draw.choice([0.5, 2.0, 1.3, 5.0]),
            "decay-factor": draw.choice([0.0, 4.0, 10.0, 0.25]),
            "not-divided": draw.choice([2.0, 4.0, 8.0]),
            "divided-twice": draw.choice([0.5, 0.25, 0.125]),
            "entries-changed": 2.0 ** draw.choice([4, 6, 10, -3]),
            "all-scaled": 0.9,
        }.get(fault or "")
        self._data = np.random.default_rng(seed + 1)
        self._table = np.random.default_rng(5).normal(size=(FEATURES, CLASSES))

    def rate_at(self, step: int) -> float:
        """The declared learning rate."""
        return self.rate * (0.6 + 0.4 * float(np.cos(step / 20))) if self.schedule else self.rate

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch: features and classes."""
        if self.fault == "repeated-batch":
            self._data = np.random.default_rng(self.seed + 1)
        x = self._data.normal(size=(ROWS, FEATURES)).astype(np.float32)
        y = (x @ self._table + 0.3 * self._data.normal(size=(ROWS, CLASSES))).argmax(1).astype(np.int32)
        return x, np.zeros_like(y) if self.fault == "constant-input" else y

    def clip_factor(self, norm: float) -> float:
        """What the loop multiplies the gradient by, as Keras and optax clip."""
        if self.limit is None or self.fault == "clip-inactive":
            return 1.0
        seen = norm * (self.factor if self.fault == "clip-norm-factor" and self.factor else 1.0)
        return self.limit / max(seen, self.limit)

    def wrote(self, step: int, weights: dict[str, np.ndarray], hidden: str) -> dict[str, np.ndarray]:
        """Weights as something else than the optimizer leaves them after a step; `hidden` is the square kernel."""
        if self.fault == "rounded":
            words = {name: np.ascontiguousarray(w).view(np.uint32) for name, w in weights.items()}
            kept = {n: (b + 0x7FFF + ((b >> 16) & 1)) & np.uint32(0xFFFF0000) for n, b in words.items()}
            return {name: b.astype(np.uint32).view(np.float32) for name, b in kept.items()}
        if step != self.at - 1:
            return {}
        if self.fault == "entries-changed":
            changed = weights[hidden].copy()
            changed.reshape(-1)[self.place] *= self.factor
            return {hidden: changed}
        if self.fault == "all-scaled":
            return {name: (0.9 * w).astype(np.float32) for name, w in weights.items()}
        if self.fault == "weights-replaced":
            noise = np.random.default_rng(self.seed)
            return {name: (w + 0.01 * noise.normal(size=w.shape)).astype(np.float32) for name, w in weights.items()}
        return {}

    def truth(self, framework: str) -> dict[str, Any]:
        """What `score.ts` reads."""
        return {
            "seed": self.seed,
            "framework": framework,
            "cause": self.fault,
            "link": None if self.fault is None else FAULTS[self.fault],
            "factor": self.factor,
            "optimizer": f"{framework} {self.kind}",
            "clip": self.limit,
            "every": self.every,
            "schedule": self.schedule,
        }


def main(train: Callable[[Plan, Path], dict[str, Any]], about: str | None) -> None:
    """The command line of a file of trainings: OUT --seeds A:B [--healthy]."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0:16", help="A:B, B not included")
    parser.add_argument("--healthy", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    first, last = (int(text) for text in arguments.seeds.split(":"))
    names = list(FAULTS)
    for seed in range(first, last):
        out = arguments.out / str(seed)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        truth = train(Plan(seed, None if arguments.healthy else names[seed % len(names)]), out)
        (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf8")

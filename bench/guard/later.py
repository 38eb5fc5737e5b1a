"""Families of runs that were written after the guard's last change and before anything of them was trained, as those of unseen.py were
for the change before: nets, troubles, calm twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from unseen import drawer

Batch = dict[str, torch.Tensor]
#: A net's troubles, and its calm twin.
LATER = (
    "bag-ids", "bag-labels", "experts-unit", "experts-decay", "hidden-missing", "hidden-rate", "gates-turned", "gates-units",
    "calm-bag", "calm-experts", "calm-hidden", "calm-gates",
)  # fmt: skip
#: Steps that a trouble lasts: for a moment, a while, or to the end.
LENGTHS = (2, 10, 30, 1000)


class Bag(torch.nn.Module):
    """The mean of eight embeddings, a hidden layer, and one of five classes; the loss is a cross entropy."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words, self.hidden, self.head = torch.nn.EmbeddingBag(80, width), torch.nn.Linear(width, 24), torch.nn.Linear(24, 5)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        return torch.nn.functional.cross_entropy(self.head(torch.relu(self.hidden(self.words(batch["words"])))), batch["y"])


class Experts(torch.nn.Module):
    """Three experts and a gate; the loss is an absolute error, smooth near zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = torch.nn.Linear(10, 3)
        self.experts = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(10, width), torch.nn.GELU(), torch.nn.Linear(width, 1)) for _ in range(3)
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        shares = torch.softmax(self.gate(batch["x"]), dim=1)
        said = torch.cat([expert(batch["x"]) for expert in self.experts], dim=1)
        return torch.nn.functional.smooth_l1_loss((shares * said).sum(1), batch["y"])


class Hidden(torch.nn.Module):
    """A variational autoencoder of 12 features, its noise in the batch; the loss is a mean square and a divergence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside, self.outside = torch.nn.Linear(12, width), torch.nn.Linear(width, 12)
        self.code, self.back = torch.nn.Linear(width, 6), torch.nn.Linear(3, width)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        mean, spread = self.code(torch.tanh(self.inside(batch["x"]))).chunk(2, dim=1)
        said = self.outside(torch.tanh(self.back(mean + batch["noise"] * torch.exp(spread / 2))))
        divergence = (mean**2 + torch.exp(spread) - 1 - spread).sum(1).mean() / 2
        return ((said - batch["x"]) ** 2).sum(1).mean() + 0.1 * divergence


class Gates(torch.nn.Module):
    """Two gated layers with batch statistics; the loss is a cross entropy of yes and no."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(10, 2 * width), torch.nn.Linear(width, 2 * width)
        self.norm, self.head = torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        x = torch.nn.functional.glu(self.first(batch["x"]))
        x = torch.nn.functional.glu(self.second(self.norm(x)))
        return torch.nn.functional.binary_cross_entropy_with_logits(self.head(x)[:, 0], batch["y"])


def made(seed: int, rng: np.random.Generator, family: str) -> tuple[Callable[[], torch.nn.Module], Callable[..., Batch]]:
    """The net of a family and its data."""
    width, usual_rows = int(rng.choice([8, 16])), int(rng.choice([16, 64]))
    table, topics = rng.normal(0, 1, (12, 12)), rng.dirichlet(np.full(80, 0.1), 5)

    def bag(own: np.random.Generator, rows: int) -> dict[str, Any]:
        y = own.integers(0, 5, rows)
        return {"words": np.stack([own.choice(80, 8, p=topics[k]) for k in y]), "y": y}

    def experts(own: np.random.Generator, rows: int) -> dict[str, Any]:
        x = own.normal(0, 1, (rows, 10))
        return {"x": x, "y": np.where(x[:, 0] > 0, x @ table[0, :10], -(x @ table[1, :10])) + 0.2 * own.normal(0, 1, rows)}

    def hidden(own: np.random.Generator, rows: int) -> dict[str, Any]:
        x = np.tanh(own.normal(0, 1, (rows, 3)) @ table[:3]) + 0.1 * own.normal(0, 1, (rows, 12))
        return {"x": x, "noise": own.normal(0, 1, (rows, 3))}

    def gates(own: np.random.Generator, rows: int) -> dict[str, Any]:
        x = own.normal(0, 1, (rows, 10))
        return {"x": x, "y": (np.abs(x @ table[2, :10]) + 0.3 * own.normal(0, 1, rows) > 2).astype(np.float64)}

    draws = {"bag": bag, "experts": experts, "hidden": hidden, "gates": gates}
    nets = {
        "bag": lambda: Bag(width), "experts": lambda: Experts(width), "hidden": lambda: Hidden(2 * width), "gates": lambda: Gates(width),
    }  # fmt: skip

    name = next(name for name in draws if name in family)
    return nets[name], drawer(draws[name], seed, usual_rows)


def trouble(run: Any, draw: Callable[..., Batch], rng: np.random.Generator, log_uniform: Callable[..., float]) -> None:
    """What is wrong with a run of such a family; nothing in the calm ones."""
    size, length, share = log_uniform(2, 200), int(rng.choice(LENGTHS)), float(rng.uniform(0.1, 1))
    run.strength = {"times": size, "steps": length, "share": share}
    family, start = run.family, run.start

    def is_on(step: int) -> bool:
        return start <= step < start + length

    def rows(batch: Batch, own: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(own.random(len(next(iter(batch.values())))) < share)

    def other_ids(batch: Batch, own: np.random.Generator) -> None:
        batch["words"] = torch.where(rows(batch, own)[:, None], (batch["words"] + 41) % 80, batch["words"])

    def one_class(batch: Batch, own: np.random.Generator) -> None:
        batch["y"] = torch.where(rows(batch, own), torch.zeros_like(batch["y"]), batch["y"])

    def other_unit(batch: Batch, own: np.random.Generator) -> None:
        batch["x"][:, 0] = batch["x"][:, 0] * size

    def missing(batch: Batch, own: np.random.Generator) -> None:
        batch["x"][rows(batch, own)] = -size / 10

    def turned(batch: Batch, own: np.random.Generator) -> None:
        batch["y"] = torch.where(rows(batch, own), 1 - batch["y"], batch["y"])

    changes = {
        "bag-ids": other_ids, "bag-labels": one_class, "experts-unit": other_unit, "hidden-missing": missing, "gates-turned": turned,
        "gates-units": other_unit,
    }  # fmt: skip
    if family in changes:

        def changed(step: int) -> Batch:
            drawn = draw(step)
            if is_on(step):
                changes[family](drawn, np.random.default_rng([run.seed, 9, step]))
            return drawn

        run.batch = changed
    elif family == "hidden-rate":
        run.times = lambda step: size if is_on(step) else 1.0
    elif family == "experts-decay":
        run.decay = lambda step: size if is_on(step) else 0.0

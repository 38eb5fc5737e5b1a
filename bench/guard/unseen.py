"""Families of runs that were written after a change of the guard and before anything of them was trained: nets, troubles, calm twins.
The next change was chosen on some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Batch = dict[str, torch.Tensor]
#: A net's troubles, and its calm twin.
UNSEEN = (
    "conv-pixels", "conv-shuffled", "code-scale", "towers-clicks", "residual-rate", "residual-options", "heads-weight",
    "lstm-outliers", "lstm-uncleared",
    "calm-conv", "calm-code", "calm-towers", "calm-residual", "calm-heads", "calm-lstm",
)  # fmt: skip
#: Steps that a trouble lasts: for a moment, a while, or to the end.
LENGTHS = (1, 6, 20, 1000)


class Conv(torch.nn.Module):
    """Two convolutions over images of 8 by 8; the loss is a cross entropy of four classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, width, 3, padding=1)
        self.second = torch.nn.Conv2d(width, width, 3, padding=1, stride=2)
        self.head = torch.nn.Linear(16 * width, 4)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        x = torch.relu(self.second(torch.relu(self.first(batch["x"].view(-1, 1, 8, 8)))))
        return torch.nn.functional.cross_entropy(self.head(x.flatten(1)), batch["y"])


class Code(torch.nn.Module):
    """An autoencoder of 16 features through three; the loss is a mean square."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(16, width), torch.nn.SiLU(), torch.nn.Linear(width, 3),
            torch.nn.Linear(3, width), torch.nn.SiLU(), torch.nn.Linear(width, 16),
        )  # fmt: skip

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        return ((self.layers(batch["x"]) - batch["x"]) ** 2).mean()


class Towers(torch.nn.Module):
    """Users and items as embeddings whose product says a click; the loss is a cross entropy."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.users, self.items = torch.nn.Embedding(60, width), torch.nn.Embedding(60, width)
        for table in (self.users, self.items):
            torch.nn.init.normal_(table.weight, std=0.3)
        self.dense = torch.nn.Linear(width, width)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        score = (self.dense(self.users(batch["user"])) * self.items(batch["item"])).sum(1)
        return torch.nn.functional.binary_cross_entropy_with_logits(score, batch["y"])


class Residual(torch.nn.Module):
    """Six residual layers with tanh; with `heads` a second output whose loss has a weight of its own."""

    def __init__(self, width: int, heads: bool) -> None:
        super().__init__()
        self.inside = torch.nn.Linear(8, width)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(6))
        self.head, self.other = torch.nn.Linear(width, 1), torch.nn.Linear(width, 1) if heads else None

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        x = self.inside(batch["x"])
        for layer in self.layers:
            x = x + torch.tanh(layer(x)) / 2
        loss = ((self.head(x)[:, 0] - batch["y"]) ** 2).mean()
        if self.other is not None:
            loss = loss + (batch["weight"] * (self.other(x)[:, 0] - batch["z"]) ** 2).mean()
        return loss


class Lstm(torch.nn.Module):
    """An LSTM over six moments; the loss is a Huber loss of what comes next."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells, self.head = torch.nn.LSTM(4, width, batch_first=True), torch.nn.Linear(width, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        return torch.nn.functional.huber_loss(self.head(self.cells(batch["x"])[0][:, -1])[:, 0], batch["y"])


def made(seed: int, rng: np.random.Generator, family: str) -> tuple[Callable[[], torch.nn.Module], Callable[..., Batch]]:
    """The net of a family and its data."""
    width, usual_rows = int(rng.choice([8, 16])), int(rng.choice([32, 64]))
    table, more = rng.normal(0, 1, (4, 64)), rng.normal(0, 1, (60, 60))

    def conv(own: np.random.Generator, rows: int) -> dict[str, Any]:
        y = own.integers(0, 4, rows)
        return {"x": 0.5 * table[y] + own.normal(0, 1, (rows, 64)), "y": y}

    def code(own: np.random.Generator, rows: int) -> dict[str, Any]:
        return {"x": np.tanh(own.normal(0, 1, (rows, 4)) @ table[:, :16]) + 0.1 * own.normal(0, 1, (rows, 16))}

    def towers(own: np.random.Generator, rows: int) -> dict[str, Any]:
        user, item = own.integers(0, 60, rows), own.integers(0, 60, rows)
        low_rank = more[user, :3] * more[item, 3:6]
        return {"user": user, "item": item, "y": (low_rank.sum(1) + own.logistic(0, 0.5, rows) > 0).astype(np.float64)}

    def residual(own: np.random.Generator, rows: int) -> dict[str, Any]:
        x = own.normal(0, 1, (rows, 8))
        y, z = np.sin(x @ table[0, :8]) + 0.2 * own.normal(0, 1, rows), np.abs(x @ table[1, :8]) / 3
        return {"x": x, "y": y, "z": z, "weight": np.ones(rows)}

    def lstm(own: np.random.Generator, rows: int) -> dict[str, Any]:
        x = own.normal(0, 1, (rows, 6, 4)).cumsum(axis=1) / 2
        return {"x": x, "y": np.tanh(x[:, -1] @ table[0, :4]) + 0.1 * own.standard_t(3, rows)}

    draws = {"conv": conv, "code": code, "towers": towers, "residual": residual, "heads": residual, "lstm": lstm}
    nets = {
        "conv": lambda: Conv(width), "code": lambda: Code(2 * width), "towers": lambda: Towers(width),
        "residual": lambda: Residual(width, False), "heads": lambda: Residual(width, True), "lstm": lambda: Lstm(width),
    }  # fmt: skip

    name = next(name for name in draws if name in family)
    return nets[name], drawer(draws[name], seed, usual_rows)


def drawer(values_of: Callable[..., dict[str, Any]], seed: int, usual_rows: int) -> Callable[..., Batch]:
    """Batches of a task by key: numbers as float32, ids as int64."""

    def draw(key: int, rows: int = usual_rows) -> Batch:
        values = values_of(np.random.default_rng([seed, 2, key]), rows)
        return {k: torch.tensor(v, dtype=torch.float32 if v.dtype == np.float64 else torch.int64) for k, v in values.items()}

    return draw


def trouble(run: Any, draw: Callable[..., Batch], rng: np.random.Generator, log_uniform: Callable[..., float]) -> None:
    """What is wrong with a run of an unseen family; nothing in the calm ones."""
    size, length, share = log_uniform(3, 300), int(rng.choice(LENGTHS)), float(rng.uniform(0.05, 1))
    run.strength = {"times": size, "steps": length, "share": share}
    family, start = run.family, run.start

    def is_on(step: int) -> bool:
        return start <= step < start + length

    def changed(change: Callable[[Batch, np.random.Generator], None]) -> Callable[[int], Batch]:
        def batch(step: int) -> Batch:
            drawn = draw(step)
            if is_on(step):
                change(drawn, np.random.default_rng([run.seed, 9, step]))
            return drawn

        return batch

    def scaled(batch: Batch, own: np.random.Generator) -> None:
        batch["x"] = batch["x"] * size

    def shuffled(batch: Batch, own: np.random.Generator) -> None:
        batch["y"] = batch["y"][torch.from_numpy(own.permutation(len(batch["y"])))]

    def turned(batch: Batch, own: np.random.Generator) -> None:
        flips = torch.from_numpy(own.random(len(batch["y"])) < share)
        batch["y"] = torch.where(flips, 1 - batch["y"], batch["y"])

    def weighted(batch: Batch, own: np.random.Generator) -> None:
        batch["weight"] = batch["weight"] * size

    def with_outliers(batch: Batch, own: np.random.Generator) -> None:
        rows = torch.from_numpy(own.random(len(batch["y"])) < share / 3)
        batch["y"] = torch.where(rows, batch["y"] * size, batch["y"])
        batch["x"] = torch.where(rows[:, None, None], batch["x"] * size, batch["x"])

    changes = {
        "conv-pixels": scaled, "code-scale": scaled, "conv-shuffled": shuffled, "towers-clicks": turned,
        "heads-weight": weighted, "lstm-outliers": with_outliers,
    }  # fmt: skip
    if family in changes:
        run.batch = changed(changes[family])
    elif family == "residual-rate":
        run.times = lambda step: size if is_on(step) else 1.0
    elif family == "residual-options":
        run.options = lambda step: mistyped(run.optimizer, share) if is_on(step) else {}
    elif family == "lstm-uncleared":
        run.clears = lambda step: not is_on(step)


def mistyped(optimizer: str, share: float) -> dict[str, Any]:
    """Options of an optimizer with a typing error."""
    return {
        "sgd": {"momentum": 0.9 + 0.1 * share}, "momentum": {"momentum": 0.99 + 0.01 * share},
        "adam": {"betas": (0.9, 0.999 * share)}, "adamw": {"betas": (0.9, 0.999 * share)},
        "adagrad": {"weight_decay": 100 * share}, "rmsprop": {"alpha": 0.99 * share},
    }[optimizer]  # fmt: skip

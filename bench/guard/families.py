"""Families of runs for the benchmark of the guard: a seed gives a run, its trouble and how strong it is drawn at random.

Nobody chooses runs by how they end: what is lost is found by training them. Families in TUNED gave the guard its numbers. Those in
REPORTED, FRESH and UNSEEN (unseen.py) were unseen once and were looked at since; on those in LATER (later.py) nothing was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import later
import unseen
from later import LATER
from unseen import UNSEEN

Batch = dict[str, torch.Tensor]
STEPS, START = 220, (90, 150)
TUNED = ("surge", "rate-jump", "labels", "odd-batch", "state-lost", "calm")
REPORTED = (
    "shift-dcn", "new-ids", "attention-rate", "attention-noise", "ramp", "odd-batch-dcn", "drift", "overflow",
    "calm-embedding", "calm-attention", "calm-dcn", "calm-schedule",
)  # fmt: skip
#: Other nets, other troubles: a GRU with bad targets, LayerNorm under a rate that jumps, large batches under Adam, a weight decay that is
#: mistyped, rows that are swapped with other labels, inputs that are all equal, and calm twins.
FRESH = (
    "gru-targets", "norm-rate", "large-batch", "decay", "rows", "constant", "calm-gru", "calm-norm", "calm-large", "calm-decay",
)  # fmt: skip
RATES = {
    "sgd": (0.02, 0.1), "momentum": (0.003, 0.02), "adam": (0.002, 0.01), "adamw": (0.002, 0.01), "adagrad": (0.03, 0.2),
    "rmsprop": (0.0005, 0.003),
}  # fmt: skip


class Mlp(torch.nn.Module):
    """Dense features, and ids where there are some; `cross` adds a layer of DCN-v2. The loss is a mean square."""

    def __init__(self, size: int, width: int, ids: int = 0, cross: bool = False) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(ids, 4) if ids else None
        if self.table is not None:
            torch.nn.init.normal_(self.table.weight, std=0.1)
        wide = size + (4 if ids else 0)
        self.cross = torch.nn.Linear(wide, wide) if cross else None
        self.layers = torch.nn.ModuleList([torch.nn.Linear(wide, width), torch.nn.Linear(width, width)])
        self.head = torch.nn.Linear(width, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        x = batch["x"] if self.table is None else torch.cat([batch["x"], self.table(batch["id"])], dim=1)
        if self.cross is not None:
            x = x * self.cross(x) + x
        for layer in self.layers:
            x = torch.relu(layer(x))
        return ((self.head(x)[:, 0] - batch["y"]) ** 2).mean()


class Attention(torch.nn.Module):
    """A character-level transformer of two layers; the loss is the cross entropy of the next character."""

    def __init__(self, letters: int, length: int, width: int = 32) -> None:
        super().__init__()
        self.letters = torch.nn.Embedding(letters, width)
        self.places = torch.nn.Embedding(length, width)
        self.blocks = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.head = torch.nn.Linear(width, letters)
        self.register_buffer("mask", torch.nn.Transformer.generate_square_subsequent_mask(length), persistent=False)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        tokens = batch["tokens"]
        x = self.letters(tokens[:, :-1]) + self.places.weight
        for block in self.blocks:
            x = block(x, src_mask=self.mask)
        return torch.nn.functional.cross_entropy(self.head(x).flatten(0, 1), tokens[:, 1:].flatten())


class Recurrent(torch.nn.Module):
    """A GRU over a sequence of features; the loss is a mean square at its end."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.cells = torch.nn.GRU(size, width, batch_first=True)
        self.head = torch.nn.Linear(width, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch; its rows are cut into a sequence of three."""
        x = batch["x"].reshape(len(batch["x"]), 3, -1)
        return ((self.head(self.cells(x)[0][:, -1])[:, 0] - batch["y"]) ** 2).mean()


class Normed(torch.nn.Module):
    """Two hidden layers with LayerNorm and GELU; the loss is a cross entropy of whether y is positive."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        sizes = [(size, width), (width, width)]
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(a, b), torch.nn.LayerNorm(b), torch.nn.GELU()) for a, b in sizes
        )
        self.head = torch.nn.Linear(width, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        x = batch["x"]
        for layer in self.layers:
            x = layer(x)
        return torch.nn.functional.binary_cross_entropy_with_logits(self.head(x)[:, 0], (batch["y"] > 0).float())


@dataclass
class Run:
    """A training with its trouble."""

    family: str
    seed: int
    make: Callable[[], torch.nn.Module]
    #: The batch of a step, and clean rows that no step trains on.
    batch: Callable[[int], Batch]
    references: Batch
    optimizer: str
    rate: float
    start: int
    #: Times the rate at a step.
    times: Callable[[int], float] = lambda _: 1.0
    #: The loss scale at a step at which gradients go through half precision.
    scale: Callable[[int], float] | None = None
    #: Loses the optimizer's state before the step `start`.
    forget: bool = False
    #: The weight decay of a step.
    decay: Callable[[int], float] | None = None
    #: Options of the optimizer that are mistyped at a step.
    options: Callable[[int], dict[str, Any]] | None = None
    #: Whether the gradients of the step before are cleared.
    clears: Callable[[int], bool] = lambda _: True
    strength: dict[str, float] = field(default_factory=dict)


def run_of(family: str, number: int) -> Run:
    """The run of a number in a family."""
    seed = 1000 * (TUNED + REPORTED + FRESH + UNSEEN + LATER).index(family) + number
    rng = np.random.default_rng([seed, 1])
    attention = "attention" in family

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    start = int(rng.integers(*START))
    optimizer = str(rng.choice(["adam", "adamw"] if attention else list(RATES)))
    if family in ("new-ids", "state-lost"):
        optimizer = str(rng.choice(["adagrad", "adam", "rmsprop"]))
    if family in ("large-batch", "calm-large"):
        optimizer = str(rng.choice(["adam", "adamw"]))
    if family in ("decay", "calm-decay"):
        optimizer = "adamw"
    rate = log_uniform(*((0.001, 0.004) if attention else RATES[optimizer]))
    if attention:
        make, draw = _text(seed, rng)
    elif family in UNSEEN + LATER:
        make, draw = (unseen if family in UNSEEN else later).made(seed, rng, family)
    elif family in FRESH:
        make, draw = _fresh(seed, rng, family)
    else:
        make, draw = _table(seed, rng, family)
    run = Run(family, seed, make, lambda step: draw(step), draw(10**6, rows=48 if attention else 256), optimizer, rate, start)
    if family in UNSEEN + LATER:
        (unseen if family in UNSEEN else later).trouble(run, draw, rng, log_uniform)
    else:
        trouble(run, draw, rng, log_uniform)
    return run


def trouble(run: Run, draw: Callable[..., Batch], rng: np.random.Generator, log_uniform: Callable[..., float]) -> None:
    """What is wrong with a run of its family; nothing in the calm ones."""
    start, family = run.start, run.family
    if family in ("surge", "odd-batch", "odd-batch-dcn"):
        single = family != "surge"
        size, length = log_uniform(2, 8 if single else 40), 1 if single else int(rng.choice([2, 8, 1000]))
        run.strength = {"times": size, "batches": length}

        def scaled(step: int) -> Batch:
            batch = draw(step)
            if start <= step < start + length:
                batch["x"] = batch["x"] * size
            return batch

        run.batch = scaled
    elif family == "labels":
        size, length = log_uniform(1, 30), int(rng.choice([1, 4, 12]))
        run.strength = {"times": size, "batches": length}

        def turned(step: int) -> Batch:
            batch = draw(step)
            if start <= step < start + length:
                batch["y"] = -size * batch["y"]
            return batch

        run.batch = turned
    elif family in ("rate-jump", "attention-rate"):
        size, length = log_uniform(2, 100), int(rng.choice([1, 5, 1000]))
        run.strength = {"times": size, "steps": length}
        run.times = lambda step: size if start <= step < start + length else 1.0
    elif family == "ramp":
        growth = 1 + log_uniform(0.01, 0.08)
        run.strength = {"growth": growth}
        run.times = lambda step: growth ** max(0, step - start + 40)
    elif family == "state-lost":
        run.forget, run.rate = True, run.rate * log_uniform(1, 40)
        run.strength = {"rate": run.rate}
    elif family == "shift-dcn":
        shift = float(rng.uniform(0.3, 5))
        run.strength = {"shift": shift}
        run.batch = lambda step: draw(step, shift=shift if step >= start else 0.0)
    elif family in ("gru-targets", "large-batch"):
        size, length = log_uniform(3, 100), int(rng.choice([1, 4, 1000]))
        run.rate *= log_uniform(1, 3)
        run.strength = {"times": size, "batches": length}

        def grown(step: int) -> Batch:
            batch = draw(step)
            if start <= step < start + length:
                batch["y"], batch["x"] = size * batch["y"], batch["x"] * (size**0.5 if family == "large-batch" else 1)
            return batch

        run.batch = grown
    elif family == "norm-rate":
        size, length = log_uniform(3, 300), int(rng.choice([1, 10, 1000]))
        run.strength = {"times": size, "steps": length}
        run.times = lambda step: size if start <= step < start + length else 1.0
    elif family in ("decay", "calm-decay"):
        usual, typed = log_uniform(0.001, 0.1), log_uniform(3, 300)
        run.strength = {"decay": typed if family == "decay" else usual}
        run.decay = lambda step: typed if family == "decay" and step >= start else usual
    elif family == "rows":
        share, size = float(rng.uniform(0.02, 0.3)), log_uniform(10, 1000)
        length = int(rng.choice([1, 4, 1000]))
        run.strength = {"share": share, "times": size, "batches": length}

        def swapped(step: int) -> Batch:
            batch = draw(step)
            if start <= step < start + length:
                bad = torch.from_numpy(np.random.default_rng([run.seed, 9, step]).random(len(batch["y"])) < share)
                batch["y"] = torch.where(bad, -size * batch["y"], batch["y"])
            return batch

        run.batch = swapped
    elif family == "constant":
        size, length = log_uniform(1, 30), int(rng.choice([1, 10, 1000]))
        run.rate *= log_uniform(1, 5)
        run.strength = {"times": size, "batches": length}

        def equal(step: int) -> Batch:
            batch = draw(step)
            if start <= step < start + length:
                batch["x"] = size * batch["x"][:1].expand_as(batch["x"])
            return batch

        run.batch = equal
    elif family == "drift":
        slope = log_uniform(0.0005, 0.02)
        run.strength = {"slope": slope}
        run.batch = lambda step: draw(step, shift=slope * max(0, step - start + 40))
    elif family == "new-ids":
        share, size = float(rng.uniform(0.2, 1)), log_uniform(1, 20)
        run.rate *= log_uniform(1, 10)
        run.strength = {"share": share, "times": size}

        def fresh(step: int) -> Batch:
            batch = draw(step)
            if step >= start:
                new = torch.from_numpy(np.random.default_rng([run.seed, 9, step]).random(len(batch["y"])) < share)
                batch["id"] = torch.where(new, batch["id"] + 40, batch["id"])
                batch["y"] = torch.where(new, size * batch["y"], batch["y"])
            return batch

        run.batch = fresh
    elif family == "attention-noise":
        length = int(rng.choice([1, 4, 12, 1000]))
        run.rate *= log_uniform(1, 6)
        run.strength = {"batches": length, "rate": run.rate}
        run.batch = lambda step: draw(step, noise=start <= step < start + length)
    elif family == "overflow":
        every, first = int(rng.integers(1, 6)), float(2.0 ** rng.integers(6, 12))
        run.strength = {"scale": first, "every": every}
        run.scale = lambda step: first if step < start else first * 4.0 ** (1 + (step - start) // every)
    elif family == "calm-schedule":
        kind = str(rng.choice(["warm-up", "cosine", "restarts"]))
        run.times = {
            "warm-up": lambda step: min(1.0, (step + 1) / 60),
            "cosine": lambda step: 0.5 * (1 + math.cos(math.pi * step / STEPS)),
            "restarts": lambda step: 0.1 + 0.45 * (1 + math.cos(math.pi * (step % 70) / 70)),
        }[kind]


def _table(seed: int, rng: np.random.Generator, family: str) -> tuple[Any, Callable[..., Batch]]:
    size, width, rows = int(rng.choice([6, 10])), int(rng.choice([16, 32])), int(rng.choice([32, 64]))
    ids = 80 if family in ("new-ids", "calm-embedding") else 0
    cross = "dcn" in family or (family in ("ramp", "drift", "calm-schedule") and bool(rng.random() < 0.5))
    first, last = rng.normal(0, size**-0.5, (size, 6)), rng.normal(0, 0.6, 6)
    effects = rng.normal(0, 0.5, max(ids, 1))

    def draw(key: int, rows: int = rows, shift: float = 0.0) -> Batch:
        own = np.random.default_rng([seed, 2, key])
        x = own.normal(0, 1, (rows, size)) + shift
        y = np.tanh(x @ first) @ last + own.normal(0, 0.3, rows)
        batch = {"x": torch.tensor(x, dtype=torch.float32)}
        if ids:
            # Ids from 40 on are new ones: they come with the trouble.
            chosen = own.integers(0, 40, rows)
            y = y + effects[chosen]
            batch["id"] = torch.tensor(chosen)
        batch["y"] = torch.tensor(y, dtype=torch.float32)
        return batch

    return lambda: Mlp(size, width, ids, cross), draw


def _fresh(seed: int, rng: np.random.Generator, family: str) -> tuple[Any, Callable[..., Batch]]:
    """Nets and data of the families in FRESH: y is a product of two sums of the features, with noise that has heavy tails."""
    size, width = int(rng.choice([9, 12])), int(rng.choice([16, 24]))
    rows = int(rng.choice([512, 1024])) if "large" in family else int(rng.choice([24, 48]))
    first, last = rng.normal(0, size**-0.5, size), rng.normal(0, size**-0.5, size)

    def draw(key: int, rows: int = rows) -> Batch:
        own = np.random.default_rng([seed, 2, key])
        x = own.normal(0, 1, (rows, size))
        y = (x @ first) * (1 + x @ last) + 0.2 * own.standard_t(4, rows)
        return {"x": torch.tensor(x, dtype=torch.float32), "y": torch.tensor(y, dtype=torch.float32)}

    if "gru" in family:
        return lambda: Recurrent(size // 3, width), draw
    return lambda: Normed(size, width) if "norm" in family else Mlp(size, width), draw


def _text(seed: int, rng: np.random.Generator) -> tuple[Any, Callable[..., Batch]]:
    letters, length, rows = 24, 24, 16
    table = rng.dirichlet(np.full(letters, 0.15), letters)

    def draw(key: int, rows: int = rows, noise: bool = False) -> Batch:
        own = np.random.default_rng([seed, 2, key])
        if noise:
            return {"tokens": torch.tensor(own.integers(0, letters, (rows, length + 1)))}
        tokens = np.empty((rows, length + 1), dtype=np.int64)
        tokens[:, 0] = own.integers(0, letters, rows)
        cumulative = table.cumsum(axis=1)
        for k in range(length):
            tokens[:, k + 1] = np.minimum(
                (cumulative[tokens[:, k]] < own.random((rows, 1))).sum(axis=1), letters - 1
            )
        return {"tokens": torch.tensor(tokens)}

    return lambda: Attention(letters, length), draw


def make_optimizer(name: str, net: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    """An optimizer of torch with its usual options."""
    p, o = list(net.parameters()), torch.optim
    return {
        "sgd": lambda: o.SGD(p, lr=rate),
        "momentum": lambda: o.SGD(p, lr=rate, momentum=0.9),
        "adam": lambda: o.Adam(p, lr=rate),
        "adamw": lambda: o.AdamW(p, lr=rate, betas=(0.9, 0.95)),
        "adagrad": lambda: o.Adagrad(p, lr=rate, initial_accumulator_value=0.1),
        "rmsprop": lambda: o.RMSprop(p, lr=rate),
    }[name]()


@dataclass
class Trace:
    """What a training gave: the loss of clean rows before each step and after the last, and the losses of the batches."""

    reference: list[float]
    loss: list[float]


#: Called before each step with (step, batch, loss, net, optimizer).
Before = Callable[[int, Batch, torch.Tensor, torch.nn.Module, torch.optim.Optimizer], None]


def train(run: Run, before: Before | None = None, prepare: Callable[..., None] | None = None) -> Trace:
    """Trains a run to its end, or to a loss that is not finite."""
    torch.manual_seed(run.seed)
    net = run.make()
    optimizer = make_optimizer(run.optimizer, net, run.rate)
    if prepare is not None:
        prepare(net, optimizer)
    trace = Trace([], [])
    given = [dict(group) for group in optimizer.param_groups]
    for step in range(STEPS):
        with torch.no_grad():
            trace.reference.append(float(net(run.references)))
        if run.forget and step == run.start:
            for state in optimizer.state.values():
                for slot, value in state.items():
                    value.fill_(0.1 if slot == "sum" else 0)
        for group in optimizer.param_groups:
            group["lr"] = run.rate * run.times(step)
            if run.decay is not None:
                group["weight_decay"] = run.decay(step)
        if run.options is not None:
            for group, own in zip(optimizer.param_groups, given):
                wrong = run.options(step)
                group.update({name: wrong.get(name, own[name]) for name in run.options(run.start)})
        batch = run.batch(step)
        if run.clears(step):
            optimizer.zero_grad()
        loss = net(batch)
        loss.backward()
        if run.scale is not None:
            for p in net.parameters():
                p.grad = (p.grad * run.scale(step)).half().float() / run.scale(step)
        trace.loss.append(float(loss.detach()))
        if before is not None:
            before(step, batch, loss.detach(), net, optimizer)
        optimizer.step()
        if not math.isfinite(trace.loss[-1]):
            break
    with torch.no_grad():
        trace.reference.append(float(net(run.references)))
    return trace


def usual(trace: Trace, start: int) -> float:
    """The level of clean rows before the trouble."""
    before = trace.reference[max(0, start - 19) : start + 1]
    return float(np.median(before))


def lost(trace: Trace, level: float) -> bool:
    """Whether a run ends above 1.45 times the level before its trouble on clean rows (the criterion of docs/cause.md)."""
    end = trace.reference[-10:]
    return len(trace.loss) < STEPS or not np.isfinite(end).all() or float(np.median(end)) > 1.45 * level


def harm_of(trace: Trace, level: float) -> int:
    """The last step before clean rows are above 1.45 times the level, and stay there."""
    for step in range(len(trace.reference) - 1, -1, -1):
        if trace.reference[step] <= 1.45 * level:
            return step
    return 0

"""Small nets, streams of batches, and a training loop in plain PyTorch with everything that a benchmark of causes changes in it.

Nothing here is taken from clippy_diag: rules, optimizers and the criterion are torch's own or written from their definition, so
that what comes out can be the truth that clippy-diag is held against.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Batch = dict[str, Any]
ACTIVATIONS = {
    "relu": torch.relu, "tanh": torch.tanh, "swish": torch.nn.functional.silu, "elu": torch.nn.functional.elu,
    "selu": torch.selu, "gelu": torch.nn.functional.gelu, "softplus": torch.nn.functional.softplus,
}  # fmt: skip
RENAME = {
    "tables.*.weight": "embedding/*",
    "bottom.*.weight": "shared/*/kernel",
    "bottom.*.bias": "shared/*/bias",
    "towers.*.*.weight": "task/*/*/kernel",
    "towers.*.*.bias": "task/*/*/bias",
}
#: Of layers that only the wider set has.
RENAME_WIDER = {
    "norms.*.weight": "shared/*/gamma",
    "norms.*.bias": "shared/*/beta",
    "cross.*.weight": "cross/*/kernel",
    "cross.*.bias": "cross/*/bias",
    "experts.*.*.weight": "expert/*/*/kernel",
    "experts.*.*.bias": "expert/*/*/bias",
    "gates.*.weight": "gate/*/kernel",
    "gates.*.bias": "gate/*/bias",
}


class Net(torch.nn.Module):
    """Embeddings and dense features, shared layers, one tower for each task: the `ranking` spec as a user writes it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        tables = [f for f in spec["features"] if f["type"] == "categorical"]
        width = sum(f.get("dim", f.get("size")) for f in spec["features"])
        shared = spec["shared"]["units"]
        self.activation = ACTIVATIONS[spec["shared"]["activation"]]
        self.tables = torch.nn.ModuleDict({f["name"]: torch.nn.Embedding(f["vocabulary"], f["dim"]) for f in tables})
        for table in self.tables.values():
            torch.nn.init.normal_(table.weight, std=0.1)
        linear = torch.nn.Linear

        def stack(sizes: list[int]) -> torch.nn.ModuleList:
            return torch.nn.ModuleList(linear(a, b) for a, b in zip(sizes, sizes[1:]))

        # Experts that every task mixes stand in place of the shared layers.
        mixed = spec["shared"]["type"] == "mmoe"
        self.bottom = stack([width] if mixed else [width, *shared])
        out = [width, *shared][-1]
        self.towers = torch.nn.ModuleDict({t["name"]: stack([out, *t["units"], 1]) for t in spec["tasks"]})
        norms = shared if spec["shared"].get("layerNorm") else []
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(n, eps=1e-6) for n in norms)
        self.cross = torch.nn.ModuleList(linear(width, width) for _ in range((spec.get("cross") or {}).get("layers", 0)))
        experts = spec["shared"].get("experts", 0)
        self.experts = torch.nn.ModuleList(stack([width, *shared]) for _ in range(experts))
        self.gates = torch.nn.ModuleDict({t["name"]: linear(width, experts) for t in spec["tasks"]} if mixed else {})
        self.losses = {t["name"]: t["loss"] for t in spec["tasks"]}

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        x = torch.cat([*(table(batch[name]) for name, table in self.tables.items()), batch["dense"]], dim=1)
        whole = x
        for layer in self.cross:
            x = whole * layer(x) + x
        experts = []
        for layers in self.experts:
            h = x
            for layer in layers:
                h = self.activation(layer(h))
            experts.append(h)
        gates = {name: torch.softmax(gate(x), dim=1) for name, gate in self.gates.items()}
        for k, layer in enumerate(self.bottom):
            h = layer(x)
            x = self.activation(self.norms[k](h) if len(self.norms) > 0 else h)
        total = x.new_zeros(())
        for name, (*hidden, last) in self.towers.items():
            h = sum(gates[name][:, [e]] * one for e, one in enumerate(experts)) if experts else x
            for layer in hidden:
                h = self.activation(layer(h))
            z, y = last(h)[:, 0], batch["label"][name]
            if self.losses[name] == "mean-squared-error":
                total = total + ((z - y) ** 2).mean()
            elif self.losses[name] == "poisson":
                total = total + (torch.exp(z) - y * z).mean()
            else:
                total = total + (torch.nn.functional.softplus(z) - y * z).mean()
        return total


class Stream:
    """Batches of a teacher. The batch of a step is the same however often and in which order it is asked for."""

    def __init__(self, seed: int, spec: dict[str, Any], rows: int) -> None:
        self.seed, self.spec, self.rows = seed, spec, rows
        rng = np.random.default_rng([seed, 1])
        self.dense = next(f["size"] for f in spec["features"] if f["type"] == "dense")
        self.tables = {f["name"]: f["vocabulary"] for f in spec["features"] if f["type"] == "categorical"}
        self.effects = {name: rng.normal(0, 0.5, count) for name, count in self.tables.items()}
        self.teachers = [
            {
                t["name"]: (rng.normal(0, self.dense**-0.5, (self.dense, 6)), rng.normal(0, 6**-0.5, 6) * 1.5)
                for t in spec["tasks"]
            }
            for _ in range(2)
        ]

    def batch(self, key: int, teacher: int = 0, shift: float = 0.0, rows: int | None = None) -> Batch:
        """teacher 1 and a shift of all features are another stream."""
        rng = np.random.default_rng([self.seed, 2, key])
        rows = rows or self.rows
        x = rng.normal(0, 1, (rows, self.dense)) + shift
        ids = {name: rng.integers(0, count, rows) for name, count in self.tables.items()}
        labels = {}
        for task in self.spec["tasks"]:
            first, last = self.teachers[teacher][task["name"]]
            score = np.tanh(x @ first) @ last + sum(self.effects[name][i] for name, i in ids.items())
            if task["loss"] == "mean-squared-error":
                labels[task["name"]] = torch.tensor(score + rng.normal(0, 0.3, rows), dtype=torch.float32)
            elif task["loss"] == "poisson":
                labels[task["name"]] = torch.tensor(rng.poisson(np.exp(score)), dtype=torch.float32)
            else:
                flips = rng.random(rows) < 1 / (1 + np.exp(-3 * score))
                labels[task["name"]] = torch.tensor(flips, dtype=torch.float32)
        return {
            **{name: torch.tensor(i, dtype=torch.int64) for name, i in ids.items()},
            "dense": torch.tensor(x, dtype=torch.float32),
            "label": labels,
        }

    def is_click(self, task: str) -> bool:
        return any(t["name"] == task and t["loss"] == "sigmoid-cross-entropy" for t in self.spec["tasks"])

    def references(self) -> Batch:
        """Clean rows that no step trains on."""
        return self.batch(10**6, rows=256)


def cast(batch: Batch, dtype: torch.dtype) -> Batch:
    def one(t: torch.Tensor) -> torch.Tensor:
        return t.to(dtype) if t.is_floating_point() else t

    return {k: {n: one(t) for n, t in v.items()} if isinstance(v, dict) else one(v) for k, v in batch.items()}


@dataclass
class Run:
    """A training, and what is wrong with it: every cause can be left out by its name."""

    seed: int
    family: str
    spec: dict[str, Any]
    stream: Stream
    optimizer: str
    rate: float
    steps: int
    #: The step from which on something is different; None in a healthy run.
    start: int | None
    #: The trigger of docs/cause.md that the difference is, or None.
    cause: str | None
    #: Batch of a step while the cause is there.
    spoil: Callable[[int], Batch] | None = None
    #: Steps whose batch is spoilt.
    bad: frozenset[int] = frozenset()
    #: Times the rate of a step while the cause is there.
    times: Callable[[int], float] | None = None
    #: Changes the optimizer before the step `start` while the cause is there.
    meddle: Callable[[torch.optim.Optimizer], None] | None = None
    #: The loss scale of a step at which gradients go through half precision; None for float32 throughout.
    scale: Callable[[int], float] | None = None
    #: Rule in force, as `--rule` takes it, and from which step on it is not any more while the cause is there.
    rule: str = "none"
    unclipped_from: int | None = None
    #: A new process, and so a new recorder, goes on from the start.
    resumed: bool = False
    strength: dict[str, float] = field(default_factory=dict)
    #: The data stay as they changed: what the changed rows are, of (key, rows).
    lasting: Callable[[int, int], Batch] | None = None
    #: By step, the rows of its batch that are bad; empty where none is, or all are.
    bad_rows: dict[int, list[int]] = field(default_factory=dict)
    #: Times the rate of the towers, which are a group of their own, of (step, whether the cause is left out); None where there is one group.
    towers: Callable[[int, bool], float] | None = None
    #: Whether the towers take no part before the start.
    frozen: bool = False
    #: Times the gradients of a step while the cause is there, unseen by the loss.
    gradients: Callable[[int], float] | None = None
    #: Changes the weights before the step `start` while the cause is there.
    rewrite: Callable[[torch.nn.Module], None] | None = None

    def batch(self, step: int, fixed: bool) -> Batch:
        if self.spoil is not None and step in self.bad and not fixed:
            return self.spoil(step)
        return self.stream.batch(step)


def make_optimizer(name: str, net: torch.nn.Module, rate: float, *, grouped: bool = False) -> torch.optim.Optimizer:
    p, o = list(net.parameters()), torch.optim
    if grouped:
        towers = list(net.towers.parameters())
        rest = [one for one in p if all(one is not own for own in towers)]
        p = [{"params": rest}, {"params": towers}]
    return {
        "sgd": lambda: o.SGD(p, lr=rate),
        "momentum": lambda: o.SGD(p, lr=rate, momentum=0.9),
        "nesterov": lambda: o.SGD(p, lr=rate, momentum=0.9, nesterov=True),
        "adam": lambda: o.Adam(p, lr=rate, foreach=False),
        "adam-95": lambda: o.Adam(p, lr=rate, betas=(0.9, 0.95), foreach=False),
        "adagrad": lambda: o.Adagrad(p, lr=rate, initial_accumulator_value=0.1, foreach=False),
        "rmsprop": lambda: o.RMSprop(p, lr=rate, foreach=False),
    }[name]()


# ---- rules, from their definitions


def _clip_gradients(net: Net, name: str, value: float) -> None:
    named = [(n, p) for n, p in net.named_parameters() if p.grad is not None]
    if name == "global-norm":
        size = torch.sqrt(sum((p.grad**2).sum() for _, p in named))
        for _, p in named:
            p.grad.mul_(torch.clamp(value / size, max=1.0))
    elif name == "layer-norm":
        for _, p in named:
            p.grad.mul_(torch.clamp(value / p.grad.norm(), max=1.0))
    elif name == "value":
        for _, p in named:
            p.grad.clamp_(-value, value)
    elif name == "agc":
        for _, p in named:
            # A unit is an output of a kernel, a row of a table, a whole bias.
            w, g = (p, p.grad) if p.dim() > 1 else (p[None], p.grad[None])
            limit = value * torch.clamp(w.norm(dim=1, keepdim=True), min=1e-3)
            p.grad.mul_(torch.clamp(limit / g.norm(dim=1, keepdim=True), max=1.0).reshape(-1, *[1] * (p.dim() - 1))
                        if p.dim() > 1 else torch.clamp(limit / g.norm(), max=1.0).squeeze())
    else:
        raise ValueError(f"no rule {name}")


def _clippy(relative: float, absolute: float, before: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    moving = update != 0
    if not moving.any():
        return update
    bound = (relative * before.abs() + absolute)[moving] / update.abs()[moving]
    return update * torch.clamp(bound.min(), max=1.0)


@torch.no_grad()
def take_step(net: Net, optimizer: torch.optim.Optimizer, rule: str) -> float:
    """Clips, steps, and returns the norm of the update."""
    name, _, option = rule.partition(":")
    before = [p.detach().clone() for p in net.parameters()]
    if name not in ("none", "clippy"):
        _clip_gradients(net, name, float(option))
    delayed = option == "tfrs" and isinstance(optimizer, torch.optim.Adagrad)
    if delayed:
        # The accumulator takes g² after the step, with ε 1e-7 inside the root.
        for group in optimizer.param_groups:
            for p in group["params"]:
                accumulator = optimizer.state[p]["sum"]
                old = p.detach().clone()
                p.add_(_clippy(0.1, 1e-7, old, -group["lr"] * p.grad / torch.sqrt(accumulator + 1e-7)))
                accumulator.add_(p.grad**2)
    else:
        optimizer.step()
        if name == "clippy":
            relative, absolute = {"paper": (0.5, 1e-2), "tfrs": (0.1, 1e-7)}[option]
            for p, old in zip(net.parameters(), before):
                p.copy_(old + _clippy(relative, absolute, old, p - old))
    return float(torch.sqrt(sum(((p - old) ** 2).sum() for p, old in zip(net.parameters(), before))))


# ---- the loop


@dataclass
class Trace:
    """One value for each step that was taken, from `first` on."""

    first: int
    loss: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    #: Loss on changed rows that no step trains on, where the data stay as they changed.
    changed: list[float] = field(default_factory=list)


State = tuple[dict[str, torch.Tensor], dict[str, Any]]


def fresh(run: Run) -> State:
    torch.manual_seed(run.seed)
    net = Net(run.spec)
    return copy.deepcopy(net.state_dict()), make_optimizer(run.optimizer, net, run.rate, grouped=run.towers is not None).state_dict()


def rate_of(run: Run, step: int, fixed: bool) -> float:
    return run.rate * (1.0 if run.times is None or fixed else run.times(step))


def train(
    run: Run,
    state: State,
    first: int,
    last: int,
    *,
    dtype: torch.dtype = torch.float64,
    fixed: bool = False,
    rule: str | None = None,
    skip: frozenset[int] = frozenset(),
    factor: Callable[[int, float], float] = lambda _step, _rate: 1.0,
    restore: tuple[int, int] | None = None,
    full_precision: bool = False,
    record: Callable[[int, torch.Tensor, Batch, Net, torch.optim.Optimizer], None] | None = None,
    keep: int | None = None,
) -> tuple[Trace, State | None]:
    """Trains steps `first` to `last`, both included.

    state    parameters and optimizer before `first`
    fixed    without the cause
    rule     in place of the run's own
    skip     steps that are not taken
    factor   times the rate of a step, of (step, rate)
    restore  (from, at): the optimizer's slots before step `from` are put back before step `at`
    record   called before each step is taken
    keep     the step before which the state is returned
    """
    net = Net(run.spec).to(dtype)
    net.load_state_dict({k: v.to(dtype) for k, v in state[0].items()})
    optimizer = make_optimizer(run.optimizer, net, run.rate, grouped=run.towers is not None)
    optimizer.load_state_dict(copy.deepcopy(state[1]))
    references = cast(run.stream.references(), dtype)
    changed = None if run.lasting is None else cast(run.lasting(10**6 + 1, 256), dtype)
    trace, kept, slots = Trace(first), None, None
    lost = False
    for step in range(first, last + 1):
        if lost:
            for values in (trace.loss, trace.reference, trace.update, trace.gradient, trace.changed):
                values.append(float("nan"))
            trace.rate.append(rate_of(run, step, fixed))
            continue
        if restore is not None and step == restore[0]:
            slots = copy.deepcopy(optimizer.state_dict()["state"])
        if run.meddle is not None and step == run.start and not fixed:
            run.meddle(optimizer)
        if run.rewrite is not None and step == run.start and not fixed:
            with torch.no_grad():
                run.rewrite(net)
        if restore is not None and step == restore[1] and slots is not None:
            for k, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
                for slot, value in slots.get(k, {}).items():
                    if slot != "step":
                        optimizer.state[p][slot] = value.clone() if isinstance(value, torch.Tensor) else value
        if step == keep:
            kept = (copy.deepcopy(net.state_dict()), copy.deepcopy(optimizer.state_dict()))
        with torch.no_grad():
            trace.reference.append(float(net(references)))
            if changed is not None:
                trace.changed.append(float(net(changed)))
        plain = run.batch(step, fixed)
        if run.frozen:
            net.towers.requires_grad_(step >= run.start)
        optimizer.zero_grad()
        loss = net(cast(plain, dtype))
        loss.backward()
        rate = rate_of(run, step, fixed)
        rate *= factor(step, rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if run.towers is not None:
            optimizer.param_groups[1]["lr"] = rate * run.towers(step, fixed)
        if run.gradients is not None and not fixed:
            for p in net.parameters():
                p.grad.mul_(run.gradients(step))
        if run.scale is not None and not (fixed or full_precision):
            scale = run.scale(step)
            for p in net.parameters():
                p.grad = (p.grad.float() * scale).half().to(dtype) / scale
        trace.loss.append(loss.item())
        trace.rate.append(rate)
        trace.gradient.append(float(torch.sqrt(sum((p.grad**2).sum() for p in net.parameters() if p.grad is not None))))
        if record is not None:
            record(step, loss, plain, net, optimizer)
        if step in skip:
            trace.update.append(0.0)
            continue
        own = "none" if run.unclipped_from is not None and step >= run.unclipped_from and not fixed else run.rule
        trace.update.append(take_step(net, optimizer, own if rule is None else rule))
        if record is None and not np.isfinite(trace.loss[-1]):
            lost = True
    return trace, kept


# ---- the criterion of docs/cause.md, on clean rows that no step trains on


def raised_for_good(reference: list[float], begin: int) -> int | None:
    """Position of the first step from `begin` on after which three states in a row are above what was usual."""
    for step in range(max(7, begin), len(reference) - 3):
        before = [v for v in reference[max(0, step - 19) : step + 1] if np.isfinite(v)]
        if len(before) < 4:
            continue
        high = max(before) + (max(before) - min(before)) / 2
        if all(not v <= high for v in reference[step + 1 : step + 4]):
            return step
    return None


def level_before(reference: list[float]) -> float:
    """What the loss had reached: its median; of the last eight states where it falls by more than three scales."""
    before = np.array([v for v in reference if np.isfinite(v)])
    if len(before) < 8:
        return float(np.median(before)) if len(before) else float("nan")
    y, half = np.log(before), len(before) // 2
    slope = min(0.0, (np.median(y[-half:]) - np.median(y[:half])) / (len(y) - half))
    line = np.median(y) + slope * (np.arange(len(y)) - (len(y) - 1) / 2)
    scale = 1.4826 * np.median(np.abs(y - line)) * (1 + 4 / len(y))
    return float(np.median(before[-8:] if slope * len(y) < -3 * scale else before))


def outcome_of(trace: Trace, level: float, usual: float, harm: int, bad: frozenset[int]) -> str:
    """holds, hurt, lost or frozen. harm: the first harmful step. usual: median update before it."""
    end = trace.reference[-10:]
    if not all(np.isfinite(end)):
        return "lost"
    updates = [u for k, u in enumerate(trace.update) if trace.first + k > harm and trace.first + k not in bad]
    updates = [u for u in updates if np.isfinite(u)]
    if updates and np.median(updates) < 0.05 * usual:
        return "frozen"
    final = float(np.median(end))
    return "holds" if final <= 1.25 * level else "hurt" if final <= 1.45 * level else "lost"


def end_of(values: list[float]) -> float:
    """Median of the last ten; NaN where one of them is no number."""
    return float(np.median(values[-10:])) if np.isfinite(values[-10:]).all() else float("nan")


def outcome_after_shift(trace: Trace, level: float, best: Trace) -> str:
    """holds, hurt, lost, or "one of two": against the training that ends lowest on the changed rows, on these and on clean ones."""
    ends = ((end_of(trace.changed), end_of(best.changed)), (end_of(trace.reference), max(level, end_of(best.reference))))

    def above(times: float) -> int:
        return sum(not own <= times * other for own, other in ends)

    return "holds" if above(1.25) == 0 else "one of two" if above(1.25) == 1 else "lost" if above(1.45) == 2 else "hurt"

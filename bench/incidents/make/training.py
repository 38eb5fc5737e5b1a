"""The training loop of the bench: every link of a step written out, with a place where a fault can change it.

The loop is the user's program of a case. Optimizers and clipping are torch's own; nothing is taken from clippy_diag, so that what
comes out can be the truth that any tool is held against. One thread, one kernel, one seed for each step: the same numbers every time.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from nets import FAMILIES, Batch, Family

#: Steps of every run, and how often it is evaluated on rows that it does not train on.
STEPS, EVALUATE_EVERY = 220, 20
#: The key of the clean rows on which remedies are judged; batches of steps have keys from 0 on.
REFERENCE_KEY, REFERENCE_ROWS = 10**6, 192
#: The last steps whose loss on clean rows is the end of a run.
END = 10


class Lion(torch.optim.Optimizer):
    """Lion (Chen et al. 2023), as torch has none."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step along the sign of the averaged gradient."""
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.sign(average * first + p.grad * (1 - first)), alpha=-group["lr"])
                average.mul_(second).add_(p.grad, alpha=1 - second)


@dataclass(frozen=True)
class Setup:
    """What a run declares: the content of its config.json."""

    model: str
    optimizer: str
    rate: float
    weight_decay: float = 0.0
    clip: float | None = None
    accumulation: int = 1
    #: constant, cosine (after a warm-up of 30 steps), linear (likewise) or cycles (two warm restarts).
    schedule: str = "constant"
    loss_scale: float = 1.0
    rows: int = 32
    steps: int = STEPS

    @property
    def family(self) -> Family:
        """The net with its data."""
        return FAMILIES[self.model]

    def rate_at(self, step: int) -> float:
        """The declared rate of a step."""
        if self.schedule in ("cosine", "linear"):
            warm, part = min(1.0, (step + 1) / 30), step / self.steps
            return self.rate * warm * (0.5 * (1 + math.cos(math.pi * part)) if self.schedule == "cosine" else 1 - 0.9 * part)
        if self.schedule == "cycles":
            return self.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step % 74) / 74)))
        return self.rate


def make_optimizer(setup: Setup, groups: Any) -> torch.optim.Optimizer:
    """The declared optimizer over parameters or groups of them."""
    rate, decay, o = setup.rate, setup.weight_decay, torch.optim
    return {
        "momentum": lambda: o.SGD(groups, lr=rate, momentum=0.9, weight_decay=decay, foreach=True),
        "adam": lambda: o.Adam(groups, lr=rate, weight_decay=decay, foreach=True),
        "adamw": lambda: o.AdamW(groups, lr=rate, weight_decay=decay, foreach=True),
        "adagrad": lambda: o.Adagrad(groups, lr=rate, weight_decay=decay, initial_accumulator_value=0.1, foreach=True),
        "rmsprop": lambda: o.RMSprop(groups, lr=rate, weight_decay=decay, foreach=True),
        "lion": lambda: Lion(groups, lr=rate, weight_decay=decay),
    }[setup.optimizer]()


@functools.lru_cache(maxsize=4096)
def _clean_batch(model: str, seed: int, key: int, rows: int) -> Batch:
    return FAMILIES[model].batch(seed, key, rows)


@dataclass
class World:
    """What a fault can reach while a run trains."""

    setup: Setup
    seed: int
    net: torch.nn.Module
    optimizer: torch.optim.Optimizer
    #: What a fault remembers from one step to the next.
    memory: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.named = dict(self.net.named_parameters())
        self.parameters = list(self.named.values())

    def parameter(self, name: str) -> torch.nn.Parameter:
        """A parameter by its name."""
        return self.named[name]

    def batch(self, key: int, rows: int | None = None) -> Batch:
        """The clean batch of a step. Hooks make new tensors and change none of these."""
        return dict(_clean_batch(self.setup.model, self.seed, key, rows or self.setup.rows))


@dataclass
class Fault:
    """One thing that is wrong with a run from a step on. Every hook may be absent."""

    name: str
    start: int
    #: What mends it: data, order, rate, state, decay, precision, code, hardware, evaluation, init, sharpness, none.
    kind: str
    links: tuple[str, ...] = ("none",)
    cause: str | None = None
    triggers: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    entry: tuple[int, ...] | None = None
    factor: float | None = None
    #: The first step at which it acts no more; None where it stays.
    stop: int | None = None
    #: The rows that are bad: "all", a list, or None where no row is.
    rows: Any = None
    #: Evidence that shows the fault where the loss does not, and what a level of evidence tells beyond the rule of truth.py.
    shown_in: tuple[str, ...] = ()
    known_from_log: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    #: The step at which a new process goes on, where it does.
    resumed: int | None = None
    #: The rate in the log is the one that was used.
    rate_is_logged: bool = True
    #: Hooks, in the order of the chain.
    prepare: Callable[[World], None] | None = None
    between: Callable[[World, int], None] | None = None
    batch: Callable[[World, int, Batch], Batch] | None = None
    evaluates: Callable[[World, int], bool] | None = None
    keeps_gradient: Callable[[World, int], bool] | None = None
    loss: Callable[[World, int, dict[str, torch.Tensor], torch.Tensor], torch.Tensor] | None = None
    divisor: Callable[[World, int, int], float] | None = None
    gradients: Callable[[World, int], None] | None = None
    limit: Callable[[World, int, float | None], float | None] | None = None
    rate: Callable[[World, int, float], float] | None = None
    before_step: Callable[[World, int], None] | None = None
    after_step: Callable[[World, int], None] | None = None
    evaluation: Callable[[World, int, float], float] | None = None


@dataclass(frozen=True)
class Arm:
    """What a rerun does otherwise."""

    without_fault: bool = False
    skip: frozenset[int] = frozenset()
    #: Leaves out the fault's bad rows.
    skip_rows: bool = False
    clip: float | None = None
    rate_times: float = 1.0
    decay_times: float = 1.0
    #: The optimizer's state of before is put back before this step is taken.
    restore_state: int | None = None


@dataclass
class Trace:
    """What a run printed and how it ended."""

    records: list[dict[str, Any]] = field(default_factory=list)
    #: Loss on clean rows before training (where it began at step 0) and over the last steps.
    untrained: float = math.nan
    ends: list[float] = field(default_factory=list)
    weights: torch.Tensor | None = None
    snapshot: dict[str, Any] | None = None

    @property
    def end(self) -> float:
        """The median loss on clean rows over the last steps; NaN where one is not finite."""
        values = sorted(self.ends)
        return values[len(values) // 2] if values and all(map(math.isfinite, self.ends)) else math.nan


def total_of(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss of a run: the sum of its tasks'."""
    return torch.stack(list(losses.values())).sum()


def _reference_loss(world: World, rows: Batch) -> float:
    training = world.net.training
    world.net.eval()
    with torch.no_grad():
        value = float(total_of(world.net(rows)))
    world.net.train(training)
    return value


def begin(setup: Setup, seed: int, fault: Fault | None) -> World:
    """A net and its optimizer before the first step."""
    torch.default_generator.manual_seed(seed)
    net = setup.family.make()
    world = World(setup, seed, net, make_optimizer(setup, list(net.parameters())))
    if fault is not None and fault.prepare is not None:
        fault.prepare(world)
    return world


def _snapshot(world: World) -> dict[str, Any]:
    memory = {k: v for k, v in world.memory.items() if k != "kept"}
    return copy.deepcopy({"net": world.net.state_dict(), "optimizer": world.optimizer.state_dict(), "memory": memory})


def _rows_of(batch: Batch, rows: list[int]) -> Batch:
    return {name: values[rows] for name, values in batch.items()}


def _backward(world: World, step: int, batch: Batch, hook: Callable[[str], Any]) -> tuple[torch.Tensor, dict[str, float]]:
    """Forward and backward of the micro-batches of a step. Gives the mean loss and the tasks' losses."""
    setup, parts = world.setup, world.setup.accumulation
    change, divide = hook("loss"), hook("divisor")
    total, tasks = torch.zeros(()), {}
    for k in range(parts):
        rows = len(next(iter(batch.values())))
        micro = batch if parts == 1 else _rows_of(batch, list(range(k * rows // parts, (k + 1) * rows // parts)))
        losses = world.net(micro)
        loss = plain = total_of(losses)
        if change is not None:
            loss = change(world, step, losses, plain)
        (loss / (parts if divide is None else divide(world, step, parts))).backward()
        total = total + loss.detach() / parts
        for name, value in losses.items():
            tasks[name] = tasks.get(name, 0.0) + float(value.detach()) / parts
    return total, tasks


def _norm(world: World) -> float:
    gradients = [p.grad.flatten() for p in world.parameters if p.grad is not None]
    return float(torch.linalg.vector_norm(torch.cat(gradients).double())) if gradients else 0.0


def _take_step(world: World, step: int, arm: Arm, rate: float, hook: Callable[[str], Any]) -> None:
    """Clips and steps."""
    setup, limit = world.setup, world.setup.clip
    if (change := hook("limit")) is not None:
        limit = change(world, step, limit)
    for bound in (limit, arm.clip):
        if bound is not None:
            torch.nn.utils.clip_grad_norm_(world.parameters, bound, foreach=True)
    for group in world.optimizer.param_groups:
        group["lr"] = rate * arm.rate_times * group.get("rate_times", 1.0)
        if arm.decay_times != 1.0:
            group["weight_decay"] = setup.weight_decay * arm.decay_times
    if (change := hook("before_step")) is not None:
        change(world, step)
    if step == arm.restore_state:
        _put_back(world, world.memory["kept"])
    world.optimizer.step()
    if (change := hook("after_step")) is not None:
        with torch.no_grad():
            change(world, step)


def _put_back(world: World, state: dict[str, Any]) -> None:
    """The optimizer's slots of before; its options stay."""
    for old, p in zip(state["net_order"], world.parameters):
        if old is not None:
            world.optimizer.state[p] = copy.deepcopy(old)


def slots_of(world: World) -> dict[str, Any]:
    """The optimizer's slots of every parameter, in the order of the net's."""
    return {"net_order": [copy.deepcopy(world.optimizer.state.get(p)) for p in world.parameters]}


def train(
    setup: Setup,
    seed: int,
    fault: Fault | None,
    *,
    arm: Arm = Arm(),
    snapshot: dict[str, Any] | None = None,
    first: int = 0,
    keep: int | None = None,
    slots_at: int | None = None,
    observe: Callable[[int, World, torch.Tensor, Batch], None] | None = None,
    ended: Callable[[int, World], None] | None = None,
) -> Trace:
    """Trains from step `first` to the end.

    snapshot  what `keep` kept of another run: its net and optimizer before step `first`
    keep      the step before which a snapshot is kept
    slots_at  the step before which the optimizer's slots are remembered, for an arm that puts them back
    observe   called between the backward pass and the clipping of each step
    ended     called after each step
    """
    world = begin(setup, seed, None if arm.without_fault else fault)
    if snapshot is not None:
        world.net.load_state_dict(copy.deepcopy(snapshot["net"]))
        world.optimizer.load_state_dict(copy.deepcopy(snapshot["optimizer"]))
        world.memory.update(copy.deepcopy(snapshot["memory"]))
    references = world.batch(REFERENCE_KEY, REFERENCE_ROWS)
    trace = Trace()
    if first == 0:
        trace.untrained = _reference_loss(world, references)
    for step in range(first, setup.steps):
        if step == keep:
            trace.snapshot = _snapshot(world)
        if step == slots_at:
            world.memory["kept"] = slots_of(world)
        _one_step(world, step, fault, arm, trace, references, observe)
        if ended is not None:
            ended(step, world)
        if step >= setup.steps - END:
            trace.ends.append(_reference_loss(world, references))
    trace.weights = torch.cat([p.detach().flatten() for p in world.net.parameters()])
    return trace


def _one_step(
    world: World, step: int, fault: Fault | None, arm: Arm, trace: Trace, references: Batch, observe: Callable[..., None] | None
) -> None:
    setup = world.setup
    acts = fault is not None and not arm.without_fault and fault.start <= step
    acts = acts and (fault.stop is None or step < fault.stop)

    def hook(name: str) -> Any:
        return getattr(fault, name) if acts else None

    # Dropout of a step is the same in every rerun of it.
    torch.default_generator.manual_seed(world.seed * 100_003 + step)
    if (change := hook("between")) is not None:
        with torch.no_grad():
            change(world, step)
        if step == arm.restore_state:
            _put_back(world, world.memory["kept"])
    rate = setup.rate_at(step)
    record: dict[str, Any] = {"step": step}
    batch = world.batch(step)
    if (change := hook("batch")) is not None:
        batch = change(world, step, batch)
    if (change := hook("rate")) is not None:
        used = change(world, step, rate)
        rate, record["learning_rate"] = used, used if fault.rate_is_logged else rate
    else:
        record["learning_rate"] = rate
    if step in arm.skip:
        return
    if arm.skip_rows and acts and isinstance(fault.rows, list):
        batch = _rows_of(batch, [k for k in range(len(next(iter(batch.values())))) if k not in fault.rows])
    training = not ((change := hook("evaluates")) is not None and change(world, step))
    if world.net.training != training:
        world.net.train(training)
    if not ((change := hook("keeps_gradient")) is not None and change(world, step)):
        for p in world.parameters:
            p.grad = None
    loss, tasks = _backward(world, step, batch, hook)
    if (change := hook("gradients")) is not None:
        with torch.no_grad():
            change(world, step)
    if observe is not None:
        observe(step, world, loss, batch)
    record["loss"], record["grad_norm"] = float(loss), _norm(world)
    if len(tasks) > 1:
        record |= {f"{name}_loss": value for name, value in tasks.items()}
    _take_step(world, step, arm, rate, hook)
    if (step + 1) % EVALUATE_EVERY == 0:
        value = _reference_loss(world, references)
        record["eval_loss"] = value if (change := hook("evaluation")) is None else change(world, step, value)
    trace.records.append(record)

"""Small trainings in PyTorch, recorded, with one fault or none; everything is drawn from the seed.

trainings.py OUT --seeds A:B [--healthy]      writes OUT/<seed>/capture and OUT/<seed>/truth.json
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clippy_diag.torch import Recorder

WARM_UP, STEPS = 60, 26
#: cause -> link, as docs/audit.md has them.
FAULTS = {
    "no-zero-grad": "gradient",
    "eval-mode": "mode",
    "repeated-batch": "batch",
    "constant-input": "batch",
    "not-divided": "accumulation",
    "divided-twice": "accumulation",
    "clip-inactive": "clip",
    "clip-norm-factor": "clip",
    "clip-before-unscale": "unscale",
    "rate-factor": "optimizer",
    "decay-kind": "optimizer",
    "decay-factor": "optimizer",
    "state-fresh": "optimizer",
    "state-stale": "optimizer",
    "state-of-other": "optimizer",
    "rounded": "optimizer",
    "entries-changed": "weights",
    "all-scaled": "weights",
    "weights-replaced": "weights",
    "options-changed": "between",
    "not-in-optimizer": "optimizer",
    "twice-in-optimizer": "optimizer",
    "dead-tensor": "gradient",
    "detached": "gradient",
    "lone-gradient": "gradient",
}
NEEDS_CLIP = ("clip-inactive", "clip-norm-factor", "clip-before-unscale")
#: A clip that acts in every step hides what multiplies the gradient before it.
WITHOUT_CLIP = ("not-divided", "divided-twice")
NEEDS_STATE = ("state-fresh", "state-stale", "state-of-other")
VOCABULARY, WIDTH, WORDS, CLASSES = 50, 16, 4, 8


class Net(nn.Module):
    """Embedding, two equal hidden layers, head; parts are drawn."""

    def __init__(self, draw: random.Random, sparse: bool, fault: str | None) -> None:
        super().__init__()
        hidden = draw.choice([24, 32, 48])
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, sparse=sparse)
        self.first = nn.Linear(WORDS * WIDTH, hidden)
        self.norm = nn.BatchNorm1d(hidden) if draw.random() < 0.6 or fault == "eval-mode" else nn.LayerNorm(hidden)
        self.second, self.third = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(0.1) if draw.random() < 0.5 else nn.Identity()
        self.head = nn.Linear(hidden, CLASSES)
        self.tied = draw.random() < 0.2 and fault != "state-of-other"
        if self.tied:
            self.third.weight = self.second.weight
        self.checkpoint = draw.random() < 0.2
        self.fault = fault

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embedding(x).flatten(1)
        h = torch.relu(self.norm(self.first(h)))
        if self.fault == "detached":
            h = h.detach()
        if self.checkpoint and self.training and self.fault != "detached":
            h = torch.utils.checkpoint.checkpoint(lambda t: torch.relu(self.second(t)), h, use_reentrant=False)
        else:
            h = torch.relu(self.second(h))
        middle = self.third(h)
        h = h + self.drop(torch.relu(middle - 1e3 if self.fault == "dead-tensor" else middle))
        return self.head(h)


def optimizer_of(
    draw: random.Random, groups: list[dict[str, Any]], fault: str | None
) -> tuple[torch.optim.Optimizer, str]:
    kinds = ["sgd", "adam", "adamw", "adagrad", "rmsprop"]
    if fault == "decay-kind":
        kinds = ["adam", "adamw"]
    if fault in NEEDS_STATE or fault in ("not-divided", "divided-twice"):
        kinds = ["adam", "adamw", "adagrad"] if fault == "state-of-other" else ["sgd", "adam", "adamw"]
    kind = draw.choice(kinds)
    decay = draw.choice([0.0, 0.01, 0.1]) if fault not in ("decay-kind", "decay-factor") else draw.choice([0.05, 0.2])
    how = draw.choice([{}, {"foreach": True}, {"foreach": False}])
    if kind == "sgd":
        return torch.optim.SGD(
            groups, lr=0.05, momentum=0.9, weight_decay=decay, nesterov=draw.random() < 0.3, **how
        ), kind
    if kind == "adagrad":
        return torch.optim.Adagrad(groups, lr=0.02, weight_decay=decay, **how), kind
    if kind == "rmsprop":
        return torch.optim.RMSprop(groups, lr=1e-3, weight_decay=decay, momentum=draw.choice([0.0, 0.9]), **how), kind
    if draw.random() < 0.3:
        how = {"fused": True}
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return make(groups, lr=3e-3, weight_decay=decay, amsgrad=draw.random() < 0.2, **how), kind


def misapply_decay(optimizer: torch.optim.Optimizer, kind: str, times: float | None) -> None:
    """Weight decay of another size, or of the other kind where `times` is None, inside of the step: its options are the declared ones
    before and after. Hooks run in the order in which they were added, and the recorder's is added later."""
    declared: list[float] = []

    def before(one: torch.optim.Optimizer, *_: Any) -> None:
        declared[:] = [group["weight_decay"] for group in one.param_groups]
        with torch.no_grad():
            for group in one.param_groups:
                decay = group["weight_decay"]
                group["weight_decay"] = decay * (times or 0.0)
                for p in group["params"] if times is None else ():
                    if p.grad is not None and kind == "adamw":
                        p.grad.add_(p, alpha=decay)
                    elif p.grad is not None:
                        p.mul_(1 - group["lr"] * decay)

    def after(one: torch.optim.Optimizer, *_: Any) -> None:
        for group, decay in zip(one.param_groups, declared):
            group["weight_decay"] = decay

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    optimizer.decay_times = times  # type: ignore[attr-defined]


def schedule_of(draw: random.Random, optimizer: torch.optim.Optimizer, kind: str) -> Any:
    """A schedule of the rate, of momentum too, or of weight decay; None where none was drawn."""
    drawn = draw.random()
    if drawn < 0.25:
        return torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 17)
    if drawn < 0.4:
        cycles = kind in ("sgd", "adam", "adamw")
        rate = [3 * group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=WARM_UP + STEPS + 8, cycle_momentum=cycles
        )
    return DecaySchedule(optimizer) if drawn < 0.5 else None


class DecaySchedule:
    """Weight decay that grows by a cosine, as some trainings of vision models have it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer, self._steps = optimizer, 0
        self._first = [group["weight_decay"] for group in optimizer.param_groups]

    def step(self) -> None:
        self._steps += 1
        for group, first in zip(self._optimizer.param_groups, self._first):
            group["weight_decay"] = first * (1.5 - 0.5 * math.cos(self._steps / 60))


def train(seed: int, fault: str | None, out: Path, rows: bool = False) -> dict[str, Any]:
    """@param rows whether the embedding has sparse gradients, whatever was drawn"""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    sparse = (draw.random() < 0.15 and fault is None) or rows
    model = Net(draw, sparse, fault)
    parameters = list(model.named_parameters())
    if fault == "not-in-optimizer":
        parameters = [(n, p) for n, p in parameters if not n.startswith("head")]
    two = draw.random() < 0.3
    groups = [{"params": [p for n, p in parameters if not two or n.endswith("weight")]}]
    if two:
        groups.append({"params": [p for n, p in parameters if not n.endswith("weight")], "lr": 1e-3})
    if sparse:
        optimizer, kind = torch.optim.SGD([p for _, p in parameters], lr=0.05), "sgd"
    else:
        optimizer, kind = optimizer_of(draw, groups, fault)
    optimizers: list[Any] = [optimizer]
    if fault == "twice-in-optimizer":
        optimizers.append(torch.optim.SGD([model.head.weight], lr=0.01))
    scaled = fault == "clip-before-unscale" or (fault is None and draw.random() < 0.2)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=2.0**10)
    autocast = not scaled and draw.random() < 0.2
    # Low enough that a third of the norm still exceeds it.
    limit = draw.choice([0.05, 0.1]) if fault in NEEDS_CLIP else draw.choice([None, 0.3, 0.6])
    limit = None if fault in WITHOUT_CLIP else limit
    accumulate = draw.choice([1, 1, 2, 4])
    average = copy.deepcopy(model) if draw.random() < 0.3 else None
    warm = schedule_of(draw, optimizer, kind) if fault != "options-changed" else None
    frozen = fault is None and draw.random() < 0.2
    if frozen:
        model.third.bias.requires_grad_(False)
    every = draw.choice([5, 8, 20]) if not scaled else 8
    if fault in ("decay-factor", "decay-kind"):
        misapply_decay(optimizer, kind, draw.choice([0.0, 4.0, 10.0, 0.25]) if fault == "decay-factor" else None)
    recorder = Recorder(
        model,
        optimizers,
        str(out / "capture"),
        clipping=None if limit is None else {"rule": "global-norm", "maxNorm": limit},
        snapshot_every_steps=every,
        steps_after=STEPS,
    )
    table = torch.randn(VOCABULARY, CLASSES, generator=torch.Generator().manual_seed(5))
    data = torch.Generator().manual_seed(seed + 1)
    at = WARM_UP + draw.randrange(6, 16)
    norm_times = draw.choice([0.5, 2**-0.5, 2.0, 0.25, 1.7, 8**-0.5])
    times = draw.choice([0.5, 2.0, 1.3, 5.0])
    decay_times = optimizer.decay_times if fault == "decay-factor" else None
    entry_power, entry_place = draw.choice([4, 6, 10, -3]), draw.randrange(200)
    factor: float | None = None
    kept_state: Any = None
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for step in range(WARM_UP + STEPS + 4):
        if step == at - 4 and frozen:
            model.third.bias.requires_grad_(True)
        if step == WARM_UP:
            recorder.capture()
        if fault == "eval-mode" and step > 20:
            model.eval()
        if fault != "no-zero-grad" or step < 30:
            optimizer.zero_grad()
        batches = []
        total = 0.0
        if fault == "repeated-batch":
            data.manual_seed(seed + 1)
        for _ in range(accumulate):
            x = torch.randint(0, VOCABULARY, (24, WORDS), generator=data)
            y = (table[x].mean(1) + 0.05 * torch.randn(24, CLASSES, generator=data)).argmax(1)
            if fault == "constant-input":
                y = torch.zeros_like(y)
            batches.append((x, y))
            with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
                loss = loss_of(model(x).float(), y) / accumulate
            scaler.scale(loss).backward()
            total += float(loss.detach())
        if fault == "lone-gradient" and step == at:
            gradient = model.second.weight.grad.view(-1)
            gradient[entry_place] = gradient[entry_place].abs().clamp_min(1e-3) * 2.0**24
        inputs = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
        recorder.record(step, total, batch=inputs, scaler=scaler if scaled else None)
        owned = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if scaled and fault != "clip-before-unscale":
            scaler.unscale_(optimizer)
        if fault in ("not-divided", "divided-twice"):
            factor = float(draw.choice([2, 4, 8])) if factor is None else factor
            for p in owned:
                p.grad.mul_(factor if fault == "not-divided" else 1 / factor)
        if limit is not None and fault != "clip-inactive":
            norm = torch.nn.utils.get_total_norm([p.grad for p in owned])
            torch.nn.utils.clip_grads_with_norm_(
                owned, limit, norm * (norm_times if fault == "clip-norm-factor" else 1)
            )
        before = [p.detach().clone() for p in owned]
        if fault == "state-stale" and step == at - 5:
            kept_state = copy.deepcopy(optimizer.state_dict())
        if fault == "state-stale" and step == at:
            now = optimizer.state_dict()
            optimizer.load_state_dict({**kept_state, "param_groups": now["param_groups"]})
        if fault == "state-fresh" and step == at:
            optimizer.state.clear()
        if scaled:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        for other in optimizers[1:]:
            other.step()
        with torch.no_grad():
            if fault == "rate-factor":
                for p, old in zip(owned, before):
                    p.copy_(old + times * (p - old))
            if fault == "rounded":
                for p in owned:
                    p.copy_(p.to(torch.bfloat16))
            if step == at - 1 and fault == "entries-changed":
                model.second.weight.view(-1)[entry_place] *= 2.0**entry_power
            if step == at - 1 and fault == "all-scaled":
                for p in owned:
                    p.mul_(0.9)
            if step == at - 1 and fault == "weights-replaced":
                for p in owned:
                    p.add_(0.01 * torch.randn(p.shape))
            if fault == "state-of-other" and step == WARM_UP - 1:
                one, other = optimizer.state[model.second.weight], optimizer.state[model.third.weight]
                kept_state = one, other
            if step == at - 1 and fault == "options-changed":
                for group in optimizer.param_groups:
                    group["weight_decay"] = 0.5 if kind != "sgd" else 0.05
            if average is not None:
                for p, q in zip(average.parameters(), model.parameters()):
                    p.mul_(0.99).add_(q, alpha=0.01)
        if fault == "state-of-other" and step == at - 1:
            one, other = optimizer.state[model.second.weight], optimizer.state[model.third.weight]
            optimizer.state[model.second.weight], optimizer.state[model.third.weight] = other, one
        if warm is not None:
            warm.step()
    recorder.close()
    factors = {
        "clip-norm-factor": norm_times,
        "rate-factor": times,
        "decay-factor": decay_times,
        "not-divided": factor,
        "divided-twice": None if factor is None else 1 / factor,
        "entries-changed": 2.0**entry_power,
        "all-scaled": 0.9,
    }
    return {
        "seed": seed,
        "cause": fault,
        "link": None if fault is None else FAULTS[fault],
        "factor": factors.get(fault or ""),
        "optimizer": kind,
        "clip": limit,
        "accumulate": accumulate,
        "autocast": autocast,
        "scaler": scaled,
        "every": every,
        "parts": {
            "sparse": sparse,
            "tied": model.tied,
            "norm": type(model.norm).__name__,
            "frozen": frozen,
            "average": average is not None,
            "checkpoint": model.checkpoint,
            "schedule": type(warm).__name__,
            "groups": len(optimizer.param_groups),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0:25", help="A:B, B not included")
    parser.add_argument("--healthy", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    first, last = (int(text) for text in arguments.seeds.split(":"))
    names = list(FAULTS)
    for seed in range(first, last):
        fault = None if arguments.healthy else names[seed % len(names)]
        out = arguments.out / str(seed)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        truth = train(seed, fault, out)
        (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()

"""The guard against simple rivals, on runs that nobody chose by how they end.

    python bench/guard/run.py FIRST COUNT [FAMILY …]      adds to bench/guard/runs.jsonl; what is there already stays
    python bench/guard/score.py                           writes results.md

Each run is trained three times or more: as it is, with the guard's advice written down only, with the guard obeyed, and with
each rival that acts. What is lost or harmed is read from clean rows that no step trains on (families.py).
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))
from clippy_diag.torch import Guard, curvature  # noqa: E402
from families import REPORTED, TUNED, Run, Trace, harm_of, lost, run_of, train, usual  # noqa: E402

RUNS = Path(__file__).with_name("runs.jsonl")
#: Steps that curvature is measured at, at most.
CURVED = 6
#: Numbers of a family whose curvature is measured: it costs as much as the rest.
CURVED_RUNS = 1


def median_before(values: list[float]) -> float:
    return float(np.median(values[-100:])) if len(values) >= 10 else math.nan


def over_median(values: list[float]) -> float:
    """The last value over the median of those before, as a logarithm."""
    usual = median_before(values[:-1])
    now = values[-1]
    return math.log(now / usual) if usual > 0 and now > 0 and math.isfinite(now) else 0.0 if math.isfinite(now) else 99.0


def z_score(values: list[float], window: int) -> float:
    """Standard deviations of the last value above the mean of a window before it."""
    before = np.array(values[-window - 1 : -1])
    if len(before) < 10:
        return 0.0
    if not math.isfinite(values[-1]):
        return 99.0
    return float((values[-1] - before.mean()) / max(before.std(), 1e-12))


class Rivals:
    """Scores of simple rules, step by step; the higher the more it is an alarm."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {"loss": [], "gradient": [], "rate": []}
        self.mean, self.square = math.nan, math.nan

    def scores(self, loss: float, gradient: float, rate: float) -> dict[str, float]:
        for name, value in (("loss", loss), ("gradient", gradient), ("rate", rate)):
            self.seen[name].append(value)
        # ZClip (arXiv 2504.02507): exponential means of the norm and its variance, decay 0.97.
        z = (gradient - self.mean) / math.sqrt(max(self.square, 1e-24)) if math.isfinite(self.mean) else 0.0
        z = z if math.isfinite(gradient) else 99.0
        if len(self.seen["gradient"]) == 10:
            first = np.array(self.seen["gradient"])
            self.mean, self.square = float(first.mean()), float(first.var())
        elif math.isfinite(self.mean) and math.isfinite(gradient) and z < 2.5:
            self.mean = 0.97 * self.mean + 0.03 * gradient
            self.square = 0.97 * self.square + 0.03 * (gradient - self.mean) ** 2
        return {
            "loss / median": over_median(self.seen["loss"]),
            "gradient norm / median": over_median(self.seen["gradient"]),
            "learning rate / median": over_median(self.seen["rate"]),
            "ZClip": z,
            # OLMo-core's skip-step: loss or gradient norm beyond six standard deviations of the last 128.
            "skip-step": max(z_score(self.seen["loss"], 128), z_score(self.seen["gradient"], 128)),
        }


def norm_of(net: torch.nn.Module) -> float:
    return float(torch.sqrt(sum((p.grad.double() ** 2).sum() for p in net.parameters() if p.grad is not None)))


def loss_of(net: torch.nn.Module, batch: Any) -> torch.Tensor:
    return net(batch)


def told(run: Run, harm: int | None, curved: bool) -> tuple[Trace, list[dict[str, Any]]]:
    """Trains with the guard's advice only; what every rule said of every step."""
    rows: list[dict[str, Any]] = []
    made: dict[str, Any] = {}
    rivals = Rivals()
    last_batch: list[Any] = []
    until = run.start + 10 if harm is None else min(harm, run.start + 40)
    wanted = set(np.linspace(max(20, run.start - 20), max(until, run.start), CURVED).astype(int).tolist())

    def prepare(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        made["guard"] = Guard(net, optimizer, loss_of, advice_only=True)
        made["signs"] = Guard(net, optimizer, advice_only=True)

    def before(step: int, batch: Any, loss: torch.Tensor, net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        advice = made["guard"].check(step, batch, loss)
        signs = made["signs"].check(step, None, loss)
        scores = rivals.scores(float(loss), norm_of(net), float(optimizer.param_groups[0]["lr"]))
        scores.update({"guard": advice.risk, "guard without loss_fn": signs.risk})
        if curved and step in wanted and last_batch:
            found = curvature(net, optimizer, lambda: net(last_batch[0]), step=step, iterations=12)
            ratios = [e["stability"]["ratio"] for e in found if e.get("stability") and e["stability"]["ratio"] is not None]
            sharp = [e["criticalSharpness"]["value"] for e in found if e.get("criticalSharpness")]
            rate = float(optimizer.param_groups[0]["lr"])
            scores["ratio on an old batch"] = max(ratios, default=0.0)
            scores["critical sharpness"] = max((rate * s / 2 for s in sharp), default=0.0)
        rows.append({"step": step, "action": advice.action, **scores})
        last_batch[:] = [batch]

    trace = train(run, before, prepare)
    made["guard"].close()
    return trace, rows


def obeyed(run: Run, make: Callable[..., Callable[..., None]]) -> tuple[Trace, float]:
    """Trains with a rule in force; the seconds that the rule took."""
    made: dict[str, Any] = {"seconds": 0.0}

    def prepare(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        made["act"] = make(net, optimizer)

    def before(*arguments: Any) -> None:
        begun = time.perf_counter()
        made["act"](*arguments)
        made["seconds"] += time.perf_counter() - begun

    trace = train(run, before, prepare)
    return trace, made["seconds"]


def guarded(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Callable[..., None]:
    guard = Guard(net, optimizer, loss_of)
    return lambda step, batch, loss, *_: guard.apply(guard.check(step, batch, loss))


def clips(limit_of: Callable[[list[float], float], float | None]) -> Callable[..., Callable[..., None]]:
    """A rule on the norm: its limit from the norms before and this one, None to leave the step, 0 to take none."""

    def make(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Callable[..., None]:
        norms: list[float] = []

        def act(step: int, batch: Any, loss: torch.Tensor, *_: Any) -> None:
            norm = norm_of(net)
            limit = limit_of(norms, norm)
            if limit is None:
                norms.append(norm)
                return
            for p in net.parameters():
                p.grad = None if limit == 0 or p.grad is None else p.grad * (limit / norm)

        return act

    return make


def zclip(norms: list[float], norm: float) -> float | None:
    if len(norms) < 10:
        return None
    mean, spread = float(np.mean(norms[-33:])), max(float(np.std(norms[-33:])), 1e-12)
    if not math.isfinite(norm):
        return 0.0
    z = (norm - mean) / spread
    return None if z <= 2.5 else mean + spread * 2.5**2 / z


def skip_step(norms: list[float], norm: float) -> float | None:
    if len(norms) < 10:
        return None
    return 0.0 if not math.isfinite(norm) or norm > float(np.mean(norms[-128:]) + 6 * np.std(norms[-128:])) else None


def at_usual(norms: list[float], norm: float) -> float | None:
    usual = median_before(norms)
    return None if not usual > 0 or norm <= 2 * usual else 2 * usual if math.isfinite(norm) else 0.0


ACTING = {
    "guard": guarded,
    "ZClip": clips(zclip),
    "skip-step": clips(skip_step),
    "gradient norm ≤ 2 × median": clips(at_usual),
}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    first, count, families = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or [*TUNED, *REPORTED]
    done = {(r["family"], r["number"]) for r in map(json.loads, RUNS.open())} if RUNS.exists() else set()
    for number in range(first, first + count):
        for family in families:
            if (family, number) in done:
                continue
            run = run_of(family, number)
            begun = time.perf_counter()
            plain = train(run)
            seconds = time.perf_counter() - begun
            level = usual(plain, run.start)
            ends = lost(plain, level)
            harm = harm_of(plain, level) if ends else None
            _, rows = told(run, harm, curved=number < CURVED_RUNS)
            acted = {}
            for name, make in ACTING.items():
                trace, cost = obeyed(run, make)
                acted[name] = {"lost": lost(trace, level), "end": float(np.median(trace.reference[-10:])), "seconds": cost}
            line = {
                "family": family, "number": number, "optimizer": run.optimizer, "strength": run.strength, "start": run.start,
                "lost": ends, "harm": harm, "level": level, "end": float(np.median(plain.reference[-10:])),
                "harmed": max(plain.reference[run.start - 20 :]) > 1.45 * level, "seconds": seconds, "rows": rows, "acted": acted,
            }  # fmt: skip
            with RUNS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(family, number, run.optimizer, "lost" if ends else "well", {n: a["lost"] for n, a in acted.items()}, flush=True)


if __name__ == "__main__":
    main()

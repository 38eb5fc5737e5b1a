"""The guard against simple rivals, on runs that nobody chose by how they end.

    python bench/guard/run.py [--guard | --obeyed] FIRST COUNT [FAMILY …]   adds to bench/guard/runs.jsonl; what is there already stays
    python bench/guard/score.py                           writes results.md

Each run is trained three times or more: as it is, with the guard's advice written down only, with the guard obeyed, and with
each rival that acts; with --guard without the rivals, with --obeyed without those and without the advice alone. What is lost or
harmed is read from clean rows that no step trains on (families.py).
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))
from clippy_diag.torch import Guard, curvature  # noqa: E402
from families import FRESH, LATER, REPORTED, TUNED, UNSEEN, Before, Run, Trace, harm_of, lost, run_of, train, usual  # noqa: E402

RUNS = Path(__file__).with_name("runs.jsonl")
#: Steps that curvature is measured at, at most.
CURVED = 6


class Rival:
    """A simple rule: how alarmed it is by a step, and what it would do; its past holds what it is said to keep."""

    def judge(self, loss: float, norm: float, rate: float) -> tuple[float, float]:
        """A score, the higher the more it is an alarm, and the norm that it leaves the gradients: infinite, or 0 for no step."""
        raise NotImplementedError


class OverMedian(Rival):
    """One value over the median of the last 100, as a logarithm. With `limit` gradients are clipped to that many times their
    median, and what is above does not count as usual."""

    def __init__(self, pick: Callable[[float, float, float], float], limit: float = math.inf) -> None:
        self.pick, self.limit = pick, limit
        self.past: list[float] = []

    def judge(self, loss: float, norm: float, rate: float) -> tuple[float, float]:
        value = self.pick(loss, norm, rate)
        usual = float(np.median(self.past[-100:])) if len(self.past) >= 10 else math.nan
        if not math.isfinite(value):
            return BROKEN, 0.0
        above = self.limit * usual
        if not value > above:
            self.past.append(value)
        return math.log(value / usual) if usual > 0 and value > 0 else 0.0, above if value > above else math.inf


class ZClip(Rival):
    """arXiv 2504.02507: exponential means of the norm and of its variance, decay 0.97, after 25 steps; above 2.5 standard
    deviations the norm becomes mean + 2.5² / z of them, and that enters the means."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.mean, self.variance = math.nan, math.nan

    def judge(self, loss: float, norm: float, rate: float) -> tuple[float, float]:
        if not math.isfinite(norm):
            return BROKEN, 0.0
        if len(self.first) < 25:
            self.first.append(norm)
            self.mean, self.variance = float(np.mean(self.first)), float(np.var(self.first))
            return 0.0, math.inf
        spread = max(math.sqrt(self.variance), 1e-12)
        z = (norm - self.mean) / spread
        left = self.mean + spread * 2.5**2 / z if z > 2.5 else math.inf
        self.mean = 0.97 * self.mean + 0.03 * min(norm, left)
        self.variance = 0.97 * self.variance + 0.03 * (min(norm, left) - self.mean) ** 2
        return z, left


class SkipStep(Rival):
    """OLMo-core's: no step where the loss or the gradient norm is six standard deviations from the mean of the last 128, after
    64 steps. Every finite value enters, of skipped steps too."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []

    def judge(self, loss: float, norm: float, rate: float) -> tuple[float, float]:
        score = max(self.z(self.losses, loss), self.z(self.norms, norm))
        return score, 0.0 if score > 6 else math.inf

    def z(self, past: list[float], value: float) -> float:
        if not math.isfinite(value):
            return BROKEN
        before = np.array(past[-128:])
        past.append(value)
        return abs(value - float(before.mean())) / max(float(before.std(ddof=1)), 1e-12) if len(before) >= 64 else 0.0


#: The score of a step that is not finite.
BROKEN = 99.0
RIVALS: dict[str, Callable[[], Rival]] = {
    "loss / median": lambda: OverMedian(lambda loss, norm, rate: loss),
    "gradient norm / median": lambda: OverMedian(lambda loss, norm, rate: norm, 2.0),
    "learning rate / median": lambda: OverMedian(lambda loss, norm, rate: rate),
    "ZClip": ZClip,
    "skip-step": SkipStep,
}


def ratio(entry: dict[str, Any], rate: float) -> Any:
    """The top eigenvalue over what the optimizer tolerates."""
    return entry["stability"]["ratio"]


def sharpness(entry: dict[str, Any], rate: float) -> Any:
    """The learning rate over the smallest that would raise the loss."""
    found = entry.get("criticalSharpness")
    return rate * found["value"] / 2 if found else None


#: What is measured on the batch before, with options of `curvature`: rules that look at an old batch.
CURVATURES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any], float], Any]]] = {
    "ratio on an old batch": ({"iterations": 12, "critical": False}, ratio),
    "critical sharpness": ({"iterations": 1}, sharpness),
}


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def norm_of(net: torch.nn.Module) -> float:
    return float(torch.sqrt(sum((p.grad.double() ** 2).sum() for p in net.parameters() if p.grad is not None)))


def loss_of(net: torch.nn.Module, batch: Any) -> torch.Tensor:
    return net(batch)


def told(run: Run, harm: int | None, rivals_too: bool) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Trains with the guard's advice only; what every rule said of every step, and the seconds that it took to say it once."""
    rows: list[dict[str, Any]] = []
    made: dict[str, Any] = {}
    rivals = {name: make() for name, make in RIVALS.items() if rivals_too}
    last_batch: list[Any] = []
    seconds: dict[str, list[float]] = {}
    until = run.start + 10 if harm is None else min(harm, run.start + 40)
    wanted = set(np.linspace(max(20, run.start - 20), max(until, run.start), CURVED if rivals_too else 0).astype(int).tolist())

    def prepare(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        made["guard"] = Guard(net, optimizer, loss_of, advice_only=True)
        made["signs"] = Guard(net, optimizer, advice_only=True)

    def timed(name: str, say: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        said = say()
        seconds.setdefault(name, []).append(time.perf_counter() - begun)
        return said

    def before(step: int, batch: Any, loss: torch.Tensor, net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        advice = made["guard"].check(step, batch, loss)
        seconds.setdefault("guard", []).append(advice.seconds)
        rate = rate_of(optimizer)
        scores = {"guard": advice.risk}
        if rivals_too:
            signs = made["signs"].check(step, None, loss)
            seconds.setdefault("guard without loss_fn", []).append(signs.seconds)
            scores["guard without loss_fn"] = signs.risk
        for name, rival in rivals.items():
            scores[name] = timed(name, lambda rival=rival: rival.judge(float(loss), norm_of(net), rate)[0])
        if step in wanted and last_batch:
            for name, (options, value) in CURVATURES.items():
                entries = timed(
                    name,
                    lambda options=options: curvature(net, optimizer, lambda: net(last_batch[0]), step=step, **options),
                )
                values = [value(entry, rate) for entry in entries]
                scores[name] = max((v if isinstance(v, float) else BROKEN for v in values if v is not None), default=0.0)
        rows.append({"step": step, "action": advice.action, **scores})
        last_batch[:] = [batch]

    train(run, before, prepare)
    return rows, {name: float(np.mean(taken)) for name, taken in seconds.items()}


def obeyed(run: Run, make: Callable[[torch.nn.Module, torch.optim.Optimizer], Before]) -> Trace:
    """Trains with a rule in force."""
    made: dict[str, Any] = {}
    return train(
        run,
        lambda *arguments: made["act"](*arguments),
        lambda net, optimizer: made.update(act=make(net, optimizer)),
    )


def guarded(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Before:
    guard = Guard(net, optimizer, loss_of)
    actions.clear()

    def act(step: int, batch: Any, loss: torch.Tensor, *_: Any) -> None:
        advice = guard.check(step, batch, loss)
        actions.append(advice.action)
        guard.apply(advice)

    return act


#: What the guard did at each step of the last run that obeyed it.
actions: list[str] = []


def goes_on(trace: Trace, level: float, start: int) -> bool:
    """Whether a run that the guard held goes on learning: no more than half of its steps from the trouble on are left out, and clean
    rows end no higher than before the trouble."""
    after = actions[start:]
    return 2 * after.count("skip") <= len(after) and float(np.median(trace.reference[-10:])) <= 1.05 * level


def follows(name: str) -> Callable[[torch.nn.Module, torch.optim.Optimizer], Before]:
    """A rival in force."""

    def make(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Before:
        rival = RIVALS[name]()

        def act(step: int, batch: Any, loss: torch.Tensor, *_: Any) -> None:
            norm = norm_of(net)
            left = rival.judge(float(loss), norm, rate_of(optimizer))[1]
            if left < norm or not math.isfinite(norm):
                for p in net.parameters():
                    p.grad = None if left == 0 or p.grad is None else p.grad * (left / norm)

        return act

    return make


#: Rules in force. "gradient norm / median" clips at twice its median.
ACTING = {"guard": guarded, **{name: follows(name) for name in ("ZClip", "skip-step", "gradient norm / median")}}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rivals_too = not {"--guard", "--obeyed"} & set(sys.argv)
    given = [word for word in sys.argv[1:] if not word.startswith("--")]
    first, count, families = int(given[0]), int(given[1]), given[2:] or [*TUNED, *REPORTED, *FRESH, *UNSEEN, *LATER]
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
            rows, costs = ([], {}) if "--obeyed" in sys.argv else told(run, harm, rivals_too)
            acted = {}
            for name, make in ACTING.items() if rivals_too else [("guard", guarded)]:
                trace = obeyed(run, make)
                acted[name] = {"lost": lost(trace, level), "end": float(np.median(trace.reference[-10:]))}
                if name == "guard":
                    acted[name] |= {"goesOn": goes_on(trace, level, run.start), "taken": dict(Counter(actions))}
            line = {
                "family": family, "number": number, "optimizer": run.optimizer, "strength": run.strength, "start": run.start,
                "lost": ends, "harm": harm, "level": level, "end": float(np.median(plain.reference[-10:])),
                "harmed": max(plain.reference[run.start - 20 :]) > 1.45 * level, "seconds": seconds / len(plain.loss), "costs": costs,
                "rows": rows, "acted": acted,
            }  # fmt: skip
            with RUNS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(family, number, run.optimizer, "lost" if ends else "well", {n: a["lost"] for n, a in acted.items()}, flush=True)


if __name__ == "__main__":
    main()

"""The largest learning rate at which a training is stable in its first steps, by a ladder of rates on copies. Knows no framework.

docs/preflight.md explains the method and shows how far it is right. `clippy_diag.torch.preflight` runs it on a PyTorch model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from .captures import number, number_back
from .rules import NONE, Rules, label_of

SCHEMA_VERSION = "3.0"
#: Steps that the audit repeats at a quiet rate, the asked one over LOWER.
QUIET, LOWER = 20, 8.0
#: Steps at each rate, with the warm-up in them, of which a longer one counts as half of them. In 30 steps, 15 % of the answers on
#: the tuned half of bench/preflight were off by more than 2 times, in 40 steps 5 %.
STEPS = 40
#: Rates are a factor of FAR apart until one is held and one is not, then halved down to a factor of √2; from the asked rate over
#: FAR to HIGHEST times it, and at most MOST_LOWERED times lower.
FAR, HIGHEST, MOST_LOWERED = 4.0, 64.0, 6
#: Losses are compared on fixed batches that no step trains on: at least so many rows, and at least and at most so many batches.
ROWS, LEAST_BATCHES, MOST_BATCHES = 1024, 8, 64
#: A loss rises or falls where it differs by so many standard errors of the paired differences. A rate is not held where its loss
#: rises, or lacks this share of what the best rate has learnt. On the tuned half of bench/preflight half of it left 8 % of the answers
#: more than 2 times too high, most of them under Lion; 0.3 leaves 4 %.
ERRORS, SHARE = 3.0, 0.3
#: The loss is learnt where it lies so many errors below that of the given state: twice ERRORS, so that a rate that takes the loss
#: back to where it began is seen.
LEARNT = 2 * ERRORS
#: The most steps at a low rate before the answer is `cannot-tell`.
MOST_QUIET = 320
#: The band reaches from the highest rate held over BELOW to the lowest not held times ABOVE. Chosen on the tuned half of
#: bench/preflight, where so 2 of 40 rates that are the critical one are called well within, and 7 of 120 at 0.71 times or less above.
BELOW, ABOVE = 2**0.75, 2**0.25
#: Steps that the answer is about: those of the reruns of bench/preflight.
ABOUT = 150
#: Powers of ABOUT / STEPS that the lower and the upper end are multiplied by, where steps do not shrink with the gradient or shrink
#: with the number of steps. Each step of Lion is as long as the first, so what noise adds to the weights grows as the root of the
#: number of steps. Adagrad's steps shrink as that root, so a rate that is held stays held, and one that is not may come back.
AGES = {"lion": (-0.5, -0.5), "adagrad": (0.0, 0.5)}


class How(NamedTuple):
    """How steps are taken, apart from their rate."""

    #: Clipping rules in place of the loop's own; None: the loop's own.
    rules: Rules | None = None
    #: Batches whose gradients are averaged in each step.
    batches: int = 1
    #: A tensor of which only a part of every update is applied, and that part.
    slowed: tuple[str, float] | None = None


class Trial(Protocol):
    """A training that can be tried: everything happens on copies, and nothing of the user's training changes."""

    #: The learning rate that the training is set to: the largest of the parameter groups.
    asked: float
    #: Gradients that were computed so far.
    gradients: int
    #: Names of the optimizers in small letters, as AGES has them; others do not count.
    kinds: set[str]

    def keep(self) -> Any:
        """The present state: weights, optimizer state, buffers."""

    def put(self, kept: Any) -> None:
        """Returns to a kept state."""

    def train(self, rate: float, steps: int, first: int, how: How = How()) -> bool:  # noqa: B008
        """Takes steps from the present state at a rate, on training batches from number `first` on; ends at a loss that is not
        finite and returns whether there was none."""

    def losses(self) -> Sequence[float]:
        """The loss of every fixed batch at the present state."""

    def moved(self, since: Any) -> Mapping[str, float]:
        """How far every tensor has moved since a kept state, over its size there."""


class Rung(NamedTuple):
    """One rate of a ladder: mean losses of the fixed batches before and after its steps."""

    rate: float
    before: float
    after: float
    held: bool


class Ladder(NamedTuple):
    """The rungs in the order in which they were tried, and between which rates the limit lies; None where it was not found."""

    rungs: list[Rung]
    held: float | None
    failed: float | None
    #: Whether time ran out before the limit was found.
    unfinished: bool


def errors_above(losses: Sequence[float], others: Sequence[float]) -> float:
    """How far losses lie above others of the same batches, in standard errors of the paired differences; infinite where one of
    them is not finite, 0 where none differs."""
    if not np.all(np.isfinite(losses)):
        return math.inf
    differences = np.asarray(losses, float) - np.asarray(others, float)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if error == 0:
        return 0.0 if mean == 0 else math.copysign(math.inf, mean)
    return mean / error


class Clock:
    """How long a preflight has taken, and whether its time is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._began = seconds, time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self._began

    @property
    def over(self) -> bool:
        return self.spent > self.seconds


class Climb:
    """Tries rates from one state, each for as many steps on the same batches, with the warm-up of the training."""

    def __init__(
        self, trial: Trial, state: Any, untrained: Sequence[float], first: int, warmup: int, clock: Clock
    ) -> None:
        self.trial, self.state, self.untrained, self.first, self.clock = trial, state, untrained, first, clock
        self._warmup = min(warmup, STEPS // 2)
        trial.put(state)
        self._before = float(np.mean(trial.losses()))
        #: The losses after the steps at each rate, in the order in which they were tried.
        self.tried: dict[float, Sequence[float]] = {}

    @property
    def best(self) -> float | None:
        """The rate that learns most; None where the loss stays finite at none."""
        finite = {rate: float(np.mean(after)) for rate, after in self.tried.items() if np.all(np.isfinite(after))}
        return min(finite, key=finite.__getitem__, default=None)

    @property
    def learnt(self) -> bool:
        """Whether the best rate has learnt so much that a collapse would show."""
        return self.best is not None and errors_above(self.untrained, self.tried[self.best]) >= LEARNT

    def holds(self, rate: float, how: How = How()) -> bool:  # noqa: B008
        """Whether a rate is held, against the best that was tried; noted as a rung where nothing but the rate is changed."""
        after = self._after(rate, how)
        if how == How():
            self.tried[rate] = after
        return not self._lost(rate, after)

    def search(self, asked: float) -> Ladder:
        """From the asked rate up or down until one rate is held and one not, then between them. What is held is judged anew as a
        better rate is found."""
        for rate in (asked, asked / FAR):
            if not self.clock.over:
                self.holds(rate)
        while not self.clock.over:
            held, failed = self._bracket()
            if failed is None:
                rate = FAR * max(self.tried)
                if rate > HIGHEST * asked * 1.001:
                    return self._ladder(False)
            elif held is None:
                rate = min(self.tried) / FAR
                if rate < asked / FAR**MOST_LOWERED:
                    return self._ladder(False)
            elif failed > 1.5 * held:
                rate = math.sqrt(held * failed)
            else:
                return self._ladder(False)
            self.holds(rate)
        return self._ladder(True)

    def _bracket(self) -> tuple[float | None, float | None]:
        """The highest rate that is held below the lowest that is not, and that one."""
        best = self.best or 0.0
        failed = min((r for r, after in self.tried.items() if r > best and self._lost(r, after)), default=None)
        below = [r for r, after in self.tried.items() if (failed is None or r < failed) and not self._lost(r, after)]
        return max(below, default=None), failed

    def _ladder(self, unfinished: bool) -> Ladder:
        rungs = [
            Rung(rate, self._before, float(np.mean(after)), not self._lost(rate, after))
            for rate, after in self.tried.items()
        ]
        return Ladder(rungs, *self._bracket(), unfinished)

    def _after(self, rate: float, how: How) -> Sequence[float]:
        self.trial.put(self.state)
        finite = True
        for k in range(self._warmup):
            finite = finite and self.trial.train(rate * (k + 1) / self._warmup, 1, self.first + k, how)
        finite = finite and self.trial.train(rate, STEPS - self._warmup, self.first + self._warmup, how)
        return self.trial.losses() if finite else [math.nan] * len(self.untrained)

    def _lost(self, rate: float, after: Sequence[float]) -> bool:
        """Whether the loss rises, or lacks too much of what the best rate has learnt. A rate below the best is only slower."""
        if errors_above(after, self.untrained) > ERRORS:
            return True
        best = self.best
        if best is None or rate <= best:
            return False
        least, most = float(np.mean(self.tried[best])), float(np.mean(self.untrained))
        return self.learnt and float(np.mean(after)) > least + SHARE * (most - least)


class _Answer(NamedTuple):
    """What is known before it is put into words."""

    ladder: Ladder
    climb: Climb | None
    #: Why nothing can be said, a sentence; None where something can.
    unknown: str | None


def preflight_of(trial: Trial, seconds: float, rules: Sequence[Rules], warmup: int = 0) -> dict[str, Any]:
    """The document of a preflight: `{"schemaVersion", "preflight": {…}}`, as docs/preflight.md has it.

    seconds  after which no further rate is tried.
    rules    clipping rules under each of which the largest rate is looked for, where the asked rate is not well within.
    warmup   steps over which the training's rate rises to its peak; 0 for none
    """
    clock = Clock(seconds)
    answer = _find(trial, warmup, clock)
    verdict, band = _verdict(trial, answer)
    limit, under = _NO_LIMIT, []
    if verdict != "well-within" and band is not None and answer.climb is not None and answer.ladder.failed is not None:
        limit = _limit(trial, answer.climb, answer.ladder)
        under = _under_rules(trial, answer.climb, answer.ladder, rules)
    found = {
        "asked": trial.asked,
        "stableRate": None if band is None else _of_band(band),
        "ratio": None if band is None else trial.asked / middle_of(band),
        "verdict": verdict,
        "limitedBy": {"kind": limit.kind, "tensor": limit.tensor},
        "underRules": [{"rule": name, "stableRate": None if own is None else _of_band(own)} for name, own in under],
        "batchScaling": limit.scaling,
        "warmup": {"steps": warmup} if warmup else None,
        "gradients": trial.gradients,
        "seconds": round(clock.spent, 3),
        "ladder": [
            {"rate": rung.rate, "before": number(rung.before), "after": number(rung.after), "held": rung.held}
            for rung in answer.ladder.rungs
        ],
    }
    statement = statement_of(found, answer.unknown, limit.with_twice)
    return {"schemaVersion": SCHEMA_VERSION, "preflight": {**found, "statement": statement}}


#: Lower and upper end of a band of rates; the upper one is infinite where every rate that was tried is held.
Band = tuple[float, float]


def aged(low: float, high: float, kinds: Collection[str]) -> Band:
    """Two rates of a ladder as those of ABOUT steps, under optimizers whose steps age."""
    powers = [AGES[kind] for kind in kinds if kind in AGES] or [(0.0, 0.0)]
    longer = ABOUT / STEPS
    return low * longer ** min(power[0] for power in powers), high * longer ** max(power[1] for power in powers)


def band_of(held: float, failed: float | None, kinds: Collection[str]) -> Band:
    """The band of a ladder: the highest rate held and the lowest not held, None where every rate is held."""
    return aged(held / BELOW, math.inf if failed is None else failed * ABOVE, kinds)


def middle_of(band: Band) -> float:
    """The single number of a band: between the highest rate held and the lowest not held; its lower end where all are held."""
    return math.sqrt(band[0] * BELOW * band[1] / ABOVE) if math.isfinite(band[1]) else band[0]


def verdict_of(asked: float, band: Band) -> str:
    """What a band says of a rate."""
    if asked < band[0]:
        return "well-within"
    if math.isinf(band[1]):
        return "cannot-tell"
    return "above" if asked > band[1] else "near"


class _Limit(NamedTuple):
    """What limits a rate, the exponent of the stable rate in the batch size, and the rate held with twice the batch."""

    kind: str
    tensor: str | None
    scaling: float | None
    with_twice: float | None


_NO_LIMIT = _Limit("unknown", None, None, None)


def _of_band(band: Band) -> dict[str, Any]:
    return {"low": number(band[0]), "high": number(band[1])}


def _find(trial: Trial, warmup: int, clock: Clock) -> _Answer:
    start, untrained = trial.keep(), trial.losses()
    if not np.all(np.isfinite(untrained)):
        text = "The loss of the given weights is not finite: look at weights and data."
        return _Answer(Ladder([], None, None, False), None, text)
    state, steps = start, 0
    while True:
        climb = Climb(trial, state, untrained, steps, warmup, clock)
        ladder = climb.search(trial.asked)
        if climb.learnt:
            return _Answer(ladder, climb, None)
        if clock.over or steps >= MOST_QUIET or climb.best is None:
            return _Answer(ladder, climb, _not_learnt(steps + STEPS, climb, clock))
        trial.put(state)
        # A quarter of what is held for some steps is safe for more, and the asked rate is what the training will use.
        if trial.train(min(trial.asked, (ladder.held or climb.best) / 4), more := max(steps, STEPS), steps):
            state = trial.keep()
        steps += more


def _not_learnt(steps: int, climb: Climb, clock: Clock) -> str:
    if clock.over:
        return f"{clock.seconds:g} seconds were not enough: give more with seconds=, or smaller batches."
    if climb.best is None:
        lowest = min(climb.tried)
        return f"Even at a rate of {lowest:.2g} the loss is soon not finite: the rate is not what is wrong."
    return (
        f"In {steps} steps the loss did not fall by {LEARNT:g} errors at any rate, so a collapse would not show."
        " Call it again when the training has begun to learn."
    )


def _verdict(trial: Trial, answer: _Answer) -> tuple[str, Band | None]:
    """The verdict, and the band of the stable rate."""
    ladder = answer.ladder
    if ladder.held is None or answer.unknown is not None:
        return "cannot-tell", None
    band = band_of(ladder.held, ladder.failed, trial.kinds)
    verdict = verdict_of(trial.asked, band)
    return verdict, None if verdict == "cannot-tell" else band


def _limit(trial: Trial, climb: Climb, ladder: Ladder) -> _Limit:
    """What limits the rate, each by a trial: one tensor, if with its updates at the size of the held rate the others hold twice
    the rate that was not held; noise, if twice the batch holds that rate; else curvature."""
    assert ladder.held is not None and ladder.failed is not None
    if climb.clock.over:
        return _NO_LIMIT
    trial.put(climb.state)
    # Three steps: after an even number a tensor that swings has come back.
    trial.train(ladder.failed, 3, climb.first)
    moved = trial.moved(climb.state)
    tensor = max(moved, key=lambda name: moved[name] if moved[name] == moved[name] else math.inf, default=None)
    twice = climb.holds(ladder.failed, How(batches=2))
    more = twice and climb.holds(ladder.failed * math.sqrt(2), How(batches=2))
    scaling = 1.0 if more else 0.5 if twice else 0.0
    with_twice = aged(ladder.failed * (math.sqrt(2) if more else 1), 0, trial.kinds)[0] if twice else None
    rate = 2 * ladder.failed
    if len(moved) > 1 and tensor is not None and climb.holds(rate, How(slowed=(tensor, ladder.held / rate))):
        return _Limit("tensor", tensor, scaling, with_twice)
    return _Limit("noise" if twice else "curvature", None, scaling, with_twice)


def _under_rules(trial: Trial, climb: Climb, ladder: Ladder, rules: Sequence[Rules]) -> list[tuple[str, Band | None]]:
    """Between which rates of the row the limit is under each rule, up to twice the asked one; None where no rate above is held."""
    assert ladder.held is not None and ladder.failed is not None
    found: list[tuple[str, Band | None]] = []
    highest = 2 * max(trial.asked, ladder.failed) * 1.001
    for rule in rules:
        if rule == NONE or climb.clock.over:
            continue
        low, rate = None, ladder.failed
        while rate <= highest and climb.holds(rate, How(rules=rule)):
            low, rate = rate, 2 * rate
        high = math.inf if rate > highest else rate
        found.append((label_of(rule), None if low is None else aged(low, high, trial.kinds)))
    return found


def statement_of(found: Mapping[str, Any], unknown: str | None, with_twice: float | None) -> str:
    """The answer in plain words."""
    asked, stable = f"{found['asked']:.2g}", found["stableRate"]
    if stable is None:
        return f"The largest stable learning rate is unknown. {unknown or _too_short(found)}"
    low, high = number_back(stable["low"]), number_back(stable["high"])
    if math.isinf(high):
        return f"The training is stable to a learning rate of at least {low:.2g}; {asked} is well within that."
    warmup = f", with a warm-up of {found['warmup']['steps']} steps," if found["warmup"] else ""
    about = f"The training is stable{warmup} to a learning rate of about {middle_of((low, high)):.2g} ({low:.2g} to {high:.2g})"
    said = {
        "well-within": f"{about}; {asked} is well within that.",
        "near": f"{about}; {asked} is near that limit.",
        "above": f"{about}; {asked} is too high for its first steps.",
    }[found["verdict"]]
    return " ".join([said, *_reasons(found, with_twice)])


def _too_short(found: Mapping[str, Any]) -> str:
    return (
        f"Rates up to {max(rung['rate'] for rung in found['ladder']):.2g} were tried in {found['seconds']:.0f} seconds."
    )


def _reasons(found: Mapping[str, Any], with_twice: float | None) -> list[str]:
    kind, said = found["limitedBy"], []
    if kind["kind"] == "noise" and with_twice is not None:
        said.append(f"Gradient noise limits it: with twice the batch {with_twice:.2g} is held.")
    elif kind["kind"] == "curvature":
        said.append("Curvature limits it: twice the batch does not help.")
    elif kind["kind"] == "tensor":
        said.append(f"One tensor limits it: with smaller updates of {kind['tensor']} twice the rate is held.")
        if with_twice is not None:
            said.append(f"With twice the batch {with_twice:.2g} is held.")
    asked = found["asked"]
    helped = [
        one["rule"]
        for one in found["underRules"]
        if one["stableRate"] and number_back(one["stableRate"]["low"]) >= asked
    ]
    if helped and found["verdict"] != "well-within":
        said.append(f"Under {' or '.join(helped)} the asked rate is held.")
    return said

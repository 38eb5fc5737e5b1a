"""The largest learning rate at which a training is stable in its first steps, by a ladder of rates on copies. Knows no framework.

docs/preflight.md explains the method and shows how far it is right. `clippy_diag.torch.preflight` runs it on a PyTorch model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from .captures import number, number_back
from .rules import NONE, Rules, label_of

SCHEMA_VERSION = "3.0"
#: Quiet steps before the first ladder, and steps at each rate of a ladder.
QUIET, STEPS = 20, 12
#: The quiet rate, with which every rate is compared, is the asked rate divided by this; a ladder ends at HIGHEST times the asked rate.
LOWER, HIGHEST = 8.0, 64.0
#: Losses are compared on fixed batches that no step trains on: at least so many rows, and at least and at most so many batches.
ROWS, LEAST_BATCHES, MOST_BATCHES = 1024, 8, 64
#: A rate is not held where its loss is above that of the quiet rate by so many standard errors of the paired differences, and
#: either by this share of what the quiet rate has learnt since the given state, or growing: between the middle of its steps and
#: their end by more than this factor. Noise alone adds to a loss by as much in the second half as in the first. Half is what a
#: training must lose to count as failed in bench/preflight; with a tenth, 9 of 14 adaptive set-ups were more than twice too low,
#: since their state adapts and a loss that jumps in a few steps comes back.
ERRORS, SHARE, GROWTH = 3.0, 0.5, 3.0
#: The loss is learnt where it lies so many errors below that of the given state: twice ERRORS, so that a rate that takes the loss
#: back to where it began is seen.
LEARNT = 2 * ERRORS
#: The most quiet steps before the answer is `cannot-tell`, and the most times that a quiet rate which is not held is lowered.
MOST_QUIET, MOST_LOWERED = 320, 5
#: The band reaches from the highest rate held over BELOW to the lowest not held, which is multiplied by ADAPTS under an optimizer
#: that divides by its past gradients: that state adapts after the steps of a ladder. Chosen on the tuned half of bench/preflight as
#: the powers of √2 whose band has four of five critical rates in it.
BELOW, ADAPTS = math.sqrt(2), 2.0


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
    #: Whether the optimizer divides by its past gradients, as Adam does.
    adapts: bool

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


class _Clock:
    def __init__(self, seconds: float) -> None:
        self.seconds, self._began = seconds, time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self._began

    @property
    def over(self) -> bool:
        return self.spent > self.seconds


class Climb:
    """Tries rates from one state, each compared with the quiet rate from the same state on the same batches."""

    def __init__(self, trial: Trial, state: Any, untrained: Sequence[float], first: int, clock: _Clock) -> None:
        self.trial, self.state, self.first, self.clock = trial, state, first, clock
        self._untrained = float(np.mean(untrained))
        trial.put(state)
        self._before = trial.losses()
        self._quiet: Sequence[float] = self._before
        self.rungs: list[Rung] = []

    def start(self, quiet: float) -> float | None:
        """Takes the quiet rate as the reference, lowered until its loss does not rise; None where no rate is low enough."""
        for _ in range(MOST_LOWERED + 1):
            after = self._after(quiet, How())
            held = errors_above(after, self._before) <= ERRORS
            self._note(quiet, after, held)
            if held:
                self._quiet = after
                return quiet
            quiet /= LOWER
        return None

    def holds(self, rate: float, how: How = How()) -> bool:  # noqa: B008
        """Whether a rate is held; noted as a rung where nothing but the rate is changed."""
        after = self._after(rate, how)
        held = errors_above(after, self._quiet) <= ERRORS
        if not held and self._lost(after) <= SHARE:
            held = not self._grows(rate, how, after)
        if how == How():
            self._note(rate, after, held)
        return held

    def up(self, quiet: float, highest: float) -> Ladder:
        """Doubles the rate until one is not held, then tries the rate between the two."""
        held, rate = quiet, 2 * quiet
        while rate <= highest * 1.001:
            if self.clock.over:
                return Ladder(self.rungs, held, None, True)
            if not self.holds(rate):
                between = math.sqrt(held * rate)
                return (
                    Ladder(self.rungs, between, rate, False)
                    if self.holds(between)
                    else Ladder(self.rungs, held, between, False)
                )
            held, rate = rate, 2 * rate
        return Ladder(self.rungs, held, None, False)

    def _grows(self, rate: float, how: How, after: Sequence[float]) -> bool:
        """Whether the loss rises from the middle of the steps to their end, faster than noise adds to it."""
        middle = self._after(rate, how, STEPS // 2)
        if errors_above(after, middle) <= ERRORS:
            return False
        lowest = min(float(np.mean(losses)) for losses in (self._before, self._quiet, middle))
        return float(np.mean(after)) - lowest > GROWTH * (float(np.mean(middle)) - lowest)

    def _after(self, rate: float, how: How, steps: int = STEPS) -> Sequence[float]:
        self.trial.put(self.state)
        finite = self.trial.train(rate, steps, self.first, how)
        return self.trial.losses() if finite else [math.nan] * len(self._before)

    def _lost(self, after: Sequence[float]) -> float:
        """The share of what the quiet rate has learnt since the given state that these losses lack."""
        quiet = float(np.mean(self._quiet))
        learnt = self._untrained - quiet
        above = float(np.mean(after)) - quiet
        return above / learnt if learnt > 0 and math.isfinite(above) else math.inf

    def _note(self, rate: float, after: Sequence[float], held: bool) -> None:
        self.rungs.append(Rung(rate, float(np.mean(self._before)), float(np.mean(after)), held))


class _Answer(NamedTuple):
    """What is known before it is put into words."""

    ladder: Ladder
    climb: Climb | None
    #: Why nothing can be said, a sentence; None where something can.
    unknown: str | None
    #: Quiet steps before the last ladder; whether the asked rate was held in an earlier one, None without an earlier one.
    steps: int
    early: bool | None


def preflight_of(trial: Trial, seconds: float, rules: Sequence[Rules]) -> dict[str, Any]:
    """The document of a preflight: `{"schemaVersion", "preflight": {…}}`, as docs/preflight.md has it.

    seconds  after which no further rate is tried
    rules    clipping rules under each of which the largest rate is looked for, where the asked rate is not well within
    """
    clock = _Clock(seconds)
    answer = _find(trial, clock)
    verdict, band = _verdict(trial.asked, answer, trial.adapts)
    limit, under = _NO_LIMIT, []
    if band is not None and answer.climb is not None and answer.ladder.failed is not None:
        limit = _limit(trial, answer.climb, answer.ladder)
        if verdict != "well-within":
            under = _under_rules(trial, answer.climb, answer.ladder, rules)
    warmup = {"steps": answer.steps} if answer.early is False and _held(answer.ladder, trial.asked) else None
    found = {
        "asked": trial.asked,
        "stableRate": None if band is None else _of_band(band),
        "ratio": None if band is None else trial.asked / _middle(band),
        "verdict": verdict,
        "limitedBy": {"kind": limit.kind, "tensor": limit.tensor},
        "underRules": [{"rule": name, "stableRate": None if own is None else _of_band(own)} for name, own in under],
        "batchScaling": limit.scaling,
        "warmup": warmup,
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


class _Limit(NamedTuple):
    """What limits a rate, the exponent of the stable rate in the batch size, and the rate held with twice the batch."""

    kind: str
    tensor: str | None
    scaling: float | None
    with_twice: float | None


_NO_LIMIT = _Limit("unknown", None, None, None)


def _of_band(band: Band) -> dict[str, Any]:
    return {"low": number(band[0]), "high": number(band[1])}


def _middle(band: Band) -> float:
    return math.sqrt(band[0] * band[1]) if math.isfinite(band[1]) else band[0]


def _find(trial: Trial, clock: _Clock) -> _Answer:
    nothing = Ladder([], None, None, False)
    start, untrained = trial.keep(), trial.losses()
    if not np.all(np.isfinite(untrained)):
        return _Answer(nothing, None, "The loss of the given weights is not finite: look at weights and data.", 0, None)
    quiet = trial.asked / LOWER
    for _ in range(MOST_LOWERED + 1):
        trial.put(start)
        if trial.train(quiet, QUIET, 0) and errors_above(trial.losses(), untrained) <= ERRORS:
            break
        quiet /= LOWER
    else:
        text = f"Even at a rate of {quiet * LOWER:.2g} the loss rises: the rate is not what is wrong."
        return _Answer(nothing, None, text, QUIET, None)
    steps, early = QUIET, None
    while True:
        state = trial.keep()
        learnt = errors_above(untrained, trial.losses()) >= LEARNT
        climb = Climb(trial, state, untrained, steps, clock)
        reference = climb.start(quiet)
        if reference is None:
            text = f"After {steps} quiet steps no rate is low enough to keep the loss from rising."
            return _Answer(Ladder(climb.rungs, None, None, False), None, text, steps, early)
        ladder = climb.up(reference, HIGHEST * trial.asked)
        if learnt or clock.over or steps >= MOST_QUIET:
            unknown = None if learnt else _not_learnt(steps, clock)
            return _Answer(ladder, climb, unknown, steps, early)
        early = _held(ladder, trial.asked)
        trial.put(state)
        # A quarter of what is held is safe, and the asked rate is what the training will use.
        rate = max(reference, min(trial.asked, (ladder.held or reference) / 4))
        if not trial.train(rate, steps, steps):
            trial.put(state)
            trial.train(reference, steps, steps)
        steps *= 2


def _not_learnt(steps: int, clock: _Clock) -> str:
    if clock.over:
        return f"{clock.seconds:g} seconds were not enough: give more with seconds=, or smaller batches."
    return (
        f"In {steps} quiet steps the loss did not fall by {LEARNT:g} errors, so a collapse would not show."
        " Call it again when the training has begun to learn."
    )


def _held(ladder: Ladder, rate: float) -> bool:
    return ladder.held is not None and rate <= ladder.held * 1.001


def _verdict(asked: float, answer: _Answer, adapts: bool) -> tuple[str, Band | None]:
    """The verdict, and the band of the stable rate."""
    ladder = answer.ladder
    if ladder.held is None or answer.unknown is not None:
        return "cannot-tell", None
    low = ladder.held / BELOW
    high = math.inf if ladder.failed is None else ladder.failed * (ADAPTS if adapts else 1.0)
    if asked < low:
        return "well-within", (low, high)
    if math.isinf(high):
        return "cannot-tell", None
    return "above" if asked > high else "near", (low, high)


def _limit(trial: Trial, climb: Climb, ladder: Ladder) -> _Limit:
    """What limits the rate, each by a trial: one tensor, if with its updates at the size of the held rate the others hold twice
    the rate that was not held; noise, if twice the batch holds that rate; else curvature."""
    assert ladder.held is not None and ladder.failed is not None
    if climb.clock.over:
        return _NO_LIMIT
    trial.put(climb.state)
    trial.train(ladder.failed, 2, climb.first)
    moved = trial.moved(climb.state)
    tensor = max(moved, key=lambda name: moved[name] if moved[name] == moved[name] else math.inf, default=None)
    twice = climb.holds(ladder.failed, How(batches=2))
    more = twice and climb.holds(ladder.failed * math.sqrt(2), How(batches=2))
    scaling = 1.0 if more else 0.5 if twice else 0.0
    with_twice = ladder.failed * math.sqrt(2) if more else ladder.failed if twice else None
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
        found.append((label_of(rule), None if low is None else (low, high)))
    return found


def statement_of(found: Mapping[str, Any], unknown: str | None, with_twice: float | None) -> str:
    """The answer in plain words."""
    asked, stable = f"{found['asked']:.2g}", found["stableRate"]
    if stable is None:
        return f"The largest stable learning rate cannot be told. {unknown or _too_short(found)}"
    low, high = number_back(stable["low"]), number_back(stable["high"])
    if math.isinf(high):
        return f"The training is stable to a learning rate of at least {low:.2g}; {asked} is well within that."
    about = f"The training is stable to a learning rate of about {math.sqrt(low * high):.2g} ({low:.2g} to {high:.2g})"
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
    if found["warmup"]:
        said.append(
            f"The first steps do not hold this rate, and after {found['warmup']['steps']} quiet steps it is held: a warm-up may help."
        )
    asked = found["asked"]
    helped = [
        one["rule"]
        for one in found["underRules"]
        if one["stableRate"] and number_back(one["stableRate"]["low"]) >= asked
    ]
    if helped and found["verdict"] != "well-within":
        said.append(f"Under {' or '.join(helped)} the asked rate is held.")
    return said

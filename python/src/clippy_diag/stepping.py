"""Checks recorded steps by running the optimizer's own class on them, for optimizers of which the command line has no formula.

The class is one that the caller names (`audit(capture, optimizer=torch.optim.Muon)`); a capture never decides what is run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from .captures import Capture
from .rules import NONE, Rules, label_of, recorded_rules

Arrays = Mapping[str, np.ndarray]

#: Distance of 1 from the next larger number, by safetensors' name of the type.
UNITS = {"F64": 2.0**-52, "F32": 2.0**-23, "F16": 2.0**-10, "BF16": 2.0**-7}
#: As docs/audit.md has the tolerance: brackets, half the roundings of a step, how fast the size of a step is forgotten.
BRACKETS, HALF_ROUNDINGS, FORGET = 4.0, 4.0, 0.9
#: In tolerances: below the first a cause closes the chain, above the second a link is broken.
CLOSES, BROKEN = 1.5, 3.0
#: Other causes must leave so many times the residual of the one that is shown.
APART = 10.0
#: Runs on gradients that are perturbed by so many roundings: how far apart they end is what rounding may add.
PERTURBED, ROUNDINGS = 2, 8.0
#: In units of the weights, of the movement of a tensor: runs that end further apart compute in a narrower type, or branch.
COARSE = 64.0
#: Steps of such an optimizer are of another size where most entries say so by more than this.
COARSE_RATE = 0.1
#: Entries of a tensor that may end elsewhere by the sign of a number near 0, as a share and at least; never above the second share.
SIGNS, LEAST_SIGNS, MOST_SIGNS = 1e-4, 2, 1 / 8
FEW_ENTRIES = 4


class Course(NamedTuple):
    """How the steps are taken: as declared, or with one change."""

    #: What multiplies the norm that the clip compares with its limit; None: the clip does not act.
    clip: float | None = 1.0
    rate: float = 1.0
    gradient: float = 1.0
    decay: float = 1.0
    #: What multiplies the movement of each step after it was taken: state that follows the weights does not move with it.
    moved: float = 1.0
    #: Position of the step before which the state begins anew.
    fresh: int | None = None

    def times(self, member: str, factor: float) -> Course:
        """The course with one factor changed."""
        changed: Any = {member: factor}
        return self._replace(**changed)


DECLARED = Course()


class Stepper(Protocol):
    """The weights of a training and its optimizers, which a framework's part runs."""

    def start(self) -> None:
        """Weights and state as before the first recorded step."""

    def put(self, weights: Arrays) -> None:
        """Sets the weights."""

    def renew(self) -> None:
        """The optimizer's state begins anew."""

    def step(self, index: int, gradients: dict[str, np.ndarray], rules: Rules, course: Course) -> None:
        """One step, clipped by `rules`, with the rates and options that were recorded for it. `gradients` may be changed."""

    def weights(self) -> dict[str, np.ndarray]:
        """In float64."""


class Missed(NamedTuple):
    """A tensor at a snapshot, compared."""

    tensor: str
    start: int
    to: int
    ratio: float
    off: int
    elements: int
    place: int
    found: float
    expected: float


class Candidate(NamedTuple):
    cause: str
    link: str
    factor: float | None
    course: Course
    #: The last position that is compared: of what happened once, the first snapshot after it.
    until: int
    statement: str
    fix: str


#: By what a factor multiplies: the cause, its link, what it says, and what to change.
_FACTORS = {
    "clip": (
        "clip-norm-factor",
        "clip",
        "the clip uses {} times the norm of the recorded gradients",
        "look at what the norm is taken of: one of several shards, some of the parameters, scaled gradients",
    ),
    "rate": (
        "rate-factor",
        "optimizer",
        "the weights move {} times as far as the recorded learning rate gives",
        "look for a second factor on the learning rate or the update, or a step that is taken more than once",
    ),
    "moved": (
        "rate-factor",
        "optimizer",
        "each step moves the weights {} times as far as the optimizer does",
        "look for what writes to the weights after optimizer.step(), or scales its update",
    ),
    "gradient": (
        "not-divided",
        "accumulation",
        "the step uses {} times the recorded gradient",
        "divide by the number of micro-batches (or ranks) once",
    ),
    "decay": (
        "decay-factor",
        "optimizer",
        "weight decay is {} times as large as recorded",
        "look at what sets weight_decay of the groups, and at decay that the loop applies itself",
    ),
}
#: Factors that are tried first.
_GRID = [2.0 ** (k / 2) for k in range(-6, 7)]


class _Allowance:
    """What rounding may have added to a tensor since the last snapshot (docs/audit.md, "Tolerance")."""

    def __init__(self, elements: int, unit: float) -> None:
        self.unit, self.size = unit, np.zeros(elements)
        self.renew()

    def renew(self) -> None:
        self.rounding, self.drift, self.travelled = (np.zeros_like(self.size) for _ in range(3))

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        moved = np.abs(after - before)
        _, exponent = np.frexp(np.maximum(np.maximum(np.abs(before), np.abs(after)), 2.0**-100))
        self.rounding += np.ldexp(self.unit, exponent - 1) ** 2
        self.size = np.maximum(moved, FORGET * self.size)
        self.drift += self.size
        self.travelled += moved

    def tolerance(self) -> np.ndarray:
        return np.asarray(BRACKETS * (np.sqrt(self.rounding) + HALF_ROUNDINGS * self.unit * self.drift))


class Stepped:
    """A capture whose steps are run by a class. `make` gives a new `Stepper` at each call."""

    def __init__(self, capture: Capture, make: Callable[[], Stepper], name: str) -> None:
        self.capture, self.name = capture, name
        self.rules = recorded_rules(capture.manifest.get("clipping"))
        self._steppers = [make() for _ in range(1 + PERTURBED)]
        self._units = {name: UNITS.get(kind, UNITS["F32"]) for name, kind in capture.kinds().items()}
        self._groups = {spec["name"]: spec.get("group", -1) for spec in capture.manifest["parameters"]}
        #: By parameter group: how far apart perturbed runs ended, over the movement, where that is more than rounding of the weights.
        self._coarse: dict[int, float] = {}
        self.last = self._last()

    def _last(self) -> int:
        """Position of the last step up to which every gradient is recorded."""
        steps = self.capture.steps
        gap = next((k for k, entry in enumerate(steps) if entry.get("gradients") is False), len(steps))
        return min(gap, len(steps) - 1)

    def links(self) -> list[dict[str, Any]]:
        """The links from the clip to the weights."""
        compared = self.compare(DECLARED, self.last, learn=True)
        if self._coarse:
            # A rounding that decides something is rare: where it was seen once, it may have happened at every step.
            compared = self.compare(DECLARED, self.last)
        if not compared:
            return [link("optimizer", "cannot-tell", f"the capture holds no weights after a step of {self.name}")]
        worst = max(one.ratio for one in compared)
        missed = [one for one in compared if not one.ratio <= BROKEN]
        if not missed:
            coarse = self._coarse_rate(len(compared))
            if coarse is not None:
                return [coarse]
            told = (
                f"the recorded weights are those that {self.name} gives, run on the recorded gradients, in {len(compared)}"
                " comparisons of a tensor"
            )
            most = f"nothing else moved the weights: the largest deviation is {worst:.2g} of what rounding may add"
            both = {"checks": len(compared), "residual": worst, "residualDeclared": worst}
            return [
                *self._clip(),
                link("optimizer", "holds", told, **both),
                link("weights", "holds", most, **both),
            ]
        return [self._broken(compared, missed)]

    def _coarse_rate(self, checks: int) -> dict[str, Any] | None:
        """A wrong size of all steps, which single entries do not show where rounding moves them by a large part of a step."""
        factor = self._solved("moved", [1.0], set(self._groups)) if self._coarse else None
        if factor is None or abs(factor - 1) <= COARSE_RATE:
            return None
        cause, of_link, statement, fix = _FACTORS["moved"]
        told = f"{statement.format(f'{factor:.4g}')}, which most entries show; roundings move them by {max(self._coarse.values()):.0%}"
        most = {"checks": checks, "broken": checks, "cause": cause, "factor": factor, "confidence": "likely"}
        return link(of_link, "broken", told, fix=fix, **most)

    def _clip(self) -> list[dict[str, Any]]:
        if self.rules == NONE:
            return [link("clip", "not-applicable", "no clipping was declared")]
        to = min((k for k in range(1, self.last + 1) if self._snapshot(k)), default=self.last)
        free = self.compare(DECLARED._replace(clip=None), to)
        if all(one.ratio <= BROKEN for one in free):
            return [link("clip", "cannot-tell", f"the clip ({label_of(self.rules)}) had nothing to do in these steps")]
        return [link("clip", "holds", f"the clip acts as declared ({label_of(self.rules)})", checks=to)]

    def _snapshot(self, index: int) -> dict[str, np.ndarray]:
        return _without("param/", self.capture.tensors(self.capture.steps[index], "param/"))

    # ---- following the steps

    def walk(
        self, courses: Sequence[Course], until: int, reach: Callable[[int, Arrays], None], perturb: bool = False
    ) -> None:
        """Takes the steps along several courses at once. `reach(index, snapshot)` is called at each snapshot, before its weights are
        taken over. `perturb`: all but the first get gradients that differ by a rounding."""
        steppers = self._steppers[: len(courses)]
        draw = np.random.default_rng(0)
        for stepper in steppers:
            stepper.start()
        for index in range(until + 1):
            snapshot = self._snapshot(index) if index > 0 else {}
            if snapshot:
                reach(index, snapshot)
                for stepper in steppers:
                    stepper.put(snapshot)
            if index == until:
                return
            gradients = self.capture.gradients(self.capture.steps[index])
            for k, (stepper, course) in enumerate(zip(steppers, courses)):
                if course.fresh == index:
                    stepper.renew()
                own = {name: g.copy() for name, g in gradients.items()}
                if perturb and k > 0:
                    own = {
                        n: (g * (1 + ROUNDINGS * self._units[n] * draw.uniform(-1, 1, g.shape))).astype(g.dtype)
                        for n, g in own.items()
                    }
                before = stepper.weights() if course.moved != 1 else {}
                stepper.step(index, own, self._rules_of(course), course)
                if before:
                    moved = {n: before[n] + course.moved * (w - before[n]) for n, w in stepper.weights().items()}
                    stepper.put({n: w.astype(self._stored(n)) for n, w in moved.items()})

    def _stored(self, name: str) -> type[np.floating[Any]]:
        return np.float64 if self._units[name] == UNITS["F64"] else np.float32

    def _rules_of(self, course: Course) -> Rules:
        if course.clip is None:
            return NONE
        return tuple(
            (rule, {**options, "maxNorm": options["maxNorm"] / course.clip} if "maxNorm" in options else options)
            for rule, options in self.rules
        )

    def compare(self, course: Course, until: int, learn: bool = False) -> list[Missed]:
        """Every tensor at every snapshot up to `until`, along a course."""
        found: list[Missed] = []
        first = self._steppers[0]
        allowances: dict[str, _Allowance] = {}
        start = 0

        def reach(index: int, snapshot: Arrays) -> None:
            nonlocal start
            reached = [stepper.weights() for stepper in self._steppers]
            for name, recorded in snapshot.items():
                if name not in reached[0]:
                    continue
                allowed = allowances[name]
                spread = np.max([np.abs(other[name] - reached[0][name]).ravel() for other in reached[1:]], 0)
                group = self._groups[name]
                travelled, apart = _rms(allowed.travelled), _rms(spread)
                if learn and travelled > 0 and apart > COARSE * allowed.unit * travelled:
                    self._coarse[group] = max(self._coarse.get(group, 0.0), apart / travelled)
                # Twice, as the entries of such a difference are not alike.
                floor = max(apart, 2 * self._coarse.get(group, 0.0) * travelled)
                spread = BRACKETS * np.maximum(spread, floor)
                found.append(_compared(name, (start, index), recorded, reached[0][name], allowed, spread))
                allowed.renew()
            start = index

        watched = _Watched(first, allowances, self._units)
        self._steppers[0] = watched
        try:
            self.walk([course] * len(self._steppers), until, reach, perturb=True)
        finally:
            self._steppers[0] = first
        return found

    # ---- what explains a chain that does not hold

    def _broken(self, compared: list[Missed], missed: list[Missed]) -> dict[str, Any]:
        to = min(one.to for one in missed)
        first = max((one for one in missed if one.to == to), key=lambda one: one.ratio)
        steps = self.capture.steps
        stretch = f"between steps {steps[first.start]['step']} and {steps[to]['step']}"
        common = {
            "checks": len(compared),
            "broken": len(missed),
            "step": steps[first.start]["step"],
            "tensor": first.tensor,
            "residualDeclared": max(one.ratio for one in missed),
        }
        place = [int(k) for k in np.unravel_index(first.place, self._shape(first.tensor))]
        if len({one.tensor for one in missed if one.to == to}) == 1 and first.off <= min(
            FEW_ENTRIES, first.elements / 8
        ):
            factor = first.found / first.expected if first.expected else None
            told = (
                f'{first.off} of {first.elements} entries of "{first.tensor}" changed {stretch}: at {place} {first.found:.6g} was'
                f" found where {first.expected:.6g} is expected; the others are as {self.name} gives them"
            )
            fix = (
                "load the weights of a checkpoint from before; if it comes again on this device and not on another, have its"
                " memory tested"
            )
            common.update(index=place, cause="entries-changed", factor=factor, confidence="likely")
            return link("weights", "broken", told, fix=fix, **common)
        most = BROKEN if self._coarse else CLOSES
        tried = [(one, self._residual(one)) for one in self._candidates(first.start, to, {m.tensor for m in missed})]
        closing = [(one, residual) for one, residual in tried if residual <= most]
        if not closing:
            told = (
                f"the recorded weights are not those that {self.name} gives, run on the recorded gradients, {stretch}, worst in"
                f' "{first.tensor}" ({first.ratio:.3g} times what rounding may add); none of the causes that were tried explains it'
            )
            fix = f"look at what ran {stretch}; name the class and the clipping that the loop uses"
            return link("optimizer", "broken", told, cause="unknown", index=place, fix=fix, **common)
        leading, residual = closing[0]
        others = [one for one, _ in closing[1:] if one.cause != leading.cause]
        alone = all(one.cause == leading.cause or other >= APART * max(residual, 0.1) for one, other in tried)
        common.update(cause=leading.cause, factor=leading.factor, residual=residual)
        told = (
            f"{leading.statement}: with it the weights are met to {residual:.2g} of what rounding may add, without it they are"
            f" {common['residualDeclared']:.3g} times that off"
        )
        if others:
            told += f"; the same would be seen if {', or if '.join(one.statement for one in others)}"
        confidence = "shown" if alone and not others else "likely"
        return link(leading.link, "broken", told, fix=leading.fix, confidence=confidence, **common)

    def _shape(self, tensor: str) -> list[int]:
        return next(spec["shape"] for spec in self.capture.manifest["parameters"] if spec["name"] == tensor)

    def _residual(self, candidate: Candidate) -> float:
        return max((one.ratio for one in self.compare(candidate.course, candidate.until, learn=True)), default=math.inf)

    def _candidates(self, start: int, to: int, tensors: set[str]) -> list[Candidate]:
        found: list[Candidate] = []
        searched = {
            "rate": [1.0],
            "moved": [1.0],
            "gradient": [g for g in _GRID if g != 1],
            "decay": [1.0] if self._decays() else [],
        }
        if self.rules != NONE:
            told = f"the clip ({label_of(self.rules)}) does not act on the gradients that the step uses"
            fix = "clip between backward() and step(), the gradients of the parameters that the optimizer has"
            found.append(Candidate("clip-inactive", "clip", None, Course(clip=None), self.last, told, fix))
            # One that takes a far smaller norm does not act either.
            limits = any("maxNorm" in options for _, options in self.rules)
            searched["clip"] = _GRID if limits and self._residual(found[0]) > CLOSES else []
        for member, (cause, of_link, statement, fix) in _FACTORS.items():
            factor = self._solved(member, searched.get(member, []), tensors)
            if factor is None or abs(factor - 1) < 1e-4:
                continue
            own = "divided-twice" if cause == "not-divided" and factor < 1 else cause
            course = DECLARED.times(member, factor)
            found.append(Candidate(own, of_link, factor, course, self.last, statement.format(f"{factor:.4g}"), fix))
        fix = "load optimizer.state_dict() together with the weights, and build the optimizer once"
        for at in range(start, to):
            told = f"the optimizer's state begins anew at step {self.capture.steps[at]['step']}"
            found.append(Candidate("state-fresh", "optimizer", None, Course(fresh=at), to, told, fix))
        return found

    def _decays(self) -> bool:
        manifest = self.capture.manifest
        options = [
            o for one in manifest.get("rerun", {}).get("optimizers", []) for o in (g["options"] for g in one["groups"])
        ]
        return any(isinstance(o.get("weight_decay"), (int, float)) and o["weight_decay"] for o in options)

    def _solved(self, member: str, starts: Sequence[float], tensors: set[str]) -> float | None:
        """The factor that explains the recorded weights best: from the best of `starts` by Gauss-Newton."""
        if not starts:
            return None
        factor = min(starts, key=lambda one: self._distance(member, one, tensors)[0]) if len(starts) > 1 else starts[0]
        for _ in range(4):
            _, change = self._distance(member, factor, tensors)
            if not math.isfinite(change):
                return None
            factor += change
            if factor <= 0:
                factor = 0.0 if member == "decay" and factor > -1e-2 else 1e-3
            if abs(change) < 1e-7:
                break
        return 0.0 if abs(factor) < 1e-3 else factor

    def _distance(self, member: str, factor: float, tensors: set[str]) -> tuple[float, float]:
        """How far the weights are from the recorded ones, and the change of the factor that brings them nearest."""
        apart = 1e-3 * max(factor, 0.1)
        courses = [DECLARED.times(member, f) for f in (factor, factor + apart)]
        slopes: list[np.ndarray] = []
        offs: list[np.ndarray] = []

        def reach(index: int, snapshot: Arrays) -> None:
            here, there = (stepper.weights() for stepper in self._steppers[:2])
            for name in tensors & snapshot.keys():
                slopes.append(((there[name] - here[name]) / apart).ravel())
                offs.append((np.asarray(snapshot[name], np.float64) - here[name]).ravel())

        self.walk(courses, self.last, reach)
        if not slopes:
            return math.inf, math.nan
        slope, off = np.concatenate(slopes), np.concatenate(offs)
        squares = float((off**2).sum())
        # Weights are linear in the size of a step; of another factor the first guesses of most entries may be far off.
        if member in ("rate", "moved"):
            return squares, _nearest(slope, off)
        below = float((slope**2).sum())
        return squares, float((slope * off).sum()) / below if below > 0 else 0.0 if squares == 0 else math.nan


#: In medians of what is left: entries further off do not take part in a factor, as those whose sign rounding decides.
_INLIERS = 5.0


def _nearest(slope: np.ndarray, off: np.ndarray) -> float:
    """The multiple of `slope` that is nearest to `off`: by least squares over the entries that the weighted median of off/slope leaves
    near."""
    moves = (slope != 0) & np.isfinite(slope) & np.isfinite(off)
    if not moves.any():
        return 0.0 if not off.any() else math.nan
    slope, off = slope[moves], off[moves]
    ratio = off / slope
    order = np.argsort(ratio)
    weight = np.cumsum(np.abs(slope[order]))
    median = ratio[order[np.searchsorted(weight, weight[-1] / 2)]]
    left = np.abs(off - median * slope)
    near = left <= _INLIERS * np.median(left)
    return float((slope[near] * off[near]).sum() / (slope[near] ** 2).sum())


class _Watched:
    """A stepper that adds up what rounding may add to each tensor."""

    def __init__(self, own: Stepper, allowances: dict[str, _Allowance], units: Mapping[str, float]) -> None:
        self._own, self._allowances, self._units = own, allowances, units
        self.put, self.renew, self.weights = own.put, own.renew, own.weights

    def start(self) -> None:
        self._own.start()
        for name, w in self._own.weights().items():
            self._allowances[name] = _Allowance(w.size, self._units[name])

    def step(self, index: int, gradients: dict[str, np.ndarray], rules: Rules, course: Course) -> None:
        before = self._own.weights()
        self._own.step(index, gradients, rules, course)
        for name, after in self._own.weights().items():
            self._allowances[name].add(before[name].ravel(), after.ravel())


def _rms(values: np.ndarray) -> float:
    return math.sqrt(float(np.mean(values**2))) if values.size else 0.0


def _compared(
    name: str,
    stretch: tuple[int, int],
    recorded: np.ndarray,
    expected: np.ndarray,
    allowed: _Allowance,
    spread: np.ndarray,
) -> Missed:
    found, due = np.asarray(recorded, np.float64).ravel(), expected.ravel()
    tolerance = allowed.tolerance() + spread
    with np.errstate(invalid="ignore"):
        deviation = np.where(found == due, 0.0, np.abs(found - due))
    # Where both are not finite they agree.
    deviation = np.where(
        ~np.isfinite(found) & ~np.isfinite(due), 0.0, np.where(np.isfinite(deviation), deviation, np.inf)
    )
    ratios = deviation / tolerance
    off = np.flatnonzero(~(ratios <= 1))
    # A number near 0 has either sign after rounding, and an optimizer that takes the sign steps the other way.
    by_sign = deviation[off] <= 2 * allowed.travelled[off] + tolerance[off]
    most = min(max(LEAST_SIGNS, SIGNS * found.size), MOST_SIGNS * found.size)
    if off.size and off.size <= most and bool(by_sign.all()):
        ratios[off] = 1.0
        off = off[:0]
    place = int(np.argmax(ratios)) if ratios.size else 0
    worst = float(ratios[place]) if ratios.size else 0.0
    return Missed(name, *stretch, worst, int(off.size), int(found.size), place, float(found[place]), float(due[place]))


def _without(prefix: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: value for name, value in tensors.items()}


def link(name: str, outcome: str, statement: str, **members: Any) -> dict[str, Any]:
    """An entry of `links` as `clippy-diag audit --json` prints it."""
    cause = members.get("cause")
    empty = dict.fromkeys(
        (
            "step",
            "tensor",
            "index",
            "cause",
            "factor",
            "residual",
            "residualDeclared",
            "confidence",
            "fix",
            "wouldTell",
            "follows",
        )
    )
    return {
        "id": name if cause is None else f"{name}:{cause}",
        "link": name,
        "outcome": outcome,
        "checks": 0,
        "broken": 0,
        **empty,
        "statement": statement,
        **members,
    }

"""What is true of a case: its class and onset by its healthy twin, and which of twelve remedies hold by rerun over three seeds."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from training import Arm, Fault, Setup, Trace, train

SEEDS = 3
#: A run is cut this many steps before its fault, and every remedy is tried from there.
BEFORE = 10
#: Share of what was learnt that a run may have lost at its end, or of a spike that may be left, where a remedy holds.
HOLDS = 0.1
SPIKE_LEFT = 0.25
#: Points of a level of the printed loss.
LEVEL = 9
#: A fault that begins by this step leaves no level of before.
EARLY = 20
REMEDIES = (
    "clip", "skip-batches", "skip-rows", "lower-learning-rate", "restore-schedule", "lower-weight-decay", "restore-optimizer-state",
    "reload-weights", "raise-precision", "fix-data", "fix-code", "fix-evaluation",
)  # fmt: skip
#: The remedy that is the absence of a fault, by the fault's kind.
MENDS = {
    "data": "fix-data", "order": "fix-data", "rate": "restore-schedule", "state": "restore-optimizer-state", "decay": "lower-weight-decay",
    "precision": "raise-precision", "code": "fix-code", "hardware": "reload-weights", "evaluation": "fix-evaluation", "init": "fix-code",
    "sharpness": "fix-code",
}  # fmt: skip
EVIDENCE = ("printed", "log", "checkpoints", "capture")


# ---- class and onset, by the twin


def _levels(values: list[float]) -> list[float]:
    """The median of the last LEVEL points at each point."""
    return [median(values[max(0, k - LEVEL + 1) : k + 1]) for k in range(len(values))]


def _noise(values: list[float]) -> float:
    """Standard deviation of a point about its level, robustly."""
    steps = sorted(abs(b - a) for a, b in zip(values, values[1:]))
    return 1.4826 * steps[len(steps) // 2] / math.sqrt(2) if steps else 0.0


def judged_by_twin(run: list[float], twin: list[float], start: int) -> dict[str, Any]:
    """How the printed loss of a run differs from its twin's, of the same seed and equal until the fault.

    Gives `classes`, `visible` and `last`, the first step whose loss is away from the twin's by more than noise (None where no step is).
    """
    broken = [k for k, v in enumerate(run) if not math.isfinite(v)]
    lost_for_good = bool(broken) and not all(map(math.isfinite, run[-5:]))
    run = _filled(run[: broken[0]] if lost_for_good else run)
    noise = _noise(twin)
    end, first = median(twin[-20:]), median(twin[:5])
    learnt = max(first - end, 8 * noise)
    excess = [a - b for a, b in zip(run, twin)]
    own = _levels(run)
    level = [a - b for a, b in zip(own, _levels(twin))]
    # Worse than the twin is not enough: nobody has the twin. The run must be worse than it was itself, or end where it began.
    best = list(itertools.accumulate(own, min))
    early = start <= EARLY
    # Two errors of the difference of two such medians are the noise of one point.
    flat = early and (lost_for_good or median(run[-20:]) > median(run[:10]) - max(0.1 * learnt, noise, _noise(run)))
    bar, point_bar = max(2 * noise, 0.08 * learnt), max(8 * noise, 0.3 * learnt)
    # A run that is ill from its first steps has no level of before: its own noise alone lifts it above its best.
    rise_bar = max(4 * noise, 4 * _noise(run), 0.15 * learnt) if early else bar
    shown = [
        k
        for k in range(start, len(run))
        if (level[k] > bar and (own[k] - best[k] > rise_bar or flat)) or min(excess[k], run[k] - best[k]) > (max(point_bar, 2 * rise_bar) if early else point_bar)
    ]
    visible = bool(shown) or bool(broken)
    single = [k for k in range(start, len(run)) if excess[k] > max(6 * noise, 0.1 * learnt)] if shown else []
    last = min([*shown[:1], *single[:1], *broken[:1]]) if visible else None
    if not visible:
        classes = ["silent"]
    elif lost_for_good:
        classes = ["non-finite", "diverged"]
    else:
        # A step that is not finite, and steps that are well after it: both names are right.
        classes = [*_classes(median(level[-15:]) / learnt, flat), *(["non-finite"] if broken else [])]
    return {"visible": visible, "last": last, "classes": classes}


def _filled(values: list[float]) -> list[float]:
    """The values, with the last finite one in place of each that is not."""
    return list(itertools.accumulate(values, lambda before, v: v if math.isfinite(v) else before))


def _classes(lost: float, flat: bool) -> list[str]:
    """The names of a visible, finite run by the share of what was learnt that it has lost at its end."""
    if flat:
        return ["never-learned", "diverged"]
    if lost >= 0.5:
        return ["diverged"]
    if lost >= 0.1:
        return ["drift", "diverged"] if lost >= 0.2 else ["drift", "diverged", "recovered"]
    return ["recovered", "drift"] if lost >= 0.05 else ["recovered"]


# ---- remedies, by rerun


def cut_of(fault: Fault) -> int:
    """The step before which remedies begin."""
    return max(0, fault.start - BEFORE)


class Reruns:
    """The reruns of one case under one seed; each is made once, when it is asked for."""

    def __init__(self, setup: Setup, seed: int, fault: Fault, twin: Trace | None = None, run: Trace | None = None) -> None:
        self.setup, self.seed, self.fault = setup, seed, fault
        self.cut = cut_of(fault)
        self._twin, self._run = twin, run

    @functools.cached_property
    def twin(self) -> Trace:
        """The run of this seed without the fault."""
        return self._twin or train(self.setup, self.seed, None, keep=self.cut if self.fault.start > 0 else None)

    @functools.cached_property
    def run(self) -> Trace:
        """The run with the fault. It is equal to the twin until the fault, so it is trained from the cut."""
        return self._run or self.again(Arm())

    def again(self, arm: Arm) -> Trace:
        """Trains from the cut with an arm."""
        snapshot = self.twin.snapshot if self.fault.start > 0 else None
        return train(self.setup, self.seed, self.fault, arm=arm, snapshot=snapshot, first=self.cut, slots_at=self._slots_at(arm))

    def _slots_at(self, arm: Arm) -> int | None:
        return None if arm.restore_state is None else min(self.fault.start, arm.restore_state)

    @functools.cached_property
    def losses(self) -> tuple[list[float], list[float]]:
        """The printed losses of the run from step 0 on, and of its twin."""
        own = {r["step"]: r["loss"] for r in self.run.records}
        twin = [r["loss"] for r in self.twin.records]
        return [own.get(k, v) for k, v in enumerate(twin)], twin

    def lost(self, trace: Trace) -> float | None:
        """The share of what was learnt that is lost at the end, on clean rows: 0 as the twin, 1 as untrained; None: not finite."""
        value = (trace.end - self.twin.end) / max(self.twin.untrained - self.twin.end, 1e-9)
        return value if math.isfinite(value) else None

    def spike(self, trace: Trace) -> float:
        """The highest excess of the printed loss over the twin's from the fault on; infinite where a loss is not finite."""
        twin = {r["step"]: r["loss"] for r in self.twin.records}
        excess = [r["loss"] - twin[r["step"]] for r in trace.records if r["step"] >= self.fault.start]
        return max((one if math.isfinite(one) else math.inf for one in excess), default=0.0)

    def distance(self, trace: Trace) -> float | None:
        """How far the weights end from the twin's, of how far they end without the remedy."""
        far = float(torch.linalg.vector_norm(self.run.weights - self.twin.weights))
        own = float(torch.linalg.vector_norm(trace.weights - self.twin.weights))
        return own / far if math.isfinite(own) and far > 0 else None


def arm_of(action: str, reruns: Reruns, onset: int) -> Arm | None:
    """What a rerun does for a remedy; None where nobody can do it in this run."""
    fault, setup = reruns.fault, reruns.setup
    if action == MENDS.get(fault.kind):
        return Arm(without_fault=True)
    if action == "clip":
        norms = [r["grad_norm"] for r in reruns.twin.records[max(0, fault.start - 30) : max(fault.start, 30)]]
        return Arm(clip=median(norms))
    if action == "skip-batches":
        last = fault.stop - 1 if fault.stop is not None and fault.rows is not None else onset + 8
        permanent = fault.stop is None and fault.rows is not None
        return None if permanent or fault.start == 0 else Arm(skip=frozenset(range(fault.start, last + 1)))
    if action == "skip-rows":
        return Arm(skip_rows=True) if isinstance(fault.rows, list) else None
    if action == "lower-learning-rate":
        return Arm(rate_times=0.1)
    if action == "lower-weight-decay":
        return Arm(decay_times=0.1) if setup.weight_decay > 0 else None
    if action == "restore-optimizer-state":
        return Arm(restore_state=onset + 8) if 0 < fault.start and onset + 8 < setup.steps else None
    if action == "reload-weights":
        # What is in the data, the code or the schedule comes again.
        return Arm() if fault.start > 0 else None
    return None


def remedies_of(seeds: list[Callable[[], Reruns]], onset: int, judged_by: str) -> list[dict[str, Any]]:
    """Which of the twelve remedies hold in every seed. One that fails under a seed is not tried under the next ones."""
    told = []
    for action in REMEDIES:
        lost: list[float | None] = []
        for reruns in seeds:
            value = _tried(action, reruns(), onset, judged_by)
            if value == "cannot":
                break
            lost.append(value)
            if value is None or value > HOLDS:
                break
        holds = None if not lost else all(value is not None and value <= HOLDS for value in lost)
        told.append({"action": action, "holds": holds, "lost": [None if v is None else round(v, 3) for v in lost]})
    return told


def _tried(action: str, reruns: Reruns, onset: int, judged_by: str) -> Any:
    """What is lost with a remedy: a number, None where the run does not end finite, "cannot" where nobody can do it."""
    arm = arm_of(action, reruns, onset)
    if arm is None:
        return "cannot"
    if arm.without_fault:
        # The same seed without the fault is the twin itself.
        return 0.0
    return _lost_with(reruns, reruns.run if arm == Arm() else reruns.again(arm), judged_by)


def _lost_with(reruns: Reruns, trace: Trace, judged_by: str) -> float | None:
    if judged_by == "weights":
        return reruns.distance(trace)
    lost = reruns.lost(trace)
    if judged_by == "spike" and lost is not None:
        # What is left of the spike counts in the same unit: a quarter of it is the bar.
        left = reruns.spike(trace) / max(reruns.spike(reruns.run), 1e-9) * HOLDS / SPIKE_LEFT
        return max(lost, left) if math.isfinite(left) else None
    return lost


# ---- all of it


def _visible_in(fault: Fault, seen: dict[str, Any], shows_rate: bool, shows_evaluation: bool) -> list[str]:
    if seen["visible"]:
        return list(EVIDENCE)
    shown = list(fault.shown_in)
    if "log" in shown:
        printed = shows_evaluation if fault.kind == "evaluation" else shows_rate
        return [*(["printed"] if printed else []), "log", "checkpoints", "capture"]
    return shown


def _cannot_be_known(fault: Fault, shows_rate: bool, shows_evaluation: bool) -> dict[str, list[str]]:
    """Which questions no tool can answer from a level of evidence.

    A log does not show what a step did with its numbers: the link, the tensor and, but for what is logged, the trigger and the factor.
    Checkpoints add the weights and the state, which tell where a fault left its mark there. A capture tells all but what the fault
    names as unknown.
    """
    questions = ("link", "trigger", "tensor", "factor")
    in_log = set(fault.known_from_log)
    shown = shows_evaluation if fault.kind == "evaluation" else shows_rate
    known = {
        "printed": in_log if shown else set(),
        "log": in_log,
        "checkpoints": in_log,
        "capture": (set(questions) - set(fault.unknown)) | in_log,
    }
    return {level: [q for q in questions if q not in known[level]] for level in EVIDENCE}


def truth_of(first: Reruns, shows_rate: bool, shows_evaluation: bool, *, rerun: bool = True) -> dict[str, Any]:
    """The truth of a run with a fault, without the names that the catalogue adds."""
    setup, seed, fault = first.setup, first.seed, first.fault
    seen = judged_by_twin(*first.losses, fault.start)
    onset = seen["last"] if seen["last"] is not None else fault.start
    if seen["visible"]:
        judged_by = "spike" if seen["classes"][0] == "recovered" else "loss"
    else:
        judged_by = "weights" if fault.kind != "evaluation" else "none"
    remedies: list[dict[str, Any]] = []
    if rerun and judged_by != "none":
        # Other seeds are trained only where a remedy held under the first.
        others = [functools.cache(lambda k=k: Reruns(setup, seed + 7919 * k, fault)) for k in range(1, SEEDS)]
        remedies = remedies_of([lambda: first, *others], onset, judged_by)
    elif judged_by == "none":
        remedies = [{"action": a, "holds": True if a == MENDS[fault.kind] else None, "lost": []} for a in REMEDIES]
    rows = None
    if fault.rows is not None and fault.stop is not None:
        rows = [{"step": step, "rows": fault.rows} for step in range(fault.start, fault.stop)]
    return {
        "alarm": True,
        "visibleIn": _visible_in(fault, seen, shows_rate, shows_evaluation),
        "classes": seen["classes"],
        "onset": {"first": fault.start, "last": onset} if seen["visible"] else None,
        "links": list(fault.links),
        "cause": fault.cause,
        "triggers": list(fault.triggers),
        "tensors": list(fault.tensors),
        "entry": None if fault.entry is None else list(fault.entry),
        "rows": rows,
        "factor": fault.factor,
        "remedies": remedies,
        "judgedBy": {"spike": "loss"}.get(judged_by, judged_by),
        "cannotBeKnownFrom": _cannot_be_known(fault, shows_rate, shows_evaluation),
    }


HEALTHY_TRUTH: dict[str, Any] = {
    "alarm": False, "visibleIn": [], "classes": ["healthy"], "onset": None, "links": [], "cause": None, "triggers": [], "tensors": [],
    "entry": None, "rows": None, "factor": None, "remedies": [], "judgedBy": "none", "cannotBeKnownFrom": {},
}  # fmt: skip



"""Whether the step that is about to be taken would harm the run: histories, suspicion, risk, advice. Knows no framework.

docs/guard.md says what it sees and what it cannot. The weights were fitted by bench/guard on families of runs that its report
does not use.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from .captures import number
from .messages import tell, warn
from .rules import RULES

#: Steps that a history keeps, steps before it says anything, and how often its center is computed again.
HISTORY, WARM_UP, STRIDE = 100, 10, 4
#: Factors on the gradients that the look-ahead tries, largest first.
SCALES = (0.5, 0.2, 0.05, 0.01)
#: Steps between two look-aheads of a run in which nothing is unusual, and between two batches kept as references.
LOOK_EVERY, KEEP_EVERY = 50, 10
#: Batches that are kept as references, and steps that the oldest of them stays.
KEPT, ANCHOR = 4, 50
#: A learning rate or weight decay so many times that of the last look-ahead is looked at.
RATE_GROWN = 1.25
#: What the rise of a loss that is not finite counts as.
WORST = 12.0
#: Steps that are tried on the incoming batch.
STEPS = 3
#: The largest surprise: a state that was never touched says nothing of what is usual.
LARGEST_SURPRISE = 1e3
#: Clippy's bounds (arXiv 2302.09178): |update| ≤ relative·|w| + absolute.
RELATIVE, ABSOLUTE = RULES["clippy"][1]["variableRelativeThreshold"], RULES["clippy"][1]["absoluteThreshold"]


class Measured(NamedTuple):
    """What is known of a step before it is taken. NaN where something is not known."""

    loss: float
    #: The largest of the parameter groups.
    rate: float
    #: Norm of all gradients, before any clipping.
    grad_norm: float
    #: Norm of the update that the optimizer is about to take.
    update_norm: float
    #: Clippy's factor of that update, 1 where it bounds nothing.
    clippy_factor: float
    names: Sequence[str]
    #: By tensor: largest |g| over what the optimizer divides by, or over the tensor's usual gradient where it divides by nothing.
    surprise: Sequence[float]
    #: Names of tensors whose gradient is not finite.
    broken: Sequence[str]
    #: The largest weight decay of the parameter groups.
    decay: float = 0.0


class Ahead(NamedTuple):
    """Losses before the step, after it, and after more steps on the same batch; `kept` by reference batch."""

    own: Sequence[float]
    kept: Sequence[Sequence[float]]


#: Factors on the learning rate that are tried, largest first, and the smallest that they may come to together.
RATES, LEAST_RATE = (0.5, 0.2, 0.05, 0.01, 0.001), 1e-4
#: After so many steps in a row that were not applied the rate is lowered in place of the gradients, where that holds; and steps
#: after which the loop's own rate and twice the lowered one are tried.
PERSISTS, RAISE_EVERY = 5, 20
#: Loss and gradient norm, as logarithms against the run's own past, up to which a batch is like those before; and batches in a row that
#: are not, from which on that counts as lasting.
LIKE_BEFORE, UNLIKE = 0.4, 3
#: The version of what `state_dict` returns.
STATE_VERSION = 1

#: What a guard advises: take the step, scale its gradients, leave it out, or take it at a lower learning rate.
Action = Literal["apply", "clip", "skip", "lower-rate"]


@dataclasses.dataclass(frozen=True)
class Advice:
    """What a check found.

    risk     that the step harms the run, in [0, 1]; an alarm is an action other than "apply".
    action   "apply", "clip" (multiply every gradient by `scale`, or take that of the batch without `rows`), "skip" (take no
             step) or "lower-rate" (take it at `learning_rate`)
    why      one sentence.
    rule     a clipping rule that does the same to this step, "global-norm:0.31", or None
    scale    factor on all gradients, 1 for "apply", 0 for "skip"; with `rows` the share of the batch that is kept
    rows     places of the rows that are left out, with several ranks in all their batches, one after the other; empty where it is
             the whole batch that is judged
    tensor   the parameter that is most unusual, or None
    learning_rate  of the group with the largest, for "lower-rate", and for "clip" while the rate is lowered; the others keep their
             proportions
    seconds  what the check took
    ahead    losses of the look-ahead: {"own": [before, after, …], "kept": [[…], …]}, or None where there was none
    """

    step: int
    risk: float
    action: Action
    why: str
    rule: str | None = None
    scale: float = 1.0
    tensor: str | None = None
    seconds: float = 0.0
    ahead: Mapping[str, Any] | None = None
    learning_rate: float | None = None
    rows: Sequence[int] = ()


def advice_entry(advice: Advice) -> dict[str, Any]:
    """What a capture keeps of the advice on a step, as the member `guard` of its entry."""
    rate = {} if advice.learning_rate is None else {"learningRate": advice.learning_rate}
    return {"risk": round(advice.risk, 6), "action": advice.action, "scale": advice.scale, **rate}


def alarm_text(advice: Advice) -> str:
    """Why a capture opens at an alarm."""
    return f"the guard, before the step was taken: {advice.why}"


class History:
    """The last values of several quantities, as logarithms, with their medians."""

    def __init__(self, width: int) -> None:
        self._values = np.full((HISTORY, width), np.nan)
        self._count = 0
        self.center = np.full(width, np.nan)

    def add(self, values: np.ndarray) -> None:
        """Takes the values of a step."""
        self._values[self._count % HISTORY] = values
        self._count += 1
        if self._count < WARM_UP or (self._count - WARM_UP) % STRIDE:
            return
        self._summarise()

    def _summarise(self) -> None:
        self.center = _medians(self._values[: min(self._count, HISTORY)])

    def state(self) -> dict[str, Any]:
        """Plain numbers and lists; `restored` takes them."""
        return {"count": self._count, "width": self._values.shape[1], "values": self._values.tolist()}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> History:
        """The history of a `state`. Raises ValueError for values of another shape."""
        history = cls(int(state["width"]))
        values = np.array(state["values"], float).reshape(-1, int(state["width"]))
        if values.shape != history._values.shape:
            raise ValueError(f"clippy-diag: a history of {values.shape[0]} steps, not {HISTORY}")
        history._values, history._count = values, int(state["count"])
        if history._count >= WARM_UP:
            history._summarise()
        return history


def _medians(values: np.ndarray) -> np.ndarray:
    """The median of each column without its NaN; NaN of a column that has nothing else. A tenth of the time of numpy's nanmedian."""
    known = (values == values).sum(axis=0)
    ordered = np.sort(values, axis=0)  # NaN comes last
    columns = np.arange(values.shape[1])
    return np.asarray((ordered[np.maximum(known - 1, 0) // 2, columns] + ordered[known // 2, columns]) / 2)


class Logs(NamedTuple):
    """A step as logarithms: of loss, rate, gradient norm and update norm, and of the surprise of every known tensor."""

    whole: np.ndarray
    surprises: np.ndarray


class Signs(NamedTuple):
    """How unusual a step is against the run's own past, as differences of logarithms; 0 where that is not known."""

    loss: float
    rate: float
    gradient: float
    update: float
    surprise: float
    #: Position of the tensor of `surprise`, or -1.
    tensor: int


class Watch:
    """The run's own past, what is unusual against it, and when to look ahead."""

    def __init__(self) -> None:
        self._history = History(4)
        self._tensors: dict[str, int] = {}
        self._surprises = History(0)
        self._losses: list[float] = []
        self._decays: list[float] = []
        self._since_look = 0
        self._rate_at_look, self._decay_at_look = math.nan, math.nan
        self.steps = 0
        #: Batches in a row whose loss is above the usual.
        self.unlike = 0

    def state(self) -> dict[str, Any]:
        """Plain numbers, texts and lists; `restore` takes them."""
        return {
            "history": self._history.state(),
            "tensors": list(self._tensors),
            "surprises": self._surprises.state(),
            "losses": list(self._losses),
            "decays": list(self._decays),
            "since_look": self._since_look,
            "rate_at_look": self._rate_at_look,
            "decay_at_look": self._decay_at_look,
            "steps": self.steps,
            "unlike": self.unlike,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The past that `state` has."""
        self._history = History.restored(state["history"])
        self._tensors = {str(name): k for k, name in enumerate(state["tensors"])}
        self._surprises = History.restored(state["surprises"])
        self._losses = [float(loss) for loss in state["losses"]]
        self._decays = [float(decay) for decay in state.get("decays", ())]
        self._since_look, self.steps = int(state["since_look"]), int(state["steps"])
        self._rate_at_look = float(state["rate_at_look"])
        self._decay_at_look = float(state.get("decay_at_look", math.nan))
        self.unlike = int(state.get("unlike", 0))

    @property
    def unit(self) -> float:
        """What a difference of losses is compared with: the median size of the last ones."""
        return float(np.median(np.abs(self._losses))) if self._losses else math.nan

    def signs(self, seen: Measured, logs: Logs) -> Signs:
        """What is unusual about a step."""
        above = _known(logs.whole - self._history.center)
        surprise = _known(logs.surprises - self._surprises.center)
        at = int(surprise.argmax()) if surprise.size else -1
        most = float(surprise[at]) if surprise.size else 0.0
        names = list(self._tensors)
        tensor = list(seen.names).index(names[at]) if at >= 0 and names[at] in seen.names else -1
        return Signs(float(above[0]), float(above[1]), float(above[2]), float(above[3]), most, tensor)

    def count_unlike(self, seen: Measured, signs: Signs) -> None:
        """Takes a step into the count of batches in a row that are unlike those before; called once a step."""
        above = max(signs.loss, log_of(abs(seen.loss)) - log_of(self.unit)) if self.unit > 0 else signs.loss
        self.unlike = self.unlike + 1 if above > LIKE_BEFORE else 0

    @property
    def is_unlike(self) -> bool:
        """Whether the batch is unlike those before. Where they have been so for long, and no harm was seen, they are what is usual."""
        return 0 < self.unlike < LOOK_EVERY

    @property
    def stays_unlike(self) -> bool:
        """Whether the last batches in a row are unlike those before."""
        return self.is_unlike and self.unlike >= UNLIKE

    def has_grown(self, seen: Measured, signs: Signs) -> bool:
        """Whether learning rate or weight decay is a quarter above what was usual."""
        usual = float(np.median(self._decays)) if self._decays else math.nan
        return signs.rate > math.log(RATE_GROWN) or seen.decay > RATE_GROWN * usual

    def look_due(self, seen: Measured, suspicion: float, suspicious: float) -> bool:
        """Whether this step is looked at more closely."""
        # No look-ahead yet, NaN, is looked at as well.
        grown = not (seen.rate <= RATE_GROWN * self._rate_at_look and seen.decay <= RATE_GROWN * self._decay_at_look)
        # Batches that stay unlike are looked at ever less often: at the third, the sixth, the twelfth.
        stays, odd = divmod(self.unlike, UNLIKE)
        unlike = self.stays_unlike and not odd and not stays & (stays - 1)
        return suspicion >= suspicious or self._since_look >= LOOK_EVERY or (grown and self.steps > 0) or unlike

    def looked(self, seen: Measured) -> None:
        """A look-ahead was made at this step."""
        self._since_look, self._rate_at_look, self._decay_at_look = 0, seen.rate, seen.decay

    def add(self, seen: Measured, logs: Logs, at_ease: bool) -> None:
        """Adds a step that is applied unchanged.

        at_ease  False while earlier batches are above where they were: then a loss above the usual says nothing of what is usual,
                 nor does that of a batch that is unlike those before
        """
        self.steps += 1
        self._since_look += 1
        self._history.add(logs.whole)
        self._surprises.add(logs.surprises)
        if (at_ease and not self.is_unlike) or abs(seen.loss) < self.unit:
            self._losses = [*self._losses[-49:], seen.loss]
        if at_ease:
            self._decays = [*self._decays[-49:], seen.decay]

    def logs(self, seen: Measured) -> Logs:
        """A step as the histories have it; a tensor that is new begins their past of tensors anew."""
        fresh = [name for name in seen.names if name not in self._tensors]
        if fresh:
            for name in fresh:
                self._tensors[name] = len(self._tensors)
            self._surprises = History(len(self._tensors))
        row = np.full(len(self._tensors), np.nan)
        for name, value in zip(seen.names, seen.surprise):
            row[self._tensors[name]] = log_of(value)
        whole = (abs(seen.loss), seen.rate, seen.grad_norm, seen.update_norm)
        return Logs(np.array([log_of(value) for value in whole]), row)


def _known(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, 0.0)


def log_of(value: float) -> float:
    """Natural logarithm; NaN of what has none."""
    return math.log(value) if value > 0 and math.isfinite(value) else math.nan


def rise(before: float, after: float, unit: float) -> float:
    """How much a loss rises: sign·log(1 + |after - before| / unit), WORST where it is not finite after. 0.69 is a rise by the
    unit, the usual size of the run's losses."""
    if not math.isfinite(after):
        return WORST
    if not (math.isfinite(before) and unit > 0):
        return 0.0
    return max(-WORST, min(WORST, math.copysign(math.log1p(abs(after - before) / unit), after - before)))


class Weights(NamedTuple):
    """A logistic model of risk over signs, and over what the look-ahead saw where there was one."""

    bias: float
    update: float
    loss: float
    rate: float
    kept: float


#: Fitted on the families in TUNED of bench/guard/families.py: by signs alone, and with the look-ahead.
CHEAP = Weights(bias=-6.3, update=1.6, loss=1.4, rate=0.4, kept=0.0)
LOOKED = Weights(bias=-10.0, update=1.0, loss=1.0, rate=0.0, kept=20.0)
#: Risk by signs alone from which on a look-ahead is made: about one calm step in 200.
SUSPICIOUS = 0.017
#: A smaller step holds where earlier batches rise by no more than this (`rise`), or by no more than GIVEN above what they had risen
#: by at the first alarm. GIVEN is for all steps until they have come back, not for each: a little at every step adds up.
HOLDS, GIVEN = 0.1, 0.02
#: Looks in a row at which earlier batches are above where they were, until that counts as harm that stays.
STAYS = 3
#: How many times a rise counts while its cause lasts: the learning rate or the weight decay is above its usual, the last batches in a row
#: are unlike those before, or there was an alarm and earlier batches have not come back.
LASTING = 2.0
#: What a lower rate may add where all that is tolerated is used up: what is left in momentum passes at a rate at which it hardly moves
#: the weights, and a guard that refuses every step has stopped the run.
SLIVER = 0.001
#: Looks that saw nothing, of which the largest rise is what is usual.
USUAL = 5
#: After so many steps in a row that were not applied the guard says that a person should look.
IN_A_ROW = 30


def risk_of(weights: Weights, signs: Signs, kept: float = 0.0) -> float:
    """Risk in [0, 1]. Signs below the usual count as zero; `kept` is the rise of earlier batches (`rise`)."""
    total = (
        weights.bias
        + weights.update * max(0.0, signs.update)
        + weights.loss * max(0.0, signs.loss)
        + weights.rate * max(0.0, signs.rate)
        + weights.kept * max(0.0, kept)
    )
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, total))))


class Rises(NamedTuple):
    """How much the losses of earlier batches rise, their mean, against the lower of what they were when they were trained on and
    now: before the step, and at worst after it. Zero without earlier batches."""

    before: float
    after: float


def rises(ahead: Ahead, bases: Sequence[float], unit: float) -> Rises:
    """What a look-ahead says; `bases` are the losses of the reference batches when they were trained on."""
    if not ahead.kept:
        return Rises(0.0, 0.0)
    unit = unit if unit > 0 else max(1e-12, abs(ahead.kept[0][0]))
    means = [
        float(np.mean([rise(min(losses[0], base), losses[k], unit) for losses, base in zip(ahead.kept, bases)]))
        for k in range(len(ahead.own))
    ]
    return Rises(means[0], max(means[1:]))


class Harm:
    """Harm that stays: how much earlier batches have risen and not come back, how much of it is tolerated, and when to look again."""

    def __init__(self) -> None:
        #: What earlier batches had risen by before the steps of the last looks.
        self._befores: list[float] = []
        #: What they may rise by in a step that counts as held, and whether an alarm has set it.
        self.tolerated, self.alarmed = HOLDS, False
        #: Whether the last look saw nothing: no rise, and little risk.
        self.at_ease = True
        #: How much looks that saw nothing saw them rise by.
        self._usual: list[float] = []
        #: Steps from one look to the next while they are up, and since the last.
        self._gap, self._waited = 1, 0

    def state(self) -> dict[str, Any]:
        """Plain numbers and lists; `restore` takes them."""
        return {
            "befores": list(self._befores),
            "tolerated": self.tolerated,
            "alarmed": self.alarmed,
            "at_ease": self.at_ease,
            "usual": list(self._usual),
            "gap": self._gap,
            "waited": self._waited,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The harm that `state` has."""
        self._befores = [float(before) for before in state["befores"]]
        self._usual = [float(rise) for rise in state["usual"]]
        self.tolerated, self.alarmed = float(state["tolerated"]), bool(state["alarmed"])
        self.at_ease, self._gap, self._waited = bool(state["at_ease"]), int(state["gap"]), int(state["waited"])

    def look_due(self) -> bool:
        """Whether earlier batches are up and have to be looked at in this step; called once a step."""
        self._waited += 1
        return not self.at_ease and self._waited >= self._gap

    def look_soon(self) -> None:
        """The rate is another one: looks begin again at every step."""
        self._gap = 1

    def of(self, found: Rises, lasts: bool) -> float:
        """The rise that the risk of a step follows from: its own, and where it adds to harm that stays that harm too.

        lasts   whether learning rate or weight decay has grown, or the last batches in a row are unlike those before
        """
        if found.after <= max(self.tolerated, found.before):
            return found.after
        stays = max(0.0, min(self._befores)) if len(self._befores) >= STAYS else 0.0
        return found.after * (LASTING if lasts or self.alarmed else 1.0) + stays

    def looked(self, found: Rises, risk: float, alarm: bool, lowered: bool) -> None:
        """Takes what a look saw, whether it is an alarm, and whether the rate is lowered: then the trouble is not over."""
        last = self._befores[-1] if self._befores else 0.0
        self._befores = [*self._befores[1 - STAYS :], found.before]
        if found.before <= HOLDS:
            self.tolerated, self.alarmed = HOLDS, False
        if alarm:
            before = found.before + GIVEN
            self.tolerated, self.alarmed = max(HOLDS, min(self.tolerated, before) if self.alarmed else before), True
        self.at_ease = not (alarm or lowered) and risk < SUSPICIOUS and max(found) <= HOLDS
        if self.at_ease:
            self._usual = [*self._usual[1 - USUAL :], found.after - found.before]
        grows = alarm or self.at_ease or found.before > last + GIVEN
        self._gap, self._waited = 1 if grows else min(2 * self._gap, LOOK_EVERY), 0

    def holds(self, found: Rises, stays: bool) -> bool:
        """Whether a step that was tried leaves earlier batches where they may be.

        stays   whether all later steps are to be like it, as at a lower rate: then they may rise by no more than usual
        """
        most = max(self.tolerated, found.before + (SLIVER if stays else 0.0))
        usual = max(GIVEN, max(self._usual)) if len(self._usual) >= 2 else HOLDS
        return found.after <= (min(most, found.before + usual) if stays else most)


class Pulse:
    """The log of the guard: a line of JSON for every step. What cannot be written is said once."""

    def __init__(self, path: str | Path, say: Callable[[str], None]) -> None:
        self.path, self._say = Path(path), say
        self._file: Any = None
        self._broken = False

    def write(self, seen: Measured, signs: Signs | None, advice: Advice, obeyed: bool, lowered: float = 1.0) -> None:
        """Adds the line of a step. What the guard did is in it as factors on gradients and rate, 0 for a step left out.

        obeyed   False where the guard only advises
        lowered  the factor on the rate that the step is taken with
        """
        if self._broken:
            return
        line = {
            "step": advice.step,
            "loss": number(seen.loss),
            "learning_rate": number(seen.rate),
            "grad_norm": number(seen.grad_norm),
            "surprise": None if signs is None else round(math.exp(min(700.0, signs.surprise)), 4),
            "update_norm": None if math.isnan(seen.update_norm) else number(seen.update_norm),
            "clippy_factor": None if math.isnan(seen.clippy_factor) else number(seen.clippy_factor),
            "risk": round(advice.risk, 6),
            "action": advice.action,
            "guard_scale": advice.scale if obeyed else 1.0,
            "guard_rate": round(lowered, 6) if obeyed else 1.0,
            "tensor": advice.tensor,
        }
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self.path, "a", encoding="utf8", buffering=1)  # noqa: SIM115
            self._file.write(json.dumps(line) + "\n")
        except OSError as error:
            self._broken = True
            self._say(f"the pulse is not written any more: {error}")

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def times(ratio: float) -> str:
    """A ratio for people: "12 times"."""
    return f"{ratio:.3g} times" if ratio < 1e6 else "over a million times"


def usual_text(signs: Signs, names: Sequence[str]) -> str:
    """What is most unusual of a step, as the rest of a sentence."""
    said = {
        "the update is": signs.update,
        "the gradient norm is": signs.gradient,
        "the learning rate is": signs.rate,
        "the loss is": signs.loss,
    }
    what, most = max(said.items(), key=lambda item: item[1])
    if signs.surprise > most and 0 <= signs.tensor < len(names):
        return f"the gradient of {names[signs.tensor]} is {times(math.exp(signs.surprise))} what its past lets expect"
    return f"{what} {times(math.exp(most))} the usual"


#: Losses of a step that is tried on `references` with every gradient multiplied by a factor, and every rate by another.
Look = Callable[[Sequence[Any], float, float], Ahead]


class WithoutRows(NamedTuple):
    """A step tried without the rows that pull it away: their places, of how many, and the losses."""

    bad: Sequence[int]
    of: int
    ahead: Ahead


#: The same on `references` without the bad rows of the batch; None where no rows are to blame.
LookAtRows = Callable[[Sequence[Any]], "WithoutRows | None"]
CALM = "Nothing about this step is far from the usual."


class Checks:
    """The checks of one training: the run's past, reference batches, and what is advised. Used by the guards of all frameworks.

    clip_at      the risk at which a step is changed or skipped.
    advice_only  whether every step is applied unchanged all the same.
    say          reports, once each, what could not be done or what a person should look at.
    """

    def __init__(self, clip_at: float, advice_only: bool, say: Callable[[str], None]) -> None:
        if not 0 < clip_at <= 1:
            raise ValueError(f"clippy-diag: clip_at={clip_at} must be above 0 and at most 1")
        self.clip_at, self.advice_only, self._say = clip_at, advice_only, say
        #: How many checks looked ahead.
        self.looks = 0
        self._watch = Watch()
        #: Batches from before, each with its loss when it was trained on.
        self._references: list[tuple[Any, float]] = []
        self._in_a_row = 0
        #: Steps since the oldest reference became it, and since the newest was kept; the first batch is kept.
        self._anchored, self._since_kept = 0, KEEP_EVERY - 1
        self._harm = Harm()
        #: The factor on the learning rate that is in force, steps since it last changed, and the rate of the last usual step.
        self.lowered, self._since_lowered, self._usual_rate = 1.0, 0, math.nan
        #: Whether the loop's own rate had grown when it was lowered; else the cause is another, such as a decay.
        self._rate_grew = True
        #: How many steps were advised each action.
        self.taken: dict[str, int] = {"apply": 0, "clip": 0, "skip": 0, "lower-rate": 0}

    def state(self) -> dict[str, Any]:
        """Everything but the reference batches, as plain numbers, texts and lists; `restore` takes them."""
        return {
            "watch": self._watch.state(),
            "in_a_row": self._in_a_row,
            "anchored": self._anchored,
            "since_kept": self._since_kept,
            "harm": self._harm.state(),
            "lowered": self.lowered,
            "since_lowered": self._since_lowered,
            "usual_rate": self._usual_rate,
            "rate_grew": self._rate_grew,
            "taken": dict(self.taken),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The past that `state` has."""
        self._watch.restore(state["watch"])
        self._in_a_row, self._since_lowered = int(state["in_a_row"]), int(state["since_lowered"])
        self._anchored, self._since_kept = int(state.get("anchored", 0)), int(state.get("since_kept", 0))
        if "harm" in state:
            self._harm.restore(state["harm"])
        self.lowered, self._usual_rate = float(state["lowered"]), float(state["usual_rate"])
        self._rate_grew = bool(state.get("rate_grew", True))
        self.taken.update({name: int(count) for name, count in state["taken"].items()})

    @property
    def references(self) -> list[tuple[Any, float]]:
        """Batches from before, each with its loss when it was trained on."""
        return list(self._references)

    @references.setter
    def references(self, given: list[tuple[Any, float]]) -> None:
        self._references = list(given)

    @property
    def steps(self) -> int:
        """Steps of the past that the guard knows."""
        return self._watch.steps

    def released(self, rate: float) -> None:
        """A lowered rate is let go once the loop's own rate, which had grown, is again what it was before."""
        if self.lowered < 1 and self._rate_grew and rate <= RATE_GROWN * self._usual_rate:
            self.lowered = 1.0

    def follow(self, advice: Advice, rate: float) -> None:
        """The loop does what was advised; `rate` is the largest that it set itself."""
        if advice.action == "lower-rate" and advice.learning_rate is not None and rate > 0:
            factor = advice.learning_rate / rate
            if self.lowered == 1:
                self._rate_grew = not rate <= RATE_GROWN * self._usual_rate
            if not math.isclose(factor, self.lowered, rel_tol=1e-6):
                self._since_lowered = 0
                self._harm.look_soon()
            self.lowered = factor

    def advise(
        self,
        step: int,
        seen: Measured,
        look: Look | None,
        keep: Callable[[], Any] | None,
        lowers: bool = False,
        look_at_rows: LookAtRows | None = None,
    ) -> tuple[Signs | None, Advice]:
        """Judges a step as it would be taken, with the lowered rate where one is in force.

        look          tries the step; None without a loss function or a batch.
        keep          copies the batch of the step; None likewise.
        lowers        whether the rate can be changed.
        look_at_rows  tries the step without bad rows, where gradients by row are available.
        """
        signs: Signs | None = None
        if seen.broken or not math.isfinite(seen.loss):
            advice = _not_finite(step, seen)
        else:
            logs = self._watch.logs(seen)
            signs = self._watch.signs(seen, logs)
            self._watch.count_unlike(seen, signs)
            advice = self._judge(step, seen, signs, look, lowers, look_at_rows)
            usual = advice.action == "apply"
            if self.lowered < 1 and not self.advice_only:
                if usual:
                    advice = self._at_lowered_rate(advice, seen, look)
                elif advice.action == "clip":  # it was tried at the lowered rate
                    advice = dataclasses.replace(advice, learning_rate=seen.rate)
            if usual or self.advice_only:
                if self.lowered == 1:
                    self._usual_rate = seen.rate
                self._watch.add(seen, logs, self._harm.at_ease)
                self._since_kept += 1
                like_before = self._harm.at_ease and not self._watch.is_unlike
                if keep is not None and like_before and self._since_kept >= KEEP_EVERY:
                    self._keep((keep(), seen.loss))
        self.taken[advice.action] += 1
        self._in_a_row = self._in_a_row + 1 if advice.action in ("clip", "skip") else 0
        if self._in_a_row == IN_A_ROW and not self.advice_only:
            self._say(f"{IN_A_ROW} steps in a row were not taken as they are, the last is {step}: look at the run")
        return signs, advice

    def _keep(self, batch: tuple[Any, float]) -> None:
        """Takes a batch as the newest reference. The oldest stays for ANCHOR steps: a loss that rises slowly rises little in ten."""
        kept = self._references
        self._anchored, self._since_kept = self._anchored + self._since_kept, 0
        if len(kept) == KEPT and self._anchored >= ANCHOR:
            kept, self._anchored = kept[1:], 0
        elif len(kept) == KEPT:
            kept = [kept[0], *kept[2:]]
        self._references = [*kept, batch]

    def _lowest(self, ahead: Ahead) -> None:
        """The level of a reference is the lowest that was seen, not what it had when it was trained on; that of the newest is still
        low from its own step."""
        seen = dict(zip(self._places(), ahead.kept))
        newest = len(self._references) - 1
        self._references = [
            (data, min(base, seen[k][0]) if k in seen and k != newest and math.isfinite(seen[k][0]) else base)
            for k, (data, base) in enumerate(self._references)
        ]

    def _compared(self) -> list[tuple[Any, float]]:
        """The references of a look."""
        return [self._references[k] for k in self._places()]

    def _places(self) -> list[int]:
        """Places of the references of a look: the oldest and the newest while nothing is wrong, else all."""
        last = len(self._references) - 1
        return [0, last] if self._harm.at_ease and last > 1 else list(range(last + 1))

    def _at_lowered_rate(self, advice: Advice, seen: Measured, look: Look | None) -> Advice:
        """A step that holds at the lowered rate; from time to time the loop's own rate is tried, and twice the lowered one."""
        self._since_lowered += 1
        rate, why = seen.rate, "The rate of the loop does not hold, and this lower one does."
        if look is not None and self._references and self._since_lowered >= RAISE_EVERY:
            self._since_lowered = 0
            whole = 1 / self.lowered
            more = next((one for one in (whole, min(2.0, whole)) if self._holds(look, 1.0, one)), 1.0)
            if more > 1:
                rate, why = rate * more, f"The rate was lowered, and {times(more)} that rate holds now."
        return dataclasses.replace(advice, action="lower-rate", why=why, learning_rate=rate)

    def _holds(self, look: Look, scale: float, rate: float) -> bool:
        return self._keeps(look([data for data, _ in self._compared()], scale, rate), rate != 1)

    def _keeps(self, ahead: Ahead, stays: bool = False) -> bool:
        """Whether earlier batches stay where they were; `stays` as in `Harm.holds`."""
        return self._harm.holds(rises(ahead, [base for _, base in self._compared()], self._watch.unit), stays)

    def _without_rows(self, step: int, risk: float, look: LookAtRows, why: str) -> Advice | None:
        """The step without its bad rows, where that holds, or None."""
        found = look([data for data, _ in self._compared()])
        if found is None or not self._keeps(found.ahead):
            return None
        text = f"{why} Without {len(found.bad)} of its {found.of} rows it holds."
        return Advice(step, risk, "clip", text, scale=1 - len(found.bad) / found.of, rows=tuple(found.bad))

    def _rate_is_wrong(self, signs: Signs, grown: bool, ahead: Ahead, before: float) -> bool:
        """Whether rate or decay grew, or steps on data like before fail again and again. On bad data even a small step does harm: their
        gradients stay in the optimizer's state.

        before   what earlier batches have risen by: where they are up, so are loss and gradient of any batch
        """
        gradient_alike = signs.gradient <= LIKE_BEFORE or before > HOLDS
        return grown or (gradient_alike and self._fails_again(signs, ahead))

    def _fails_again(self, signs: Signs, ahead: Ahead) -> bool:
        """Whether steps on batches whose loss is as before fail again and again."""
        over_kept = log_of(abs(ahead.own[0])) - log_of(abs(float(np.mean([losses[0] for losses in ahead.kept]))))
        loss_alike = signs.loss <= LIKE_BEFORE or over_kept <= LIKE_BEFORE
        return loss_alike and (self.lowered < 1 or self._in_a_row >= PERSISTS)

    def _lower(self, step: int, seen: Measured, risk: float, look: Look, why: str) -> Advice | None:
        """The step at the largest lower rate that holds, or None."""
        for factor in RATES:
            if self.lowered * factor >= LEAST_RATE and self._holds(look, 1.0, factor):
                text = f"{why} At a learning rate of {seen.rate * factor:.3g} it holds."
                return Advice(step, risk, "lower-rate", text, learning_rate=seen.rate * factor)
        return None

    def _judge(
        self,
        step: int,
        seen: Measured,
        signs: Signs,
        look: Look | None,
        lowers: bool,
        look_at_rows: LookAtRows | None,
    ) -> Advice:
        suspicion = risk_of(CHEAP, signs)
        tensor = seen.names[signs.tensor] if signs.tensor >= 0 else None
        if look is None or not self._references:
            if suspicion < self.clip_at:
                return Advice(step, suspicion, "apply", CALM, tensor=tensor)
            # Back to the usual size: nobody tried whether that holds.
            scale = math.exp(-max(signs.gradient, signs.update, 0.7))
            why = f"Before this step {usual_text(signs, seen.names)}."
            return _clipped(step, suspicion, scale, seen, tensor, why, None)
        if not self._harm.look_due() and not self._watch.look_due(seen, suspicion, SUSPICIOUS):
            return Advice(step, min(suspicion, SUSPICIOUS), "apply", CALM, tensor=tensor)
        self.looks += 1
        self._watch.looked(seen)
        batches, bases = [data for data, _ in self._compared()], [base for _, base in self._compared()]
        ahead = look(batches, 1.0, 1.0)
        found = rises(ahead, bases, self._watch.unit)
        grown = self._watch.has_grown(seen, signs)
        risk = risk_of(LOOKED, signs, self._harm.of(found, grown or self._watch.stays_unlike))
        if self.lowered < 1 and self._harm.holds(found, True):
            risk = risk_of(LOOKED, signs, found.after - found.before)  # what holds at a lower rate is taken
        elif self.lowered < 1:
            risk = max(risk, self.clip_at)  # what the rate was lowered for is not over
        if not self._harm.alarmed:
            self._lowest(ahead)
        self._harm.looked(found, risk, risk >= self.clip_at, self.lowered < 1)
        record = {"own": list(ahead.own), "kept": [list(losses) for losses in ahead.kept]}
        if risk < self.clip_at:
            return Advice(step, risk, "apply", _held(ahead), tensor=tensor, ahead=record)
        why = f"{_hurt(ahead)}; {usual_text(signs, seen.names)}."
        wrong = lowers and self._rate_is_wrong(signs, grown, ahead, found.before)
        lower = self._lower(step, seen, risk, look, why) if wrong else None
        if lower is not None:
            return dataclasses.replace(lower, tensor=tensor, ahead=record)
        kept = None if look_at_rows is None else self._without_rows(step, risk, look_at_rows, why)
        if kept is not None:
            return dataclasses.replace(kept, tensor=tensor, ahead=record)
        for scale in SCALES:
            if self._holds(look, scale, 1.0):
                return _clipped(
                    step, risk, scale, seen, tensor, f"{why} At {scale:g} of the gradient it holds.", record
                )
        # Where no part of the gradient holds it is not the gradient that harms: it is what the optimizer has in its state, and to
        # leave out steps does not empty that.
        if lowers and not wrong and self._fails_again(signs, ahead):
            lower = self._lower(step, seen, risk, look, why)
            if lower is not None:
                return dataclasses.replace(lower, tensor=tensor, ahead=record)
        return Advice(step, risk, "skip", f"{why} No smaller step on this batch holds.", None, 0.0, tensor, 0.0, record)


def _clipped(step: int, risk: float, scale: float, seen: Measured, tensor: str | None, why: str, ahead: Any) -> Advice:
    return Advice(step, risk, "clip", why, f"global-norm:{seen.grad_norm * scale:.6g}", scale, tensor, 0.0, ahead)


def _not_finite(step: int, seen: Measured) -> Advice:
    what = f"The gradient of {seen.broken[0]}" if seen.broken else "The loss"
    others = f", nor that of {len(seen.broken) - 1} more" if len(seen.broken) > 1 else ""
    why = f"{what} is not finite{others}: the step would carry it into the parameters."
    return Advice(step, 1.0, "skip", why, None, 0.0, seen.broken[0] if seen.broken else None)


def _hurt(ahead: Ahead) -> str:
    before, after = _ends(ahead)
    what = "batches from before" if ahead.kept else "this batch"
    return f"Tried on copies, this step takes the loss on {what} from {before:.3g} to {after:.3g}"


def _held(ahead: Ahead) -> str:
    before, after = _ends(ahead)
    what = "batches from before" if ahead.kept else "this batch"
    return f"Tried on copies, it leaves the loss on {what} near where it was ({before:.3g}, then {after:.3g})."


def _ends(ahead: Ahead) -> tuple[float, float]:
    """The loss before and at worst after, mean over the reference batches."""
    rows = ahead.kept or [ahead.own]
    means = [sum(row[k] for row in rows) / len(rows) for k in range(len(rows[0]))]
    worst = max(means[1:], key=lambda value: math.inf if math.isnan(value) else value)
    return means[0], worst


class Said:
    """What a guard could not do: each is reported once, and again at the end."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)
            warn(f"guard: {what}", stacklevel=5)

    def at_the_end(self) -> None:
        """Repeats all on stderr."""
        for problem in self.problems:
            tell(f"guard: {problem}")


class UsualSizes:
    """The usual size of each tensor's gradient, under an optimizer that keeps no squares."""

    #: Weight of the newest step.
    NEWEST = 0.05

    def __init__(self) -> None:
        self._sizes: dict[str, float] = {}

    def state(self) -> dict[str, float]:
        """The usual sizes by tensor."""
        return dict(self._sizes)

    def restore(self, state: Mapping[str, float]) -> None:
        """The sizes that `state` has."""
        self._sizes = {str(name): float(size) for name, size in state.items()}

    def surprise(self, name: str, largest: float, square: float, entries: int) -> float:
        """The largest |g| over what is usual for the tensor, NaN at first; and takes the gradient into what is usual."""
        usual = self._sizes.get(name)
        if math.isfinite(square):
            size = math.sqrt(square / max(1, entries))
            self._sizes[name] = size if usual is None else (1 - self.NEWEST) * usual + self.NEWEST * size
        return largest / usual if usual else math.nan


class BaseGuard:
    """What the guards of all frameworks offer next to `check` and `apply`."""

    def __init__(self, pulse: None | str | Path, advice_only: bool, clip_at: float) -> None:
        self.advice_only = advice_only
        #: The advice of the last check.
        self.last: Advice | None = None
        #: Seconds of all checks, and how many there were.
        self.seconds, self.checks = 0.0, 0
        self._say = Said()
        self._checks = Checks(clip_at, advice_only, self._say)
        self._pulse = None if pulse is None else Pulse(pulse, self._say)
        self._usual = UsualSizes()
        #: Whether the guard goes on from a saved state.
        self._resumed = False

    def _timed(self, step: int, check: Callable[[], Advice]) -> Advice:
        """The advice of a check with its seconds; what it raises is said, and the step is to be applied."""
        begun = time.perf_counter()
        try:
            advice = check()
        except Exception as error:
            self._say(f"a step could not be checked: {type(error).__name__}: {error}")
            advice = Advice(step, 0.0, "apply", "The step could not be checked; the problem is in guard.problems.")
        seconds = time.perf_counter() - begun
        self.seconds += seconds
        self.checks += 1
        self.last = advice = dataclasses.replace(advice, seconds=seconds)
        return advice

    def state_dict(self, batches: bool = True) -> dict[str, Any]:
        """Everything that the guard knows of the run, for a checkpoint: without it a guard that begins anew at a resume is blind for
        its first steps. `torch.load(..., weights_only=True)` reads what `torch.save` makes of it.

        batches  whether the reference batches, up to four, are included. They may hold personal data; without them suspicious steps
                 cannot be tried on copies until new ones are kept
        """
        return {
            "version": STATE_VERSION,
            "checks": self._checks.state(),
            "usual": self._usual.state(),
            "references": [[data, loss] for data, loss in self._checks.references] if batches else [],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned. Raises ValueError, and changes nothing, for anything else."""
        try:
            if state["version"] != STATE_VERSION:
                raise ValueError(f"version {state['version']}, not {STATE_VERSION}")
            checks = Checks(self._checks.clip_at, self._checks.advice_only, self._say)
            checks.restore(state["checks"])
            usual = UsualSizes()
            usual.restore(state["usual"])
            checks.references = [(data, float(loss)) for data, loss in state["references"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"clippy-diag: this is no state of a guard: {type(error).__name__}: {error}") from error
        self._checks, self._usual, self._resumed = checks, usual, True

    @property
    def taken(self) -> dict[str, int]:
        """How many steps were advised to be applied, clipped, skipped and taken at a lower rate."""
        return dict(self._checks.taken)

    def close(self) -> None:
        """Closes the pulse, and says on stderr what the guard could not do."""
        if self._pulse is not None:
            self._pulse.close()
        self._say.at_the_end()

    @property
    def problems(self) -> list[str]:
        """What could not be done, each once."""
        return self._say.problems

    @property
    def looks(self) -> int:
        """How many checks looked ahead."""
        return self._checks.looks

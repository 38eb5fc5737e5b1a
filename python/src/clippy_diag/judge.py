"""When losses leave their best level: the judge of `clippy-diag`, in plain Python, without dependencies. Apache-2.0.

The same levels, numbers and incidents as in src/judge/incidents of clippy-diag; fixtures/incidents/cases.json holds both
to the same onsets. docs/detection.md says what they mean.

    judge = Judge()
    for step, loss in enumerate(losses):
        reason = judge.add(loss)        # where an incident begins: why; else None
    judge_losses(losses)                # of a run that is over: all its incidents
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from .levels import NUMBERS, WIDTHS, Excess, Follower, decision_after, last_from

#: Fewer finite losses tell of an incident only where one is not a number, or is higher by decades.
MINIMUM_POINTS = 8
#: Makes a median absolute deviation comparable with a standard deviation.
MEDIAN_TO_SIGMA = 1.4826
#: Classes of incidents, from harmless to worst.
CLASSES = ("inconclusive", "micro-divergence", "drift", "full-divergence", "non-finite")

_NAN, _INF = math.nan, math.inf
#: Levels that a rise has to have, so that its height is no point's.
_LEVELS_OF_RISE = 3
#: Losses that `Judge` keeps: the levels are of fewer.
_KEPT = 4096


class Incident(NamedTuple):
    """Positions count from the first loss, which is 0."""

    #: One of CLASSES.
    kind: str
    #: "jump" rose at once; "climb" little by little.
    form: str
    #: First loss above the best level on the way there.
    onset: int
    #: First loss of the level that is back, or None.
    recovered: int | None
    #: Position after its last loss.
    end: int
    #: The first loss that is not finite, else the largest.
    peak: int
    #: Best level before, the highest that is back, and the level of its last losses.
    before: float
    high: float
    after: float
    #: Peak over the best level before; infinite where the peak is not finite.
    size: float


def worst(incidents: Sequence[Incident]) -> Incident | None:
    """Of the worst kind the largest, of those the first: it decides class and onset of a run."""

    def weight(one: Incident) -> tuple[int, float, int]:
        return CLASSES.index(one.kind), 0.0 if math.isnan(one.size) else one.size, -one.onset

    return max(incidents, key=weight, default=None)


def judge_losses(losses: Sequence[float]) -> list[Incident]:
    """All incidents of a run, in the order of their onsets."""
    values = [float(loss) for loss in losses]
    first = next((value for value in values if math.isfinite(value)), _NAN)
    follower = Follower(first, min((value for value in values if not math.isnan(value)), default=_INF))
    by_ratio = follower.by_ratio
    for value in values:
        follower.step(value)
    excesses = follower.excesses + ([follower.open] if follower.open else [])
    few = sum(map(math.isfinite, values)) < MINIMUM_POINTS
    news = (one for one in _chained(excesses, values, follower) if not _is_start(one, by_ratio))
    found = [
        _incident(one, values, follower)
        for one in (_come_back(one, values, follower) for one in news)
        if not _is_usual(one, values, follower) and not _is_of_points(one) and (not few or _is_plain(one, len(values)))
    ]
    return [one for one in found if one.kind != "healthy"]


class Judge:
    """Losses as they come, one `add` a step; constant memory: `judge_losses` on the losses so far.

    An incident begins where a level of losses is above the best one so far by more than its noise. Only the rest of a run
    can show that such rises are usual in it, and a return that its end would have shown sooner.
    """

    def __init__(self) -> None:
        self._kept = [_NAN] * _KEPT
        self._count = 0
        self._first, self._least = _NAN, _INF
        self._follower = Follower(_NAN, _INF)
        self._now: Excess | None = None
        self._onset = -1

    @property
    def onset(self) -> int | None:
        """Onset of the incident that the newest loss starts or continues, counted in losses; None where there is none."""
        return None if self._now is None else self._now.onset

    def add(self, loss: float) -> str | None:
        """Takes the newest loss. Why an incident begins at it, or None: it may also continue one, see `onset`."""
        loss = float(loss)
        newest, self._count = self._count, self._count + 1
        self._kept[newest % _KEPT] = loss
        if math.isnan(self._first) and math.isfinite(loss):
            self._first = loss
        if -_INF < loss <= 0 and (self._least >= 0 if loss < 0 else self._least > 0):
            # From the first loss on that is 0, and from the first below it, all are compared in another way.
            self._follower = Follower(self._first, loss)
            for i in range(max(0, self._count - _KEPT), newest):
                self._follower.step(self._kept[i % _KEPT])
        if math.isfinite(loss):
            self._least = min(self._least, loss)
        follower = self._follower
        follower.step(loss)
        # The last one may go on.
        del follower.excesses[:-1]
        over = follower.excesses[-1] if follower.excesses and follower.excesses[-1].trigger == newest else None
        self._now = one = follower.open or over
        if one is None or one.onset == self._onset:
            return None
        self._onset = one.onset
        if not math.isfinite(loss):
            return f"loss is {loss}"
        return f"loss {loss:.6g} after a median of {follower.units(one.best + one.gap):.6g}"


def _incident(one: Excess, values: Sequence[float], follower: Follower) -> Incident:
    """What an excess amounts to where the losses end."""
    count = len(values)
    # Of two losses of which the first is NaN, only the second is known.
    is_one = not math.isfinite(one.peak_value) and count - one.onset < 3 and one.last_finite == count - 1
    first = count - 1 if is_one else last_from(one, count)
    last = follower.level_of(first, count) if one.is_open else one.last
    ratio, share = follower.height_in(one, last)
    early_ratio, early_share = follower.height_in(one, one.early)
    # What was over within its first losses rose in them.
    short = one.recovered is not None and one.recovered - one.onset < _LEVELS_OF_RISE * one.width
    is_jump = short or early_ratio - 1 >= 0.5 * (ratio - 1) or early_share >= NUMBERS["lostHalf"]
    lost_all = one.is_open and follower.is_all(share, one)
    peak, before = values[one.peak], follower.units(one.best + one.gap)
    is_ratio = follower.by_ratio and follower.shift == 0
    size = peak / before if is_ratio else follower.height_in(one, one.peak_value)[0]
    size = size if math.isfinite(peak) else _INF
    end = one.end if one.recovered is None else one.recovered
    return Incident(
        kind=_class(one, count, (ratio, share), is_jump, lost_all),
        form="jump" if is_jump else "climb",
        onset=one.onset,
        recovered=one.recovered,
        end=count if one.is_open else end,
        peak=one.peak,
        before=before,
        high=follower.units(one.edge),
        after=follower.units(last),
        size=size,
    )


def _class(one: Excess, count: int, height: tuple[float, float], is_jump: bool, lost_all: bool) -> str:
    ratio, share = height
    if one.is_open and one.last_finite < count - 1:
        return "non-finite"
    if one.recovered is not None:
        late = one.lost and one.recovered - one.onset > NUMBERS["decisionPoints"]
        return "full-divergence" if late else "micro-divergence"
    took = count - one.onset
    if one.is_open:
        if ratio >= NUMBERS["decades" if took < 3 else "fullRatioAtEnd"]:
            return "full-divergence"
        # A slow rise took its time before it was one.
        if took < decision_after(one.onset) / (1 if is_jump else 3):
            return "inconclusive"
        if lost_all or (is_jump and (one.lost or ratio >= NUMBERS["fullRatio"])):
            return "full-divergence"
    if ratio >= NUMBERS["driftRatio"] or share >= NUMBERS["lostHalf"]:
        return "drift"
    # A little more than its best is how losses move.
    return "micro-divergence" if is_jump or not math.isfinite(one.peak_value) else "healthy"


def _levels(values: Sequence[float], follower: Follower, width: int) -> list[float]:
    """Levels of losses, one for each stretch of so many finite ones."""
    scaled = [follower.on_scale(value) for value in values]
    finite = [z for z in scaled if math.isfinite(z)]
    blocks = (sorted(finite[k : k + width]) for k in range(0, len(finite) - width + 1, width))
    # Widths are odd.
    return [block[width >> 1] for block in blocks]


def _rises(levels: Sequence[float], height: float) -> list[tuple[int, int]]:
    """Where a level rises by `height` over the lowest since it last did, and comes back by as much."""
    found, low, high, start = [], _INF, -_INF, 0
    for k, level in enumerate(levels):
        if high > low:
            high = max(high, level)
            if high - level > height:
                found.append((start, k))
                low, high = level, -_INF
        else:
            low = min(low, level)
            if level - low > height:
                high, start = level, k
    return found


def _is_usual(one: Excess, values: Sequence[float], follower: Follower) -> bool:
    """What comes again is usual: a rise that this run shows several times, and comes back from each time."""
    if not follower.by_ratio or not math.isfinite(one.peak_value):
        return False
    duration = (len(values) if one.is_open else one.end) - one.onset
    # A spike is reported however often it comes.
    if duration < _LEVELS_OF_RISE:
        return False
    height = (one.peak_value if duration < _LEVELS_OF_RISE * one.width else one.highest) - one.best
    if not height < math.log(NUMBERS["usual"]):
        return False
    finest = max((w for w in WIDTHS if w <= one.width and _LEVELS_OF_RISE * w <= duration), default=1)
    rises = _rises(_levels(values, follower, finest), NUMBERS["alike"] * height)
    longest = max(((stop - start) * finest for start, stop in rises), default=0)
    goes_on = one.is_open and duration > NUMBERS["usualLength"] * longest
    return len(rises) >= NUMBERS["usualTimes"] and not goes_on


def _is_of_points(one: Excess) -> bool:
    """A rise that is over within one level is one of its losses: what their own tail gives is usual."""
    if one.recovered is None or one.lost or not math.isfinite(one.peak_value):
        return False
    return one.recovered - one.onset <= one.width and one.most_of_few - one.best <= one.tail_of_few


def _is_start(one: Excess, by_ratio: bool) -> bool:
    """What rises as training starts, and comes back, is how trainings start."""
    early = by_ratio and one.recovered is not None and one.onset < NUMBERS["startPoints"]
    return early and one.peak_value - one.best < math.log(NUMBERS["worthAtStart"])


def _is_plain(one: Excess, count: int) -> bool:
    """Whether few losses are enough: one is not a number, or the last of three and more is higher by decades."""
    if not math.isfinite(one.peak_value):
        return True
    rises = one.recovered is None and count - one.onset >= 3 and one.peak == count - 1
    return rises and one.peak_value - one.best >= math.log(NUMBERS["decades"])


def _chained(found: list[Excess], values: Sequence[float], follower: Follower) -> list[Excess]:
    """A level that settled high and never came back is one excess with those that follow."""
    first = next((k for k, one in enumerate(found) if one.settled and _stays(k, found, values, follower)), None)
    if first is None or first == len(found) - 1:
        return found
    one, *later = found[first:]
    top = one
    for other in later:
        if other.peak_value > top.peak_value or math.isnan(other.peak_value):
            top = other
    joined = dataclasses.replace(
        one,
        peak=top.peak,
        peak_value=top.peak_value,
        highest=max(each.highest for each in found[first:]),
        last_finite=len(values) - 1 if later[-1].settled else later[-1].last_finite,
        lost=any(each.lost for each in later),
        settled=False,
        end=len(values),
    )
    return [*found[:first], joined]


def _come_back(one: Excess, values: Sequence[float], follower: Follower) -> Excess:
    """A level that settled, and came back to the best one after that."""
    if not one.settled:
        return one
    width = max(one.width, _LEVELS_OF_RISE)
    levels = _levels(values[one.end :], follower, width)
    highest = one.highest_back()
    back = next((one.end + k * width for k, level in enumerate(levels) if level <= highest), None)
    return one if back is None else dataclasses.replace(one, recovered=back, settled=False, end=back)


def _stays(k: int, found: list[Excess], values: Sequence[float], follower: Follower) -> bool:
    """Whether no level after an excess is back at the one before it."""
    one = found[k]
    if any(other.recovered is not None or not other.best > one.edge for other in found[k + 1 :]):
        return False
    return all(level > one.edge for level in _levels(values[one.end :], follower, max(one.width, _LEVELS_OF_RISE)))

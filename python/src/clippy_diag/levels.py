"""Excesses of a loss above its best level, as losses come: the twin of src/judge/incidents/follow.ts. Apache-2.0.

A level is the median of the last 1, 3, 9, … 243 losses. An excess is a level above the best one so far by more than the
noise of both explains. No loss has to be far from the others for that: a rise that lasts shows in wider levels first.

    follower = Follower(by_ratio=True)
    for loss in losses:
        follower.step(loss)
        follower.open                   # the excess that the newest loss belongs to, or None
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Sequence

#: Names and values as in src/judge/incidents/numbers.ts, and settings.ts.
NUMBERS: dict[str, float] = {
    "errors": 5.5,
    "fewPoints": 2.5,
    "priorNoise": 0.3,
    "remembered": 256,
    "anew": 1.15,
    "anewShare": 1 / 64,
    "fewBlocks": 3,
    "sharedNoise": 0.5,
    "sharedErrors": 0.5,
    "mostGrowth": 3,
    "trendApart": 4,
    "usualSteps": 2.5,
    "memoryPrior": 4,
    "mostMemory": 0.99,
    "highestShare": 0.05,
    "highestFrom": 40,
    "onsetShare": 0.25,
    "onsetFew": 9,
    "usualErrors": 2,
    "onsetWidths": 8,
    "tail": 6.9,
    "tailFrom": 2,
    "tailSlope": 0.15,
    "tailPrior": 4,
    "tailOthers": 4,
    "tailWidth": 3,
    "worthAtStart": 4,
    "startPoints": 8,
    "oldBlocks": 10,
    "backShare": 0.5,
    "lostHalf": 0.5,
    "lostMost": 0.7,
    "learntErrors": 8,
    "signErrors": 16,
    "usualTimes": 3,
    "alike": 0.6,
    "usual": 3,
    "usualLength": 1.5,
    "nothing": 1e-3,
    "decades": 1e5,
    # Those that a user may set.
    "incidentRatio": 1.25,
    "driftRatio": 1.4,
    "fullRatio": 2,
    "fullRatioAtEnd": 10,
    "decisionPoints": 100,
    "lostShare": 0.9,
}
WIDTHS = (1, 3, 9, 27, 81, 243)
#: Losses that can be looked back at, and losses of the narrowest level that decides whether an excess is over.
_KEPT, _NARROWEST = 4096, 3
#: Largest excesses that make the tail of a width.
_TOP = 24
#: Share of the differences at either end that the noise is read from, and its standard deviations.
_FIFTH_OF, _FIFTH, _HIGHEST = 1 / 6, 0.8416, 1.96
_MAD_TO_SIGMA, _MEAN_TO_SIGMA, _MEDIAN_ERROR = 1.4826, 1.2533, 1.2533
_NAN, _INF = math.nan, math.inf
#: What logarithms and their sums are off by, and more.
_ROUNDING = 1e-9


def _median(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) >> 1
    if not ordered:
        return _NAN
    return ordered[half] if len(ordered) % 2 else ordered[half - 1] + (ordered[half] - ordered[half - 1]) / 2


def _exp(value: float) -> float:
    """As in IEEE 754: infinite where it is too large."""
    return math.exp(value) if value < 709.78 or value != value else _INF


def _quotient(a: float, b: float) -> float:
    """As in IEEE 754: infinite or NaN where the divisor is 0."""
    if b != 0:
        return a / b
    return _NAN if a == 0 or a != a else math.copysign(_INF, a)


def _log(value: float) -> float:
    return math.log(value) if value > 0 or value != value else _NAN


class _RunningMedian:
    """Median of the last `width` values, an odd number; NaN before there are as many."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.clear()

    def clear(self) -> None:
        self._ring: list[float] = []
        self._sorted: list[float] = []
        self._next = 0

    def push(self, value: float) -> None:
        ordered, ring, place = self._sorted, self._ring, self._next
        if len(ordered) == self.width:
            del ordered[bisect.bisect_left(ordered, ring[place])]
            ring[place] = value
            self._next = (place + 1) % self.width
        else:
            ring.append(value)
        bisect.insort(ordered, value)

    @property
    def level(self) -> float:
        return self._sorted[self.width >> 1] if len(self._sorted) == self.width else _NAN


class _Rung:
    """Levels of one width: the best so far, their noise and the tail of usual excesses."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.level, self.best, self.noise, self.near, self.calm = _NAN, _INF, _INF, _NAN, _NAN
        self.best_at = 0
        self.blocks = self.since = self.memory = 0.0
        #: Standard deviation of the difference of two levels that follow one another; and that of the last two.
        self.apart, self.jump = _INF, _NAN
        self._levels = [_NAN] * width
        self._median = _RunningMedian(width)
        self._stride = max(1, width >> 1)
        self._kept: list[float] = []
        self._points = self._samples = self._measured = self._since_sample = 0
        #: Levels that there were when it was last asked whether there are enough new ones.
        self._asked = 0
        self._top: list[float] = []
        #: Excesses that have not come back, the largest of the current stretch, and the largest of all these.
        self._pending: list[float] = []
        self._stretch, self._left = 0.0, width
        self._largest = 0.0
        self._per_block = width / self._stride

    def push(self, value: float, i: int) -> None:
        self._median.push(value)
        self._points = points = self._points + 1
        width = self.width
        if points < width:
            return
        self.level = level = self._median.level
        place, levels = points % width, self._levels
        self.jump = _NAN if points < 2 * width else level - levels[place]
        levels[place] = level
        if (points - width) % self._stride == 0:
            if self._samples < NUMBERS["remembered"]:
                self._kept.append(level)
            else:
                self._kept[self._samples % len(self._kept)] = level
            self._samples += 1
            self._since_sample += 1
            self.blocks = self._samples / self._per_block
        if level < self.best:
            if not level >= self.best - 2 * self.noise:
                self._since_sample = 0
            self.best, self.best_at = level, i
        self.since = self._since_sample / self._per_block

    def restart(self) -> None:
        """Forgets the losses of its level, and nothing else: what follows an incident is no neighbour of it."""
        self._median.clear()
        self._pending.clear()
        self._points = 0
        self._stretch = self._largest = 0.0
        self._left = self.width
        self.level = self.jump = _NAN

    def excess(self, value: float) -> None:
        """Remembers an excess of an accepted level, for the tail, once it came back to half of it."""
        if value <= self._largest / 2:
            if self._stretch > 0:
                self._pending.append(self._stretch)
            for one in self._pending:
                self._remember(one)
            self._pending.clear()
            self._stretch = self._largest = 0.0
            self._left = self.width
        if value > self._stretch:
            self._stretch = value
            self._largest = max(self._largest, value)
        self._left -= 1
        if self._left > 0:
            return
        self._left = self.width
        if self._stretch > 0 and len(self._pending) < _TOP:
            self._pending.append(self._stretch)
        elif self._stretch == self._largest:
            self._largest = max(self._pending, default=0.0)
        self._stretch = 0.0

    def _remember(self, excess: float) -> None:
        if len(self._top) == _TOP and not excess > self._top[-1]:
            return
        k = len(self._top)
        while k > 0 and self._top[k - 1] < excess:
            k -= 1
        self._top.insert(k, excess)
        del self._top[_TOP:]

    def tail(self) -> float:
        """The excess that the tail of earlier ones gives once in exp(NUMBERS["tail"]) runs; 0 without one."""
        top, noise = self._top, self.noise
        m = min(len(top) - 1, int(math.sqrt(self.blocks)))
        if m < 2 or not math.isfinite(noise):
            return top[0] if top else 0.0
        low = NUMBERS["tailFrom"] * noise

        def beyond(first: int) -> float:
            total = NUMBERS["tailPrior"] * NUMBERS["tailSlope"]
            for k in range(first, m):
                total += math.log((top[k] + low) / (top[m] + low))
            return (top[first] + low) * _exp(NUMBERS["tail"] * total / (m - first + NUMBERS["tailPrior"])) - low

        # One that enough others do not explain is no measure of what is usual.
        of_others = math.inf if m < NUMBERS["tailOthers"] else beyond(1)
        return of_others if top[0] > of_others else beyond(0)

    def measure(self) -> bool:
        """Measures the noise where there are enough new levels to; whether it did."""
        if self._samples == self._asked > 0:
            return False
        self._asked = self._samples
        remembered = NUMBERS["remembered"]
        most = min(remembered, max(remembered / 4, self._samples * NUMBERS["anewShare"]))
        few = self._samples - self._measured < most
        if self._samples < self._measured * NUMBERS["anew"] and few:
            return False
        self._measured = self._samples
        self.near, self.calm = self._near(math.ceil(self._per_block))
        if self.width == 1:
            self.memory = min(self._memory(0), self._memory(int(NUMBERS["trendApart"])))
        return True

    def _memory(self, apart: int) -> float:
        """How much of a loss the next one keeps, at most, by the correlation of neighbouring steps."""
        held = len(self._kept)
        split = self._samples % held if held else 0
        kept = self._kept[split:] + self._kept[:split]
        own = [
            kept[i] - ((kept[i - apart] + kept[i + apart]) / 2 if apart else 0.0) for i in range(apart, held - apart)
        ]
        steps = [b - a for a, b in zip(own, own[1:], strict=False)]
        most = NUMBERS["usualSteps"] * _MAD_TO_SIGMA * _median([abs(step) for step in steps])
        both, one, pairs = 0.0, 0.0, 0
        for before, step in zip(steps, steps[1:], strict=False):
            if abs(before) > most or abs(step) > most:
                continue
            one += (before * before + step * step) / 2
            both += before * step
            pairs += 1
        prior = NUMBERS["memoryPrior"]
        found = ((both / one if one > 0 else -1 / 2) * pairs - prior / 2) / (pairs + prior)
        return max(0.0, min(NUMBERS["mostMemory"], 1 - 2 * abs(found)))

    def _near(self, lag: int) -> tuple[float, float]:
        """Standard error of a level against the next that does not overlap, also of half of them alone; NaN of too few."""
        held = len(self._kept)
        count = held - 2 * lag
        if count < 3:
            return _NAN, _NAN
        split = self._samples % held
        kept = self._kept[split:] + self._kept[:split]
        bends = sorted(a - 2 * b + c for a, b, c in zip(kept, kept[lag:], kept[2 * lag :], strict=False))
        if lag == 1:
            sizes = [abs(kept[i] - 2 * kept[i + 1] + kept[i + 2]) for i in range(count)]
            # What is high again and again shows in the highest twentieth alone.
            rank = count - 1 - int(count * NUMBERS["highestShare"])
            high = 0.0 if count < NUMBERS["highestFrom"] else sorted(sizes)[rank] / _HIGHEST
            middle = _MAD_TO_SIGMA * _median(sizes)
            near = max(high, middle) or _MEAN_TO_SIGMA * sum(sizes) / count
            return near / math.sqrt(6), (middle or near) / math.sqrt(6)
        fifth = int(count * _FIFTH_OF)
        bend = max(0.0, min(bends[count - 1 - fifth], -bends[fifth])) / (_FIFTH * math.sqrt(6))
        # Few steps, or a climb at the end, are not in half of the differences.
        usual = _MAD_TO_SIGMA * _median([abs(one) for one in bends]) / math.sqrt(6)
        steps = [b - a for a, b in zip(kept, kept[lag:], strict=False)]
        half = len(steps) >> 1
        trend = min(0.0, max(_median(steps[:half]), _median(steps[half:])))
        steps.sort()
        rank = int(len(steps) * _FIFTH_OF)
        # A climb does not fall.
        rise, fall = steps[len(steps) - 1 - rank], -steps[rank]
        near = min(usual, bend, max(0.0, min(fall, rise - trend)) / (_FIFTH * math.sqrt(2)))
        return near, near


def _inflation(width: int, memory: float) -> float:
    """Variance of a median of losses over that which second differences of neighbours show, by what each keeps of the last."""
    left = 1 - memory
    point = 3 / (left * (3 - memory))
    return point if width == 1 else point * _of_mean(width, memory) / width * _MEDIAN_ERROR * _MEDIAN_ERROR


def _of_mean(width: int, memory: float) -> float:
    left = 1 - memory
    return (1 + memory) / left - (2 * memory * (1 - memory**width)) / (width * left * left)


def _unshared(width: int, memory: float) -> float:
    """Share of the variance of a level that the next one does not have."""
    shared = (memory * ((1 - memory**width) / (1 - memory)) ** 2) / width
    return 1 - shared / _of_mean(width, memory)


class _Ladder:
    """Levels of all widths, whose noise is measured together."""

    def __init__(self) -> None:
        self.rungs = [_Rung(width) for width in WIDTHS]

    def push(self, value: float, i: int) -> None:
        # The newest loss may be the excess, which is no noise. Each has to measure: no short cut.
        if any([rung.measure() for rung in self.rungs]):
            self._set_noise()
        for rung in self.rungs:
            rung.push(value, i)

    def _set_noise(self) -> None:
        near, calm, memory = self.rungs[0].near, self.rungs[0].calm, self.rungs[0].memory
        slow = self._slow(near)
        for rung in self.rungs:
            alone, kept = _inflation(rung.width, 0.0), _inflation(rung.width, memory)
            fast = max(near * math.sqrt(alone), calm * math.sqrt(kept))
            rung.noise = _INF if math.isnan(fast) else max(fast, math.sqrt(near**2 * alone + slow))
            own = 0.0 if math.isnan(rung.near) else rung.near
            least = near * math.sqrt(kept * _unshared(rung.width, memory))
            rung.apart = _INF if math.isnan(least) else math.sqrt(2) * max(own, least)

    def _slow(self, near: float) -> float:
        """Variance of the noise that is slower than one level."""
        slow = narrower = 0.0
        for rung in self.rungs:
            if rung.blocks < NUMBERS["fewBlocks"] or math.isnan(rung.near):
                continue
            alone = near**2 * _inflation(rung.width, 0.0)
            shared = narrower > NUMBERS["sharedNoise"] * alone
            few = 1 / math.sqrt(rung.blocks)
            own = (rung.near * (1 + NUMBERS["sharedErrors"] * few if shared else 1 - few)) ** 2 - alone
            growth = max(1.0, min(NUMBERS["mostGrowth"], _quotient(own, narrower))) if shared else 1.0
            slow = max(slow, own * growth * growth)
            narrower = own
        return slow

    def restart(self) -> None:
        for rung in self.rungs:
            rung.restart()


@dataclasses.dataclass
class Excess:
    """Indices count from the first loss; levels are on the scale (logarithms of positive losses)."""

    onset: int
    #: The loss that proved it.
    trigger: int
    #: Best level before, what chance made it too low by, the standard error of a level, and the losses of one.
    best: float
    gap: float
    noise: float
    width: int
    #: Upper edge of what is usual.
    edge: float
    peak: int
    peak_value: float
    next_look: int
    #: Highest level in it, and in its first losses.
    highest: float = -_INF
    early: float = -_INF
    #: Highest level of few losses, and how far above the best one it may be by the run's own tail; NaN where that has been asked.
    most_of_few: float = -_INF
    tail_of_few: float = _NAN
    last_finite: int = -1
    #: Whether its time to come back ended far above the best level.
    lost: bool = False
    recovered: int | None = None
    #: Position after its last loss: of the recovery, or of a new level.
    end: int = 0
    #: Whether it ended at a new level, which is the normal from there on.
    settled: bool = False
    #: Level that it ended at.
    last: float = _NAN

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.recovered is None and not self.settled

    def highest_back(self) -> float:
        """The highest level that counts as back: at most half of the way up, but for three errors, and the usual edge."""
        base = self.best + self.gap
        return min(self.edge, base + max(3 * self.noise, NUMBERS["backShare"] * (self.highest - base)))


@dataclasses.dataclass(frozen=True)
class _Reference:
    best: float
    gap: float
    noise: float
    width: int


def decision_after(onset: int) -> int:
    """Time to come back of an excess that began at a loss."""
    return max(5, min(int(NUMBERS["decisionPoints"]), onset // 3), onset // 10)


def last_from(one: Excess, after: int) -> int:
    """Where the last level of an excess begins: an eighth of it, so that its error is small."""
    return max(one.onset, after - max(5, one.width, min(27, (after - one.onset) >> 3)))


class Follower:
    """Follows losses one by one, by ratios or by differences."""

    def __init__(self, first: float, least: float) -> None:
        """From the first finite loss and the least so far, see unitOf in follow.ts."""
        #: Added to losses before their ratios are taken.
        self.shift = NUMBERS["nothing"] * first if least == 0 and first > 0 else 0.0
        self.by_ratio = not least <= 0 or self.shift > 0
        self._to: Callable[[float], float] = (lambda loss: _log(loss + self.shift)) if self.by_ratio else float
        self._from: Callable[[float], float] = (lambda z: _exp(z) - self.shift) if self.by_ratio else float
        self.open: Excess | None = None
        self.count = 0
        #: Excesses that are over; the last one may go on.
        self.excesses: list[Excess] = []
        self._ring = [_NAN] * _KEPT
        #: The first finite losses, and where they begin.
        self._first: list[float] = []
        self._first_at = 0
        self._untrained = _NAN
        self._least, self._most = _INF, -_INF
        self._ladder = _Ladder()
        self._recent = _RunningMedian(_NARROWEST)
        self._few = _RunningMedian(_NARROWEST)

    def units(self, z: float) -> float:
        """A level in units of the loss."""
        return self._from(z)

    def on_scale(self, value: float) -> float:
        """A loss on the scale on which levels are compared."""
        return self._to(value)

    def step(self, value: float) -> None:
        """Takes the next loss, of any kind."""
        i, self.count = self.count, self.count + 1
        z = self._to(value)
        self._ring[i % _KEPT] = z
        if math.isfinite(z):
            self._least, self._most = min(self._least, z), max(self._most, z)
        if math.isfinite(z) and len(self._first) < _NARROWEST:
            if not self._first:
                self._first_at = i
            self._first.append(z)
            self._untrained = _median(self._first)
        if self.open is not None:
            self._advance(self.open, i)
            return
        if not math.isfinite(z):
            self._begin_without_number(i)
            return
        self._ladder.push(z, i)
        found = self._find()
        if found is None:
            return
        reference, excess, best_at = found
        line = reference.best + reference.gap + NUMBERS["onsetShare"] * (excess - reference.gap)
        over = self.excesses[-1].end if self.excesses else 0
        since = max(i + 1 - int(NUMBERS["onsetWidths"]) * reference.width, best_at, over)
        single, base = self._noise_of(self._ladder.rungs[0]), reference.best + reference.gap
        onset = self._onset_before(i, since, line, excess / 2)
        # Of few losses none is part of it that is as usual, and all are that no noise explains.
        if reference.width <= NUMBERS["onsetFew"]:
            low = base + min(NUMBERS["usualErrors"] * single, (excess - reference.gap) / 2)
            few = min(_NARROWEST, reference.width)
            while onset < i and (self._at(onset) <= low or self.level_of(onset, min(i + 1, onset + few)) <= low):
                onset += 1
        first = max(best_at, over, i + 1 - _KEPT)
        while onset > first and self._at(onset - 1) > base + NUMBERS["errors"] * single:
            onset -= 1
        self._begin(i, onset, self._from_lowest(reference, onset))

    def _from_lowest(self, reference: _Reference, onset: int) -> _Reference:
        """A rise of points that follows the lowest point at once is measured from it: no median of three could be there yet."""
        lowest = self._ladder.rungs[0]
        if reference.width != lowest.width or lowest.best_at != onset - 1:
            return reference
        return _Reference(lowest.best, self._gap_of(lowest), reference.noise, reference.width)

    def _at(self, i: int) -> float:
        return self._ring[i % _KEPT]

    def height(self, excess: float, base: float, noise: float) -> tuple[float, float]:
        """What an excess above a level means: times that level, and the share of what was learnt that is lost."""
        learnt = self._from(self._untrained) - self._from(base)
        errors = NUMBERS["learntErrors"] * noise
        counts = self._untrained > base and self._untrained - base >= errors
        lost = self._from(base + excess) - self._from(base)
        if self.by_ratio:
            return _exp(excess), _quotient(lost, learnt) if counts else 0.0
        single = self._noise_of(self._ladder.rungs[0])
        single = single if math.isfinite(single) else noise
        least = max(NUMBERS["signErrors"] * single, 1e-9 * abs(base))
        whole = max(learnt, least)
        return 1 + _quotient(excess, whole), _quotient(lost, whole) if counts else 0.0

    def _is_worth(self, height: tuple[float, float]) -> bool:
        ratio, share = height
        # Printed losses have ratios of exactly 4; logarithms of two languages differ in the last digit.
        least = 1 + _ROUNDING
        if self.count <= NUMBERS["startPoints"]:
            return ratio > NUMBERS["worthAtStart"] * least
        return ratio > NUMBERS["incidentRatio"] * least or share > NUMBERS["lostHalf"] * least

    def _noise_of(self, rung: _Rung) -> float:
        reach = 1.0 if self.by_ratio else self._most - self._least
        prior = reach * (NUMBERS["priorNoise"] * (4 / max(4, self.count)) ** 2)
        if math.isfinite(rung.noise):
            return rung.noise + prior
        return NUMBERS["priorNoise"] if rung.width == 1 and self.by_ratio else _INF

    def _mature_of(self, k: int) -> _Rung:
        """The best level of the next wider rung, which chance makes less low; of a rung's own where that is young."""
        rungs = self._ladder.rungs
        own = rungs[k]
        if k + 1 == len(rungs):
            return own
        wider = rungs[k + 1]
        return wider if wider.blocks >= NUMBERS["oldBlocks"] and wider.noise < _INF else own

    def _reference_of(self, k: int) -> _Rung:
        """The reference of a rung. One low point is no level: points are compared with the best median of three from the first
        ones on, unless the very first is the lowest."""
        rungs = self._ladder.rungs
        own = rungs[k]
        if own.width == 1 and rungs[1].blocks >= 1 and own.best_at != self._first_at:
            return rungs[1]
        return self._mature_of(k)

    def _find(self) -> tuple[_Reference, float, int] | None:
        """The narrowest rung that is too high, with its reference."""
        errors = NUMBERS["errors"] * (1 + NUMBERS["fewPoints"] / math.sqrt(self.count))
        tail_width = NUMBERS["tailWidth"]
        for k, own in enumerate(self._ladder.rungs):
            level = own.level
            if level != level:
                continue
            found = self._excess_of(k, errors)
            if found is not None:
                return found
            if own.width <= tail_width:
                own.excess(level - self._mature_of(k).best)
        return None

    def _excess_of(self, k: int, errors: float) -> tuple[_Reference, float, int] | None:
        """The excess of a rung above its reference, where that is too high."""
        own = self._ladder.rungs[k]
        reference = self._reference_of(k)
        best = reference.best
        excess = own.level - best
        if not excess > 0:
            return None
        has_tail = own.width <= NUMBERS["tailWidth"]
        noise = self._noise_of(own)
        jumps = has_tail and min(own.jump, excess) > errors * own.apart
        if not jumps and not excess > errors * noise:  # a gap makes it no less
            return None
        gap = self._gap_of(reference)
        if not jumps and not excess > errors * noise + gap:
            return None
        # Both count from one level.
        if has_tail and not own.level - self._mature_of(k).best > own.tail():
            return None
        if not self._is_worth(self.height(excess - gap, best + gap, noise)):
            return None
        return _Reference(best, gap, noise, own.width), excess, reference.best_at - reference.width

    def _gap_of(self, reference: _Rung) -> float:
        """Of the best of so many independent levels, what it is too low by: no more than the best wider level is above it."""
        if not math.isfinite(reference.noise):
            return 0.0
        wider = [rung for rung in self._ladder.rungs if rung.width > reference.width and rung.noise < _INF]
        most = min((rung.best - reference.best for rung in wider), default=_INF)
        return max(0.0, min(most, reference.noise * math.sqrt(2 * math.log(max(1.0, reference.since)))))

    def _onset_before(self, i: int, since: int, line: float, clip: float) -> int:
        """First loss of a stretch above a line: where the clipped sum over the line is lowest."""
        total, lowest, onset = 0.0, _INF, i
        for k in range(max(0, since, i + 1 - _KEPT), i):
            z = self._at(k)
            total += clip if z != z else max(-clip, min(clip, z - line))
            if total <= lowest:
                lowest, onset = total, k + 1
        return onset

    def _begin_without_number(self, i: int) -> None:
        lowest, noise = self._reference_of(0).best, self._noise_of(self._ladder.rungs[0])
        best = lowest if math.isfinite(lowest) else self._untrained
        line = best + max(8 * noise, math.log(NUMBERS["incidentRatio"]))
        onset = i
        while onset > 0 and i - onset < _KEPT - 1 and self._at(onset - 1) > line:
            onset -= 1
        self._begin(i, onset, _Reference(best, 0.0, noise, 1))

    def _edge_of(self, reference: _Reference) -> float:
        best, noise = reference.best, reference.noise
        learnt = self._from(self._untrained) - self._from(best)
        errors, worth = NUMBERS["learntErrors"] * noise, NUMBERS["incidentRatio"] - 1
        quarter = (
            math.log1p(_quotient(worth * learnt, self._from(best) + self.shift)) if self.by_ratio else worth * learnt
        )
        ratio = math.log(NUMBERS["incidentRatio"]) if self.by_ratio else worth * max(learnt, errors)
        counts = self._untrained - best >= errors
        return reference.gap + best + max(3 * noise, min(ratio, quarter) if counts else ratio)

    def _begin(self, i: int, onset: int, reference: _Reference) -> None:
        width = max(_NARROWEST, reference.width)
        last, same = self.excesses[-1] if self.excesses else None, None
        if last is not None and last.recovered is not None and onset <= last.recovered + width and not last.lost:
            # What is high again before it was back for long is one excess.
            same = self.excesses.pop()
        self.open = Excess(
            onset=same.onset if same else onset,
            trigger=i,
            best=same.best if same else reference.best,
            gap=same.gap if same else reference.gap,
            noise=reference.noise,
            width=width,
            edge=same.edge if same else self._edge_of(reference),
            peak=same.peak if same else onset,
            peak_value=same.peak_value if same else self._at(onset),
            next_look=i + decision_after(onset),
            highest=same.highest if same else -_INF,
            early=same.early if same else -_INF,
            most_of_few=same.most_of_few if same else -_INF,
            tail_of_few=self._ladder.rungs[1].tail() if reference.width > _NARROWEST else _NAN,
            last_finite=i - 1,
            end=i + 1,
        )
        self._recent = _RunningMedian(width)
        self._few = _RunningMedian(_NARROWEST)
        one = self.open
        for k in range(max(one.onset, i + 1 - _KEPT), i + 1):
            self._advance(one, k)

    def _advance(self, one: Excess, i: int) -> None:
        """One loss of an excess: is it over?"""
        z = self._at(i)
        if math.isfinite(one.peak_value) and (not math.isfinite(z) or z > one.peak_value):
            one.peak, one.peak_value = i, z
        if not math.isfinite(z):
            self._recent.clear()
            return
        one.last_finite = i
        self._few.push(z)
        one.most_of_few = self._few.level if self._few.level > one.most_of_few else one.most_of_few
        self._recent.push(z)
        level = self._recent.level
        if math.isnan(level):
            return
        one.highest = max(one.highest, level)
        if i - one.onset < 3 * one.width:
            one.early = max(one.early, level)
        if i < one.trigger:
            return
        if level <= one.highest_back():
            self._recover(one, i)
        elif i >= one.next_look and not one.lost:
            self._look(one, i)

    def _recover(self, one: Excess, i: int) -> None:
        """The level is back: the ladder goes on from the first loss that is."""
        first, highest = i, one.highest_back()
        while first > one.peak + 1 and i - first < one.width and self._at(first - 1) <= highest:
            first -= 1
        one.recovered = first
        self._close(one, i + 1)
        self._ladder.restart()
        for k in range(first, i + 1):
            if math.isfinite(self._at(k)):
                self._ladder.push(self._at(k), k)

    def _close(self, one: Excess, after: int) -> None:
        one.end = after if one.recovered is None else one.recovered
        one.last = self.level_of(last_from(one, after), after)
        self.excesses.append(one)
        self.open = None

    def level_of(self, start: int, stop: int) -> float:
        """Median of some losses; infinite where half of them are not finite."""
        points = (self._at(k) for k in range(max(0, start, stop - _KEPT), stop))
        return _median([z if math.isfinite(z) else _INF for z in points])

    def is_all(self, share: float, one: Excess) -> bool:
        """Whether a share that is lost is all of it, but for the error of the few losses that the untrained level is of."""
        error = 2 * (self._ladder.rungs[0].near / math.sqrt(len(self._first)) if self._first else _NAN)
        error = _quotient(error, self._untrained - one.best - one.gap)
        most = NUMBERS["lostShare"] - NUMBERS["lostMost"]
        return share >= NUMBERS["lostShare"] - (min(most, error) if error > 0 else 0)

    def height_in(self, one: Excess, level: float) -> tuple[float, float]:
        """What a level of an excess means, see `height`."""
        base = one.best + one.gap
        return self.height(level - one.best - one.gap, base, one.noise)

    def _look(self, one: Excess, i: int) -> None:
        """The time to come back is over: it is lost, or stays at a new level, or still rises."""
        time = i + 1 - one.trigger
        quarter = max(3, time >> 2)
        end = self.level_of(i + 1 - quarter, i + 1)
        start = self.level_of(i + 1 - 4 * quarter, i + 1 - 3 * quarter)
        ratio, share = self.height_in(one, end)
        if ratio >= NUMBERS["fullRatio"] or self.is_all(share, one):
            one.lost = True
        elif end - start <= self._noise_of_width(quarter):
            self._settle(one, i, time)
        else:
            one.next_look = i + (time >> 1)

    def _noise_of_width(self, points: int) -> float:
        rungs = self._ladder.rungs
        wide = [rung for rung in rungs if rung.width <= points and math.isfinite(rung.noise)]
        return self._noise_of(wide[-1] if wide else rungs[0])

    def _settle(self, one: Excess, i: int, time: int) -> None:
        """A new level is the normal from here on: a ladder of its last losses."""
        one.settled = True
        self._close(one, i + 1)
        self._ladder = _Ladder()
        for k in range(i + 1 - min(_KEPT, time >> 1), i + 1):
            if math.isfinite(self._at(k)):
                self._ladder.push(self._at(k), k)

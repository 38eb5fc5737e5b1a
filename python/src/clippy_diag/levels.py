"""Excesses of a loss above its best level, as losses come: the twin of src/judge/incidents/follow.ts. Apache-2.0.

A level is the median of the last 1, 3, 9, … 243 losses. An excess is a level above the best one so far by more than the
noise of both explains. No loss has to be far from the others for that: a rise that lasts shows in wider levels first.

    levels = Levels()
    for loss in losses:
        begins = levels.add(loss)       # True where an excess begins that is clear enough for a capture
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Sequence

#: Names and values as in src/judge/incidents/numbers.ts.
NUMBERS: dict[str, float] = {
    "errors": 5,
    "fewPoints": 1.5,
    "priorNoise": 0.3,
    "remembered": 256,
    "anew": 1.15,
    "nearErrors": 1,
    "fewBlocks": 3,
    "sharedNoise": 0.5,
    "sharedErrors": 0.5,
    "mostGrowth": 3,
    "swingBack": 0.6,
    "onsetShare": 0.25,
    "onsetWidths": 8,
    "clear": 6,
    "clearWidths": 2,
    "clearFrom": 90,
    "overSwing": 1.25,
    "tail": 6.9,
    "tailFrom": 2,
    "tailSlope": 0.15,
    "tailPrior": 4,
    "tailWidth": 3,
    "worth": 1.25,
    "worthAtStart": 4,
    "startPoints": 20,
    "lostHalf": 0.5,
    "lostAll": 0.9,
    "lostMost": 0.7,
    "learntErrors": 8,
    "lost": 2,
    "decision": 100,
}
WIDTHS = (1, 3, 9, 27, 81, 243)
#: Losses that can be looked back at, and losses of the narrowest level that decides whether an excess is over.
_KEPT, _NARROWEST = 4096, 3
#: Largest excesses that make the tail of a width.
_TOP = 24
#: Share of the differences at either end that the noise is read from, and its standard deviations.
_FIFTH_OF, _FIFTH = 1 / 6, 0.8416
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
        if len(self._sorted) == self.width:
            self._sorted.pop(bisect.bisect_left(self._sorted, self._ring[self._next]))
            self._ring[self._next] = value
            self._next = (self._next + 1) % self.width
        else:
            self._ring.append(value)
        bisect.insort(self._sorted, value)

    @property
    def level(self) -> float:
        return self._sorted[self.width >> 1] if len(self._sorted) == self.width else _NAN


class _Rung:
    """Levels of one width: the best so far, their noise, swings that came back and the tail of usual excesses."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.level, self.best, self.noise, self.near = _NAN, _INF, _INF, _NAN
        self.best_at = 0
        self.blocks = self.since = self.swing = 0.0
        self._median = _RunningMedian(width)
        self._stride = max(1, width >> 1)
        self._kept: list[float] = []
        self._points = self._samples = self._measured = self._since_sample = 0
        self._top: list[float] = []
        self._stretch, self._left = 0.0, width
        self._per_block = width / self._stride
        self._low, self._high, self._largest = _INF, -_INF, 0.0

    def push(self, value: float, i: int) -> None:
        self._median.push(value)
        self._points += 1
        if self._points < self.width:
            return
        self.level = level = self._median.level
        if (self._points - self.width) % self._stride == 0:
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
        self._note_swing(level)

    def _note_swing(self, level: float) -> None:
        if level < self._low:
            self._low = self._high = level
        elif level > self._high:
            self._high = level
        else:
            size = self._high - self._low
            if self._high - level > NUMBERS["swingBack"] * size and size > 2 * self.noise:
                if size > self._largest:
                    self.swing, self._largest = self._largest, size
                elif size > self.swing:
                    self.swing = size
                self._low = self._high = level

    def restart(self) -> None:
        """Forgets the losses of its level, and nothing else: what follows an incident is no neighbour of it."""
        self._median.clear()
        self._points = 0
        self.level = _NAN

    def excess(self, value: float) -> None:
        """Remembers an excess of an accepted level, for the tail."""
        self._stretch = max(self._stretch, value)
        self._left -= 1
        if self._left > 0:
            return
        self._left = self.width
        stretch, self._stretch = self._stretch, 0.0
        if stretch > 0 and (len(self._top) < _TOP or stretch > self._top[-1]):
            k = len(self._top)
            while k > 0 and self._top[k - 1] < stretch:
                k -= 1
            self._top.insert(k, stretch)
            del self._top[_TOP:]

    def tail(self) -> float:
        """The excess that the tail of earlier ones gives once in exp(NUMBERS["tail"]) runs; 0 without one."""
        top, noise = self._top, self.noise
        m = min(len(top) - 1, int(math.sqrt(self.blocks)))
        if m < 2 or not math.isfinite(noise):
            return top[0] if top else 0.0
        low = NUMBERS["tailFrom"] * noise
        total = NUMBERS["tailPrior"] * NUMBERS["tailSlope"]
        for k in range(m):
            total += math.log((top[k] + low) / (top[m] + low))
        return (top[0] + low) * _exp(NUMBERS["tail"] * total / (m + NUMBERS["tailPrior"])) - low

    def measure(self) -> bool:
        """Measures the noise where there are enough new levels to; whether it did."""
        few = self._samples - self._measured < NUMBERS["remembered"] / 4
        if self._samples < self._measured * NUMBERS["anew"] and few:
            return False
        self._measured = self._samples
        self.near = self._near(math.ceil(self._per_block))
        return True

    def _near(self, lag: int) -> float:
        """Standard error of a level against the next that does not overlap; NaN where there are too few."""
        held = len(self._kept)
        count = held - 2 * lag
        if count < 3:
            return _NAN
        split = self._samples % held
        kept = self._kept[split:] + self._kept[:split]
        bends = sorted(a - 2 * b + c for a, b, c in zip(kept, kept[lag:], kept[2 * lag :], strict=False))
        if lag == 1:
            sizes = [abs(kept[i] - 2 * kept[i + 1] + kept[i + 2]) for i in range(count)]
            middle = _MAD_TO_SIGMA * _median(sizes)
            return (middle if middle > 0 else _MEAN_TO_SIGMA * sum(sizes) / count) / math.sqrt(6)
        fifth = int(count * _FIFTH_OF)
        bend = max(0.0, min(bends[count - 1 - fifth], -bends[fifth])) / (_FIFTH * math.sqrt(6))
        steps = [b - a for a, b in zip(kept, kept[lag:], strict=False)]
        half = len(steps) >> 1
        trend = min(0.0, max(_median(steps[:half]), _median(steps[half:])))
        rise = sorted(steps)[len(steps) - 1 - int(len(steps) * _FIFTH_OF)]
        return min(bend, max(0.0, rise - trend) / (_FIFTH * math.sqrt(2)))


class _Ladder:
    """Levels of all widths, whose noise is measured together."""

    def __init__(self) -> None:
        self.rungs = [_Rung(width) for width in WIDTHS]

    def push(self, value: float, i: int) -> None:
        for rung in self.rungs:
            rung.push(value, i)
        # Each has to measure: no short cut.
        if any([rung.measure() for rung in self.rungs]):
            self._set_noise()

    def _fast(self, width: int) -> float:
        """What noise without memory gives a level."""
        return self.rungs[0].near * (1 if width == 1 else _MEDIAN_ERROR / math.sqrt(width))

    def _set_noise(self) -> None:
        slow = narrower = 0.0
        for rung in self.rungs:
            if rung.blocks < NUMBERS["fewBlocks"] or math.isnan(rung.near):
                continue
            fast = self._fast(rung.width) ** 2
            few = 1 / math.sqrt(rung.blocks)
            shared = narrower > NUMBERS["sharedNoise"] * fast
            factor = 1 + NUMBERS["sharedErrors"] * few if shared else max(0.0, 1 - NUMBERS["nearErrors"] * few)
            own = (rung.near * factor) ** 2 - fast
            growth = max(1.0, min(NUMBERS["mostGrowth"], own / narrower)) if shared else 1.0
            slow = max(slow, own * growth * growth)
            narrower = own
        for rung in self.rungs:
            fast = self._fast(rung.width)
            rung.noise = _INF if math.isnan(fast) else math.sqrt(fast**2 + slow)

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
    #: Upper edge of what is back.
    edge: float
    peak: int
    peak_value: float
    next_look: int
    #: Highest level in it.
    highest: float = -_INF
    #: Whether its time to come back ended far above the best level.
    lost: bool = False
    recovered: int | None = None

    def is_clear(self, count: int) -> bool:
        """Whether it is so high, or has lasted so long, that a capture is due; `count`: losses so far."""
        high = self.highest - self.best - self.gap >= NUMBERS["clear"] * self.noise
        long = count - self.onset >= NUMBERS["clearWidths"] * self.width
        return self.trigger >= NUMBERS["clearFrom"] and (high or long)


@dataclasses.dataclass(frozen=True)
class _Reference:
    best: float
    gap: float
    noise: float
    width: int


def _decision_after(onset: int) -> int:
    """Time to come back of an excess that began at a loss."""
    return max(5, min(int(NUMBERS["decision"]), onset // 3), onset // 10)


class _Follower:
    """Follows losses one by one, by ratios or by differences."""

    def __init__(self, by_ratio: bool) -> None:
        self.by_ratio = by_ratio
        self._to: Callable[[float], float] = _log if by_ratio else float
        self._from: Callable[[float], float] = _exp if by_ratio else float
        self.open: Excess | None = None
        self.count = 0
        self._last: Excess | None = None
        self._ring = [_NAN] * _KEPT
        self._first: list[float] = []
        self._untrained = _NAN
        self._ladder = _Ladder()
        self._recent = _RunningMedian(_NARROWEST)

    def back(self, one: Excess) -> float:
        """The level before an excess, in units of the loss."""
        return self._from(one.best + one.gap)

    def step(self, value: float) -> None:
        """Takes the next loss, of any kind."""
        i, self.count = self.count, self.count + 1
        z = self._to(value)
        self._ring[i % _KEPT] = z
        if math.isfinite(z) and len(self._first) < _NARROWEST:
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
        since = max(i + 1 - int(NUMBERS["onsetWidths"]) * reference.width, best_at)
        self._begin(i, self._onset_before(i, since, line, excess / 2), reference)

    def _at(self, i: int) -> float:
        return self._ring[i % _KEPT]

    def _height(self, excess: float, base: float, noise: float) -> tuple[float, float]:
        """What an excess above a level means: times that level, and the share of what was learnt that is lost."""
        learnt = self._from(self._untrained) - self._from(base)
        errors = NUMBERS["learntErrors"] * noise
        counts = self._untrained > base and self._untrained - base >= errors
        lost = self._from(base + excess) - self._from(base)
        share = _quotient(lost, learnt) if counts else 0.0
        if self.by_ratio:
            return _exp(excess), share
        least = max(errors, 1e-9 * abs(base))
        return 1 + _quotient(excess, max(learnt, least)), share

    def _is_worth(self, height: tuple[float, float]) -> bool:
        ratio, share = height
        # Printed losses have ratios of exactly 4; logarithms of two languages differ in the last digit.
        least = 1 + _ROUNDING
        if self.count <= NUMBERS["startPoints"]:
            return ratio > NUMBERS["worthAtStart"] * least
        return ratio > NUMBERS["worth"] * least or share > NUMBERS["lostHalf"] * least

    def _noise_of(self, rung: _Rung) -> float:
        prior = NUMBERS["priorNoise"] * (4 / max(4, self.count)) ** 2 if self.by_ratio else 0.0
        if math.isfinite(rung.noise):
            return rung.noise + prior
        return NUMBERS["priorNoise"] if rung.width == 1 and self.by_ratio else _INF

    def _reference_of(self, k: int) -> _Rung:
        """The next wider rung, whose best level chance makes less low; its own where that is young."""
        rungs = self._ladder.rungs
        if k + 1 < len(rungs) and rungs[k + 1].blocks >= 2 and rungs[k + 1].noise < _INF:
            return rungs[k + 1]
        return rungs[k]

    def _find(self) -> tuple[_Reference, float, int] | None:
        """The narrowest rung that is too high, with its reference."""
        errors = NUMBERS["errors"] * (1 + NUMBERS["fewPoints"] / math.sqrt(self.count))
        for k, own in enumerate(self._ladder.rungs):
            reference = self._reference_of(k)
            best = reference.best
            excess = own.level - best
            if not excess > 0:
                continue
            noise = self._noise_of(own)
            gap = 0.0
            if math.isfinite(reference.noise):
                gap = reference.noise * math.sqrt(2 * math.log(max(1.0, reference.since)))
            if (
                excess > max(errors * noise + gap, NUMBERS["overSwing"] * own.swing)
                and self._is_worth(self._height(excess - gap, best + gap, noise))
                and (own.width > NUMBERS["tailWidth"] or excess > own.tail())
            ):
                return _Reference(best, gap, noise, own.width), excess, reference.best_at - reference.width
            if own.width <= NUMBERS["tailWidth"]:
                own.excess(excess)
        return None

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
        line = best + max(8 * noise, math.log(NUMBERS["worth"]))
        onset = i
        while onset > 0 and i - onset < _KEPT - 1 and self._at(onset - 1) > line:
            onset -= 1
        self._begin(i, onset, _Reference(best, 0.0, noise, 1))

    def _edge_of(self, reference: _Reference) -> float:
        best, noise = reference.best, reference.noise
        learnt = self._from(self._untrained) - self._from(best)
        errors, worth = NUMBERS["learntErrors"] * noise, NUMBERS["worth"] - 1
        quarter = math.log1p(_quotient(worth * learnt, self._from(best))) if self.by_ratio else worth * learnt
        ratio = math.log(NUMBERS["worth"]) if self.by_ratio else worth * max(learnt, errors)
        counts = self._untrained - best >= errors
        return reference.gap + best + max(3 * noise, min(ratio, quarter) if counts else ratio)

    def _begin(self, i: int, onset: int, reference: _Reference) -> None:
        width = max(_NARROWEST, reference.width)
        last, same = self._last, None
        if last is not None and last.recovered is not None and onset <= last.recovered + width and not last.lost:
            same = last
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
            next_look=i + _decision_after(onset),
            highest=same.highest if same else -_INF,
        )
        self._recent = _RunningMedian(width)
        one = self.open
        for k in range(max(one.onset, i + 1 - _KEPT), i + 1):
            self._advance(one, k)

    def _advance(self, one: Excess, i: int) -> None:
        """One loss of an excess: is it over?"""
        z = self._at(i)
        if math.isfinite(one.peak_value) and not z <= one.peak_value:
            one.peak, one.peak_value = i, z
        if not math.isfinite(z):
            self._recent.clear()
            return
        self._recent.push(z)
        level = self._recent.level
        if math.isnan(level):
            return
        one.highest = max(one.highest, level)
        if i < one.trigger:
            return
        if level <= one.edge:
            self._recover(one, i)
        elif i >= one.next_look and not one.lost:
            self._look(one, i)

    def _recover(self, one: Excess, i: int) -> None:
        """The level is back: the ladder goes on from the first loss that is."""
        first = i
        while first > one.peak + 1 and i - first < one.width and self._at(first - 1) <= one.edge:
            first -= 1
        one.recovered, self._last, self.open = first, one, None
        self._ladder.restart()
        for k in range(first, i + 1):
            if math.isfinite(self._at(k)):
                self._ladder.push(self._at(k), k)

    def _level_of(self, start: int, stop: int) -> float:
        """Median of some losses; infinite where half of them are not finite."""
        points = (self._at(k) for k in range(max(0, start, stop - _KEPT), stop))
        return _median([z if math.isfinite(z) else _INF for z in points])

    def _look(self, one: Excess, i: int) -> None:
        """The time to come back is over: it is lost, or stays at a new level, or still rises."""
        time = i + 1 - one.trigger
        quarter = max(3, time >> 2)
        end = self._level_of(i + 1 - quarter, i + 1)
        start = self._level_of(i + 1 - 4 * quarter, i + 1 - 3 * quarter)
        base = one.best + one.gap
        ratio, share = self._height(end - one.best - one.gap, base, one.noise)
        error = _quotient(
            2 * (self._ladder.rungs[0].near / math.sqrt(len(self._first))), self._untrained - one.best - one.gap
        )
        most = NUMBERS["lostAll"] - NUMBERS["lostMost"]
        if ratio >= NUMBERS["lost"] or share >= NUMBERS["lostAll"] - (min(most, error) if error > 0 else 0):
            one.lost = True
        elif end - start <= self._noise_of_width(quarter):
            self._settle(i, time)
        else:
            one.next_look = i + (time >> 1)

    def _noise_of_width(self, points: int) -> float:
        rungs = self._ladder.rungs
        wide = [rung for rung in rungs if rung.width <= points and math.isfinite(rung.noise)]
        return self._noise_of(wide[-1] if wide else rungs[0])

    def _settle(self, i: int, time: int) -> None:
        """A new level is the normal from here on: a ladder of its last losses."""
        self._last, self.open = self.open, None
        self._ladder = _Ladder()
        for k in range(i + 1 - min(_KEPT, time >> 1), i + 1):
            if math.isfinite(self._at(k)):
                self._ladder.push(self._at(k), k)


class Levels:
    """Losses as they come, one `add` a step; constant memory."""

    def __init__(self) -> None:
        self._follower = _Follower(by_ratio=True)
        self._kept = [_NAN] * _KEPT
        self._count = 0
        #: The excess that the newest loss belongs to, where it is clear; None otherwise.
        self.open: Excess | None = None

    def add(self, loss: float) -> bool:
        """Takes the newest loss. Whether an excess is clear since it, and was not before."""
        loss = float(loss)
        newest, self._count = self._count, self._count + 1
        self._kept[newest % _KEPT] = loss
        if self._follower.by_ratio and -_INF < loss <= 0:
            # From the first loss that has no logarithm on, all are compared by their differences.
            self._follower = _Follower(by_ratio=False)
            for i in range(max(0, self._count - _KEPT), newest):
                self._follower.step(self._kept[i % _KEPT])
        self._follower.step(loss)
        before, now = self.open, self._follower.open
        self.open = now if now is not None and now.is_clear(self._count) else None
        return self.open is not None and before is None

    @property
    def excess(self) -> Excess | None:
        """The excess that the newest loss belongs to, clear or not."""
        return self._follower.open

    @property
    def level(self) -> float:
        """The best level before the excess that is open, in units of the loss; NaN without one."""
        return _NAN if self.open is None else self._follower.back(self.open)

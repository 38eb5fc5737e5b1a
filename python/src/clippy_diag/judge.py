"""When losses leave their band: the judge of `clippy-diag`, in plain Python, without dependencies. Apache-2.0.

The same bands, settings and incidents as in src/judge/incidents of clippy-diag; fixtures/incidents/cases.json holds both
to the same onsets. docs/detection.md says what they mean.

    judge = Judge()
    for step, loss in enumerate(losses):
        reason = judge.add(loss)        # where an incident begins: why; else None
    judge_losses(losses)                # of a run that is over: all its incidents
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .levels import Levels

#: Names, values and origins as in src/judge/incidents/settings.ts.
SETTINGS = {
    "minimumPoints": 8,
    "gracePoints": 20,
    "graceShare": 0.02,
    "windowPoints": 50,
    "windowShare": 0.05,
    "windowMaximum": 1000,
    "windowStart": 20,
    "smallSample": 4,
    "bandScales": 6,
    "bandRatio": 1.05,
    "incidentScales": 8,
    "incidentRatio": 1.25,
    "recoveryPoints": 20,
    "recoveryShare": 0.05,
    "decisionPoints": 100,
    "decisionShare": 0.1,
    "fullRatio": 2,
    "fullRatioAtEnd": 10,
    "fullRatioShort": 1.5,
    "driftRatio": 1.5,
    "driftScales": 8,
    "driftPointScales": 20,
    "stepErrors": 10,
    "driftFullRatio": 10,
}
#: Classes of incidents, from harmless to worst.
CLASSES = ("inconclusive", "micro-divergence", "drift", "full-divergence", "non-finite")

_NAN, _INF = math.nan, math.inf
#: Make a median, and a mean, absolute deviation comparable with a standard deviation.
MEDIAN_TO_SIGMA, _MEAN_TO_SIGMA = 1.4826, 1.2533
#: A window that falls by more than so many scales has its scale about the line of its last half, of so many losses at
#: least, and its center in the median of a sixth, of 8 to 20.
_FALL, _RECENT = 3, 20
#: Height of a point is measured from so many neighbours on either side; such a share of the points, and so many at least, are as
#: high again and again; and that height is at most so many scales.
_NEIGHBOURS, _RECURRENT_SHARE, _RECURRENT_POINTS, _TAIL_SCALES = 3, 0.05, 3, 4
#: A loss of both signs is nearly 0 now and then: a ratio is one of at least so many scales.
_LEAST_UNIT = 8
#: A loss that fell to exactly 0 has no noise left either: its unit is such a share of its first level, the median of so many losses.
_LEAST_SHARE, _FIRST_VALUES = 1e-5, 3
#: Times its first loss that a burst is at its peak at least; losses that are above a tenth of that.
_BURST, _BURST_POINTS = 100, 3
#: Points that make a first level at least; of the points of a rise such a share lies above it.
_FIRST_POINTS, _RISE_SHARE = 3, 0.9
#: Points of shorter runs are epochs more often than steps.
_SHORT_RUN = 100
#: Share of a run after which an incident that is still open where it ends is judged, though its decision window is longer.
_OPEN_SHARE = 1 / 4
#: Points of the narrowest level of a swell, and the shares of the run that its narrowest and its widest have.
_NARROWEST, _NARROWEST_SHARE, _WIDEST_SHARE = 8, 1 / 200, 1 / 4
#: Points of such a level that are looked at, evenly spaced, and scales of the noise above which points tell of themselves.
_LOOKED_AT, _HIDDEN_SCALES = 500, 8
#: Places of a step that are looked at in a long run, the share of the errors that are enough at the place of a jump, and points that tell
#: whether it is on its way back, with the standard errors of two such levels by which the highest is above the last by chance.
_PLACES, _KNOWN_PLACE, _LEAST_BLOCK, _BY_CHANCE = 200, 1 / 2, 5, 2
#: Losses that `Judge` keeps: more than a window, and than a way out of the band before a jump, ever has.
_KEPT = 4096


class Incident(NamedTuple):
    """Positions count from the first loss, which is 0."""

    #: One of CLASSES.
    kind: str
    #: "jump" left the band; "climb" did not, but ends far above its own minimum; "rise" left its first level before there was a band;
    #: "swell" did not leave it, but its level rose for a while.
    form: str
    #: First loss outside the band on the way there.
    onset: int
    #: First loss of the level that is back, or None.
    recovered: int | None
    #: Position after its last loss.
    end: int
    #: The first loss that is not finite, else the largest.
    peak: int
    #: Median before, upper edge of the band before, and median of its last losses; NaN where too few came before.
    before: float
    high: float
    after: float
    #: Peak over the median before; infinite where the peak is not finite.
    size: float


def worst(incidents: Sequence[Incident]) -> Incident | None:
    """Of the worst kind the largest, of those the first: it decides class and onset of a run."""

    def weight(one: Incident) -> tuple[int, float, int]:
        return CLASSES.index(one.kind), 0.0 if math.isnan(one.size) else one.size, -one.onset

    return max(incidents, key=weight, default=None)


def judge_losses(losses: Sequence[float]) -> list[Incident]:
    """All incidents of a run, in the order of their onsets."""
    values = [float(loss) for loss in losses]
    count = len(values)
    linear = any(-_INF < value <= 0 for value in values)
    scale = _linear(list(itertools.islice(filter(math.isfinite, values), _FIRST_VALUES))) if linear else _LOG
    lengths = _Lengths(count)
    follower = _Follower(values.__getitem__, scale, count + 1)
    for i in range(count):
        follower.step(i, lengths)
    follower.finish(count, lengths)
    found = follower.incidents
    first = _first_level(values, scale)
    if not any(CLASSES.index(one.kind) >= CLASSES.index("full-divergence") for one in found):
        # An incident that is still open is no climb; what came before it may be.
        still_open = found and found[-1].kind == "inconclusive"
        until = values[: found[-1].onset] if still_open else values
        rise = _rise(until, scale, first, lengths)
        climb = _climb(until, scale) if rise is None or rise.recovered is not None else None
        jump = found[-1] if found and found[-1].kind == "micro-divergence" and found[-1].recovered is not None else None
        found += [one for one in (rise, climb) if one]
        told = any(CLASSES.index(one.kind) >= CLASSES.index("drift") for one in found)
        if not still_open and not told and all(map(math.isfinite, values)):
            step = _step(values, scale, lengths, jump)
            found = found if step is None else _with_step(step, found, values, scale, lengths)
        swell = None if found else _swell(values, scale, lengths)
        found += [swell] if swell else []
        burst = _burst(values, scale, lengths)
        if burst is not None and all(one.onset >= burst.end for one in found):
            found.append(burst)
        found.sort(key=lambda one: one.onset)
    if found and found[-1].kind == "non-finite" and found[-1].recovered is None:
        lost = found[-1]
        head = values[: lost.onset]
        led = _rise(head, scale, first, lengths) or _climb(head, scale)
        if led is not None and led.kind == "full-divergence" and led.recovered is None:
            # Cut right before the first value that is no number, the same losses diverge where the rise or climb begins.
            found = [one for one in found if one.onset < led.onset]
            found.append(lost._replace(onset=led.onset, before=led.before, high=led.high, size=led.size))
    return [_from_first_level(one, values, scale, first) for one in found]


class Judge:
    """Losses as they come, one `add` a step; constant memory.

    An incident begins where a single loss leaves its band, as `judge_losses` of the losses so far says, or where a level of
    several losses is clearly above the best one (`levels.py`). Only the rest of a run can show slower climbs, and a return
    that its end would have shown sooner.
    """

    def __init__(self) -> None:
        self._kept = [_NAN] * _KEPT
        self._count = 0
        self._first: list[float] = []
        #: What is asked where no single loss leaves its band.
        self.levels = Levels()
        self._start(_LOG)

    def _start(self, scale: _Scale) -> None:
        self._scale = scale
        self._follower = _Follower(lambda i: self._kept[i % _KEPT], scale, _KEPT)

    @property
    def onset(self) -> int | None:
        """Onset of the incident that the newest loss starts or continues, counted in losses; None where there is none."""
        incident = self._follower.open or self.levels.open
        return None if incident is None else incident.onset

    def add(self, loss: float) -> str | None:
        """Takes the newest loss. Why an incident begins at it, or None: it may also continue one, see `onset`."""
        loss = float(loss)
        newest, self._count = self._count, self._count + 1
        self._kept[newest % _KEPT] = loss
        is_first = math.isfinite(loss) and len(self._first) < _FIRST_VALUES
        if is_first:
            self._first.append(loss)
        if -_INF < loss <= 0 if self._scale is _LOG else is_first:
            # From the first loss that has no logarithm on, all are judged by their values, as had it been known.
            self._start(_linear(self._first))
            for i in range(max(0, self._count - _KEPT), newest):
                self._follower.step(i, _Lengths(i + 1))
        self._follower.step(newest, _Lengths(self._count))
        self._follower.incidents.clear()
        rises = self.levels.add(loss)
        incident = self._follower.open
        if incident is None:
            return (
                f"loss {loss:.6g} and those before it are above their best level, {self.levels.level:.6g}"
                if rises
                else None
            )
        if incident.trigger != newest:
            return None
        if not math.isfinite(loss):
            return f"loss is {loss}"
        return f"loss {loss:.6g} after a median of {self._scale.back(incident.center):.6g}"


class _Scale(NamedTuple):
    """How losses are looked at: by ratios, or by differences."""

    to: Callable[[float], float]
    back: Callable[[float], float]
    #: What is `ratio` times the center, on the scale, and the ratio of a value there; both take the noise last.
    above: Callable[[float, float, float], float]
    ratio_of: Callable[[float, float, float], float]


def _quotient(a: float, b: float) -> float:
    """a / b, as IEEE 754 has it where b is 0."""
    return a / b if b else _NAN if a == 0 or math.isnan(a) else math.copysign(_INF, a)


def _exp(y: float) -> float:
    try:
        return math.exp(y)
    except OverflowError:
        return _INF


_LOG = _Scale(
    lambda value: math.log(value) if value > 0 else _NAN,
    _exp,
    lambda center, ratio, _: center + math.log(ratio),
    lambda center, y, _: _exp(y - center),
)


def _linear(first: Sequence[float]) -> _Scale:
    """A ratio is one of the absolute value of the center, of eight scales of the noise, or 1e-5 of the first level."""
    least = _LEAST_SHARE * _median([abs(loss) for loss in first]) if first else 0.0

    def unit(center: float, noise: float) -> float:
        return _larger(_larger(abs(center), _LEAST_UNIT * noise), least)

    return _Scale(
        lambda value: value,
        lambda y: y,
        lambda center, ratio, noise: center + (ratio - 1) * unit(center, noise),
        lambda center, y, noise: 1 + _quotient(y - center, unit(center, noise)),
    )


class _Lengths:
    """Lengths, in losses, that the settings give for a series of `count` losses."""

    __slots__ = ("grace", "size", "start", "recovery", "decision")

    def __init__(self, count: int) -> None:
        s = SETTINGS
        self.grace = int(max(min(s["gracePoints"], count / 6) // 1, s["graceShare"] * count // 1))
        self.size = int(min(max(s["windowPoints"], s["windowShare"] * count // 1), s["windowMaximum"]))
        self.start = int(max(5, min(s["windowStart"], count // 8)))
        self.recovery = int(max(1, min(s["recoveryPoints"], s["recoveryShare"] * count // 1)))
        self.decision = int(max(s["decisionPoints"], s["decisionShare"] * count // 1))


def _median(values: Sequence[float]) -> float:
    """The mean of the two middle ones where there is an even number; NaN of none."""
    ordered = sorted(values)
    half = len(ordered) >> 1
    if not ordered:
        return _NAN
    if len(ordered) % 2:
        return ordered[half]
    return ordered[half - 1] + (ordered[half] - ordered[half - 1]) / 2


def _spread(deviations: Sequence[float]) -> float:
    """Robust scale of deviations from a center; of their mean where more than half are zero."""
    median = _median(deviations)
    if median > 0:
        return MEDIAN_TO_SIGMA * median
    return _MEAN_TO_SIGMA * sum(deviations) / len(deviations) if deviations else 0.0


def _line_scale(values: Sequence[float]) -> float:
    """Robust scale about the line through the medians of the first and the last half, if it falls."""
    half = len(values) >> 1
    slope = min(0.0, (_median(values[half : 2 * half]) - _median(values[:half])) / half)
    level, middle = _median(values), (len(values) - 1) / 2
    return _spread([abs(y - level - slope * (i - middle)) for i, y in enumerate(values)])


class _Band:
    """Median and scale of the last losses that were pushed, about the line of their fall."""

    def __init__(self) -> None:
        self.size = int(SETTINGS["windowMaximum"])
        self.ring: collections.deque[float] = collections.deque(maxlen=self.size)
        self.clear()

    def clear(self) -> None:
        self.ring.clear()
        self.age = self.recent_age = self.tails_age = _INF
        self.median = self.spread = self.recent = _NAN
        self.height = 0.0
        self.falling = False

    def push(self, y: float) -> None:
        self.ring.append(y)
        self.age += 1
        self.recent_age += 1
        self.tails_age += 1

    def resize(self, size: int) -> None:
        if size != self.size:
            self.size, self.age, self.tails_age = size, _INF, _INF

    @property
    def points(self) -> int:
        return min(len(self.ring), self.size)

    def look(self) -> tuple[float, float]:
        """Center and scale. A window of up to 60 losses is renewed at every one, one of 1,000 at every 250th."""
        points = self.points
        if self.age >= points * points / 4000:
            held = list(self.ring)
            ordered = held[len(held) - points :]
            half = points >> 1
            self.median = _median(ordered)
            # A falling loss is no noise. A rising one is judged against everything it was.
            change = _median(ordered[points - half :]) - _median(ordered[:half]) if half else 0.0
            slope = min(0.0, change / (points - half))
            middle = (points - 1) / 2
            deviations = [abs(y - self.median - slope * (i - middle)) for i, y in enumerate(ordered)]
            self.spread = _spread(deviations) * (1 + SETTINGS["smallSample"] / points)
            self.falling = slope * points < -_FALL * self.spread
            if self.falling and points > _RECENT:
                # A steep fall bends, and its bend is no noise either: of its last losses the line is a better one.
                last = max(_RECENT, half)
                recent = _line_scale(ordered[-last:]) * (1 + 2 * SETTINGS["smallSample"] / last)
                self.spread = min(self.spread, recent)
            self.age = 0
        if not self.falling:
            return self.median, self.spread
        now = max(8, min(20, points // 6))
        if self.recent_age >= now / 4:
            self.recent = _median([self.ring[-1 - i] for i in range(min(points, now))])
            self.recent_age = 0
        return min(self.median, self.recent), self.spread

    def tails(self) -> float:
        """Height above its neighbours that one loss in twenty of the window has; 0 where there are fewer than 20."""
        points = self.points
        if points < _RECENT:
            return 0.0
        if self.tails_age >= points * points / 4000:
            held = list(self.ring)
            ordered = held[len(held) - points :]
            heights = sorted(
                ordered[i] - _median(ordered[i - _NEIGHBOURS : i] + ordered[i + 1 : i + 1 + _NEIGHBOURS])
                for i in range(_NEIGHBOURS, points - _NEIGHBOURS)
            )
            rank = max(_RECURRENT_POINTS, math.ceil(_RECURRENT_SHARE * len(heights)))
            self.height = max(0.0, heights[len(heights) - rank])
            self.tails_age = 0
        return self.height


@dataclasses.dataclass
class _Open:
    """An incident that is not over yet."""

    onset: int
    trigger: int
    #: Median before it, on the scale, and the edges of its band and of a level that is back.
    center: float
    spread: float
    limit: float
    level_limit: float
    level_value: float
    peak: int
    peak_value: float
    last_finite: int
    #: The last loss that was a new peak, or not finite.
    worse: int
    #: First loss of the level that is back since then; −1 where it is not.
    back: int = -1
    in_band: int = 0
    #: Whether the decision window ended without a way back.
    lost: bool = False


class _Follower:
    """Follows losses one by one: incidents in the order of their onsets, and which one is open."""

    def __init__(self, at: Callable[[int], float], scale: _Scale, reach: int) -> None:
        self.at, self.scale, self.reach = at, scale, reach
        self.band = _Band()
        self.incidents: list[Incident] = []
        self.open: _Open | None = None
        self.out_since, self.out_center, self.settled_at = -1, _NAN, -1

    def step(self, i: int, lengths: _Lengths) -> None:
        """Takes the loss at position i."""
        if self.open:
            self._advance(self.open, i, lengths)
            return
        scale, band = self.scale, self.band
        band.resize(lengths.size)
        y = scale.to(self.at(i))
        finite = math.isfinite(y)
        center, spread = band.look() if band.points >= lengths.start else (_NAN, _NAN)
        if y > self._limit(center, spread):
            # Wider where points as high are usual.
            spread = max(spread, band.tails() / _TAIL_SCALES)
        in_band = finite and not y > self._limit(center, spread)
        if in_band:
            self.out_since = -1
        elif self.out_since < 0:
            self.out_since, self.out_center = i, center
        jump = (
            not in_band
            and y - center > SETTINGS["incidentScales"] * spread
            and y > scale.above(center, SETTINGS["incidentRatio"], spread)
        )
        if finite and not (jump and i >= lengths.grace):
            band.push(y)
            return
        since, center = self.out_since, self.out_center
        back = center + SETTINGS["bandScales"] * spread / math.sqrt(lengths.recovery)
        level_limit = _larger(scale.above(center, SETTINGS["incidentRatio"], spread), back)
        peak = max(range(max(since, i + 1 - self.reach), max(since + 1, i)), key=lambda k: (self.at(k), -k))
        self.open = _Open(
            onset=since,
            trigger=i,
            center=center,
            spread=spread,
            limit=self._limit(center, spread),
            level_limit=level_limit,
            level_value=_INF if math.isnan(level_limit) else scale.back(level_limit),
            peak=peak,
            peak_value=self.at(peak),
            last_finite=i - 1,
            worse=peak,
        )
        self._advance(self.open, i, lengths)
        self.out_since = -1

    def _limit(self, center: float, spread: float) -> float:
        """Upper edge of the band; NaN, which nothing exceeds, where there is none yet."""
        return _larger(
            center + SETTINGS["bandScales"] * spread, self.scale.above(center, SETTINGS["bandRatio"], spread)
        )

    def _level(self, end: int, count: int) -> float:
        """Median of the last losses before `end`; infinite where half of them are not finite."""
        last = [self.at(i) for i in range(max(0, end - count), end)]
        level = _median([value if math.isfinite(value) else _INF for value in last])
        return _INF if math.isnan(level) else level

    def _accept(self, start: int, end: int) -> None:
        """Losses that belong to the band of what follows."""
        for i in range(start, end):
            y = self.scale.to(self.at(i))
            if math.isfinite(y):
                self.band.push(y)

    def _close(self, kind: str, recovered: int | None, following: int, lengths: _Lengths) -> None:
        incident = self.open
        assert incident is not None
        end = following if recovered is None else recovered
        # Where nothing came back the losses before the onset say nothing of its last level, however few came after it.
        last = (
            max(3, lengths.recovery) if recovered is not None else min(max(3, lengths.recovery), end - incident.onset)
        )
        self.incidents.append(
            Incident(
                kind=kind,
                form="jump",
                onset=incident.onset,
                recovered=recovered,
                end=end,
                peak=incident.peak,
                before=self.scale.back(incident.center),
                high=self.scale.back(incident.limit),
                after=self._level(end, last),
                size=_size(self.at(incident.peak), incident.center, incident.spread, self.scale),
            )
        )
        self.open = None

    def _advance(self, incident: _Open, i: int, lengths: _Lengths) -> None:
        """One loss of an open incident: is it over?"""
        scale, recovery = self.scale, lengths.recovery
        value = self.at(i)
        y = scale.to(value)
        finite = math.isfinite(y)
        if finite:
            incident.last_finite = i
        if math.isfinite(incident.peak_value) and (not math.isfinite(value) or value > incident.peak_value):
            incident.peak, incident.peak_value = i, value
            incident.worse = i
        elif not math.isfinite(value):
            incident.worse = i
        incident.in_band = incident.in_band + 1 if finite and not y > incident.limit else 0
        incident.back = self._back_since(incident, i, recovery)
        back = incident.back
        came_back = "full-divergence" if incident.lost else "micro-divergence"
        if (
            incident.in_band > 0
            and incident.in_band % recovery == 0
            and not scale.to(self._level(i + 1, recovery)) > incident.level_limit
        ):
            proof = i + 1 - recovery
            self._close(came_back, proof if back < 0 else min(back, proof), i + 1, lengths)
            self._accept(proof, i + 1)
            return
        deadline = incident.trigger + lengths.decision - 1
        late = incident.lost and back >= 0 and i - back >= lengths.decision
        if not late and (incident.lost or i < deadline or (incident.in_band > 0 and i < deadline + recovery)):
            return
        level = scale.to(self._level(i + 1, recovery))
        if not late and not level <= scale.above(incident.center, SETTINGS["fullRatio"], incident.spread):
            incident.lost = True
            return
        # Neither in the band nor lost: the level is back and its noise is larger, or there is a new level. What follows is
        # judged against that.
        drifts = back < 0 and level > scale.above(incident.center, SETTINGS["driftRatio"], incident.spread)
        self._close("drift" if drifts else came_back, None if back < 0 else back, i + 1, lengths)
        self.settled_at = i + 1
        self.band.clear()
        self._accept(max(incident.onset if back < 0 else back, i + 1 - min(lengths.decision, self.reach)), i + 1)

    def _back_since(self, incident: _Open, i: int, recovery: int) -> int:
        """Since when more than half of the last losses are no higher than a level that is back, without a break; −1 where they are not."""
        start = i + 1 - recovery
        if start <= incident.worse:
            return -1
        if sum(self.at(k) <= incident.level_value for k in range(start, i + 1)) <= recovery / 2:
            return -1
        if incident.back >= 0:
            return incident.back
        inside = (k for k in range(start, i + 1) if not self.scale.to(self.at(k)) > incident.limit)
        return next(inside, -1)

    def _stays_out(self, incident: _Open, n: int, lengths: _Lengths) -> bool:
        """Whether an incident that is open after n losses had the time that its run can give, a quarter of it, and would
        end its decision window above `fullRatio` did it go on as since its middle."""
        count = max(3, lengths.recovery)
        half = (n - incident.onset - count) // 2
        if half < 1 or n - incident.onset < _OPEN_SHARE * n:
            return False
        level = self.scale.to(self._level(n, count))
        fall = max(0.0, self.scale.to(self._level(n - half, count)) - level) / half
        end = level - fall * (incident.trigger + lengths.decision - n)
        return end > self.scale.above(incident.center, SETTINGS["fullRatio"], incident.spread)

    def finish(self, count: int, lengths: _Lengths) -> None:
        """The run ends after `count` losses: what becomes of an incident that is open."""
        incident = self.open
        if incident is None:
            if self.settled_at == count > 0 and not math.isfinite(self.scale.to(self.at(count - 1))):
                self.incidents[-1] = self.incidents[-1]._replace(kind="non-finite")
            return
        scale, recovery, in_band = self.scale, lengths.recovery, incident.in_band
        # Where the log ends, a quarter of the recovery is enough: else one spike near the end leaves every run open.
        fewer = max(min(recovery, 3), math.ceil(recovery / 4))
        at_last = in_band >= fewer and not scale.to(self._level(count, in_band)) > incident.level_limit
        stays = incident.back >= 0 and not scale.to(self._level(count, fewer)) > incident.level_limit
        back = at_last or stays
        recovered = min(count - in_band if at_last else count, count if incident.back < 0 else incident.back)
        long = self._stays_out(incident, count, lengths)
        ratio = SETTINGS["fullRatioShort" if count < _SHORT_RUN else "fullRatio" if long else "fullRatioAtEnd"]
        gone = scale.to(self._level(count, max(3, recovery))) > scale.above(incident.center, ratio, incident.spread)
        kind = (
            "non-finite"
            if incident.last_finite < count - 1
            else "full-divergence"
            if incident.lost
            else "micro-divergence"
            if back
            else "full-divergence"
            if gone
            else "inconclusive"
        )
        self._close(kind, recovered if back else None, count, lengths)


def _larger(a: float, b: float) -> float:
    """The larger of two, NaN if one is."""
    return _NAN if math.isnan(a) or math.isnan(b) else max(a, b)


def _noise(values: Sequence[float], to: Callable[[float], float]) -> float:
    """Scale of the noise of losses that may also have a trend: that of the differences of neighbours, over √2."""
    pairs = min(len(values) - 1, 20_000)
    differences = []
    for k in range(pairs):
        i = k * (len(values) - 1) // pairs
        difference = to(values[i + 1]) - to(values[i])
        if math.isfinite(difference):
            differences.append(difference)
    center = _median(differences)
    return _spread([abs(difference - center) for difference in differences]) / math.sqrt(2)


def _climb(values: Sequence[float], scale: _Scale) -> Incident | None:
    """A climb: the smoothed loss ends far above its own best level, by more than noise explains, and does not fall."""
    s = SETTINGS
    places = [i for i, value in enumerate(values) if math.isfinite(value)]
    finite = [values[i] for i in places]
    n = len(finite)
    if n < max(s["minimumPoints"], s["windowStart"]):
        return None

    def level_of(start: int, end: int) -> float:
        return scale.to(_median(finite[start:end]))

    short = n < _SHORT_RUN
    size = 1 if short else n // 20
    noise = _noise(finite, scale.to)

    def tolerance(width: int) -> float:
        return s["driftScales"] * noise / math.sqrt(width)

    levels = []
    width = 1
    while width < size:
        levels.append((0, width))
        width *= 4
    # In a short run a level may be one loss, but one of many draws is far off by chance: three make one sooner.
    for width in (1, 3) if short else (size,):
        levels += [(start, start + width) for start in range(n % width, n, width)]
    judged = [(start, end, level_of(start, end)) for start, end in levels]
    last = level_of(n - max(size, 3), n)
    best_start, _, best = judged[-1]
    for start, end, level in judged:
        width = end - start
        least = s["driftPointScales"] * noise if size == 1 and width == 1 else tolerance(width)
        if level <= best and last - level > least:
            best_start, best = start, level
    if not last > scale.above(best, s["driftRatio"], noise):
        return None
    # On the way back: a third of the climb is regained within the last quarter.
    highest = max(level for _, _, level in judged[-5:])
    if highest - last > (highest - best) / 3:
        return None
    # Onset: where the sum of the excess over the edge of the band is lowest, the usual estimate of a change point.
    edge = max(scale.above(best, s["bandRatio"], noise), best + tolerance(size))
    total, lowest, onset = 0.0, _INF, n
    for k in range(best_start, n):
        total += min(scale.to(finite[k]) - edge, edge - best)
        if total <= lowest:
            lowest, onset = total, k + 1
    if onset >= n:
        return None
    # The level at the end is that of its last points: the climb to it began no later.
    onset = min(onset, n - max(size, 3))
    peak = max(range(onset, n), key=lambda k: (finite[k], -k))
    return Incident(
        kind="full-divergence" if last > scale.above(best, s["driftFullRatio"], noise) else "drift",
        form="climb",
        onset=places[onset],
        recovered=None,
        end=len(values),
        peak=places[peak],
        before=scale.back(best),
        high=scale.back(edge),
        after=scale.back(last),
        size=_size(finite[peak], best, noise, scale),
    )


def _above_level(
    kind: str,
    form: str,
    onset: int,
    recovered: int | None,
    values: Sequence[float],
    scale: _Scale,
    before: float,
    noise: float,
    after: float,
) -> Incident:
    """An incident above a level whose losses have that noise; levels and noise are on the scale."""
    s = SETTINGS
    end = len(values) if recovered is None else recovered
    peak = max(range(onset, end), key=lambda k: (values[k], -k))
    return Incident(
        kind=kind,
        form=form,
        onset=onset,
        recovered=recovered,
        end=end,
        peak=peak,
        before=scale.back(before),
        high=scale.back(max(before + s["bandScales"] * noise, scale.above(before, s["bandRatio"], noise))),
        after=scale.back(after),
        size=_size(values[peak], before, noise, scale),
    )


def _level_before(window: Sequence[float]) -> tuple[float, int, float]:
    """The level before a step, the number of losses that it is of, and their noise: src/judge/incidents/step.ts says how."""
    middle = len(window) >> 1
    newer = _median(window[middle:])
    slope = min(0.0, (newer - _median(window[:middle])) / middle)
    center = _median(window)
    squares = sum((one - center - slope * (k - (len(window) - 1) / 2)) ** 2 for k, one in enumerate(window))
    noise = math.sqrt(squares / len(window))
    if -slope * len(window) > _FALL * noise:
        return newer, len(window) - middle, noise
    return center, len(window), noise


def _step(values: Sequence[float], scale: _Scale, lengths: _Lengths, jump: Incident | None) -> Incident | None:
    """A level that rose and stays up, of a loss so noisy that few points do not show it: src/judge/incidents/step.ts says how."""
    if scale is not _LOG:
        return None
    s = SETTINGS
    n, y = len(values), [scale.to(value) for value in values]
    neighbours = _noise(values, scale.to)

    def points_of(start: int, end: int) -> list[float]:
        stride = -(-(end - start) // _LOOKED_AT)
        return y[start : start + (end - start) // stride * stride : stride]

    block = max(_LEAST_BLOCK, n // 20)
    ends = itertools.takewhile(lambda end: end - block >= (1 - _OPEN_SHARE) * n, itertools.count(n, -block))
    blocks = [_median(points_of(end - block, end)) for end in ends]
    regained = max(blocks, default=0.0) - (blocks[0] if blocks else 0.0)

    def clearest(count: int, places: Sequence[int], least: float) -> tuple[int, float, float, float] | None:
        found = None
        last = points_of(n - count, n)
        level = _median(last)
        # A loss that comes down slowly may have come down by now.
        now = _median(last[len(last) >> 1 :])
        spread = MEDIAN_TO_SIGMA * _median([abs(one - level) for one in last])
        for place in places:
            start = max(0, place - lengths.size)
            before, points, own = _level_before(points_of(start, place))
            if not min(level, now) > scale.above(before, s["driftRatio"], 0):
                continue
            noise = max(neighbours, spread, own)
            if regained > (level - before) / 3 + _BY_CHANCE * noise * math.sqrt(2 / block):
                continue
            error = noise * math.sqrt(1 / len(last) + 1 / points)
            errors = (level - before) / error if error > 0 else _INF
            if errors > least:
                found, least = (start, before, level, noise), errors
        return found

    first = max(lengths.grace, lengths.start, _NARROWEST)
    count = min(lengths.decision, int(_OPEN_SHARE * n))
    found = None
    if count >= _NARROWEST:
        found = clearest(count, range(n - count, first - 1, -max(1, n // _PLACES)), s["driftScales"])
    known = None
    if found is None and jump is not None and jump.recovered is not None and jump.onset >= _NARROWEST:
        since = min(count, n - jump.recovered)
        if since >= _NARROWEST:
            found, known = clearest(since, [jump.onset], _KNOWN_PLACE * s["driftScales"]), jump.onset
    if found is None:
        return None
    start, before, level, noise = found
    onset = known
    if onset is None:
        onset = start + _stretch_above([min(one, level) for one in y[start:]], (before + level) / 2)[0]
    kind = "full-divergence" if level > scale.above(before, s["driftFullRatio"], noise) else "drift"
    return _above_level(kind, "climb", onset, None, values, scale, before, noise, level)


def _with_step(
    step: Incident, found: list[Incident], values: Sequence[float], scale: _Scale, lengths: _Lengths
) -> list[Incident]:
    """Incidents with a step: a jump that was taken for back on it is its beginning, what else lies on it a part of it."""
    s = SETTINGS
    found = sorted(found, key=lambda one: one.onset)
    earlier = list(itertools.takewhile(lambda one: one.end < step.onset, found))
    jump = found[len(earlier)] if len(earlier) < len(found) else None
    if jump is None or jump.onset > step.onset + lengths.recovery:
        return [*earlier, step]
    n = len(values)
    onset = min(jump.onset, step.onset)
    peak = max(range(onset, n), key=lambda k: (values[k], -k))
    before, after = scale.to(step.before), scale.to(step.after)
    lost = after > scale.above(before, s["fullRatioShort" if n < _SHORT_RUN else "fullRatio"], 0)
    still_open = n >= _SHORT_RUN and n - onset < min(lengths.decision, _OPEN_SHARE * n)
    kind = "inconclusive" if still_open else "full-divergence" if lost else step.kind
    return [
        *earlier,
        step._replace(kind=kind, form="jump", onset=onset, peak=peak, size=_size(values[peak], before, 0, scale)),
    ]


def _stretch_above(values: Sequence[float], level: float) -> tuple[int, int]:
    """Where values lie above a level for longest: the range whose sum above it is largest; 0 and 0 where none is above it."""
    best, most = (0, 0), 0.0
    total, start = 0.0, 0
    for k, value in enumerate(values):
        total += value - level
        if total > most:
            best, most = (start, k + 1), total
        if total < 0:
            total, start = 0.0, k + 1
    return best


def _swell(values: Sequence[float], scale: _Scale, lengths: _Lengths) -> Incident | None:
    """A rise of the level that passes, of a loss so noisy that no point leaves its band: src/judge/incidents/swell.ts says how."""
    if scale is not _LOG:
        return None
    s = SETTINGS
    n, y = len(values), [scale.to(value) for value in values]
    neighbours = _noise(values, scale.to)
    found: tuple[int, float, float, float] | None = None
    errors = float(s["stepErrors"])
    width = max(_NARROWEST, int(_NARROWEST_SHARE * n))
    while width <= _WIDEST_SHARE * n:
        for at in range(max(lengths.grace, lengths.start), n - width + 1, width >> 2):
            stride = -(-width // _LOOKED_AT)
            points = y[at : at + width // stride * stride : stride]
            level = _median(points)
            window = y[max(0, at - lengths.size) : at]
            before = _median(window)
            if not level > scale.above(before, s["fullRatio"], 0):
                continue
            noise = max(neighbours, math.sqrt(sum((one - before) ** 2 for one in window) / len(window)))
            error = noise * math.sqrt(1 / len(points) + 1 / len(window))
            apart = (level - before) / error if error > 0 else _INF
            if apart > errors and level - before <= _HIDDEN_SCALES * neighbours:
                found, errors = (at, before, level, noise), apart
        width *= 2
    if found is None:
        return None
    at, before, level, noise = found
    origin = max(0, at - lengths.size)
    start, over = _stretch_above([min(one, level) for one in y[origin:]], (before + level) / 2)
    onset, over = origin + start, origin + over
    width = max(3, lengths.recovery)
    if n - over < width:
        return None
    usual = scale.above(before, s["driftRatio"], noise)
    back = (k for k in range(over, n - width + 1) if not _median(y[k : k + width]) > usual)
    recovered = next(back, None)
    end = n if recovered is None else recovered
    kind, after = "drift" if recovered is None else "micro-divergence", _median(y[end - width : end])
    return _above_level(kind, "swell", onset, recovered, values, scale, before, noise, after)


def _size(peak: float, center: float, noise: float, scale: _Scale) -> float:
    """How many times the level before a peak is."""
    return scale.ratio_of(center, scale.to(peak), noise) if math.isfinite(peak) else _INF


def _level_between(values: Sequence[float], start: int, end: int) -> float:
    """The median of some losses, of which those that are not finite count as above all."""
    return _median([x if math.isfinite(x) else _INF for x in values[start:end]])


def _burst(values: Sequence[float], scale: _Scale, lengths: _Lengths) -> Incident | None:
    """A loss that bursts as it starts and comes back, before it has a band: src/judge/incidents/burst.ts says how."""
    n = len(values)
    if scale is not _LOG or n == 0:
        return None
    first = values[0]
    high = SETTINGS["incidentRatio"] * first
    until = min(n, max(lengths.grace, lengths.start))
    onset = next((k for k in range(1, until) if values[k] > SETTINGS["fullRatio"] * first), None)
    if onset is None:
        return None
    width = max(3, lengths.recovery)

    def level_from(k: int) -> float:
        return _level_between(values, k, k + width)

    def back(k: int) -> bool:
        return values[k] <= high and level_from(k) <= high

    recovered = next((k for k in range(onset, n - width + 1) if back(k)), None)
    if recovered is None or not all(math.isfinite(x) for x in values[onset:recovered]):
        return None
    peak = max(range(onset, recovered), key=lambda k: (values[k], -k))
    above = sum(x >= _BURST / 10 * first for x in values[onset:recovered])
    if values[peak] < _BURST * first or above < _BURST_POINTS:
        return None
    return Incident(
        kind="micro-divergence",
        form="rise",
        onset=onset,
        recovered=recovered,
        end=recovered,
        peak=peak,
        before=first,
        high=high,
        after=level_from(recovered),
        size=values[peak] / first,
    )


class _FirstLevel(NamedTuple):
    """Where a loss began, on the scale: its level, the noise of the first points, and the highest that a point of that level is."""

    level: float
    noise: float
    edge: float


def _first_level(values: Sequence[float], scale: _Scale) -> _FirstLevel:
    """The lowest median of three and more of the first losses, so that one that rises at the third is not its own beginning."""
    count = int(max(5, min(SETTINGS["windowStart"], len(values) // 8)))
    first: list[float] = []
    for value in values:
        y = scale.to(value)
        if math.isfinite(y):
            first.append(y)
            if len(first) == count:
                break
    level = min((_median(first[:k]) for k in range(_FIRST_POINTS, len(first) + 1)), default=_NAN)
    noise = _noise(first, lambda y: y)
    return _FirstLevel(level, noise, scale.above(level, SETTINGS["incidentRatio"], noise))


def _from_first_level(one: Incident, values: Sequence[float], scale: _Scale, first: _FirstLevel) -> Incident:
    """An incident that no band saw coming begins where the loss left twice its first level."""
    if not math.isnan(one.before) or math.isnan(first.edge):
        return one
    doubled = scale.back(scale.above(first.level, SETTINGS["fullRatio"], first.noise))
    onset = one.onset
    while onset > 0 and values[onset - 1] > doubled:
        onset -= 1
    return one._replace(onset=onset)


def _rise(values: Sequence[float], scale: _Scale, first: _FirstLevel, lengths: _Lengths) -> Incident | None:
    """A rise over the first level before there is a band, that lasts for the decision window."""
    s = SETTINGS
    n, recovery = len(values), lengths.recovery
    if n < s["minimumPoints"]:
        return None

    def above(ratio: float) -> float:
        return scale.back(scale.above(first.level, ratio, first.noise))

    def level_at(end: int) -> float:
        return _level_between(values, end - max(3, recovery), end)

    highest = scale.back(first.edge)
    risen = _larger(above(s["driftRatio"]), scale.back(first.level + s["driftScales"] * first.noise))
    until = min(n, max(lengths.grace, lengths.start))
    onset = _FIRST_POINTS - 1
    while onset < until and not values[onset] > risen:
        onset += 1
    while onset > 1 and values[min(onset, n) - 1] > highest:
        onset -= 1
    deadline = min(n, onset + lengths.decision)
    if not onset < until or deadline - onset < s["minimumPoints"]:
        return None
    low = sum(values[i] <= highest for i in range(onset, deadline))
    if low > (1 - _RISE_SHARE) * (deadline - onset) or not level_at(deadline) > risen:
        return None
    last = level_at(n)
    lost = above(s["fullRatioShort" if n < _SHORT_RUN else "fullRatio"])
    recovered: int | None = None
    if not last > risen:
        if not level_at(deadline) > above(s["fullRatio"]):
            return None
        back = (i for i in range(deadline, n) if level_at(min(n, i + recovery)) <= highest)
        recovered = next(back, None)
    end = n if recovered is None else recovered
    peak = max(range(onset, end), key=lambda k: (values[k], -k))
    return Incident(
        kind="micro-divergence" if not last > risen else "full-divergence" if last > lost else "drift",
        form="rise",
        onset=onset,
        recovered=recovered,
        end=end,
        peak=peak,
        before=scale.back(first.level),
        high=highest,
        after=level_at(end),
        size=_size(values[peak], first.level, first.noise, scale),
    )

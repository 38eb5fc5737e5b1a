"""When a recorder writes a capture: what it watches beside the judge of single losses.

`Judge` compares each loss with the band of those before it, so it is as sensitive as single losses allow. A jump that
lasts shows in medians of several losses long before it shows in one of them; a rate that is far too large shows before
there is a band; and a net that learns nothing never shows in it at all.
"""

from __future__ import annotations

import collections
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from .captures import Array, words
from .judge import Judge, _line_scale, _median

#: Losses in a median: a short block sees a jump early, a long one sees a small jump.
BLOCKS = (5, 10)
#: Blocks that a new one is compared with: at least, at most.
LEAST_BLOCKS, MOST_BLOCKS = 8, 20
#: A block is an incident this many robust scales above the others, and this many times their level.
SCALES, RATIO = 7.0, 1.5
#: The least scale of block medians on the logarithm: a loss that hardly moves has one near zero.
LEAST_SCALE = 0.02
#: Before there is a band a loss is an incident this many times above the largest of the first ones.
EARLY_RATIO, EARLY_LOSSES = 20.0, 60
#: After so many losses a net has learnt, or a capture of its first steps is written.
LEARNS_WITHIN = 500
#: Standard errors that the newest losses are below the first ones where something was learnt.
LEARNT_ERRORS = 3.0
#: The file in a recorder's folder that asks for a capture, and seconds between two looks for it.
REQUEST, LOOKED_EVERY = "capture-now", 2.0


class Blocks:
    """Medians of `size` losses each, compared with those before them; `add` returns why one of them is an incident.

    Losses are compared by their logarithms as long as all are positive, and by their values from the first one that is not.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._newest: list[float] = []
        self._medians: collections.deque[float] = collections.deque(maxlen=MOST_BLOCKS)
        self._logarithm = True
        self._open = False

    def add(self, loss: float) -> str | None:
        """Takes the newest loss; one that is not finite counts for the judge alone."""
        if not math.isfinite(loss):
            return None
        if self._logarithm and loss <= 0:
            self._logarithm, self._open = False, False
            self._newest.clear()
            self._medians.clear()
        self._newest.append(math.log(loss) if self._logarithm else loss)
        if len(self._newest) < self.size:
            return None
        median = _median(self._newest)
        self._newest.clear()
        return self._compare(median)

    def _compare(self, median: float) -> str | None:
        if len(self._medians) < LEAST_BLOCKS:
            self._medians.append(median)
            return None
        before = list(self._medians)
        center, scale = _median(before), _line_scale(before)
        if self._logarithm:
            scale = max(scale, LEAST_SCALE)
        limit = center + SCALES * scale
        if self._logarithm:
            limit = max(limit, center + math.log(RATIO))
        if scale <= 0 or median <= limit:
            # A block of an incident that goes on is no part of what is usual.
            if not self._open or median <= center + (limit - center) / 2:
                self._open = False
                self._medians.append(median)
            return None
        if self._open:
            return None
        self._open = True
        now, then = (math.exp(median), math.exp(center)) if self._logarithm else (median, center)
        return f"the median of {self.size} losses is {now:.6g} after {then:.6g}"


class Early:
    """Losses that explode before there is a band to compare them with."""

    def __init__(self) -> None:
        self._losses = 0
        self._largest = 0.0

    def add(self, loss: float) -> str | None:
        """Takes the newest loss; the reason where it is far above all of the first ones, once."""
        if self._losses >= EARLY_LOSSES or not math.isfinite(loss):
            return None
        self._losses += 1
        largest, self._largest = self._largest, max(self._largest, abs(loss))
        if self._losses > 1 and loss > EARLY_RATIO * largest > 0:
            self._losses = EARLY_LOSSES
            return f"loss {loss:.6g} after at most {largest:.6g} in the first steps"
        return None


class Learning:
    """Whether the loss has fallen since the start: the newest tenth is LEARNT_ERRORS standard errors below the first level.

    steps  how many the training takes in all, where that is known
    """

    def __init__(self, steps: int | None = None) -> None:
        self.limit = max(LEARNS_WITHIN, (steps or 0) // 10)
        self._first: list[float] = []
        self._newest: collections.deque[float] = collections.deque(maxlen=max(50, self.limit // 10))
        self._count = 0
        #: None until it is known.
        self.learnt: bool | None = None

    def add(self, loss: float) -> str | None:
        """Takes the newest loss; the reason where nothing was learnt within the limit, once."""
        self._count += 1
        if self.learnt is not None or not math.isfinite(loss):
            return None
        if len(self._first) < 10:
            self._first.append(loss)
            return None
        self._newest.append(loss)
        full = len(self._newest) == self._newest.maxlen
        if full and self._count % 25 == 0 and self._fell():
            self.learnt = True
        if self.learnt is None and self._count >= self.limit and full:
            self.learnt = False
            now, then = (sum(values) / len(values) for values in (self._newest, self._first))
            return f"nothing was learnt in {self._count} steps: the loss is {now:.4g}, and was {then:.4g} at first"
        return None

    def _fell(self) -> bool:
        first, newest = np.asarray(self._first), np.asarray(self._newest)
        # Means of blocks of five hold what neighbouring losses have in common.
        blocks = newest[: len(newest) // 5 * 5].reshape(-1, 5).mean(1)
        error = math.hypot(blocks.std(ddof=1) / math.sqrt(len(blocks)), first.std(ddof=1) / math.sqrt(len(first)))
        return bool(newest.mean() < first.mean() - LEARNT_ERRORS * error)


class Watch:
    """All that losses tell: `add` returns why an incident begins at the newest one, or None."""

    def __init__(self, steps: int | None = None) -> None:
        self._judge = Judge()
        self._early = Early()
        self._blocks = [Blocks(size) for size in BLOCKS]
        self._learning = Learning(steps)
        #: Whether the newest reason is that nothing was learnt.
        self.nothing_learnt = False

    @property
    def learnt(self) -> bool | None:
        """Whether the loss has fallen since the start; None as long as that is not known."""
        return self._learning.learnt

    def add(self, loss: float) -> str | None:
        """Takes the newest loss."""
        judged = self._judge.add(loss)
        early = self._early.add(loss)
        lasting = [reason for reason in [blocks.add(loss) for blocks in self._blocks] if reason is not None]
        nothing = self._learning.add(loss)
        # What the judge has open was said when it began.
        known = self._judge.onset is not None
        reason = judged or early or (None if known or not lasting else lasting[0])
        self.nothing_learnt = reason is None and nothing is not None
        return reason or nothing


def not_finite(tensors: Mapping[str, Array] | Iterable[tuple[str, Array]], prefixes: Sequence[str]) -> list[str]:
    """Names of tensors in main memory, of those that begin so, that hold a NaN or an infinity."""
    pairs = tensors.items() if isinstance(tensors, Mapping) else tensors
    return [name for name, array in pairs if name.startswith(tuple(prefixes)) and not _finite(array)]


def _finite(array: Array) -> bool:
    dtype, values = words(array)
    if dtype == "BF16":
        return not bool(((values.view("<u2") & 0x7F80) == 0x7F80).any())
    if values.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        if values.dtype.itemsize > 2 and values.flags.c_contiguous:
            flat = values.reshape(-1)
            # The sum of squares is many times faster than a look at each entry; where it overflows, that decides.
            if math.isfinite(float(np.dot(flat, flat))):
                return True
        return bool(np.isfinite(values).all())


def asked_by_file(folder: Path) -> bool:
    """Whether somebody put the file REQUEST into the folder; it is taken away. Never raises."""
    try:
        os.unlink(folder / REQUEST)
    except (OSError, ValueError):
        return False
    return True

"""When a recorder writes a capture: what it watches in addition to the judge of single losses.

`Judge` sees a loss that leaves its band and a level that rises. A rate that is far too large shows before there is a band,
and a net that learns nothing never shows in either.
"""

from __future__ import annotations

import collections
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .captures import Array, numbers_of, words
from .judge import Judge
from .ledger_steps import norm_of, squares_of

#: Before there is a band a loss is an incident this many times above the largest of the first ones.
EARLY_RATIO, EARLY_LOSSES = 20.0, 60
#: After so many losses a net has learnt, or a capture of its first steps is written.
LEARNS_WITHIN = 500
#: Standard errors that the newest losses are below the first ones where something was learnt.
LEARNT_ERRORS = 3.0
#: Norms of the gradient that make a level, newest ones that have to lie outside of all of these, and times the level that
#: their median is at least; and the share within which the level before was the same.
LEVEL, NEWEST, TIMES, SAME = 50, 5, 1.8, 0.5
#: The file in a recorder's folder that asks for a capture, and seconds between two looks for it.
REQUEST, LOOKED_EVERY = "capture-now", 2.0


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


class Norms:
    """Whether the norm of the gradient is several times as large, or as small, from one step on, which a loss need not show: a
    model in evaluation mode, gradients that are summed where they were averaged."""

    def __init__(self) -> None:
        self._held: collections.deque[float] = collections.deque(maxlen=2 * LEVEL + NEWEST)
        self._told = False

    def add(self, norm: float) -> str | None:
        """Takes the newest norm; the reason where it has changed, once."""
        if self._told or not math.isfinite(norm):
            return None
        self._held.append(norm)
        if len(self._held) < 2 * LEVEL + NEWEST:
            return None
        held = self._held
        newest = [held[k] for k in range(-NEWEST, 0)]
        # As a rule the norm before these is between the smallest and the largest of them already.
        low, high = min(newest), max(newest)
        if low <= held[-NEWEST - 1] <= high:
            return None
        all_held = list(held)
        earlier, before = all_held[:LEVEL], all_held[LEVEL:-NEWEST]
        if low <= max(before) and high >= min(before):
            return None
        then, level, now = (statistics.median(part) for part in (earlier, before, newest))
        if max(level, now) < TIMES * min(level, now) or abs(then - level) > SAME * level:
            return None
        self._told = True
        return f"the norm of the gradient is {now:.4g} in the last {NEWEST} steps, and was {level:.4g}"


class Verdict(NamedTuple):
    """What the losses up to one of them tell."""

    #: Why an incident begins at it, or None.
    reason: str | None
    #: Whether the reason is that nothing was learnt.
    nothing_learnt: bool
    #: Whether the loss has fallen since the start; None as long as that is not known.
    learnt: bool | None


class Watch:
    """All that losses tell: what they do up to the newest is what `add` returns."""

    def __init__(self, steps: int | None = None) -> None:
        self._judge = Judge()
        self._early = Early()
        self._learning = Learning(steps)

    def add(self, loss: float) -> Verdict:
        """Takes the newest loss."""
        judged = self._judge.add(loss)
        early = self._early.add(loss)
        nothing = self._learning.add(loss)
        reason = judged or early
        return Verdict(reason or nothing, reason is None and nothing is not None, self._learning.learnt)


def gradient_norm(tensors: Mapping[str, Array]) -> float:
    """Euclidean norm of all tensors in main memory that are called `grad/<name>`."""
    squares = 0.0
    for name, array in tensors.items():
        if name.startswith("grad/"):
            squares += squares_of(numbers_of(*words(array)))
    return math.sqrt(squares)


def not_finite(tensors: Mapping[str, Array] | Iterable[tuple[str, Array]], prefixes: Sequence[str]) -> list[str]:
    """Names of tensors in main memory, of those that begin so, that hold a NaN or an infinity."""
    pairs = tensors.items() if isinstance(tensors, Mapping) else tensors
    named = [(name, array) for name, array in pairs if name.startswith(tuple(prefixes))]
    plain = [array for _, array in named if isinstance(array, np.ndarray) and array.dtype == np.float32]
    # As a rule all are finite, and one norm of all shows it.
    if len(plain) == len(named) and math.isfinite(norm_of(plain)):
        return []
    return [name for name, array in named if not _finite(array)]


def _finite(array: Array) -> bool:
    dtype, values = words(array)
    if dtype == "BF16":
        return not bool(((values.view("<u2") & 0x7F80) == 0x7F80).any())
    if values.dtype.kind != "f":
        return True
    # The sum of squares is many times faster than a look at each entry; where it overflows, that decides.
    if values.dtype.itemsize > 2 and values.flags.c_contiguous and math.isfinite(squares_of(values)):
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values).all())


def asked_by_file(folder: Path) -> bool:
    """Whether somebody put the file REQUEST into the folder; it is taken away. Never raises."""
    try:
        os.unlink(folder / REQUEST)
    except (OSError, ValueError):
        return False
    return True

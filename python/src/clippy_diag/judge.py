"""When a loss leaves its band, step by step: what starts a capture."""

from __future__ import annotations

import collections
import math

import numpy as np

#: The band is that of so many losses, from so many on; a jump is above their median by so many robust scales and by this ratio.
WINDOW, START, SCALES, RATIO = 50, 20, 8, 1.25


class Judge:
    """Losses in order, one `add` a step."""

    def __init__(self) -> None:
        self._before: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._up = False

    def add(self, step: int, loss: float) -> str | None:
        """Why an incident begins at this step, or None: the loss is not finite, or above the median of those before by 8
        robust scales (1.4826 MAD of the log) and by 25 %. A loss that is still up begins no other."""
        reason = self._jump(loss)
        self._before.append(loss)
        was_up, self._up = self._up, reason is not None
        return None if was_up else reason

    def _jump(self, loss: float) -> str | None:
        if not math.isfinite(loss):
            return f"loss is {loss}"
        before = np.array([value for value in self._before if math.isfinite(value)])
        if len(before) < START:
            return None
        # Losses that can be negative are taken as they are.
        form = np.log if loss > 0 and before.min() > 0 else np.asarray
        median = np.median(before)
        scale = 1.4826 * np.median(np.abs(form(before) - form(median)))
        if form(loss) - form(median) > SCALES * scale and loss - median > (RATIO - 1) * abs(median):
            return f"loss {loss:.6g} after a median of {median:.6g}"
        return None

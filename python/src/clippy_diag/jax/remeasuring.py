"""Loss and gradient of recorded batches by the caller's own loss function of JAX (`clippy_diag.remeasuring`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..captures import Capture
from ..remeasuring import Arrays, Measured, Remeasurer
from .closed_loop import LossFn, _OptaxTrainer
from .recorder import named_leaves


@contextlib.contextmanager
def remeasurer_of(capture: Capture, model: Any, loss_fn: LossFn) -> Iterator[Remeasurer]:
    """`model` is a tree of the structure and types of the trained parameters, `loss_fn(params, batch)` gives the loss."""
    yield _Again(capture, loss_fn, model, lambda rate: None)


class _Again(_OptaxTrainer):
    computes: str | None = None

    def measured(
        self, index: int, weights: Arrays, batch_of: int | None = None, evaluation: bool = False, draw: int = 0
    ) -> Measured:
        """As `Remeasurer` has it; a function of parameters and batch has no mode."""
        entry = self.capture.steps[index if batch_of is None else batch_of]
        loss, slopes = self._loss_and_slopes(self._tree(weights), entry)
        return Measured(float(loss), {name: np.array(leaf, np.float64) for name, leaf in named_leaves(slopes).items()})

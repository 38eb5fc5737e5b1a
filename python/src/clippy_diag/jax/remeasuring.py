"""Loss and gradient of recorded batches by the caller's own loss function of JAX (`clippy_diag.remeasuring`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..captures import Capture
from ..loops import called_loss
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
        batch = self._batch(entry)
        slopes: Any = None

        def value_of(tree: Any, of_step: Any) -> Any:
            nonlocal slopes
            loss, slopes = self.value_and_gradient(tree, of_step)
            return loss

        loss = called_loss(value_of, (self._tree(weights), batch), entry["step"], batch)
        return Measured(float(loss), {name: np.array(leaf, np.float64) for name, leaf in named_leaves(slopes).items()})

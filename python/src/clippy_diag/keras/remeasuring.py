"""Loss and gradient of recorded batches in the caller's own model of Keras (`clippy_diag.remeasuring`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from ..captures import Capture
from ..remeasuring import Arrays, Measured, Remeasurer
from . import words as names
from .closed_loop import _Evaluated, _KerasTrainer

_TYPES = {"bfloat16": "BF16", "float16": "F16"}


@contextlib.contextmanager
def remeasurer_of(capture: Capture, model: Any, loss_fn: Callable[[Any, Any], Any]) -> Iterator[Remeasurer]:
    """Puts the recorded weights into the model; it is as before afterwards, random state included. Raises NotImplementedError on other
    backends than TensorFlow and PyTorch."""
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "torch"):
        raise NotImplementedError(
            f"clippy-diag: an audit with a model on the backend of {backend}; known are tensorflow and torch"
        )
    kept, random = [(variable, names.array_of(variable)) for variable in model.variables], names.random_state()
    try:
        yield _Again(capture, model, loss_fn, True, None)
    finally:
        names.put_back(kept, random)


class _Again(_KerasTrainer):
    @property
    def computes(self) -> str | None:
        """The narrowest type that the layers compute in."""
        return next((_TYPES[kind] for kind in names.compute_types(self.model) if kind in _TYPES), None)

    def measured(self, index: int, weights: Arrays, batch_of: int | None = None, evaluation: bool = False) -> Measured:
        """As `Remeasurer` has it."""
        entry = self.capture.steps[index if batch_of is None else batch_of]
        for spec, variable in self.parameters:
            variable.assign(weights[spec["name"]])
        for name, variable in self.others.items():
            if f"buffer/{name}" in self.initial:
                variable.assign(self.initial[f"buffer/{name}"])
        self._random(self.capture.steps[index])
        batch = self._batch(entry)
        self.called = _Evaluated(self.model) if evaluation else self.model
        # A graph holds the mode that it was traced in.
        work = self._loss_and_gradients
        loss, found = work(batch) if evaluation else self._in_graph(work, entry, batch)
        gradients = {name: np.asarray(g, np.float64) for name, g in self._arrays(found).items()}
        return Measured(float(np.asarray(names.array_of(loss))), gradients)

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
        yield _Again(capture, model, loss_fn)
    finally:
        names.put_back(kept, random)


class _Again(_KerasTrainer):
    def __init__(self, capture: Capture, model: Any, loss_fn: Callable[[Any, Any], Any]) -> None:
        super().__init__(capture, model, loss_fn, True, None)
        #: What is no weight, as before each step from the first on, as far as it is known.
        self._moved = [{n: self.initial.get(f"buffer/{n}", names.array_of(v)) for n, v in self.others.items()}]

    @property
    def computes(self) -> str | None:
        """The narrowest type that the layers compute in."""
        return next((_TYPES[kind] for kind in names.compute_types(self.model) if kind in _TYPES), None)

    def measured(
        self, index: int, weights: Arrays, batch_of: int | None = None, evaluation: bool = False, draw: int = 0
    ) -> Measured:
        """As `Remeasurer` has it."""
        entry = self.capture.steps[index if batch_of is None else batch_of]
        for spec, variable in self.parameters:
            variable.assign(weights[spec["name"]])
        self._put_others(index, draw)
        self._random(self.capture.steps[index])
        batch = self._batch(entry)
        self.called = _Evaluated(self.model) if evaluation else self.model
        # A graph holds the mode that it was traced in.
        work = self._loss_and_gradients
        loss, found = work(batch) if evaluation else self._in_graph(work, entry, batch)
        gradients = {name: np.asarray(g, np.float64) for name, g in self._arrays(found).items()}
        return Measured(float(np.asarray(names.array_of(loss))), gradients)

    def _put_others(self, index: int, draw: int) -> None:
        """Seeds, and what else follows the batches, as before a step: each forward pass moves them, and the capture holds them before its
        first step. `draw` passes more give other random numbers."""
        self.called = self.model
        while len(self._moved) <= index:
            self._assign(self._moved[-1])
            self._loss_of(self._batch(self.capture.steps[len(self._moved) - 1]))
            self._moved.append({name: np.array(names.array_of(v)) for name, v in self.others.items()})
        self._assign(self._moved[index])
        for _ in range(draw):
            self._loss_of(self._batch(self.capture.steps[index]))

    def _assign(self, values: dict[str, np.ndarray]) -> None:
        for name, value in values.items():
            self.others[name].assign(value)

"""The recording of a `fit` on the backend of JAX: what `JaxEars` hears goes to the `Steps` of the callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..recording import Skip
from . import words as names
from .jax_ears import Heard, values_of
from .recorder import Steps, Tensors


class JaxFit:
    """Takes the steps of a fit.

    every    updates between two snapshots; the optimizer's variables come to the host at these only
    batches  whether batches are kept
    tasks    gives the losses of the outputs of the batch before, from the metrics as they are
    """

    def __init__(
        self, steps: Steps, model: Any, every: int, batches: bool, tasks: Callable[[], dict[str, float]]
    ) -> None:
        self._steps, self._model, self._every, self._batches, self._tasks = steps, model, every, batches, tasks
        self.keeps_after = not steps.formula
        self._keys = list(steps.optimizer.get_config())
        self._step: int | None = None

    def due(self, count: Any, size: int) -> Any:
        """At a snapshot."""
        return count % self._every == 0

    def hear(self, heard: Heard) -> None:
        """Takes a step; never raises."""
        own = self._steps.own
        own.attempt(self._step, lambda: float(heard.loss), self._hear, heard)

    def _hear(self, heard: Heard) -> None:
        if self._step is None:
            if heard.state is None:
                return  # a training that goes on: the next snapshot is the first step
            self._step = int(heard.count)
        steps, own, loss = self._steps, self._steps.own, float(heard.loss)
        rate = float(heard.rate)
        leaves, tree = steps.flat(heard.data if self._batches else None)
        with names.given(values_of(self._model, heard), rate, self._keys):
            steps.look(leaves)
            own.begin(self._step, loss)
            tasks = self._tasks()
            if heard.scale is not None and not all(np.isfinite(np.asarray(one)).all() for one in heard.gradients):
                own.skip(Skip(self._step, loss, float(heard.scale), []))
            else:
                self._take(heard, loss, rate, leaves, tree, tasks)
        self._step += 1

    def _take(
        self, heard: Heard, loss: float, rate: float, leaves: dict[str, Any], tree: Any, tasks: dict[str, float]
    ) -> None:
        assert self._step is not None
        steps, own = self._steps, self._steps.own
        snapshot = heard.state is not None and int(heard.count) % self._every == 0 and not own.capturing
        kept = own.keep(*steps.sources()) if snapshot else None
        steps.records.look_at_modes()
        # The optimizer's variables are not seen right after a step: there is no checksum of them.
        moment = steps.records.begin(own.is_open) if heard.state is not None else {}
        tensors: Tensors = {}
        if own.gradients_due():
            for name, gradient in zip(steps.named(), heard.gradients):
                tensors[f"grad/{name}"] = names.plain(own.copied(np.asarray(gradient)))
            own.gradients_seen(tensors)
            if not steps.formula or own.parameters_due():
                tensors.update(steps.parameters("param"))
        with names.given(values_of(self._model, heard, after=True), rate, self._keys):
            if tensors and not steps.formula:
                tensors.update(steps.parameters("param-after"))
            steps.add({}, self._step, loss, rate, tensors, leaves, tree, kept, tasks, None, False, entry=moment)

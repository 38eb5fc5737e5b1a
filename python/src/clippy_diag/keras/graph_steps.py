"""Steps of an optimizer of Keras outside of a `fit`, on TensorFlow as graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


class GraphSteps:
    """`optimizer.apply`, on TensorFlow as a graph where it can be traced: each tensor's step is some twenty small operations,
    which take milliseconds in Python. Options that the optimizer keeps as Python's numbers are part of a graph, so others
    make another one; the learning rate is a variable."""

    def __init__(self, optimizer: Any, traces: bool = True) -> None:
        """traces   False for steps that run eagerly, as narrow types do: a graph keeps more digits between their operations."""
        self.optimizer = optimizer
        self._traces = traces and keras.backend.backend() == "tensorflow"
        self._graphs: dict[tuple[str, tuple[int, ...]], Any] = {}

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """One step.

        gradients  of each variable, None where there is none; of their shapes
        """
        pairs = [(g, variable) for g, variable in zip(gradients, variables) if g is not None]
        given, moved = [g for g, _ in pairs], [variable for _, variable in pairs]
        graph = self._graph_of(given, moved) if self._traces else None
        if graph is None:
            self.optimizer.apply(given, moved)
        else:
            graph(given)

    def _graph_of(self, given: list[Any], moved: list[Any]) -> Any:
        import tensorflow as tf

        options = {name: value for name, value in self.optimizer.get_config().items() if name != "learning_rate"}
        key = repr(options), tuple(map(id, moved))
        if key not in self._graphs:
            optimizer = self.optimizer
            graph = tf.function(lambda values: optimizer.apply(values, moved), reduce_retracing=True)
            try:
                graph.get_concrete_function(given)
            except Exception:
                # What cannot be traced says eagerly what is wrong with it.
                self._traces = False
                return None
            self._graphs[key] = graph
        return self._graphs[key]

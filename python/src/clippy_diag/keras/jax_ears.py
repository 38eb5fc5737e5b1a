"""The steps of `fit` on the backend of JAX, heard from inside of the compiled training step."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ..wrapped import Wrapped
from . import words as names


class Heard(NamedTuple):
    """One step, as arrays of the host: what there was before it, unless it says otherwise."""

    #: Updates of the optimizer before this one.
    count: Any
    loss: Any
    rate: Any
    #: Of the trainable variables, in order: without a loss scale, before clipping.
    gradients: list[Any]
    trained: list[Any]
    #: Variables that are not trained, before and after; random keys as their words.
    others: list[Any]
    others_after: list[Any]
    metrics_after: list[Any]
    #: What gradients were multiplied by; None without a LossScaleOptimizer.
    scale: Any
    #: None where nobody asked for it.
    data: Any
    trained_after: list[Any] | None
    #: The optimizer's variables; None where nobody's are due.
    state: list[Any] | None = None


class Listener(Protocol):
    """Who hears of each step."""

    #: Whether it takes the trainable variables from after each step too.
    keeps_after: bool

    def due(self, count: Any, size: int) -> Any:
        """Whether it takes the optimizer's variables at this step, as a part of the graph; `size`: parameters of the model."""

    def hear(self, heard: Heard) -> None:
        """Takes a step. May not raise: that would end the program."""


class JaxEars:
    """Wraps the training step of a model for its listeners, which may be added until it is traced.

    wants_data  whether batches go to the host
    """

    def __init__(self, model: Any, wrapped: Wrapped, wants_data: bool) -> None:
        self.listeners: list[Listener] = []
        self._model, self._wants_data = model, wants_data
        #: What is heard of the step that is being traced, and whether any step could be heard.
        self._part: dict[str, Any] = {}
        self.traced: bool | None = None
        optimizer = model.optimizer
        apply, metrics, step = optimizer.stateless_apply, model._update_metrics_variables, model.train_step

        def stateless_apply(variables: Any, gradients: Any, trained: Any) -> Any:
            self._part["gradients"] = list(gradients)
            return apply(variables, gradients, trained)

        def update_metrics(variables: Any, loss: Any, *arguments: Any) -> Any:
            self._part["loss"] = loss
            return metrics(variables, loss, *arguments)

        def train_step(state: Any, data: Any) -> Any:
            self._part = {}
            result = step(state, data)
            logs = result[0]
            if "loss" not in self._part and isinstance(logs, dict) and "loss" in logs:
                self._part["loss"] = logs["loss"]
            self.traced = len(self._part) == 2
            if self.traced:
                self._tell(state, data, result[1])
            return result

        wrapped.put(optimizer, "stateless_apply", stateless_apply)
        wrapped.put(model, "_update_metrics_variables", update_metrics)
        wrapped.put(model, "train_step", train_step)

    def _tell(self, before: Any, data: Any, after: Any) -> None:
        """Adds a report of this step to the graph, with the optimizer's variables only where they are due."""
        import jax

        trained, others, variables, _ = before
        optimizer = self._model.optimizer
        plain = names.inner(optimizer)
        places = {id(v): k for k, v in enumerate(optimizer.variables)}
        count = variables[places[id(plain._iterations)]]
        scale, gradients = getattr(optimizer, "dynamic_scale", None), self._part["gradients"]
        if scale is not None:
            scale = variables[places[id(scale)]]
            gradients = [gradient / scale for gradient in gradients]
        rate = plain._learning_rate
        heard = Heard(
            count,
            self._part["loss"],
            variables[places[id(rate)]] if id(rate) in places else rate(count),
            gradients,
            trained,
            _without_keys(others),
            _without_keys(after[1]),
            after[3],
            scale,
            data if self._wants_data else None,
            after[0] if any(one.keeps_after for one in self.listeners) else None,
        )
        size = sum(int(np.prod(one.shape)) for one in trained)
        due: Any = False
        for one in self.listeners:
            due = due | one.due(count, size)
        # Steps of one execution could arrive in any order.
        ordered = getattr(self._model, "steps_per_execution", 1) > 1
        jax.lax.cond(
            due,
            lambda: jax.debug.callback(self._hear, heard._replace(state=variables), ordered=ordered),
            lambda: jax.debug.callback(self._hear, heard, ordered=ordered),
        )

    def _hear(self, heard: Heard) -> None:
        for one in self.listeners:
            one.hear(heard)

    def wait(self) -> None:
        """Returns when all steps that were begun were heard."""
        import jax

        jax.effects_barrier()  # type: ignore[no-untyped-call]


def values_of(model: Any, heard: Heard, after: bool = False) -> dict[int, Any]:
    """Values of the model's variables and, before the step, of the optimizer's, by the ids of the variables."""
    trained = heard.trained_after if after else heard.trained
    found = dict(zip(map(id, model.non_trainable_variables), heard.others_after if after else heard.others))
    found.update(zip(map(id, model.trainable_variables), trained or ()))
    found.update(zip(map(id, model.metrics_variables), heard.metrics_after))
    if heard.state is not None and not after:
        found.update(zip(map(id, model.optimizer.variables), heard.state))
    found[id(names.inner(model.optimizer)._iterations)] = heard.count
    return {variable: np.asarray(value) for variable, value in found.items()}


def _without_keys(values: list[Any]) -> list[Any]:
    import jax

    return [jax.random.key_data(one) if str(one.dtype).startswith("key<") else one for one in values]

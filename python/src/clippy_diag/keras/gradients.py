"""Loss and gradients of a Keras model on every backend, as a graph where the backend has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from . import words as names


def compiled_loss(model: Any, batch: Any) -> Any:
    """The compiled loss of a batch as `train_step` gets it: (x, y) or (x, y, sample_weight)."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    return model.compute_loss(x=x, y=y, y_pred=model(x, training=True), sample_weight=weight)


def loss_scale(optimizer: Any) -> float:
    """What a LossScaleOptimizer divides its gradients by, 1 without one."""
    scale = getattr(optimizer, "dynamic_scale", None)
    return 1.0 if scale is None else float(np.asarray(names.array_of(scale)))


class Differentiated:
    """A model's loss and its gradients, in the order of its trainable variables. A forward pass moves what it moves in a training:
    BatchNorm's means and seeds.

    loss_fn  (model, batch) -> loss, a scalar
    traces   whether it runs as a graph, which keeps more digits between narrow operations than eager steps do
    """

    def __init__(self, model: Any, loss_fn: Callable[[Any, Any], Any], traces: bool = True) -> None:
        self.model, self.loss_fn = model, loss_fn
        self._trained = list(model.trainable_variables)
        self._others = names.others_of(model)
        self._backend = keras.backend.backend()
        self._traces = traces and self._backend in ("tensorflow", "jax")
        self._graphs: dict[str, Any] = {}

    def loss(self, batch: Any) -> float:
        """The loss of a batch. Raises TypeError where it is not one number."""
        if self._backend == "jax":
            value, others = self._traced("jax-loss", self._pure, *self._values(), batch)
            self._take(others)
        else:
            value = self._traced("loss", self._one_loss, batch)
        return float(np.asarray(names.array_of(value)))

    def loss_and_gradients(self, batch: Any) -> tuple[float, list[Any]]:
        """The loss of a batch and its gradients, None of a variable that it does not depend on."""
        if self._backend == "jax":
            import jax

            pure = jax.value_and_grad(self._pure, has_aux=True)
            (value, others), gradients = self._traced("jax-gradients", pure, *self._values(), batch)
            self._take(others)
        elif self._backend == "tensorflow":
            value, gradients = self._traced("gradients", self._of_tensorflow, batch)
        else:
            value, gradients = self._of_torch(batch)
        return float(np.asarray(names.array_of(value))), list(gradients)

    def _one_loss(self, batch: Any) -> Any:
        loss = self.loss_fn(self.model, batch)
        shape = tuple(getattr(loss, "shape", ("?",)))
        if shape not in ((), (1,)):
            raise TypeError(f"clippy-diag: loss_fn must return one number as a tensor, and returned {shape}")
        return keras.ops.reshape(loss, ())

    def _traced(self, name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """`work` as a graph; what cannot be traced runs step by step, and raises there what is wrong with it."""
        if self._traces:
            try:
                if name not in self._graphs:
                    self._graphs[name] = self._compiled(work)
                return self._graphs[name](*arguments)
            except Exception:
                self._traces = False
        return work(*arguments)

    def _compiled(self, work: Callable[..., Any]) -> Any:
        if self._backend == "jax":
            import jax

            return jax.jit(work)
        import tensorflow as tf

        return tf.function(work, reduce_retracing=True)

    # ---- the backends

    def _of_tensorflow(self, batch: Any) -> tuple[Any, list[Any]]:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self._one_loss(batch)
        found = tape.gradient(loss, [variable.value for variable in self._trained])
        return loss, [None if g is None else tf.convert_to_tensor(g) for g in found]

    def _of_torch(self, batch: Any) -> tuple[Any, list[Any]]:
        import torch

        loss = self._one_loss(batch)
        values = [variable.value for variable in self._trained]
        return loss.detach(), list(torch.autograd.grad(loss, values, allow_unused=True))

    def _values(self) -> tuple[list[Any], list[Any]]:
        return [variable.value for variable in self._trained], [variable.value for variable in self._others]

    def _pure(self, trained: list[Any], others: list[Any], batch: Any) -> tuple[Any, list[Any]]:
        """The loss as a function of the variables' values, with the values that the forward pass leaves."""
        mapping = list(zip([*self._trained, *self._others], [*trained, *others]))
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            loss = self._one_loss(batch)
        return loss, [scope.get_current_value(variable) for variable in self._others]

    def _take(self, others: list[Any]) -> None:
        for variable, value in zip(self._others, others):
            if value is not None:
                variable.assign(value)

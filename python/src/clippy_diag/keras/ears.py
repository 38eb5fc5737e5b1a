"""What the callback hears of a step, on the backends of PyTorch and TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import words as names


class TorchEars:
    """What is heard of a step, kept unchanged."""

    def __init__(self) -> None:
        self._inside = False
        self._variables: list[Any] = []
        self._gradients: list[np.ndarray] = []
        self._loss: Any = None
        self._count = 0
        self.scale_before = 1.0
        self.parts = False
        #: The batch of the step.
        self.data: Any = None
        #: Whether a step is only tried.
        self.deaf = False
        #: What a training function raises where no batch is left, as well as StopIteration.
        self.ends_of_data: tuple[type[BaseException], ...] = ()

    @contextlib.contextmanager
    def not_listening(self, model: Any) -> Iterator[None]:
        """What happens inside is not a step of the training: it is not heard, and the metrics are as before."""
        metrics = [(variable, names.array_of(variable)) for variable in model.metrics_variables]
        self.deaf = True
        try:
            with names.gradients_on():
                yield
        finally:
            self.deaf = False
            for variable, value in metrics:
                variable.assign(value)

    def train_step(self, inside: Callable[..., Any]) -> Callable[..., Any]:
        """The training step: `compute_loss` within it is the batch's loss; without one, what the step returns as loss."""

        def train_step(data: Any, *arguments: Any) -> Any:
            self._inside, self._heard, self.data = True, False, data
            try:
                result = inside(data, *arguments)
            finally:
                self._inside = False
            if not self._heard and isinstance(result, dict) and "loss" in result:
                self._keep_loss(result["loss"])
            return result

        return train_step

    def compute_loss(self, inside: Callable[..., Any]) -> Callable[..., Any]:
        """The loss of a batch."""

        def compute_loss(*arguments: Any, **options: Any) -> Any:
            loss = inside(*arguments, **options)
            if self._inside and not self.deaf:
                self._heard = True
                self._keep_loss(loss)
            return loss

        return compute_loss

    def apply(self, inside: Callable[..., Any]) -> Callable[..., Any]:
        """Which variables the gradients are of."""

        def apply(gradients: Any, variables: Any) -> Any:
            if not self.deaf:
                self._variables = list(variables)
            return inside(gradients, variables)

        return apply

    def clip(self, inside: Callable[..., Any]) -> Callable[..., Any]:
        """The gradients of a step: accumulated, without loss scale, before clipping."""

        def clip(gradients: Any) -> Any:
            if not self.deaf:
                self._keep_gradients(gradients)
            return inside(gradients)

        return clip

    def scope(self) -> Any:
        """Where variables are made."""
        return contextlib.nullcontext()

    def prepare(self, variables: Any) -> None:
        """Makes room for the gradients of these variables."""

    def _keep_loss(self, loss: Any) -> None:
        self._loss = loss

    def _keep_gradients(self, gradients: Any) -> None:
        # They are copied after the batch; a step may write to them before that.
        self._gradients = [names.array_of(gradient) for gradient in gradients]
        self._count += 1

    def loss(self) -> float:
        """Loss of the last batch."""
        return float(names.array_of(self._loss))

    def seen(self) -> int:
        """Steps that were taken so far."""
        return self._count

    def gradients(self) -> list[tuple[Any, np.ndarray]]:
        """Gradients of the last step, with their variables."""
        return list(zip(self._variables, self._gradients))

    def forget(self) -> None:
        """A batch begins: what was fetched of the one before is no longer so."""

    def scale(self, optimizer: Any) -> float:
        """The loss scale as it is now."""
        scale = getattr(optimizer, "dynamic_scale", None)
        return 1.0 if scale is None else float(names.array_of(scale))

    def skipped(self, optimizer: Any) -> bool:
        """Whether the loss scale fell at the last batch: its gradients overflowed."""
        return self.scale(optimizer) < self.scale_before


class TensorFlowEars(TorchEars):
    """The same in a graph: what is heard goes to variables, summed over replicas."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        import tensorflow

        self._tf = tensorflow
        self.ends_of_data = (tensorflow.errors.OutOfRangeError,)
        self._strategy = model.distribute_strategy
        self._slots: dict[int, Any] = {}
        #: Gradients that were fetched since the batch began, for the recording and the ledger.
        self._fetched: list[tuple[Any, np.ndarray]] | None = None
        self._loss_slot = self._variable((), "float32")
        self._count_slot = self._variable((), "int64", per_replica=False)

    def scope(self) -> Any:
        """The strategy's."""
        return self._strategy.scope()

    def prepare(self, variables: Any) -> None:
        """Variables for the gradients, made before the step is traced: a replica can make none."""
        for variable in variables:
            if id(variable) not in self._slots:
                self._slots[id(variable)] = (variable, self._variable(variable.shape, str(variable.dtype)))

    def _variable(self, shape: Any, dtype: Any, per_replica: bool = True) -> Any:
        tf = self._tf
        with tf.init_scope(), self._strategy.scope():
            return tf.Variable(
                tf.zeros(shape, dtype),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM if per_replica else tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    def _keep_loss(self, loss: Any) -> None:
        self._loss_slot.assign(self._tf.cast(self._tf.reshape(loss, ()), "float32"))

    def _keep_gradients(self, gradients: Any) -> None:
        tf = self._tf
        for variable, gradient in zip(self._variables, gradients):
            if isinstance(gradient, tf.IndexedSlices):
                self.parts = True
            whole = tf.convert_to_tensor(gradient)
            self.prepare([variable])
            self._slots[id(variable)][1].assign(whole)
        self._count_slot.assign_add(1)

    def loss(self) -> float:
        """Loss of the last batch, over all replicas."""
        return float(names.array_of(self._loss_slot))

    def seen(self) -> int:
        """Steps that were taken so far."""
        return int(names.array_of(self._count_slot))

    def gradients(self) -> list[tuple[Any, np.ndarray]]:
        """Gradients of the last step, with their variables, summed over replicas."""
        if self._fetched is None:
            self._fetched = [(variable, names.view_of(slot)) for variable, slot in self._slots.values()]
        return self._fetched

    def forget(self) -> None:
        """A view that is held keeps the slot from being written in place."""
        self._fetched = None

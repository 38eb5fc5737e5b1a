"""What the callback hears of a step, on the backends of PyTorch and TensorFlow."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..ledger_steps import norm_of
from . import words as names
from .step_records import acting_layers, moved_by

#: The member of a step's logs under which a graph returns what was heard.
HEARD = "clippy-diag"


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
        #: Whether the training function returned all of the last step, see `TensorFlowEars`.
        self.returned = False
        self._norm: float | None = None
        #: Whether steps that were returned can wait to be looked at. Those that lie on a GPU would take its memory.
        self.can_wait = False
        #: Whether a step that was traced could be heard; None where none was traced, or that is not known.
        self.traced: bool | None = None
        #: Counts the times that the step was traced: variables stay as they are until then.
        self.traces = 0

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

    def make_train_function(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Around the `make_train_function` of a model."""
        return make

    def weight_norm(self) -> float | None:
        """Norm of the weights before the last step; None where it was not heard."""
        return None

    def norm(self) -> float:
        """Norm of the gradients of the last step."""
        if self._norm is None:
            self._norm = norm_of(gradient for _, gradient in self.gradients())
        return self._norm

    def forget(self) -> None:
        """A batch begins: what was fetched of the one before is no longer so."""
        self._norm = None

    def scale(self, optimizer: Any) -> float:
        """The loss scale as it is now."""
        scale = getattr(optimizer, "dynamic_scale", None)
        return 1.0 if scale is None else float(names.array_of(scale))

    def skipped(self, optimizer: Any) -> bool:
        """Whether the loss scale fell at the last batch: its gradients overflowed."""
        return self.scale(optimizer) < self.scale_before


class ReturningEars(TorchEars):
    """The same in a graph. The training function returns what is heard together with its logs, so that nothing is copied and no
    variable is read.

    norms  whether the norm of the weights is returned too
    """

    def __init__(self, model: Any, norms: bool) -> None:
        super().__init__()
        self._model, self._norms = model, norms
        #: While a step is traced: what it will return.
        self._part: dict[str, Any] | None = None
        #: What the last step returned, None where it returned nothing.
        self._heard_of: Any = None
        #: Variables, by their ids, with the keys of what is returned of them: these say in which order they came.
        self._known: dict[int, tuple[str, Any]] = {}
        self._of_key: dict[str, Any] = {}
        #: Gradients that were looked at since the batch began, for the recording and the ledger.
        self._fetched: list[tuple[Any, np.ndarray]] | None = None

    # ---- the training function

    def _taking(self, logs: Any) -> Any:
        """What Keras gets of what a step returned."""
        self._heard_of = None
        if isinstance(logs, dict) and HEARD in logs:
            logs = dict(logs)
            self._heard_of = logs.pop(HEARD)
            self._count += "gradients" in self._heard_of
        self.returned = self._heard_of is not None and {"gradients", "loss"} <= self._heard_of.keys()
        return logs

    def _watched(self) -> list[Any]:
        """Variables that a forward pass moves, that say in which mode a layer was called, and seeds."""
        return [v for layer in acting_layers(self._model).values() for v in moved_by(layer)] + seeds_of(self._model)

    def _key(self, variable: Any) -> str:
        if id(variable) not in self._known:
            key = f"{len(self._known):06d}"
            self._known[id(variable)], self._of_key[key] = (key, variable), variable
        return self._known[id(variable)][0]

    # ---- after a step

    def taken(self) -> Any:
        """What was heard of the last step, for `listen_to`."""
        return self._heard_of, self._count

    def listen_to(self, taken: Any) -> None:
        """Has the last step be the one of which this was taken."""
        self.forget()
        (self._heard_of, self._count), self.returned = taken, True

    def values(self, moment: str) -> dict[int, Any]:
        """Values of the variables that a forward pass may move, `before` and `after` the last step, by the id of the variable."""
        return {id(self._of_key[key]): value for key, value in self._heard_of[moment].items()}

    def given(self, moment: str) -> contextlib.AbstractContextManager[None]:
        """Inside, these variables have these values."""
        return names.given(self.values(moment))

    def rate(self) -> float:
        """The learning rate that the last step was taken with."""
        return float(np.asarray(self._heard_of["rate"]))

    def weight_norm(self) -> float | None:
        """Norm of the weights before the last step; None where it was not heard."""
        if not self.returned or "weights" not in self._heard_of:
            return None
        return math.sqrt(float(np.asarray(self._heard_of["weights"])))

    def norm(self) -> float:
        """Norm of the gradients of the last step."""
        if self._norm is None and self.returned:
            self._norm = math.sqrt(float(np.asarray(self._heard_of["squares"])))
            if not math.isfinite(self._norm):  # float32 overflows where the norm does not
                self._norm = None
        return super().norm()

    def loss(self) -> float:
        """Loss of the last batch."""
        return float(np.asarray(self._heard_of["loss"]))

    def gradients(self) -> list[tuple[Any, np.ndarray]]:
        """Gradients of the last step, with their variables. They may be kept."""
        if self._fetched is None:
            found = self._heard_of["gradients"].items()
            self._fetched = [(self._of_key[key], np.asarray(gradient)) for key, gradient in found]
        return self._fetched

    def forget(self) -> None:
        """A view that is held keeps the memory from being written in place."""
        super().forget()
        self._fetched = None


class TensorFlowEars(ReturningEars):
    """The same on TensorFlow. What lies in a graph within that of the step, such as the branch of a loss scale, and what replicas
    hear goes to variables, summed over replicas."""

    def __init__(self, model: Any, norms: bool = False) -> None:
        super().__init__(model, norms)
        import tensorflow

        self._tf = tensorflow
        self.ends_of_data = (tensorflow.errors.OutOfRangeError,)
        self._strategy = model.distribute_strategy
        self._slots: dict[int, Any] = {}
        self._loss_slot = self._variable((), "float32")
        self._count_slot = self._variable((), "int64", per_replica=False)
        self._in_slots = 0
        #: The graph of the step that is traced.
        self._graph: Any = None
        # A training function of the user's own may look at what the step returns.
        maker = getattr(type(model).make_train_function, "__module__", "")
        self._returns = (
            "make_train_function" not in vars(model)
            and str(maker).startswith("keras.src.")
            and not model.run_eagerly
            and self._strategy.num_replicas_in_sync == 1
            and not tensorflow.distribute.has_strategy()
            and type(self._strategy).__name__ == "_DefaultDistributionStrategy"
        )
        self.can_wait = self._returns and not tensorflow.config.list_logical_devices("GPU")

    def scope(self) -> Any:
        """The strategy's."""
        return self._strategy.scope()

    def prepare(self, variables: Any) -> None:
        """Variables for the gradients, made before the step is traced: a replica can make none."""
        if not self._returns:
            self._prepare(variables)

    def _prepare(self, variables: Any) -> None:
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

    # ---- the training function

    def make_train_function(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Has the training function return what the step hears, of which Keras then gets nothing."""
        if not self._returns:
            return make
        model = self._model

        def make_train_function(force: bool = False) -> Any:
            before, step = model.train_function, model.train_step
            model.train_step = self._returning(step)
            try:
                result = make(force=force)
            finally:
                model.train_step = step
            inside = model.train_function
            if inside is not before or before is None:
                model.train_function = lambda iterator: self._taking(inside(iterator))
            return result

        return make_train_function

    def _returning(self, inside: Callable[..., Any]) -> Callable[..., Any]:
        def train_step(data: Any, *arguments: Any) -> Any:
            tf = self._tf
            if tf.executing_eagerly():
                return inside(data, *arguments)
            self.traces += 1
            self._graph = tf.compat.v1.get_default_graph()
            part: dict[str, Any] = {}
            with contextlib.suppress(Exception):  # what cannot be computed here is read after the step
                self._part = part = self._before()
            try:
                result = inside(data, *arguments)
            finally:
                self._part = None
            if isinstance(result, dict):
                with contextlib.suppress(Exception):
                    after = self._watched() + loss_means(self._model)
                    return {**result, HEARD: {**part, "after": self._values_of(after)}}
            self._to_slots(part)
            return result

        return train_step

    def _before(self) -> dict[str, Any]:
        """What there is before the step, as parts of its graph."""
        tf, optimizer = self._tf, names.inner(self._model.optimizer)
        part: dict[str, Any] = {"rate": tf.cast(tf.convert_to_tensor(optimizer.learning_rate), "float32")}
        part["before"] = self._values_of(self._watched())
        if self._norms:
            part["weights"] = self._squares([v.value for v in self._model.trainable_variables])
        return part

    def _squares(self, tensors: list[Any]) -> Any:
        """The sum of squares: of each tensor in its own op, which takes no memory, and of them all in float64."""
        tf = self._tf
        halves = [tf.cast(tf.nn.l2_loss(tf.cast(one, "float32")), "float64") for one in tensors]
        return 2 * tf.add_n(halves) if halves else tf.zeros((), "float64")

    def _values_of(self, variables: list[Any]) -> dict[str, Any]:
        return {self._key(v): self._tf.convert_to_tensor(v.value) for v in variables}

    def _here(self) -> bool:
        """Whether the step that is being traced can return what is computed now."""
        return self._part is not None and self._tf.compat.v1.get_default_graph() is self._graph

    def _to_slots(self, part: dict[str, Any]) -> None:
        """For a step that cannot return: it has no logs."""
        if "loss" in part:
            self._loss_slot.assign(part["loss"])
        if "gradients" in part:
            for key, gradient in part["gradients"].items():
                self._slot(self._of_key[key]).assign(gradient)
            self._count_slot.assign_add(1)

    # ---- what is heard

    def _slot(self, variable: Any) -> Any:
        self._prepare([variable])
        return self._slots[id(variable)][1]

    def _keep_loss(self, loss: Any) -> None:
        loss = self._tf.cast(self._tf.reshape(loss, ()), "float32")
        if self._here():
            assert self._part is not None
            self._part["loss"] = loss
        else:
            self._loss_slot.assign(loss)

    def _keep_gradients(self, gradients: Any) -> None:
        tf, here = self._tf, self._here()
        kept = {}
        for variable, gradient in zip(self._variables, gradients):
            if isinstance(gradient, tf.IndexedSlices):
                self.parts = True
            whole = tf.convert_to_tensor(gradient)
            if here:
                kept[self._key(variable)] = whole
            else:
                self._slot(variable).assign(whole)
        if here:
            assert self._part is not None
            self._part["gradients"], self._part["squares"] = kept, self._squares(list(kept.values()))
        else:
            self._count_slot.assign_add(1)

    # ---- after a step

    def loss(self) -> float:
        """Loss of the last batch, over all replicas."""
        if self._heard_of is not None and "loss" in self._heard_of:
            return super().loss()
        return float(names.array_of(self._loss_slot))

    def seen(self) -> int:
        """Steps that were taken so far."""
        if not self.returned:
            self._in_slots = int(names.array_of(self._count_slot))
        return self._count + self._in_slots

    def gradients(self) -> list[tuple[Any, np.ndarray]]:
        """Gradients of the last step, with their variables, summed over replicas. Those that were returned may be kept."""
        if self._fetched is None and not self.returned:
            self._fetched = [(variable, names.view_of(slot)) for variable, slot in self._slots.values()]
        return super().gradients()


def seeds_of(model: Any) -> list[Any]:
    """The seeds that a model holds."""
    return [v for v in names.others_of(model) if "seed" in str(getattr(v, "path", v.name))]


def loss_means(model: Any) -> list[Any]:
    """The variables of the mean losses that Keras keeps of the outputs of a model with several."""
    means = getattr(getattr(model, "_compile_loss", None), "metrics", None) or ()
    return [variable for mean in means for variable in (mean.total, mean.count)]

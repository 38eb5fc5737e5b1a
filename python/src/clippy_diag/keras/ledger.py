"""What the ledger keeps of a Keras step, of own loops and of `fit` on every backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..ledger import Ledger, guarded
from ..ledger_steps import DEFAULT_FROM, ArrayLedger, States, ledger_of
from . import words as names
from .ears import seeds_of
from .jax_ears import Heard

Arrays = dict[str, np.ndarray]


def chosen(choice: bool | int | str | None, every: int | None, capture: Path, model: Any) -> Ledger | None:
    """The ledger of a training, or None, see `ledger_of`; without a choice, models that train DEFAULT_FROM parameters have one. Of
    a model that is not built yet the size is not known: it has none then.

    Raises ValueError as `ledger_of` does.
    """
    if choice is None:
        choice = sum(math.prod(variable.shape) for variable in model.trainable_variables) >= DEFAULT_FROM
    return ledger_of(choice, every, capture)


class KerasLedger:
    """The ledger of a model and its optimizer: how weights, state, options and random state are read."""

    def __init__(self, ledger: Ledger, model: Any, optimizer: Any, hears_updates: bool = False) -> None:
        self.own = ArrayLedger(ledger, self._described, hears_updates)
        self._model, self._optimizer = model, optimizer
        #: Which variables are frozen, where that stays; None: it is asked for each time.
        self.fixed: list[str] | int | None = None
        #: Options by Keras's names, asked for now: while a fit runs on the backend of JAX variables have no values.
        self._keys = [key for key in names.inner(optimizer).get_config() if key not in ("name", "learning_rate")]

    def before(self, step: int) -> None:
        """What there is before step `step`."""
        self.own.before(step, self._weights(), self._state, self.options())

    def before_late(self, step: int, rate: float, like: Arrays) -> None:
        """The same where the step was taken already. `like`: arrays of the weights' names, shapes and types."""
        self.own.before(step, None, dict, self.options(rate), like, 0.0)

    def take(self, step: int, loss: float, gradients: Mapping[str, Any], **more: Any) -> None:
        """Loss and gradients of the step, as of `ArrayLedger.take`."""
        arrays = {name: None if one is None else names.view_of(one) for name, one in gradients.items()}
        self.own.take(step, loss, arrays, **more)

    def after(self) -> None:
        """The optimizer has stepped."""
        self.own.after(self._weights() if self.own.looks_after else {}, self._state)

    def close(self) -> None:
        """Writes what waits."""
        self.own.close()

    def random_state(self) -> Arrays:
        """Seeds that the model holds, and torch's generator on its backend; copies, since a forward pass moves them."""
        own = names.random_state()
        return {**_seeds_of(self._model, names.array_of), **{name: np.asarray(one) for name, one in own.items()}}

    def options(self, rate: float | None = None) -> dict[str, Any]:
        """The optimizer's options by Keras's names, and which variables are frozen."""
        optimizer = names.inner(self._optimizer)
        found: dict[str, Any] = {}
        for key in self._keys:
            value = getattr(optimizer, key, None)
            if value is None or isinstance(value, (bool, int, float, str)):
                found[f"0.{key}"] = value
        found["0.learning_rate"] = names.rate_of(optimizer) if rate is None else rate
        found["frozen"] = self._frozen() if self.fixed is None else self.fixed
        return found

    def _frozen(self) -> list[str] | int:
        trained = {id(variable) for variable in self._model.trainable_variables}
        weights = self._model.weights
        frozen = [
            n for n, v in zip(names.names_of(weights), weights) if id(v) not in trained and "float" in str(v.dtype)
        ]
        return frozen if len(frozen) <= 3 else len(frozen)

    def fix(self) -> None:
        """Which variables are frozen stays as it is, until the next call."""
        self.fixed = self._frozen()

    def _weights(self) -> Arrays:
        variables = list(self._model.trainable_variables)
        return {name: names.view_of(v) for name, v in zip(names.names_of(variables), variables)}

    def _state(self) -> States:
        values = [names.view_of(v) for v in self._optimizer.variables]
        return states_of(self._optimizer, list(self._model.trainable_variables), values)

    def _described(self) -> dict[str, Any]:
        kind = type(names.inner(self._optimizer))
        strategy = getattr(self._model, "distribute_strategy", None)
        return {
            "framework": names.framework(),
            "optimizers": [f"{kind.__module__.split('.')[0]}.{kind.__name__}"],
            "computeTypes": names.compute_types(self._model),
            "world": int(getattr(strategy, "num_replicas_in_sync", 1)),
            "versions": {key: one for key, one in names.versions().items() if key in ("keras", "backend")},
        }


def _seeds_of(model: Any, read: Callable[[Any], np.ndarray]) -> Arrays:
    # By their place: names hold a number that counts the layers of a process.
    return {f"seed/{k}": read(v) for k, v in enumerate(seeds_of(model))}


def states_of(optimizer: Any, trained: Sequence[Any], values: Sequence[np.ndarray]) -> States:
    """The optimizer's variables by trained variable and slot; `values` are of `optimizer.variables`, in order. Those that
    belong to none, such as the count of iterations, are of all; the learning rate is an option."""
    named = dict(zip(names.names_of(trained), trained))
    flat = {str(v.path).replace("/", "_") + "_": name for name, v in named.items()}
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in named}
    for variable, value in zip(optimizer.variables, values):
        own = str(variable.name)
        starts = [start for start in flat if own.startswith(start)]
        if starts:
            start = max(starts, key=len)
            found[flat[start]][own[len(start) :]] = value
        elif own != "learning_rate":
            for slots in found.values():
                slots[f"shared/{own}"] = value
    return found


class FitLedger:
    """The steps of a `fit` on the backends of TensorFlow and PyTorch, from what the callback's ears hear."""

    def __init__(self, ledger: Ledger, model: Any, ears: Any) -> None:
        self.keras = KerasLedger(ledger, model, model.optimizer, hears_updates=True)
        self._model, self._ears = model, ears
        self._step: int | None = None
        self._seen = 0
        self._losses: list[float] = []
        self._batches: list[Any] = []
        self._random: Arrays = {}
        #: Names of the trained variables by id, seeds, and arrays like the weights, as they were at this count of traces.
        self._paths: dict[int, str] = {}
        self._seeds: list[Any] = []
        self._like: Arrays = {}
        self._traces = -1

    def before(self) -> None:
        """Before a batch; gradients of a step may accumulate over several."""
        optimizer = self._model.optimizer
        if not self._model.built or not optimizer.built or not self._model.trainable_variables:
            return
        if self._step is None:
            self._step = int(np.asarray(names.array_of(names.inner(optimizer).iterations)))
            self._seen = self._ears.seen()
        if not self._losses:
            self._random = self.keras.random_state()
            self.keras.before(self._step)

    def may_wait(self, many: int) -> int:
        """How many steps from the one on that comes have no tensors, of so many."""
        if self._step is None or not self._like:
            return 0
        first, looks = self._step, self.keras.own.looks_before
        return next((k for k in range(many) if looks(first + k)), many)

    def after(self, batch: Any, skipped: bool) -> None:
        """After a batch. `skipped`: a guard let the optimizer take no step."""
        if self._step is None:
            return
        ears, seen = self._ears, self._ears.seen()
        self._losses.append(ears.loss())
        self._batches += [] if batch is None else [batch]
        skipped = skipped or (seen == self._seen and ears.skipped(self._model.optimizer))
        if seen == self._seen and not skipped:
            return  # gradients accumulate
        self._look_at_variables()
        heard = [] if seen == self._seen else ears.gradients()
        self._take({self._paths[id(v)]: gradient for v, gradient in heard if id(v) in self._paths}, skipped)
        if not skipped:
            self.keras.after()
        self._step, self._seen, self._losses, self._batches = self._step + 1, seen, [], []

    def late(self, batch: Any) -> None:
        """A step that was taken already, and has no tensors."""
        assert self._step is not None
        ears = self._ears
        self._look_at_variables()
        self.keras.before_late(self._step, ears.rate(), self._like)
        given = ears.values("before")
        self._random = {f"seed/{k}": np.asarray(given[id(v)]) for k, v in enumerate(self._seeds)}
        self._losses, self._batches = [ears.loss()], [] if batch is None else [batch]
        self._take({self._paths[id(v)]: gradient for v, gradient in ears.gradients() if id(v) in self._paths}, False)
        self.keras.after()
        self._step, self._seen, self._losses, self._batches = self._step + 1, ears.seen(), [], []

    def _take(self, gradients: Arrays, skipped: bool) -> None:
        assert self._step is not None
        weights = self._ears.weight_norm()
        self.keras.take(
            self._step,
            float(np.mean(self._losses)),
            gradients,
            batch=batch_arrays(self._batches),
            rng=self._random,
            skipped=skipped,
            norms=None if weights is None else (self._ears.norm(), weights),
        )

    def _look_at_variables(self) -> None:
        """Names of the trained variables: those of a graph stay until it is traced again."""
        ears = self._ears
        if self._paths and ears.returned and ears.traces == self._traces:
            return
        self._traces = ears.traces
        variables = list(self._model.trainable_variables)
        paths = names.names_of(variables)
        self._paths = {id(v): name for name, v in zip(paths, variables)}
        self._seeds = seeds_of(self._model)
        if ears.returned:
            self.keras.fix()
            # One number each: variables on the backend of JAX have no values now.
            self._like = {n: np.broadcast_to(np.float32(0), tuple(v.shape)) for n, v in zip(paths, variables)}

    def close(self) -> None:
        """Writes what waits."""
        self.keras.close()


class JaxFitLedger:
    """The steps of a `fit` on the backend of JAX, as `JaxEars` hears them."""

    keeps_after = False

    def __init__(self, ledger: Ledger, model: Any) -> None:
        self.keras = KerasLedger(ledger, model, model.optimizer)
        self._model, self._ledger = model, ledger

    def due(self, count: Any, size: int) -> Any:
        """A step with tensors, and the one after it, which shows what it did."""
        return count % self._ledger.every_for(size) <= 1

    def hear(self, heard: Heard) -> None:
        """A line, and tensors where the optimizer's state is there. Never raises."""
        guarded(self.keras.own.own, self._hear, heard)

    def _hear(self, heard: Heard) -> None:
        variables, step, own = list(self._model.trainable_variables), int(heard.count), self.keras.own
        paths = names.names_of(variables)
        seeds = [value for v, value in zip(self._model.non_trainable_variables, heard.others) if "seed" in str(v.path)]

        def states() -> States | None:
            given = None if heard.state is None else [np.asarray(value) for value in heard.state]
            return None if given is None else states_of(self._model.optimizer, variables, given)

        weights = {name: np.asarray(value) for name, value in zip(paths, heard.trained)}
        own.before(step, weights, states, self.keras.options(float(heard.rate)))
        own.take(
            step,
            float(heard.loss),
            {name: np.asarray(one) for name, one in zip(paths, heard.gradients)},
            batch=batch_arrays([heard.data]),
            rng={f"seed/{k}": np.asarray(one) for k, one in enumerate(seeds)},
        )

    def close(self) -> None:
        """Writes what waits."""
        self.keras.close()


def batch_arrays(batches: Sequence[Any]) -> Arrays | None:
    """Arrays of a step's batches by their place; None where there are none."""
    leaves = keras.tree.flatten(list(batches))
    arrays = {str(k): names.view_of(leaf) for k, leaf in enumerate(leaves) if hasattr(leaf, "dtype")}
    return {k: one for k, one in arrays.items() if one.dtype.kind in "fiubc"} or None

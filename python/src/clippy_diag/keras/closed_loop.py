"""Trains on from a capture in the user's own Keras model, under clipping rules and with one thing changed.

    from clippy_diag.keras import closed_loop

    closed_loop("capture", model, lambda model, batch: compute_loss(model(batch["x"], training=True), batch["y"]))

`clippy-diag analyze` and `clippy-diag replay capture` show the traces as `recorded`, with verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..auditing import remeasured_too
from ..bad_rows import taken_rows
from ..captures import INITIAL, Capture, changing_options, open_capture, options_of_step, read_tensors, unflatten
from ..clipping import clip_gradients, clip_updates, movement
from ..guarding import advice_entry
from ..loops import ClosedLoops, Taken, called_loss, least, run_loops
from ..messages import tell
from ..rules import Rules
from . import words as names
from .gradients import Differentiated
from .graph_steps import GraphSteps
from .guard import Guard


def closed_loop(
    folder: str | Path,
    model: Any,
    loss_fn: Callable[[Any, Any], Any],
    rules: Sequence[str] | Mapping[str, Mapping[str, float]] | None = None,
    arms: str | Sequence[str] | None = "all",
    train: bool = True,
    optimizer: Callable[[], Any] | None = None,
) -> ClosedLoops:
    """Runs closed loops from the capture's first state, and stores their traces in capture.json's `replay`.

    folder     a capture with batches
    model      built, as it was trained; what was trained, and what follows the batches, is loaded from the capture
    loss_fn    (model, batch) -> loss, a scalar, with the batch as it was given to `record` (fit: (x, y)); call the model with
               training=True
    rules, arms   as of `clippy_diag.torch.closed_loop`
    train      False for evaluation mode: the model that loss_fn gets answers as with training=False, whatever it is called with
    optimizer  makes the optimizer, where its class can't be had from its recorded name

    Returns and raises the same too. The model's variables are as before afterwards.
    """
    capture = open_capture(folder)
    kept = [(variable, names.array_of(variable)) for variable in model.variables]
    random = names.random_state()
    try:
        found = run_loops(capture, _KerasTrainer(capture, model, loss_fn, train, optimizer), rules, arms)
    finally:
        names.put_back(kept, random)
    if train:
        remeasured_too(folder, model, loss_fn)
    return found


class _Evaluated:
    """A model that is called in evaluation mode, whatever its caller says."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._model(*arguments, **{**options, "training": False})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _unlike(specs: Sequence[Mapping[str, Any]], variables: Sequence[Any]) -> list[str]:
    """How many there are, where that differs, else the first two that differ."""
    if len(specs) != len(variables):
        return [f"{len(specs)} were trained and {len(variables)} are here"]
    here = [(name, list(variable.shape)) for name, variable in zip(names.names_of(variables), variables)]
    pairs = [((spec["name"], list(spec["shape"])), now) for spec, now in zip(specs, here)]
    return [f"{then[0]} {then[1]} was {now[0]} {now[1]}" for then, now in pairs if then != now][:2]


def _layers(model: Any) -> list[Any]:
    """All layers of a model, nested ones too; those of Keras have a dtype to compute in."""
    flat = getattr(model, "_flatten_layers", None)
    layers = list(flat()) if callable(flat) else list(model.layers)
    return [layer for layer in layers if isinstance(getattr(layer, "compute_dtype", None), str)]


class _KerasTrainer:
    """A `Trainer` (loops.py) over a model of Keras."""

    def __init__(
        self,
        capture: Capture,
        model: Any,
        loss_fn: Callable[[Any, Any], Any],
        train: bool,
        make: Callable[[], Any] | None,
    ) -> None:
        self.capture, self.model, self.loss_fn, self.make = capture, model, loss_fn, make
        self.called = model if train else _Evaluated(model)
        variables = list(model.trainable_variables)
        specs = capture.manifest["parameters"]
        found = names.matched([(spec["name"], spec["shape"]) for spec in specs], variables)
        if found is None:
            raise ValueError(
                f"{capture.folder}: the model's variables are others than the recorded ones ("
                + "; ".join(_unlike(specs, variables))
                + "); build it as it was trained"
            )
        renamed = [(name, names.names_of([variable])[0]) for name, variable in found.items()]
        renamed = [(then, now) for then, now in renamed if then != now]
        if renamed:
            tell(
                "the model has other names than the capture: its variables are matched by their places and shapes"
                f" ({renamed[0][0]} is {renamed[0][1]} here, and {len(renamed) - 1} more)"
            )
        self.parameters = [(spec, found[spec["name"]]) for spec in specs]
        self.initial = read_tensors(capture.folder / INITIAL)
        self.written = changing_options(capture.steps)
        buffers = [(n[len("buffer/") :], a.shape) for n, a in self.initial.items() if n.startswith("buffer/")]
        others = names.others_of(model)
        self.others = names.matched(buffers, others) or dict(zip(names.names_of(others), others))
        self.optimizer: Any = None
        self._steps = GraphSteps(None)
        #: Functions as graphs, by name; whether what they call can be traced; the step that they are called for.
        self._graphs: dict[str, Any] = {}
        # A graph keeps more digits between narrow operations than eager steps do, and what was recorded ran eagerly.
        self._traces = all(layer.compute_dtype == "float32" for layer in _layers(model))
        self._step_now = 0
        #: On the backend of JAX loss and gradients are functions of the variables' values, of the model as it is called.
        self._differentiated: dict[type, Differentiated] = {}
        self._gradients: dict[str, Any] = {}
        self._guard: Guard | None = None
        self._advice: dict[str, Any] | None = None

    def start(self) -> None:
        """Everything as before the first recorded step."""
        for spec, variable in self.parameters:
            variable.assign(self.initial[f"param/{spec['name']}"])
        for name, variable in self.others.items():
            if f"buffer/{name}" in self.initial:
                variable.assign(self.initial[f"buffer/{name}"])
        self.restore_optimizer()
        self._guard = self._advice = None

    def watch(self) -> bool:
        """A guard that begins here."""
        self._guard = Guard(self.called, self.optimizer, self.loss_fn)
        return True

    def advice(self) -> dict[str, Any] | None:
        """What the guard said of the last step."""
        return self._advice

    def _loss_of(self, batch: Any) -> Any:
        return called_loss(self.loss_fn, (self.called, batch), self._step_now, batch)

    def restore_optimizer(self) -> None:
        """A new optimizer with the state from before the first recorded step."""
        self.optimizer = self._made()
        self._steps = GraphSteps(self.optimizer, self._traces)

    def _made(self) -> Any:
        rerun = self.capture.manifest.get("rerun", {})
        if self.make is not None:
            optimizer = self.make()
        else:
            name = rerun.get("optimizerClass", "").rsplit(".", 1)[-1]
            kind = getattr(keras.optimizers, name, None)
            if kind is None:
                raise ValueError(
                    f"{self.capture.folder}: keras.optimizers has no {name}; give optimizer=lambda: {name}(...)"
                )
            optimizer = kind(**rerun["config"])
        # The loop clips by itself, and steps where the recorded training stepped.
        optimizer.clipnorm = optimizer.global_clipnorm = optimizer.clipvalue = None
        optimizer.gradient_accumulation_steps = None
        optimizer.loss_scale_factor = None
        optimizer.build([variable for _, variable in self.parameters])
        if any(name.startswith("optimizer/") for name in self.initial):
            for k, variable in enumerate(optimizer.variables):
                variable.assign(self.initial[f"optimizer/{k}"])
            return optimizer
        steps = 0
        for spec, variable in self.parameters:
            index = names.index_of(optimizer, variable)
            for theirs, ours in names.SLOTS.get(type(optimizer).__name__, {}).items():
                value = self.initial.get(f"state/{ours}/{spec['name']}")
                values = getattr(optimizer, theirs, None)
                if value is not None and values:
                    values[index].assign(value)
            steps = int(self.initial.get(f"state/step/{spec['name']}", 0))
        optimizer.iterations.assign(steps)
        return optimizer

    def _batch(self, entry: Mapping[str, Any]) -> Any:
        stored = {name[len("batch/") :]: value for name, value in self.capture.tensors(entry, "batch/").items()}
        tensors = {name: keras.ops.convert_to_tensor(value) for name, value in taken_rows(entry, stored).items()}
        tree = entry.get("batch", self.capture.manifest.get("batch"))
        return tensors if tree is None else unflatten(tree, tensors)

    def _random(self, entry: Mapping[str, Any]) -> None:
        state = self.capture.tensors(entry, "rng/cpu").get("rng/cpu")
        if state is not None and keras.backend.backend() == "torch":
            import torch

            torch.set_rng_state(torch.from_numpy(state))

    def loss(self, entry: Mapping[str, Any]) -> float:
        """Loss of a step's batch at the parameters as they are; what follows the batches is put back."""
        self._random(entry)
        kept = [(variable, names.array_of(variable)) for variable in self.others.values()]
        value = float(np.asarray(names.array_of(self._in_graph(self._loss_of, entry, self._batch(entry)))))
        for variable, before in kept:
            variable.assign(before)
        return value

    def suspects(self, entry: Mapping[str, Any]) -> list[str]:
        """The type that layers compute in."""
        then, now = self.capture.manifest["rerun"].get("computeTypes"), names.compute_types(self.model)
        if then is None or then == now:
            return []
        return [
            f"the layers computed in {' and '.join(then)}, and do in {' and '.join(now)} here: set the dtype policy of then"
        ]

    def noise(self, entry: Mapping[str, Any]) -> float:
        """Keras's seeds are variables, so that they are as recorded; a capture without them has the noise of several draws."""
        if any(name.startswith("buffer/") for name in self.initial) or not self.others:
            return 0.0
        losses = []
        for _ in range(8):
            losses.append(float(np.asarray(names.array_of(self._in_graph(self._loss_of, entry, self._batch(entry))))))
        return float(np.std(losses))

    def _in_graph(self, work: Callable[[Any], Any], entry: Mapping[str, Any], batch: Any) -> Any:
        """`work(batch)`, on TensorFlow as a graph: a small net spends most of an eager step in Python. What cannot be traced
        runs eagerly, and raises there what is wrong with it."""
        self._step_now = entry["step"]
        if keras.backend.backend() == "jax" and work == self._loss_of:
            return self._of_jax().loss(batch)
        if keras.backend.backend() != "tensorflow" or not self._traces:
            return work(batch)
        import tensorflow as tf

        name = work.__name__
        if name not in self._graphs:
            self._graphs[name] = tf.function(work, reduce_retracing=True)
        try:
            return self._graphs[name](batch)
        except Exception:
            self._traces = False
            return work(batch)

    def loss_and_size(self, entry: Mapping[str, Any]) -> tuple[float, float]:
        """Loss of a step's batch and norm of its gradient, in evaluation mode: a row alone leaves BatchNorm and dropout out."""
        kept = [(variable, names.array_of(variable)) for variable in self.others.values()]
        traces = self._traces
        try:
            loss, gradients = self._in_graph(self._evaluated_loss_and_gradients, entry, self._batch(entry))
        finally:
            # That a row alone cannot be traced says nothing of whole batches.
            self._traces = traces
            for variable, before in kept:
                variable.assign(before)
        sizes = [float((np.asarray(value, np.float64) ** 2).sum()) for value in self._arrays(gradients).values()]
        return float(np.asarray(names.array_of(loss))), math.sqrt(sum(sizes))

    def _evaluated_loss_and_gradients(self, batch: Any) -> tuple[Any, list[Any]]:
        called, self.called = self.called, _Evaluated(self.model)
        try:
            return self._loss_and_gradients(batch)
        finally:
            self.called = called

    def _loss_and_gradients(self, batch: Any) -> tuple[Any, list[Any]]:
        variables = [variable for _, variable in self.parameters]
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = self._loss_of(batch)
            found = tape.gradient(loss, [variable.value for variable in variables])
            return loss, [None if g is None else tf.convert_to_tensor(g) for g in found]
        if keras.backend.backend() == "jax":
            loss, found = self._of_jax().loss_and_gradients(batch)
            by_variable = dict(zip(map(id, self.model.trainable_variables), found))
            return loss, [by_variable[id(variable)] for variable in variables]
        for variable in variables:
            variable.value.grad = None
        loss = self._loss_of(batch)
        loss.backward()
        return loss, [variable.value.grad for variable in variables]

    def _of_jax(self) -> Differentiated:
        kind = type(self.called)
        if kind not in self._differentiated:
            # A fit on JAX is always compiled.
            traces = self._traces or self.capture.manifest.get("trainer") == "keras-fit"
            self._differentiated[kind] = Differentiated(self.model, lambda model, batch: self._loss_of(batch), traces)
        return self._differentiated[kind]

    def _arrays(self, gradients: Sequence[Any]) -> dict[str, Any]:
        return {spec["name"]: names.array_of(g) for (spec, _), g in zip(self.parameters, gradients) if g is not None}

    def _let_through(
        self, guard: Guard, entry: Mapping[str, Any], batch: Any, loss: Any, gradients: Sequence[Any]
    ) -> list[Any]:
        """The gradients that the guard lets through, none of a step that it skips."""
        trained = list(self.model.trainable_variables)
        own = {id(variable): g for (_, variable), g in zip(self.parameters, gradients)}
        given = [own.get(id(variable)) for variable in trained]
        advice = guard.check(entry["step"], batch, loss, given)
        self._advice = advice_entry(advice)
        left = guard.apply(advice, given) or [None] * len(given)
        kept = {id(variable): g for variable, g in zip(trained, left)}
        return [kept.get(id(variable)) for _, variable in self.parameters]

    def step(self, entry: Mapping[str, Any], rules: Rules, rate_factor: Sequence[float] | None) -> Taken:
        """One step of the training on a step's batch."""
        self._random(entry)
        batch = self._batch(entry)
        loss, gradients = self._in_graph(self._loss_and_gradients, entry, batch)
        arrays = self._arrays(gradients)
        self._gradients = {f"grad/{key}": value for key, value in arrays.items()}
        rate = entry["learningRate"] * (rate_factor[0] if rate_factor is not None else 1.0)
        self.optimizer.learning_rate = rate
        names.use_options(self.optimizer, options_of_step(self.written, entry).get(0, {}))
        if self._guard is not None:
            arrays = self._arrays(self._let_through(self._guard, entry, batch, loss, gradients))
        before = {spec["name"]: names.array_of(variable) for spec, variable in self.parameters}
        specs = [spec for spec, _ in self.parameters]
        found = clip_gradients(rules, specs, arrays, before)
        pairs = [
            (keras.ops.convert_to_tensor(arrays[spec["name"]]), variable)
            for spec, variable in self.parameters
            if spec["name"] in arrays
        ]
        if pairs:
            self._steps.apply([g for g, _ in pairs], [v for _, v in pairs])
        after = {spec["name"]: names.array_of(variable) for spec, variable in self.parameters}
        stepped = dict(after)
        decay = getattr(self.optimizer, "weight_decay", None) or 0
        found += clip_updates(rules, specs, before, after, 1 - rate * decay)
        for spec, variable in self.parameters:
            if after[spec["name"]] is not stepped[spec["name"]]:
                variable.assign(after[spec["name"]])
        return Taken(float(np.asarray(names.array_of(loss))), *least(found), movement(before, after))

    def gradients(self) -> dict[str, Any]:
        """Gradients of the last step, before clipping."""
        return self._gradients

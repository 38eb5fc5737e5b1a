"""Records the gradient steps of a Keras model around a divergence, in a loop of your own.

    from clippy_diag.keras import Recorder

    recorder = Recorder(model, optimizer, "capture")
    for step, (x, y) in enumerate(batches):
        with tf.GradientTape() as tape:
            loss = compute_loss(model(x, training=True), y)
        gradients = tape.gradient(loss, model.trainable_variables)
        recorder.record(step, loss, gradients, batch={"x": x, "y": y})      # before apply
        optimizer.apply(gradients, model.trainable_variables)

The loop runs eagerly; loss and gradients may come from a `tf.function`. For `model.fit` there is `ClippyCallback`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..captures import Array, Source, model_files
from ..ledger import guarded
from ..options import Budget, OldNames, options_of, path_of
from ..recording import STATUS, Batches, Controls, Recording, Sizes, Skip, Step
from ..rules import Clipping, clipping_words
from ..writing import Snapshot
from . import words as names
from .ledger import KerasLedger, batch_arrays, chosen
from .step_records import StepRecords

Tensors = dict[str, Array]


class Steps:
    """Steps of a model under one optimizer, for whoever has the gradients: the recorder of own loops and the callback."""

    def __init__(self, model: Any, optimizer: Any, folder: str | Path, clipping: Clipping, **options: Any) -> None:
        self.model, self.optimizer = model, names.inner(optimizer)
        self.model_file = options.pop("model_file", None)
        expected = options.pop("expected_changes", ())
        self.own = Recording(folder, self._describe, **options)
        self.clipping = clipping_words(clipping if clipping is not None else names.clipping_of(self.optimizer))
        #: Whose loop it is, as a capture names it; None for the user's own.
        self.trainer: str | None = None
        self.squares_parts = False
        self.trained: dict[str, list[int]] = {}
        self._batches = Batches(self.own.note)
        self._batch_size = 0
        self._buffers: list[Source] | None = None
        #: The trainable variables by name, while they stay as they are; None: they are asked for each time.
        self.fixed: dict[str, Any] | None = None
        self.records = StepRecords(self, self.own.folder / STATUS, expected)
        self.own.also_said = self.records.status

    @property
    def formula(self) -> bool:
        """Whether the CLI can compute the steps."""
        constrained = any(getattr(v, "constraint", None) is not None for v in self.named().values())
        return names.has_formula(self.optimizer) and not self.squares_parts and not constrained

    def named(self) -> dict[str, Any]:
        """The trainable variables by name, in order."""
        if self.fixed is not None:
            return self.fixed
        variables = list(self.model.trainable_variables)
        return dict(zip(names.names_of(variables), variables))

    def sources(self) -> tuple[list[Source], dict[str, Any]]:
        """What a rerun needs from before a step."""
        named = self.named()
        sources = [names.source_of(f"param/{name}", variable) for name, variable in named.items()]
        sources += names.state_sources(self.optimizer, named, self.formula)
        if self._buffers is not None:
            sources += self._buffers
        else:
            sources += [names.source_of(f"buffer/{name}", v) for name, v in self._others().items()]
        return sources, {"options": names.options_of(self.optimizer, names.rate_of(self.optimizer), self.formula)}

    def _others(self) -> dict[str, Any]:
        others = names.others_of(self.model)
        return dict(zip(names.names_of(others), others))

    def remember_buffers(self) -> None:
        """Copies what a forward pass moves (BatchNorm's means, seeds), for the snapshot of the step that comes."""
        self._buffers = []
        for name, variable in self._others().items():
            value = names.array_of(variable)
            source = names.source_of(f"buffer/{name}", variable)
            self._buffers.append(source._replace(fetch=_given(names.plain(value))))

    def look(self, batch: Mapping[str, Any]) -> None:
        """Plans, once and again where the trainable variables changed or batches are larger; copies nothing yet."""
        shapes = {name: list(variable.shape) for name, variable in self.named().items()}
        size = sum(np.asarray(leaf).nbytes for leaf in batch.values())
        if self.own.planned and shapes == self.trained and size <= self._batch_size:
            return
        changed = self.own.planned and shapes != self.trained
        self.trained, self._batch_size = shapes, max(size, self._batch_size)
        sources, _ = self.sources()
        parameters = sum(source.nbytes for source in sources if source.name.startswith("param/"))
        self.own.plan(
            Sizes(
                parameters,
                0 if self.formula else 2 * parameters,
                self._batch_size,
                sum(source.nbytes for source in sources),
            )
        )
        if changed:
            self.own.cut("the trainable variables changed")
            self.own.restart()

    def snapshot(self) -> Snapshot | None:
        """A copy from before the step that comes, where one is due."""
        if not self.own.snapshot_due():
            return None
        sources, meta = self.sources()
        return self.own.keep(sources, meta)

    def parameters(self, prefix: str) -> Tensors:
        """All trainable variables as they are."""
        return {f"{prefix}/{name}": names.plain(names.array_of(v)) for name, v in self.named().items()}

    def flat(self, batch: Any) -> tuple[dict[str, Any], Any]:
        """A batch as named tensors and its tree."""
        leaves, tree = self._batches.flat(
            batch,
            lambda value: hasattr(value, "shape") and hasattr(value, "dtype"),
            lambda leaf: names.array_of(leaf).dtype.kind in "fiub",
        )
        return {name: names.array_of(leaf) for name, leaf in leaves.items()}, tree

    def add(
        self,
        random: Tensors,
        step: int,
        loss: float,
        rate: float,
        tensors: Tensors,
        leaves: Mapping[str, Any],
        tree: Any,
        kept: Snapshot | None,
        tasks: Mapping[str, Any],
        batch_id: Any,
        waits: bool,
        *,
        entry: Mapping[str, Any] | None = None,
        has_gradients: bool | None = None,
    ) -> None:
        """Hands a step over, with its gradients if they are due. `entry` holds further members of its entry; `has_gradients` is
        True where no variable has one, although they were due."""
        batch = {f"batch/{name}": names.plain(leaf) for name, leaf in leaves.items()}
        records = self.records.members(step, rate, batch, random)
        tensors = {**batch, **tensors}
        if leaves:
            tensors.update(random)
        self.own.add(
            Step(
                step,
                loss,
                {0: rate},
                tensors,
                {name: float(np.asarray(names.array_of(value))) for name, value in tasks.items()},
                {**self._batches.members(leaves, tree, batch_id), **records, **(entry or {})},
                kept,
                has_gradients=any(name.startswith("grad/") for name in tensors)
                if has_gradients is None
                else has_gradients,
                waits=waits,
            )
        )

    def _describe(self, step: int, meta: Mapping[str, Any]) -> dict[str, Any]:
        described = {
            **self.records.in_manifest(),
            "groupKeys": [0],
            "framework": names.framework(),
            **({"trainer": self.trainer} if self.trainer is not None else {}),
            "optimizer": meta["options"],
            "clipping": self.clipping,
            "parameters": [
                {"name": name, "shape": shape, **names.layout_of(name, len(shape))}
                for name, shape in self.trained.items()
            ],
            "rerun": {
                "optimizerClass": f"{type(self.optimizer).__module__}.{type(self.optimizer).__qualname__}",
                "config": names.config_of(self.optimizer),
                "computeTypes": names.compute_types(self.model),
                "versions": names.versions(),
            },
        }
        if self._batches.tree is not None:
            described["batch"] = self._batches.tree
        if self.model_file is not None:
            described.update(model_files(self.model_file))
        return described


def _given(array: Array) -> Callable[[np.ndarray | None], Array]:
    return lambda buffer: array


class Recorder(Controls):
    """One `record` call a step; see the top of this file.

    model         a built Keras model; its trainable_variables, in order, are what `record` gets gradients of
    optimizer     any Keras optimizer. The steps of Adagrad, SGD, Adam, AdamW and RMSprop are replayed by formula; of others the
                  variables before and after each step are kept. Of a LossScaleOptimizer the inner one is recorded: pass gradients
                  without the scale
    path          the folder of the capture; later incidents go to `<folder>-2` …; `status.json` in it says how the recording fares
    clipping      clipping that the loop does itself, such as "global-norm:1", as of `clippy_diag.torch.Recorder`; by default what the
                  optimizer does (clipnorm, global_clipnorm, clipvalue)
    ledger, ledger_every  as of `clippy_diag.torch.Recorder`; `docs/compare.md` says what is kept of a step
    snapshot_every_steps, steps_after, memory, disk, max_captures, model_file, expected_changes, and their old names   as of
                  `clippy_diag.torch.Recorder`
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        path: str | Path = "capture",
        *,
        clipping: Clipping = None,
        snapshot_every_steps: int = 20,
        steps_after: int = 34,
        memory: Budget = "2GB",
        disk: Budget = "20GB",
        max_captures: int = 3,
        model_file: str | Path | None = None,
        ledger: bool | int | str | None = None,
        ledger_every: int | None = None,
        expected_changes: Iterable[str] = (),
        folder: str | Path | None = None,
        every: int | None = None,
        after: int | None = None,
    ) -> None:
        old = OldNames(folder, every, after)
        options = options_of(snapshot_every_steps, steps_after, memory, disk, max_captures, old)
        if not hasattr(names.inner(optimizer), "_get_variable_index"):
            raise TypeError(f"clippy-diag: {type(optimizer).__name__} is no optimizer of Keras 3")
        optimizer = names.inner(optimizer)
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        self._steps = Steps(
            model,
            optimizer,
            path_of(path, old),
            clipping,
            model_file=model_file,
            expected_changes=expected_changes,
            **options,
        )
        self._own = self._steps.own
        files = chosen(ledger, ledger_every, self._own.folder, model)
        self.ledger = None if files is None else KerasLedger(files, model, optimizer)
        self._waits = False
        # A step is recorded after its forward pass: what that moves is copied before.
        self._steps.remember_buffers()
        self._steps.records.look_at_modes()
        self._random = names.random_state()

    def record(
        self,
        step: int,
        loss: Any,
        gradients: Sequence[Any],
        tasks: Mapping[str, Any] | None = None,
        batch: Any = None,
        batch_id: Any = None,
    ) -> None:
        """Takes one step. It never stops or changes the training: what it cannot do it says, once.

        loss       of this step
        gradients  of model.trainable_variables, in order, before any clipping and without a loss scale; None where a variable
                   has none. A step whose gradients are not finite is still recorded: say with `skip` that it is not taken
        tasks      losses of the tasks, by name
        batch      what the model was given, in any nesting, for closed loops
        """
        random = self._random
        self._own.attempt(step, lambda: _value(loss), self._record, step, loss, gradients, tasks or {}, batch, batch_id)
        if self.ledger is not None:
            guarded(self.ledger.own.own, self._to_ledger, int(step), loss, gradients, batch, batch_id, random)

    def _to_ledger(
        self, step: int, loss: Any, gradients: Sequence[Any] | None, batch: Any, batch_id: Any, random: Tensors
    ) -> None:
        """A line of the ledger; without gradients it is of a step that is not taken."""
        assert self.ledger is not None
        self.ledger.before(step)
        own = {} if gradients is None else dict(zip(self._steps.named(), gradients))
        batches = None if batch is None else batch_arrays([batch])
        rng = {name: np.asarray(one) for name, one in random.items()}
        self.ledger.take(step, _value(loss), own, batch=batches, rng=rng, batch_id=batch_id, skipped=gradients is None)

    def skip(self, step: int, loss: Any, scale: float) -> None:
        """A step that the loop does not take, because its gradients overflowed under a loss scale."""
        random = self._random
        self._own.attempt(step, lambda: _value(loss), self._skip, step, loss, scale)
        if self.ledger is not None:
            guarded(self.ledger.own.own, self._to_ledger, int(step), loss, None, None, None, random)

    def _skip(self, step: int, loss: Any, scale: float) -> None:
        self._note_after()
        self._own.begin(int(step), _value(loss))
        self._own.skip(Skip(int(step), _value(loss), float(scale), []))

    def close(self) -> None:
        """Ends the recording, waits until all is written, says what could not be done. Called at exit too."""
        if self.stopped is None:
            with self._own.guarded():
                self._note_after()
        if self.ledger is not None:
            self.ledger.close()
        super().close()

    def _record(
        self, step: int, loss: Any, gradients: Sequence[Any], tasks: Mapping[str, Any], batch: Any, batch_id: Any
    ) -> None:
        steps, own, step = self._steps, self._own, int(step)
        value = _value(loss)
        named = steps.named()
        if len(gradients) != len(named):
            raise ValueError(f"{len(gradients)} gradients for {len(named)} trainable variables")
        if not steps.squares_parts and names.squares_parts(steps.optimizer):
            for name, gradient in zip(named, gradients):
                if type(gradient).__name__ == "IndexedSlices" and len(set(np.asarray(gradient.indices))) < len(
                    gradient.indices
                ):
                    steps.squares_parts = True
                    own.note(
                        f"Keras squares the parts of a repeated row of {name} one by one, not their sum, which no replay by"
                        " formula does: variables before and after each step are kept"
                    )
                    own.restart()
                    break
        leaves, tree = steps.flat(batch)
        steps.look(leaves)
        self._note_after()
        own.begin(step, value)
        kept = steps.snapshot()
        tensors: Tensors = {}
        # Nothing says when the loop has taken its step: there is no checksum of the weights right after it.
        moment = steps.records.begin(own.is_open)
        if own.gradients_due():
            for name, gradient in zip(named, gradients):
                if gradient is not None:
                    tensors.update(_gradient(own, name, gradient))
            own.gradients_seen(tensors)
            if own.parameters_due() or not steps.formula:
                tensors.update(steps.parameters("param"))
        waits = bool(tensors) and not steps.formula
        self._waits = waits
        steps.add(
            self._random,
            step,
            value,
            names.rate_of(steps.optimizer),
            tensors,
            leaves,
            tree,
            kept,
            tasks,
            batch_id,
            waits,
            entry=moment,
        )
        self._random = names.random_state()
        if own.snapshot_due():
            steps.remember_buffers()

    def _note_after(self) -> None:
        """The variables are as the last step left them until the next `record`."""
        if self._waits:
            self._waits = False
            self._steps.own.complete(self._steps.parameters("param-after"))


def _value(loss: Any) -> float:
    return float(np.asarray(names.array_of(loss)))


def _gradient(own: Recording, name: str, gradient: Any) -> Tensors:
    """A gradient, dense or as the rows of an embedding, each once."""
    if type(gradient).__name__ != "IndexedSlices":
        return {f"grad/{name}": names.plain(own.copied(names.view_of(gradient)))}
    rows, places = np.unique(np.asarray(gradient.indices).astype(np.int64), return_inverse=True)
    parts = np.asarray(gradient.values)
    sums = np.zeros((len(rows), *parts.shape[1:]), parts.dtype)
    np.add.at(sums, places.reshape(-1), parts)
    return {f"grad/{name}/indices": rows, f"grad/{name}/values": names.plain(sums)}

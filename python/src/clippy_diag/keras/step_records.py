"""How the records of a step (`clippy_diag.step_records`) are read from Keras: options, modes as layers show them, checksums.

Keras keeps no mode: `training=` is given with each call. A layer that acts in training moves something of its own in each forward
pass: BatchNormalization its moving statistics, Dropout the state of its seed. Whether that moved says in which mode it was called.
On the backend of PyTorch, Dropout without a seed of its own draws from PyTorch's generator and moves nothing of its own: of such a
layer the mode is not known.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import step_records
from ..captures import Array, words
from ..step_records import Moment, moment_of_arrays
from . import words as names


class StepRecords(step_records.StepRecords):
    """The records of the steps of a Keras model; `steps` is the `Steps` that hands them over."""

    def __init__(self, steps: Any, status: Path, expected: Iterable[str] = ()) -> None:
        super().__init__(status, expected)
        self._steps = steps
        self._acting: dict[str, Any] = {}
        self._moved_last: dict[str, int] = {}
        self._due = self._blind = False
        #: Whether memory of which somebody holds a view is not written to, so that the same memory has the same values: TensorFlow
        #: then gives a variable other memory.
        self.keeps_views = False
        self._seen: tuple[dict[str, Array], Moment] | None = None
        self._direct: set[str] = set()

    def look_at_modes(self) -> None:
        """Remembers what forward passes move, as it is before the one of the step that comes."""
        self.look_at_layers()
        self.look_at_values()

    def look_at_layers(self) -> None:
        """Which layers act differently in training."""
        self._acting = acting_layers(self._steps.model)
        self._blind = not self._acting and _unheard(self._steps.model)
        self._direct = _direct(self._steps.model) if self._acting else set()

    def look_at_values(self) -> None:
        """The same as `look_at_modes` where the layers are those of the step before."""
        self._moved_last = {path: _crc(layer) for path, layer in self._acting.items()}

    def begin(self, open_capture: bool) -> dict[str, Any]:
        """Members of the entry of the step that comes, from before it."""
        parameters = sum(math.prod(shape) for shape in self._steps.trained.values())
        self._due = self.checksums_due(parameters, open_capture)
        try:
            return self.before(self.moment, self._due)
        finally:
            self._seen = None  # a view that is held would have the step copy the variable

    def after_step(self) -> Moment:
        """Checksums right after a step; those before the next one are compared with them."""
        self._seen = None
        return self.moment()

    def may_wait(self, many: int) -> int:
        """How many steps from the one on that comes need no checksums, of so many."""
        parameters = sum(math.prod(shape) for shape in self._steps.trained.values())
        if self._pair:
            return 0
        return next((k for k in range(many) if self.checksums_ahead(parameters, k)), many)

    @property
    def is_due(self) -> bool:
        """Whether the step has checksums of its own, and not only those that the step before is compared with."""
        return self._due

    def members(
        self, step: int, rate: float, batch: Mapping[str, Array], random: Mapping[str, Array] | None
    ) -> dict[str, Any]:
        """Members of a step's entry, after its forward pass."""
        optimizer, formula = self._steps.optimizer, self._steps.formula
        options = names.options_of(optimizer, rate, formula)
        own = {key: value for key, value in options.items() if key not in ("name", "learningRate")}
        return self.entry(step, [rate], batch, random, options=[{"group": 0, **own}], modes=self._modes(), outside={})

    def moment(self) -> Moment:
        """Checksums of the trainable variables and of the optimizer's."""
        sources, _ = self._steps.sources()
        arrays = {one.name: one.fetch(names.NO_COPY) for one in sources if not one.name.startswith("buffer/")}
        seen, self._seen = self._seen, None
        if seen is not None and _same_memory(seen[0], arrays):
            return seen[1]
        moment = moment_of_arrays(arrays)
        if self.keeps_views:
            self._seen = arrays, moment
        return moment

    def in_manifest(self) -> dict[str, Any]:
        """Members of capture.json."""
        held = {id(variable) for variable in getattr(self._steps.optimizer, "_trainable_variables", ())}
        variables = list(self._steps.model.weights)
        return self.described(
            (
                {"name": name, "group": 0 if id(v) in held else None, "trains": bool(v.trainable)}
                for name, v in zip(names.names_of(variables), variables)
            ),
            {path: type(layer).__name__ for path, layer in acting_layers(self._steps.model).items()},
        )

    def _modes(self) -> dict[str, bool] | None:
        if not self._acting:
            return None if self._blind else {"": True}
        now = {path: _crc(layer) for path, layer in self._acting.items()}
        before, self._moved_last = self._moved_last, now
        moved = {path: now[path] != before.get(path) for path in now}
        # A part that is a model of its own may be meant to stay as it is, as in transfer learning.
        own = [path for path in moved if path in self._direct]
        trains = any(moved.values()) or not own
        return {"": trains, **{path: one for path, one in moved.items() if one != trains}}


def acting_layers(model: Any) -> dict[str, Any]:
    """Layers that act differently in training, by path: those that move something of their own then."""
    found = {}
    for layer in model._flatten_layers(include_self=False):
        normalises = "BatchNorm" in type(layer).__name__ and layer.trainable
        if (normalises or (_draws(layer) and _moves_its_seed(layer))) and layer.built:
            found[_path(layer)] = layer
    return found


def _unheard(model: Any) -> bool:
    """Whether a layer draws in training of which nothing moves that could be seen."""
    return any(_draws(layer) and not _moves_its_seed(layer) for layer in model._flatten_layers(include_self=False))


def _draws(layer: Any) -> bool:
    """Whether a layer draws in training; a share of 0 draws nothing, and a recurrent cell has two of them."""
    if getattr(layer, "seed_generator", None) is None:
        return False
    shares = [
        getattr(layer, name) for name in ("rate", "stddev", "dropout", "recurrent_dropout") if hasattr(layer, name)
    ]
    return not shares or any(share != 0 for share in shares)


def _moves_its_seed(layer: Any) -> bool:
    """Keras on PyTorch draws a mask of dropout from PyTorch's generator where neither a seed nor a shape of the mask was given
    (`keras.src.backend.torch.random.dropout`)."""
    import keras

    if keras.backend.backend() != "torch" or getattr(layer.seed_generator, "_initial_seed", None) is not None:
        return True
    whole = isinstance(layer, keras.layers.Dropout) and layer.noise_shape is None and not _spatial(layer)
    return not (whole or hasattr(layer, "dropout"))


def _spatial(layer: Any) -> bool:
    return any("SpatialDropout" in kind.__name__ for kind in type(layer).__mro__)


def _direct(model: Any) -> set[str]:
    return {_path(layer) for layer in model._flatten_layers(include_self=False, recursive=False)}


def _path(layer: Any) -> str:
    """A layer's path; Keras gives none to some that hold no weights."""
    return str(layer.path or layer.name)


def moved_by(layer: Any) -> list[Any]:
    """The variables that a forward pass of the layer moves in training."""
    generator = getattr(layer, "seed_generator", None)
    return [*layer.non_trainable_variables, *([] if generator is None else [generator.state])]


def _crc(layer: Any) -> int:
    crc = 0
    for variable in moved_by(layer):
        crc = zlib.crc32(np.ascontiguousarray(names.view_of(variable)).reshape(-1).view(np.uint8).data, crc)
    return crc


def _same_memory(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Whether arrays of the same names lie in the same memory; numbers that Keras computes, such as counts, are the same then."""
    return list(one) == list(other) and all(
        _memory(one[name]) == _memory(other[name]) for name in one if not name.startswith("state/step/")
    )


def _memory(array: Array) -> tuple[int, str, tuple[int, ...]]:
    values = words(array)[1]
    return values.__array_interface__["data"][0], values.dtype.str, values.shape

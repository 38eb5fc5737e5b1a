"""How the records of a step (`clippy_diag.step_records`) are read from Keras: options, modes as layers show them, checksums.

Keras keeps no mode: `training=` is given with each call. A layer that acts in training moves something of its own in each forward
pass: BatchNormalization its moving statistics, Dropout the state of its seed. Whether that moved says in which mode it was called.
On the backend of PyTorch, Dropout without a seed of its own draws from PyTorch's generator and moves nothing of its own: of such a
layer the mode is not known.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import step_records
from ..captures import Array
from ..step_records import Moment, moment_of_arrays
from . import words as names


class StepRecords(step_records.StepRecords):
    """The records of the steps of a Keras model; `steps` is the `Steps` that hands them over."""

    def __init__(self, steps: Any, status: Path, expected: Iterable[str] = ()) -> None:
        super().__init__(status, expected)
        self._steps = steps
        self._acting: dict[str, Any] = {}
        self._moved_last: dict[str, int] = {}
        self._due = False

    def look_at_modes(self) -> None:
        """Remembers what forward passes move, as it is before the one of the step that comes."""
        self._acting = _acting(self._steps.model)
        self._moved_last = {path: _crc(layer) for path, layer in self._acting.items()}

    def begin(self, open_capture: bool) -> dict[str, Any]:
        """Members of the entry of the step that comes, from before it."""
        parameters = sum(int(np.prod(shape)) for shape in self._steps.trained.values())
        self._due = self.checksums_due(parameters, open_capture)
        return self.before(self.moment, self._due)

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
        return moment_of_arrays({one.name: one.fetch(None) for one in sources if not one.name.startswith("buffer/")})

    def in_manifest(self) -> dict[str, Any]:
        """Members of capture.json."""
        held = {id(variable) for variable in getattr(self._steps.optimizer, "_trainable_variables", ())}
        variables = list(self._steps.model.weights)
        return self.described(
            (
                {"name": name, "group": 0 if id(v) in held else None, "trains": bool(v.trainable)}
                for name, v in zip(names.names_of(variables), variables)
            ),
            {path: type(layer).__name__ for path, layer in _acting(self._steps.model).items()},
        )

    def _modes(self) -> dict[str, bool] | None:
        if not self._acting:
            return None if _unheard(self._steps.model) else {"": True}
        now = {path: _crc(layer) for path, layer in self._acting.items()}
        before, self._moved_last = self._moved_last, now
        moved = {path: now[path] != before.get(path) for path in now}
        # A part that is a model of its own may be meant to stay as it is, as in transfer learning.
        own = [path for path in moved if path in _direct(self._steps.model)]
        trains = any(moved.values()) or not own
        return {"": trains, **{path: one for path, one in moved.items() if one != trains}}


def _acting(model: Any) -> dict[str, Any]:
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


def _crc(layer: Any) -> int:
    crc = 0
    generator = getattr(layer, "seed_generator", None)
    for variable in [*layer.non_trainable_variables, *([] if generator is None else [generator.state])]:
        crc = zlib.crc32(np.ascontiguousarray(names.view_of(variable)).reshape(-1).view(np.uint8).data, crc)
    return crc

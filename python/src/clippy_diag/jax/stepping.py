"""Runs a transformation of optax on the recorded steps of a capture (`clippy_diag.stepping`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from ..captures import INITIAL, Capture, read_raw, read_tensors
from ..clipping import clip_gradients
from ..rules import Rules
from ..stepping import Arrays, Course, Stepper
from .closed_loop import _numbers, _OptaxTrainer
from .recorder import named_leaves

_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def steppers_of(capture: Capture, optimizer: Callable[[float], Any]) -> Callable[[], Stepper]:
    """Makes steppers of `optimizer(rate)`, a chain without its clipping."""
    return lambda: _Steps(capture, optimizer)


class _Steps(_OptaxTrainer):
    def __init__(self, capture: Capture, make: Callable[[float], Any]) -> None:
        self.initial = read_tensors(capture.folder / INITIAL)
        kinds = read_raw(capture.folder / INITIAL, "param/")
        params = {
            spec["name"]: jax.numpy.asarray(
                self.initial[f"param/{spec['name']}"], _TYPES[kinds[f"param/{spec['name']}"][0]]
            )
            for spec in capture.manifest["parameters"]
        }
        super().__init__(capture, lambda *_: 0.0, params, make)

    def _of_state(self, path: tuple[str, ...], leaf: Any) -> Any:
        found = super()._of_state(path, leaf)
        if found is not leaf:
            return found
        # A chain that clips has its optimizer further in.
        inside = [
            name for name in self.initial if name.startswith("optimizer/") and name.endswith("/" + "/".join(path))
        ]
        return jax.numpy.asarray(self.initial[inside[0]], leaf.dtype).reshape(leaf.shape) if len(inside) == 1 else leaf

    def put(self, weights: Arrays) -> None:
        self.arrays = {**self.arrays, **{name: w for name, w in weights.items() if name in self.arrays}}

    def renew(self) -> None:
        self.state = self.make(self._rate(self.capture.steps[0]), {}).init(self._tree(self.arrays))

    def weights(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(w, np.float64) for name, w in self.arrays.items()}

    def step(self, index: int, gradients: dict[str, np.ndarray], rules: Rules, course: Course) -> None:  # type: ignore[override]
        clip_gradients(rules, self.specs, gradients, self.arrays)
        if course.gradient != 1:
            gradients = {name: (g * course.gradient).astype(g.dtype) for name, g in gradients.items()}
        params = self._tree(self.arrays)
        rate = self._rate(self.capture.steps[index]) * course.rate
        updates, self.state = self._update(rate, {}, self._tree(gradients), params)
        self.arrays = {n: _numbers(leaf) for n, leaf in named_leaves(optax.apply_updates(params, updates)).items()}

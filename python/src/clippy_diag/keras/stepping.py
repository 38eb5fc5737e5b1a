"""Runs an optimizer of Keras on the recorded steps of a capture (`clippy_diag.stepping`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ..captures import INITIAL, Capture, changing_options, options_of_step, read_raw, read_tensors
from ..clipping import clip_gradients
from ..rules import Rules
from ..stepping import Arrays, Course, Stepper
from . import words as names
from .closed_loop import _KerasTrainer

_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def steppers_of(capture: Capture, optimizer: Callable[..., Any]) -> Callable[[], Stepper]:
    """Makes steppers. `optimizer` makes the optimizer; a class gets the recorded options."""
    config = capture.manifest.get("rerun", {}).get("config", {})
    make = (lambda: optimizer(**config)) if isinstance(optimizer, type) else optimizer
    return lambda: _Steps(capture, make)


class _Steps(_KerasTrainer):
    def __init__(self, capture: Capture, make: Callable[[], Any]) -> None:
        self.capture, self.make = capture, make
        self.initial = read_tensors(capture.folder / INITIAL)
        self.written = changing_options(capture.steps)
        kinds = read_raw(capture.folder / INITIAL, "param/")
        self.parameters = []
        for k, spec in enumerate(capture.manifest["parameters"]):
            full = f"param/{spec['name']}"
            variable = keras.Variable(self.initial[full], dtype=_TYPES[kinds[full][0]], name=f"parameter_{k}")
            self.parameters.append((spec, variable))
        self.optimizer: Any = None

    def start(self) -> None:
        for spec, variable in self.parameters:
            variable.assign(self.initial[f"param/{spec['name']}"])
        self.optimizer = self._made()

    def put(self, weights: Arrays) -> None:
        for spec, variable in self.parameters:
            if spec["name"] in weights:
                variable.assign(weights[spec["name"]])

    def renew(self) -> None:
        kept, self.initial = self.initial, {n: w for n, w in self.initial.items() if n.startswith("param/")}
        self.optimizer = self._made()
        self.initial = kept

    def weights(self) -> dict[str, np.ndarray]:
        return {spec["name"]: names.array_of(variable).astype(np.float64) for spec, variable in self.parameters}

    def step(self, index: int, gradients: dict[str, np.ndarray], rules: Rules, course: Course) -> None:  # type: ignore[override]
        entry = self.capture.steps[index]
        before = {spec["name"]: names.array_of(variable) for spec, variable in self.parameters}
        clip_gradients(rules, self.capture.manifest["parameters"], gradients, before)
        pairs = [
            (
                keras.ops.convert_to_tensor(gradients[spec["name"]] * np.float32(course.gradient), variable.dtype),
                variable,
            )
            for spec, variable in self.parameters
            if spec["name"] in gradients
        ]
        self.optimizer.learning_rate = entry["learningRate"] * course.rate
        names.use_options(self.optimizer, options_of_step(self.written, entry).get(0, {}))
        decay = getattr(self.optimizer, "weight_decay", None)
        if decay and course.decay != 1:
            self.optimizer.weight_decay = decay * course.decay
        self.optimizer.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        if decay:
            self.optimizer.weight_decay = decay

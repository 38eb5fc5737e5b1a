"""Measures loss and gradient of recorded batches again with the caller's own model and loss (`audit(capture, model=…, loss_fn=…)`).

Here it is only measured; what was found goes into capture.json, and the command line judges it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from .captures import MANIFEST, Capture, number, number_back, write_json
from .stepping import UNITS

Arrays = Mapping[str, np.ndarray]

#: A gradient may be off by so much of its own norm, and of that of all tensors together: far above the rounding of float32.
OWN, ALL = 1e-4, 1e-6
#: How many times the spread of runs that differ by a rounding.
SPREADS = 4.0
#: Runs on weights that differ by a rounding.
RUNS = 2
#: In tolerances: above this a gradient is another one.
APART = 3.0


class Measured(NamedTuple):
    """Loss and gradients of one batch; a tensor without a gradient is left out."""

    loss: float
    gradients: dict[str, np.ndarray]


class Remeasurer(Protocol):
    """A model and its loss, which a framework's part holds."""

    @property
    def computes(self) -> str | None:
        """By safetensors' name, the narrowest type that the forward pass computes in; None: that of the weights."""

    def measured(
        self, index: int, weights: Arrays, batch_of: int | None = None, evaluation: bool = False, draw: int = 0
    ) -> Measured:
        """Loss and gradients at `weights` as in the recorded step at a position: its modes, random state and batch.

        batch_of    position of the step whose batch is taken; None: the same
        evaluation  in evaluation mode, whatever was recorded
        draw        0: the recorded random state; else another one
        """


def remeasure(capture: Capture, again: Remeasurer) -> list[dict[str, Any]]:
    """What was measured at each step whose weights, batch and running statistics are known; stored in capture.json as `remeasured`.

    Raises ValueError where no step has weights and a batch.
    """
    units = {name: UNITS.get(kind, UNITS["F32"]) for name, kind in capture.kinds().items()}
    unit = UNITS.get(again.computes or "", 0.0)
    found = []
    for index, entry in enumerate(capture.steps):
        weights = _weights(capture, index)
        if weights is not None and _has_batch(capture, index) and _knows_statistics(capture, index):
            found.append(_Step(capture, again, index, weights, units, unit).found(entry))
    if not found:
        raise ValueError(
            f"clippy-diag: {capture.folder} holds no step with a batch and the weights before it: record(..., batch=batch)"
        )
    write_json(capture.folder / MANIFEST, {**capture.manifest, "remeasured": found})
    return found


def _weights(capture: Capture, index: int) -> dict[str, np.ndarray] | None:
    """All weights before a step; None where the capture does not hold them."""
    found = capture.initial("param/") if index == 0 else capture.tensors(capture.steps[index], "param/")
    weights = {name[len("param/") :]: value for name, value in found.items()}
    return weights if all(spec["name"] in weights for spec in capture.manifest["parameters"]) else None


def _knows_statistics(capture: Capture, index: int) -> bool:
    """Whether a step does not depend on running statistics that a step before it moved.

    A capture holds them before its first step. In evaluation mode a normalisation reads them; in training mode it moves them and reads
    those of its batch.
    """
    kinds = capture.manifest.get("modeModules", {})
    modes: Mapping[str, bool] = {}
    moved: set[str] = set()
    for entry in capture.steps[: index + 1]:
        modes = entry.get("modes") or modes
        trains = {name: modes.get(name, modes.get("", True)) for name, kind in kinds.items() if "Norm" in kind}
        read = {name for name, does in trains.items() if not does}
        known = not read & moved
        moved |= trains.keys() - read
    return known


def _has_batch(capture: Capture, index: int) -> bool:
    return 0 <= index < len(capture.steps) and bool(capture.tensors(capture.steps[index], "batch/"))


class _Step:
    """One recorded step, measured again."""

    def __init__(
        self,
        capture: Capture,
        again: Remeasurer,
        index: int,
        weights: dict[str, np.ndarray],
        units: Mapping[str, float],
        unit: float,
    ) -> None:
        self.capture, self.again, self.index, self.weights = capture, again, index, weights
        self.now = again.measured(index, weights)
        repeated = again.measured(index, weights)
        draw = np.random.default_rng(index)
        runs = [again.measured(index, self._moved(draw, units, unit)) for _ in range(RUNS)]
        self.loss_spread = max(_apart(run.loss, self.now.loss) for run in (repeated, *runs))
        self.repeats = _off(repeated.gradients, self.now.gradients)
        self.whole = _norm(self.now.gradients)
        spread = {
            name: max(_size(_minus(run.gradients.get(name), g)) for run in (repeated, *runs))
            for name, g in self.now.gradients.items()
        }
        self.noise = math.sqrt(sum(one**2 for one in spread.values())) / max(self.whole, 1e-300)
        self.allowed = {
            name: OWN * _size(g) + ALL * self.whole + SPREADS * spread[name] for name, g in self.now.gradients.items()
        }

    def _moved(self, draw: np.random.Generator, units: Mapping[str, float], unit: float) -> dict[str, np.ndarray]:
        """The weights, each moved by up to a rounding, or half of one of the narrower type that is computed in."""
        return {
            name: (w * (1 + max(units[name], unit / 2) * draw.uniform(-1, 1, w.shape))).astype(w.dtype)
            for name, w in self.weights.items()
            if name in units
        }

    def found(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """As capture.json has it."""
        loss = number_back(entry["loss"])
        result: dict[str, Any] = {
            "step": entry["step"],
            "loss": number(self.now.loss),
            "lossAllowed": number(max(OWN * abs(self.now.loss), SPREADS * self.loss_spread)),
        }
        recorded = None if entry.get("gradients") is False else self.capture.gradients(entry)
        ratio = 0.0
        if recorded is not None:
            ratio, worst = self._ratio(recorded, self.now.gradients)
            result["gradient"] = {
                "tensors": len(self.allowed.keys() | recorded.keys()),
                "ratio": number(ratio),
                "worst": worst,
                "off": number(_off(recorded, self.now.gradients)),
                "noise": number(self.noise),
                "repeats": number(self.repeats),
            }
        if ratio > APART or not _apart(loss, self.now.loss) <= max(
            OWN * abs(self.now.loss), SPREADS * self.loss_spread
        ):
            self._explain(result, loss, recorded)
        return result

    def _explain(self, result: dict[str, Any], loss: float, recorded: dict[str, np.ndarray] | None) -> None:
        """One change at a time: a factor, the gradient before added, evaluation mode, the batches of the steps before and after."""
        draws = [self.again.measured(self.index, self.weights, draw=k).loss for k in (1, 2, 3)]
        result["chance"] = number(max(_apart(one, self.now.loss) for one in draws))
        if recorded is not None and math.isfinite(_off(recorded, self.now.gradients)):
            factor = _along(recorded, self.now.gradients)
            result["gradient"]["factor"] = number(factor)
            result["gradient"]["factorRatio"] = number(
                self._ratio(recorded, {n: g * factor for n, g in self.now.gradients.items()}, abs(factor))[0]
            )
            self._before(result["gradient"], recorded)
        for name, other in (
            ("evaluation", {"evaluation": True}),
            ("batchBefore", {"batch_of": self.index - 1}),
            ("batchAfter", {"batch_of": self.index + 1}),
        ):
            at = other.get("batch_of", self.index)
            if not _has_batch(self.capture, at):
                continue
            try:
                measured = self.again.measured(self.index, self.weights, **other)
            except Exception:  # a batch of another size, which this model refuses
                continue
            result[name] = {"loss": number(measured.loss)}
            if recorded is not None:
                result[name]["ratio"] = number(self._ratio(recorded, measured.gradients)[0])

    def _before(self, result: dict[str, Any], recorded: Mapping[str, np.ndarray]) -> None:
        """How many times the recorded gradient of the step before is in this one."""
        if self.index == 0 or self.capture.steps[self.index - 1].get("gradients") is False:
            return
        before = self.capture.gradients(self.capture.steps[self.index - 1])
        rest = {name: _minus(g, self.now.gradients.get(name)) for name, g in recorded.items()}
        times = _along(rest, before)
        explained = {name: g + times * before.get(name, 0.0) for name, g in self.now.gradients.items()}
        result["before"] = number(times)
        result["beforeRatio"] = number(self._ratio(recorded, explained)[0])

    def _ratio(self, recorded: Arrays, expected: Arrays, times: float = 1.0) -> tuple[float, str | None]:
        """The largest deviation of a tensor in tolerances, and the tensor."""
        worst: tuple[float, str | None] = (0.0, None)
        for name in sorted({*recorded, *expected}):
            off = _size(_minus(recorded.get(name), expected.get(name)))
            allowed = max(times, 1.0) * self.allowed.get(name, ALL * self.whole)
            ratio = 0.0 if off == 0 else off / allowed if allowed > 0 else math.inf
            if ratio > worst[0] or worst[1] is None:
                worst = (ratio, name)
        return worst


def _minus(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray:
    """a − b, a missing one being 0; entries that are not finite in both agree."""
    if a is None or b is None:
        one = a if b is None else b
        return np.zeros(1) if one is None else np.asarray(one, np.float64)
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(~np.isfinite(x) & ~np.isfinite(y), 0.0, x - y)


def _size(values: np.ndarray) -> float:
    norm = float(np.linalg.norm(np.asarray(values, np.float64).ravel()))
    return norm if math.isfinite(norm) else math.inf


def _norm(gradients: Arrays) -> float:
    return math.sqrt(sum(_size(g) ** 2 for g in gradients.values()))


def _off(a: Arrays, b: Arrays) -> float:
    """‖a − b‖ over ‖b‖, of all tensors together."""
    apart = _norm({name: _minus(a.get(name), b.get(name)) for name in {*a, *b}})
    return apart / _norm(b) if _norm(b) > 0 else apart


def _apart(a: float, b: float) -> float:
    return 0.0 if a == b or (not math.isfinite(a) and not math.isfinite(b)) else abs(a - b)


def _along(a: Arrays, b: Arrays) -> float:
    """k of the k·b that is nearest to a; 0 where there is none."""
    both = a.keys() & b.keys()
    below = sum(float(np.vdot(b[n], b[n]).real) for n in both)
    above = sum(float(np.vdot(np.asarray(b[n], np.float64), np.asarray(a[n], np.float64))) for n in both)
    return above / below if below > 0 and math.isfinite(above / below) else 0.0

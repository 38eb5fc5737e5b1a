"""Rules on arrays of numpy, for closed loops of frameworks whose gradients come as such (`clippy_diag.keras`, `.jax`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .loops import Found
from .rules import OUTPUT_AXIS, Rules

Specs = Sequence[Mapping[str, Any]]
Arrays = Mapping[str, Any]


def clip_gradients(rules: Rules, specs: Specs, arrays: dict[str, Any], before: Arrays) -> list[list[Found]]:
    """Clips `arrays`, gradients by name, in place by each rule on gradients in turn; returns what each of them did.

    `value` clamps; `global-norm` and `layer-norm` divide by max(norm, limit), as Keras and optax do; `agc` by unit: a kernel's
    outputs, an embedding's rows, else the whole tensor. `specs` are the entries of `parameters` in capture.json.
    """
    return [_clip(name, options, specs, arrays, before) for name, options in rules if name not in ("none", "clippy")]


def _clip(rule: str, options: Mapping[str, float], specs: Specs, arrays: dict[str, Any], before: Arrays) -> list[Found]:
    found: list[Found] = []
    if rule == "global-norm":
        norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in arrays.values()))
        factor = options["maxNorm"] / max(norm, options["maxNorm"]) if math.isfinite(norm) else math.nan
        arrays.update({name: (g * factor).astype(g.dtype) for name, g in arrays.items()})
        return [(factor, None, 0)]
    for spec in specs:
        name = spec["name"]
        if name not in arrays:
            continue
        g = arrays[name]
        if rule == "value":
            largest = float(np.abs(g).max()) if g.size else 0.0
            arrays[name] = np.clip(g, -options["clipValue"], options["clipValue"])
            found.append((min(1.0, options["clipValue"] / largest) if largest else 1.0, name, 0))
            continue
        if rule == "layer-norm":
            norm = math.sqrt(float((g.astype(np.float64) ** 2).sum()))
            units = np.asarray(options["maxNorm"] / max(norm, options["maxNorm"]) if math.isfinite(norm) else math.nan)
        else:
            output = OUTPUT_AXIS.get(spec["layout"], 0 if spec["embedding"] else None)
            axes = tuple(axis for axis in range(g.ndim) if axis != output)
            w, size = (np.sqrt((x**2).sum(axes, keepdims=True)) for x in (before[name], g))
            units = np.minimum(options["clipping"] * np.maximum(w, 1e-3) / np.maximum(size, 1e-6), 1.0)
        arrays[name] = (g * units).astype(g.dtype)
        found.append((float(units.min()), name, int(units.argmin())))
    return found


def clip_updates(rules: Rules, specs: Specs, before: Arrays, after: dict[str, Any], keep: float) -> list[list[Found]]:
    """Clippy on the update from `before` to `after`, in place, less what decoupled weight decay took off: all but `keep`·w."""
    everything: list[list[Found]] = []
    for rule, options in rules:
        if rule != "clippy":
            continue
        found: list[Found] = []
        for spec in specs:
            name = spec["name"]
            w = before[name]
            update = keep * w - after[name]
            room = options["variableRelativeThreshold"] * np.abs(w) + options["absoluteThreshold"]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(update == 0, np.inf, room / np.abs(update))
            index = int(ratio.argmin())
            sigma = math.nan if np.isnan(ratio).any() else min(1.0, float(ratio.reshape(-1)[index]))
            if sigma != 1:
                after[name] = (keep * w - sigma * update).astype(w.dtype)
            found.append((sigma, name, index))
        everything.append(found)
    return everything


def movement(before: Arrays, after: Arrays) -> float:
    """Norm of what a step moved."""
    return math.sqrt(sum(float(((before[n] - after[n]).astype(np.float64) ** 2).sum()) for n in before))

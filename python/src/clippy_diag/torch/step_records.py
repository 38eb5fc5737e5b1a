"""What an audit reads of every step in addition to its gradients: options, modes, hashes of the batch and the random state, checksums.

Options, modes and hashes are taken at every step. Checksums of weights and optimizer state are taken before and after a step while a
capture is written, at every step of a model of up to `SMALL` parameters, and at every `EVERY`-th step of a larger one: they cost
some 6 ns an entry (docs/audit.md).
"""

from __future__ import annotations

import json
import time
import uuid
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..captures import Array
from ..entries import hash_of
from ..recording import Step
from ..sketch import checksum, checksum_on_device
from . import words as names

#: Parameters up to which checksums are taken at every step, and steps between those of a larger model.
SMALL, EVERY = 5_000, 48
#: Batches of a run that are remembered by their hash, and those that status.json keeps for a resume.
REMEMBERED, KEPT = 100_000, 64
_MODULO = 1 << 64
#: Modules that act differently in training.
_ACTS = ("BatchNorm", "InstanceNorm", "Dropout", "GaussianNoise")


class StepRecords:
    """The records of one recorder's steps. `model` and `optimizers` are those that it records; `status` is its status.json, from
    which a resume knows the run before it."""

    def __init__(self, model: torch.nn.Module, optimizers: list[Any], status: Path) -> None:
        self._model, self._optimizers = weakref.ref(model), optimizers
        earlier = _read(status)
        self._batches: dict[str, int] = {
            hash_: step
            for step, hash_ in earlier.get("batches", [])
            if isinstance(step, int) and isinstance(hash_, str)
        }
        self._first_batches: list[list[Any]] = list(earlier.get("batches", []))[:KEPT]
        before = earlier.get("learningRates")
        self.run: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "startedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **({"before": before} if isinstance(before, dict) else {}),
        }
        self._rates: dict[str, Any] = {}
        self._taken = 0
        #: Whether checksums were taken after the last step, so that those before the next are compared with them.
        self._pair = False
        self._last: tuple[Any, Any] = (None, None)
        self._outside: list[tuple[str, torch.nn.Parameter]] = []
        self._grouped = -1

    # ---- at a step

    def entry(
        self,
        step: int,
        rates: Iterable[float],
        batch: Mapping[str, Array],
        random: Mapping[str, Array] | None,
        scale: float,
    ) -> dict[str, Any]:
        """Members of a step's entry in capture.json: `options` and `modes` whole (`changed_only` thins them), the rest unchanged."""
        self._rates = {"step": step, "learningRates": [float(rate) for rate in rates]}
        self.run.setdefault("first", self._rates)
        members: dict[str, Any] = {"options": self._options(), "modes": self._modes()}
        if batch:
            hash_ = hash_of(batch)
            members["batchHash"] = hash_
            if hash_ in self._batches:
                members["repeats"] = self._batches[hash_]
            elif len(self._batches) < REMEMBERED:
                self._batches[hash_] = step
                if len(self._first_batches) < KEPT:
                    self._first_batches.append([step, hash_])
        if random:
            members["rngHash"] = hash_of(random)
        outside = self._norms_outside(scale)
        if outside:
            members["outside"] = outside
        return members

    def used(self, taken: Step, rates: list[float] | None) -> None:
        """What a step used, seen right after it: its options, and its rates where they are not those of `entry`."""
        if "options" in taken.entry:
            taken.entry["options"] = self._options()
        if rates is not None and self._rates.get("step") == taken.step:
            # In place: the first of a run is the same object.
            self._rates["learningRates"] = rates

    def checksums_due(self, parameters: int, open_capture: bool) -> bool:
        """Whether this step has checksums; called once a step."""
        self._taken += 1
        return open_capture or parameters <= SMALL or self._taken % EVERY == 1

    def before(self, owned: Iterable[tuple[str, torch.nn.Parameter, Any]], due: bool) -> dict[str, Any]:
        """Checksums before a step, where they are due or the step before has some after it."""
        pair, self._pair = self._pair, due
        return {"before": _moment(owned)} if due or pair else {}

    def after(self, taken: Step, owned: Iterable[tuple[str, torch.nn.Parameter, Any]]) -> None:
        """Checksums after a step whose entry has some before it."""
        if self._pair and "before" in taken.entry:
            taken.entry["after"] = _moment(owned)

    # ---- in the manifest and in status.json

    def described(self, keys: list[tuple[int, int]]) -> dict[str, Any]:
        """Members of capture.json."""
        model = self._model()
        groups = {
            id(parameter): keys.index((k, g))
            for k, optimizer in enumerate(self._optimizers)
            for g, group in enumerate(optimizer.param_groups)
            for parameter in group["params"]
            if (k, g) in keys
        }
        modules = [] if model is None else list(model.named_modules())
        return {
            "run": self.run,
            "checksums": {"every": EVERY},
            "allParameters": [
                {"name": name, "group": groups.get(id(parameter)), "trains": bool(parameter.requires_grad)}
                for name, parameter in ([] if model is None else model.named_parameters())
            ],
            "modeModules": {name: type(module).__name__ for name, module in modules if _acts(module)},
        }

    def status(self) -> dict[str, Any]:
        """Members of status.json, from which a resume knows this run."""
        return {"learningRates": self._rates or None, "batches": self._first_batches}

    # ---- parts of an entry

    def _options(self) -> Any:
        options: list[dict[str, Any]] = []
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                rate = group.get("lr")
                plain = names.options_of(optimizer, group, 0.0 if rate is None else float(rate))
                options.append(
                    {"group": len(options), **{k: v for k, v in plain.items() if k not in ("name", "learningRate")}}
                )
        self._last = (options if options != self._last[0] else self._last[0], self._last[1])
        return self._last[0]

    def _modes(self) -> Any:
        model = self._model()
        if model is None:
            return {}
        modes = {
            name: module.training
            for name, module in model.named_modules()
            if name == "" or (module.training != model.training and _acts(module))
        }
        self._last = (self._last[0], modes if modes != self._last[1] else self._last[1])
        return self._last[1]

    def _norms_outside(self, scale: float) -> dict[str, float]:
        """Gradient norms of parameters that no group holds."""
        count = sum(len(group["params"]) for optimizer in self._optimizers for group in optimizer.param_groups)
        model = self._model()
        if count != self._grouped and model is not None:
            self._grouped = count
            held = {
                id(p) for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]
            }
            self._outside = [(name, p) for name, p in model.named_parameters() if id(p) not in held]
        return {
            name: float(
                torch.linalg.vector_norm(p.grad.to_dense() if p.grad.is_sparse else p.grad, dtype=torch.float32)
            )
            / scale
            for name, p in self._outside
            if p.grad is not None
        }


def _acts(module: torch.nn.Module) -> bool:
    return any(word in type(module).__name__ for word in _ACTS)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("batches", []), list) else {}


def _moment(owned: Iterable[tuple[str, torch.nn.Parameter, Any]]) -> dict[str, Any]:
    """Checksums of weights and of the state that an optimizer keeps of each; slots of one tensor count 1, 3, 5 … times."""
    weights: dict[str, int] = {}
    state: dict[str, int] = {}
    for name, parameter, optimizer in owned:
        weights[name] = _checksum(parameter)
        slots = sorted(
            (key, value) for key, value in optimizer.state.get(parameter, {}).items() if isinstance(value, torch.Tensor)
        )
        if slots:
            state[name] = sum((2 * k + 1) * _checksum(value) for k, (_, value) in enumerate(slots)) % _MODULO
    return {"weights": _summed(weights), "state": _summed(state)}


def _summed(sums: Mapping[str, int]) -> dict[str, Any]:
    return {
        "sum": f"{sum(sums.values()) % _MODULO:016x}",
        "tensors": {name: f"{one:016x}" for name, one in sums.items()},
    }


def _checksum(tensor: torch.Tensor) -> int:
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if tensor.device.type != "cpu":
        return int(checksum_on_device(tensor)) % _MODULO
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
    return checksum(tensor.numpy())

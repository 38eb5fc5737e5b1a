"""How the records of a step (`clippy_diag.step_records`) are read from PyTorch: options of groups, modes of modules, checksums."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import step_records
from ..captures import Array
from ..recording import Step
from ..sketch import checksum_on_device, checksums
from ..step_records import Moment, moment_of
from . import words as names

#: Modules that act differently in training.
_ACTS = ("BatchNorm", "InstanceNorm", "Dropout", "GaussianNoise")
_MODULO = 1 << 64
#: Members of a group that are no options: its parameters; and the rate, which is kept on its own.
_NO_OPTIONS = ("params", "lr")
#: Types of options that nothing can change in place.
_PLAIN = (float, int, bool, str, type(None))
#: Steps from one look for added modules to the next.
LOOK_EVERY = 16

#: Parameters with their names and optimizers.
Owned = Iterable[tuple[str, torch.nn.Parameter, Any]]


class StepRecords:
    """The records of one recorder's steps. `model` and `optimizers` are those that it records; others as of the class of all frameworks."""

    def __init__(
        self, model: torch.nn.Module, optimizers: list[Any], status: Path, expected: Iterable[str] = ()
    ) -> None:
        self._own = step_records.StepRecords(status, expected)
        self._model, self._optimizers = weakref.ref(model), optimizers
        #: Options of the groups as they were when they were last put into words, and these; the newest without a change since.
        self._seen: list[dict[str, Any]] = []
        self._same: list[_Options] = []
        self._words: list[dict[str, Any]] = []
        #: Modules that act differently in training, and the steps until it is looked for others.
        self._acting: list[tuple[str, torch.nn.Module]] = []
        self._until_look = 0
        self._last_modes: dict[str, bool] = {}
        self._outside: list[tuple[str, torch.nn.Parameter]] = []
        self._grouped = -1
        self.status = self._own.status
        self.compares_next = self._own.compares_next
        self.checksums_due = self._own.checksums_due
        self.checksums_ahead = self._own.checksums_ahead

    def entry(
        self,
        step: int,
        rates: Iterable[float],
        batch: Mapping[str, Array],
        scale: float,
    ) -> dict[str, Any]:
        """Members of a step's entry in capture.json."""
        return self.entry_of(step, rates, batch, self.options(), self.modes(), self.norms_outside(scale))

    def entry_of(
        self,
        step: int,
        rates: Iterable[float],
        batch: Mapping[str, Array] | str | None,
        options: list[dict[str, Any]],
        modes: Mapping[str, bool],
        outside: Mapping[str, float],
    ) -> dict[str, Any]:
        """The same, where `options`, `modes` and `norms_outside` were asked before."""
        return self._own.entry(step, rates, batch, None, options=options, modes=modes, outside=outside)

    def used(self, taken: Step, rates: list[float] | None) -> None:
        """What a step used, seen right after it."""
        self._own.used(taken, rates, self.options())

    def before(self, owned: Owned, due: bool) -> dict[str, Any]:
        """Checksums before a step, where they are due or the step before has some after it."""
        return self._own.before(lambda: _moment(owned), due)

    def weights(self, owned: Owned) -> Moment:
        """Checksums of weights alone."""
        sums = _checksums([parameter for _, parameter, _ in owned])
        return {"weights": moment_of({name: one for (name, _, _), one in zip(owned, sums)}, {})["weights"]}

    def after(self, taken: Step, owned: Owned) -> None:
        """Checksums after a step whose entry has some before it."""
        self._own.after(taken, lambda: _moment(owned))

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
        return self._own.described(
            (
                {
                    "name": names.plain_name(name),
                    "group": groups.get(id(parameter)),
                    "trains": bool(parameter.requires_grad),
                }
                for name, parameter in ([] if model is None else model.named_parameters())
            ),
            {names.plain_name(name): type(module).__name__ for name, module in modules if _acts(module)},
        )

    # ---- parts of an entry

    def options(self) -> list[dict[str, Any]]:
        """Options of all groups but their rates; put into words only where one changed."""
        groups = [(optimizer, group) for optimizer in self._optimizers for group in optimizer.param_groups]
        if len(groups) == len(self._same) and all(old.is_still(own) for (_, own), old in zip(groups, self._same)):
            return self._words
        self._same = [_Options(group) for _, group in groups]
        now = [
            {key: _plain(value) for key, value in group.items() if key not in ("params", "lr")} for _, group in groups
        ]
        if now != self._seen or not self._words:
            self._seen = now
            self._words = [
                {
                    "group": k,
                    **{key: v for key, v in names.options_of(*one, 0.0).items() if key not in ("name", "learningRate")},
                }
                for k, one in enumerate(groups)
            ]
        return self._words

    def modes(self) -> dict[str, bool]:
        model = self._model()
        if model is None:
            return {}
        if self._until_look <= 0:
            self._until_look = LOOK_EVERY
            modules = model.named_modules()
            self._acting = [(names.plain_name(name), module) for name, module in modules if name and _acts(module)]
        self._until_look -= 1
        training = bool(model.training)
        modes = {"": training, **{n: bool(one.training) for n, one in self._acting if one.training != training}}
        self._last_modes = modes if modes != self._last_modes else self._last_modes
        return self._last_modes

    def norms_outside(self, scale: float) -> dict[str, float]:
        """Gradient norms of parameters that no group holds."""
        count = sum(len(group["params"]) for optimizer in self._optimizers for group in optimizer.param_groups)
        model = self._model()
        if count != self._grouped and model is not None:
            self._grouped = count
            held = {
                id(p) for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]
            }
            self._outside = [
                (name, p)
                for name, p in model.named_parameters()
                if id(p) not in held and not hasattr(p, "to_local")  # the norm of shards is not that of the gradient
            ]
        return {
            name: float(
                torch.linalg.vector_norm(p.grad.to_dense() if p.grad.is_sparse else p.grad, dtype=torch.float32)
            )
            / scale
            for name, p in self._outside
            if p.grad is not None
        }


class _Options:
    """The very options of a group, so that one look shows whether they are the same. Its rate may be another."""

    def __init__(self, group: Mapping[str, Any]) -> None:
        self._names, self._values = list(group), list(group.values())
        #: Whether nothing can change one in place.
        self._fixed = all(map(_is_fixed, (v for k, v in group.items() if k not in _NO_OPTIONS)))

    def is_still(self, group: Mapping[str, Any]) -> bool:
        """Whether a group has these options; what can be written to in place counts as changed."""
        if not self._fixed or len(group) != len(self._names):
            return False
        if all(map(operator.is_, group.values(), self._values)):
            return True
        old = dict(zip(self._names, self._values))
        return all(key in _NO_OPTIONS or value is old.get(key, old) for key, value in group.items())


def _is_fixed(value: Any) -> bool:
    return type(value) in _PLAIN or (type(value) is tuple and all(type(part) in _PLAIN for part in value))


def _acts(module: torch.nn.Module) -> bool:
    return any(word in type(module).__name__ for word in _ACTS)


def _plain(value: Any) -> Any:
    """An option as it can be compared with what it was; None for what is no option of a formula."""
    if isinstance(value, torch.Tensor):
        return value.item() if value.numel() == 1 else None
    if isinstance(value, (tuple, list)):
        return tuple(_plain(part) for part in value)
    return value if isinstance(value, (bool, int, float, str)) else None


def _moment(owned: Owned) -> Moment:
    """Checksums of weights and of the state that an optimizer keeps of each."""
    slots: dict[str, list[torch.Tensor]] = {}
    for name, parameter, optimizer in owned:
        own = ((k, v) for k, v in optimizer.state.get(parameter, {}).items() if isinstance(v, torch.Tensor))
        slots[name] = [value for _, value in sorted(own)]
    sums = iter(_checksums([p for _, p, _ in owned] + [value for own in slots.values() for value in own]))
    weights = {name: next(sums) for name, _, _ in owned}
    return moment_of(weights, {name: [next(sums) for _ in own] for name, own in slots.items()})


def _checksums(tensors: list[torch.Tensor]) -> list[int]:
    on_cpu = iter(checksums([_bits(tensor) for tensor in tensors if tensor.device.type == "cpu"]))
    return [
        next(on_cpu) if tensor.device.type == "cpu" else int(checksum_on_device(_dense(tensor))) % _MODULO
        for tensor in tensors
    ]


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    return tensor.to_dense() if tensor.is_sparse else tensor


def _bits(tensor: torch.Tensor) -> np.ndarray:
    tensor = _dense(tensor)
    return names.view_of(tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor)

"""What the ledger keeps of a PyTorch step: hashes, options and norms of each, sketches and checksums of every N-th."""

from __future__ import annotations

import math
import weakref
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..captures import flatten
from ..ledger import Ledger, Summary, guarded, hash_of, settings_now
from ..ledger_steps import LedgerSteps, Summaries, changed, ledger_of, number_of
from ..sketch import checksum_on_device, sketch_on_device
from . import words as names

#: Steps from one look for added parameters to the next.
LOOK_EVERY = 16
#: Entries up to which numpy's product of two vectors stays on one thread.
ONE_THREAD_UP_TO = 10_000
_NO_OPTIONS = ("params", "initial_lr", "param_names")
_MASK = 0xFFFFFFFFFFFFFFFF


def chosen(choice: Any, every: int | None, capture: Path, model: torch.nn.Module, optimizers: Sequence[Any]) -> Any:
    """The ledger of a recorder, or None, see `ledger_of`."""
    ledger = ledger_of(choice, every, capture)
    return None if ledger is None else TorchLedger(ledger, model, optimizers)


class TorchLedger:
    """The ledger of one model and its optimizers. `take` is called after backward(), `after` once an optimizer has
    stepped; neither changes anything of the training, nor raises into it."""

    def __init__(self, ledger: Ledger, model: torch.nn.Module, optimizers: Sequence[Any]) -> None:
        self.own = ledger
        self._model, self._optimizers = weakref.ref(model), list(optimizers)
        self._tensors: dict[str, torch.nn.Parameter] = {}
        self._summaries = _Summaries()
        self._options: dict[str, Any] = {}
        #: Groups and `requires_grad` as they were at the last step: options are put into words only where one changed.
        self._seen: list[dict[str, Any]] = []
        self._trained: list[bool] = []
        self._until_look = 0
        #: Whether it is heard when an optimizer has stepped: torch 1 has no such hook.
        hooked = all(hasattr(optimizer, "register_step_post_hook") for optimizer in self._optimizers)
        self._steps = LedgerSteps(ledger, lambda known: self._of(self._weights(), known), self._state, hooked)
        for optimizer in self._optimizers if hooked else ():
            optimizer.register_step_post_hook(_after(weakref.ref(self)))

    # ---- what the recorder calls

    def take(self, step: int, loss: Any, batch: Any, batch_id: Any, scaler: Any, random_state: Any) -> None:
        """A step whose gradients are there and whose weights have not moved yet.

        scaler        the GradScaler, whose factor is divided out of the gradients unless it has unscaled them
        random_state  from before the forward pass, where it was seen: by name, `rng/cpu`
        """
        with torch.no_grad():
            guarded(self.own, self._take, step, loss, batch, batch_id, scaler, random_state)

    def after(self) -> None:
        """An optimizer has stepped."""
        with torch.no_grad():
            guarded(self.own, self._after)

    def close(self) -> None:
        """Writes what waits."""
        with torch.no_grad():
            self._steps.close()

    # ---- a step

    def _take(self, step: Any, loss: Any, batch: Any, batch_id: Any, scaler: Any, random_state: Any) -> None:
        step, value = int(step), float(torch.as_tensor(loss).detach())
        scale = self._scale(scaler)
        if self._session_due():
            self._begin()
        norms = float(_norm([p.grad for p in self._tensors.values()])), float(_norm(list(self._tensors.values())))
        self._steps.before(step)
        entry = {
            "batch": _batch_hash(batch),
            "rng": _random_hash(random_state or {"rng/cpu": torch.get_rng_state().numpy()}),
            "options": self._changed_options(),
            "gradientNorm": number_of(norms[0] / scale),
            "weightNorm": number_of(norms[1]),
        }
        gradients = {name: p.grad for name, p in self._tensors.items()}
        self._steps.take(step, value, lambda: self._of(gradients, None, 1 / scale), entry, batch_id)

    def _scale(self, scaler: Any) -> float:
        """What gradients are multiplied by."""
        if scaler is None or not scaler.is_enabled():
            return 1.0
        unscaled = any(names.scaler_stage(scaler, optimizer) == "UNSCALED" for optimizer in self._optimizers)
        return 1.0 if unscaled else float(scaler.get_scale())

    def _after(self) -> None:
        self._steps.after(_norm([p.grad for p in self._tensors.values()]))

    # ---- a session

    def _session_due(self) -> bool:
        model = self._model()
        if model is None:
            raise RuntimeError("the model is gone")
        if not self._tensors:
            return True
        self._until_look -= 1
        if self._until_look > 0:
            return False
        self._until_look = LOOK_EVERY
        return list(self._tensors) != [name for name, _ in model.named_parameters()]

    def _begin(self) -> None:
        model = self._model()
        assert model is not None
        self._steps.finish(None)
        self._tensors = dict(model.named_parameters())
        count = sum(p.numel() for p in self._tensors.values())
        self._summaries.keep_codes(count)
        self._trained = [p.requires_grad for p in self._tensors.values()]
        first = next(iter(self._tensors.values()), None)
        settings = settings_now()
        settings["versions"]["torch"] = torch.__version__
        self._options = self._options_now()
        self.own.begin(
            {
                "framework": f"pytorch {torch.__version__}",
                "parameters": count,
                "optimizers": [names.class_path(optimizer) for optimizer in self._optimizers],
                "options": self._options,
                "tensors": [[n, list(p.shape), str(p.dtype).replace("torch.", "")] for n, p in self._tensors.items()],
                "device": "none" if first is None else first.device.type,
                "threads": torch.get_num_threads(),
                "deterministic": torch.are_deterministic_algorithms_enabled(),
                "matmulPrecision": torch.get_float32_matmul_precision(),
                "world": _world(),
                **settings,
            }
        )

    def _options_now(self) -> dict[str, Any]:
        """Options of all groups as plain values, under `group.name`, and which parameters take no gradient."""
        groups = self._groups()
        self._seen = [dict(group) for group in groups]
        found = {
            f"{k}.{key}": names.json_of(value)
            for k, group in enumerate(groups)
            for key, value in group.items()
            if key not in _NO_OPTIONS
        }
        frozen = [name for name, p in self._tensors.items() if not p.requires_grad]
        found["frozen"] = (
            frozen if len(frozen) <= 3 else f"{len(frozen)} tensors, {zlib.crc32(repr(frozen).encode()):08x}"
        )
        return found

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def _changed_options(self) -> dict[str, Any] | None:
        groups = self._groups()
        trained = [p.requires_grad for p in self._tensors.values()]
        if trained == self._trained and len(groups) == len(self._seen) and all(map(_same, groups, self._seen)):
            return None
        before, self._options = self._options, self._options_now()
        self._trained = trained
        return changed(before, self._options)

    # ---- sketches

    def _weights(self) -> dict[str, torch.Tensor | None]:
        return {name: p.detach() for name, p in self._tensors.items()}

    def _state(self, known: Summary | None) -> Summary:
        """The state of each tensor, see `Summaries.of_state`."""
        states = {
            name: {
                slot: value if isinstance(value, torch.Tensor) else torch.as_tensor(_number(value))
                for optimizer in self._optimizers
                for slot, value in optimizer.state.get(parameter, {}).items()
            }
            for name, parameter in self._tensors.items()
        }
        shapes = {name: tuple(parameter.shape) for name, parameter in self._tensors.items()}
        return self._summaries.of_state(states, shapes, known)

    def _of(
        self, tensors: Mapping[str, torch.Tensor | None], known: Summary | None = None, factor: float = 1.0
    ) -> Summary:
        """Sketches and checksums of all tensors; zeros where there is none."""
        dense = {n: t.to_dense() if t is not None and t.layout != torch.strided else t for n, t in tensors.items()}
        waiting = [(row, name, t) for row, (name, t) in enumerate(dense.items()) if t is not None and not t.is_cpu]
        found = self._summaries.of({n: t if t is not None and t.is_cpu else None for n, t in dense.items()}, known)
        if waiting:
            rows = [row for row, _, _ in waiting]
            sums = [(sketch_on_device(t, name), checksum_on_device(t)) for _, name, t in waiting]
            found.sketches[rows] = torch.stack([own for own, _ in sums]).cpu().numpy()
            found.checksums[rows] = torch.stack([total for _, total in sums]).cpu().numpy().view(np.uint64)
        return Summary(found.sketches * factor, found.checksums) if factor != 1 else found


class _Summaries(Summaries):
    """Of torch's tensors: those of another device are summed up there."""

    def sketch_of(self, name: str, array: Any) -> np.ndarray:
        if not array.is_cpu:
            return np.asarray(sketch_on_device(array, name).cpu())
        return super().sketch_of(name, (array.float() if array.dtype == torch.bfloat16 else array).numpy())

    def checksum_of(self, array: Any) -> int:
        if not array.is_cpu:
            return int(checksum_on_device(array)) & _MASK
        return super().checksum_of((array.view(torch.int16) if array.dtype == torch.bfloat16 else array).numpy())


def _after(reference: weakref.ref[TorchLedger]) -> Any:
    def hook(*_: Any) -> None:
        ledger = reference()
        if ledger is not None:
            ledger.after()

    return hook


def _same(group: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether the options of a group are those from before."""
    if len(group) != len(before):
        return False
    for key, value in group.items():
        old = before.get(key, group)
        if old is not value and key not in _NO_OPTIONS and not bool(old == value):
            return False
    return True


def _norm(tensors: Sequence[torch.Tensor | None]) -> float | torch.Tensor:
    """Norm of all tensors together; on a device it is not waited for."""
    total = 0.0
    for tensor in tensors:
        if tensor is None:
            continue
        if not tensor.is_cpu or tensor.dtype is not torch.float32 or tensor.layout is not torch.strided:
            return _norm_by_torch(tensors)
        flat = tensor.detach()
        if flat.numel() > ONE_THREAD_UP_TO:
            flat = flat.reshape(-1)
            squares = float(torch.dot(flat, flat))
        else:
            # numpy's call is the faster one for a small tensor; for a large one it would wake threads of its own.
            array = flat.numpy().reshape(-1)
            squares = float(array.dot(array))
        if not math.isfinite(squares):  # squares above 1e38 overflow where the norm does not
            squares = float(flat.double().square().sum())
        total += squares
    return math.sqrt(total)


def _norm_by_torch(tensors: Sequence[torch.Tensor | None]) -> float | torch.Tensor:
    """The same for tensors of any type, layout and device."""
    there = [t for t in tensors if t is not None and t.numel()]
    if not there:
        return 0.0
    there = [t.coalesce().values() if t.is_sparse else t.detach() for t in there]
    one_device = len({t.device for t in there}) == 1
    each = torch._foreach_norm(there) if one_device else [torch.linalg.vector_norm(t) for t in there]
    first = there[0].device
    kind = torch.float32 if first.type == "mps" else torch.float64
    return torch.linalg.vector_norm(torch.stack([one.to(first, kind) for one in each]))


def _random_hash(state: Mapping[str, Any]) -> str:
    """64 bits of a random state, two checksums of the same bytes: states are long, and this is done at every step."""
    crc, adler = 0, 1
    for name in sorted(state):
        data = state[name]
        crc, adler = zlib.crc32(data, crc), zlib.adler32(data, adler)
    return f"{crc:08x}{adler:08x}"


def _batch_hash(batch: Any) -> str | None:
    if batch is None:
        return None
    leaves, _ = flatten(batch, lambda value: isinstance(value, (torch.Tensor, np.ndarray)))
    if not leaves:
        return None
    return hash_of({name: _words(leaf) for name, leaf in leaves.items()})


def _words(leaf: Any) -> np.ndarray:
    if not isinstance(leaf, torch.Tensor):
        return np.asarray(leaf)
    tensor = (leaf.to_dense() if leaf.layout != torch.strided else leaf).detach().cpu().contiguous()
    sized = {2: torch.int16, 1: torch.uint8}.get(tensor.element_size())
    return np.asarray(tensor if sized is None else tensor.view(sized))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (bool, int, float)) else 0.0


def _world() -> int:
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return int(torch.distributed.get_world_size()) if ready else 1

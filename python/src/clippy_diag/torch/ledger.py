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
from ..sketch import checksum_on_device, seed_of, sketch_on_device
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
        self._summaries = Summaries()
        self._options: dict[str, Any] = {}
        #: Groups and `requires_grad` as they were at the last step: options are put into words only where one changed.
        self._seen: list[dict[str, Any]] = []
        self._trained: list[bool] = []
        self._until_look = 0
        #: Whether it is heard when an optimizer has stepped: torch 1 has no such hook.
        hooked = all(hasattr(optimizer, "register_step_post_hook") for optimizer in self._optimizers)
        self._steps = LedgerSteps(ledger, lambda: self._of(self._weights()), self._state, hooked)
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
        self._steps.take(step, value, lambda: self._of(gradients, 1 / scale), entry, batch_id)

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

    def _state(self) -> Summary:
        """The state of each tensor: the sum over its slots, each under a name of its own; counters in the checksum only."""
        sketches = np.zeros((len(self._tensors), 64))
        checksums = np.zeros(len(self._tensors), np.uint64)
        for row, (name, parameter) in enumerate(self._tensors.items()):
            total = 0
            for optimizer in self._optimizers:
                for slot, value in optimizer.state.get(parameter, {}).items():
                    tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(_number(value))
                    of_slot = self._one(f"{name}/{slot}", tensor, tensor.shape == parameter.shape)
                    sketches[row] += of_slot[0]
                    total += of_slot[1] * (2 * seed_of(slot) + 1)
            checksums[row] = total & _MASK
        return Summary(sketches, checksums)

    def _of(self, tensors: Mapping[str, torch.Tensor | None], factor: float = 1.0) -> Summary:
        """Sketches and checksums of all tensors; zeros where there is none."""
        sketches, checksums = np.zeros((len(tensors), 64)), np.zeros(len(tensors), np.uint64)
        waiting = []
        for row, (name, tensor) in enumerate(tensors.items()):
            if tensor is None:
                continue
            tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
            if tensor.device.type == "cpu":
                sketches[row], checksums[row] = self._one(name, tensor)
            else:
                waiting.append((row, sketch_on_device(tensor, name), checksum_on_device(tensor)))
        if waiting:
            rows = [row for row, _, _ in waiting]
            sketches[rows] = torch.stack([sums for _, sums, _ in waiting]).cpu().numpy()
            checksums[rows] = torch.stack([total for _, _, total in waiting]).cpu().numpy().view(np.uint64)
        return Summary(sketches * factor if factor != 1 else sketches, checksums)

    def _one(self, name: str, tensor: torch.Tensor, in_sketch: bool = True) -> tuple[Any, int]:
        if tensor.device.type != "cpu":
            sums = sketch_on_device(tensor, name).cpu().numpy() if in_sketch else 0.0
            return sums, int(checksum_on_device(tensor)) & _MASK
        if tensor.dtype != torch.bfloat16:
            return self._summaries.one(name, tensor.numpy(), in_sketch)
        sums = self._summaries.one(name, tensor.float().numpy())[0] if in_sketch else 0.0
        return sums, self._summaries.one(name, tensor.view(torch.int16).numpy(), False)[1]


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
    there = [t for t in tensors if t is not None and t.numel()]
    if all(map(_is_plain, there)):
        return math.sqrt(sum(map(_squares, there)))
    if not there:
        return 0.0
    there = [t.coalesce().values() if t.is_sparse else t.detach() for t in there]
    one_device = len({t.device for t in there}) == 1
    each = torch._foreach_norm(there) if one_device else [torch.linalg.vector_norm(t) for t in there]
    first = there[0].device
    kind = torch.float32 if first.type == "mps" else torch.float64
    return torch.linalg.vector_norm(torch.stack([one.to(first, kind) for one in each]))


def _is_plain(tensor: torch.Tensor) -> bool:
    strided = tensor.layout == torch.strided and tensor.is_contiguous()
    return bool(strided and tensor.device.type == "cpu" and tensor.dtype == torch.float32)


def _squares(tensor: torch.Tensor) -> float:
    """Sum of squares of a float32 tensor in main memory. numpy's call is faster for a small one; for a large one it would
    wake threads of its own."""
    flat = tensor.detach().view(-1)
    if flat.numel() > ONE_THREAD_UP_TO:
        squares = float(torch.dot(flat, flat))
    else:
        array = flat.numpy()
        squares = float(np.dot(array, array))
    if not math.isfinite(squares):  # squares above 1e38 overflow where the norm does not
        squares = float(flat.double().square().sum())
    return squares


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

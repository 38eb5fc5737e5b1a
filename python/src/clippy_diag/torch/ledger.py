"""What the ledger keeps of a PyTorch step: hashes, options and norms of each, sketches and checksums of every N-th."""

from __future__ import annotations

import math
import operator
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..captures import flatten
from ..entries import hash_of
from ..ledger import Ledger, Summary, guarded, settings_now
from ..ledger_steps import DEFAULT_FROM, LedgerSteps, Steady, Summaries, changed, ledger_of, norm_of, number_of
from ..sketch import Place, checksum_on_device, sketch_on_device
from . import words as names
from .blocks import Block
from .ledger_ranks import RanksLedger, Shards
from .ranks import News, Ranks

#: Steps from one look for added parameters to the next.
LOOK_EVERY = 16
#: Entries of all gradients, and of one on average, from which on the factor of a clipping is looked for in a sample.
SAMPLED_FROM, SAMPLED_EACH = 1_000_000, 30_000
#: Entries of a gradient in the sample.
SAMPLE = 64
#: Rounding of a product in float32, four times.
_ROUNDING = 4 * 2.0**-24
_NO_OPTIONS = ("params", "initial_lr", "param_names")
_MASK = 0xFFFFFFFFFFFFFFFF
#: Parameters that ask for a gradient: its name in a capture, the parameter, the position of its optimizer.
Asked = list[tuple[str, torch.nn.Parameter, int]]


def chosen(
    choice: Any,
    every: int | None,
    capture: Path,
    model: torch.nn.Module,
    optimizers: Sequence[Any],
    ranks: Ranks | None,
) -> TorchLedger | None:
    """The ledger of a recorder, or None, see `ledger_of`; without a choice, models from DEFAULT_FROM parameters on have one.

    ranks  those that each hold a shard of the model, which write one ledger together; None for whole tensors

    Raises ValueError as `ledger_of` does, and where shards are held in a way that one ledger cannot join.
    """
    shards = None if ranks is None else Shards(ranks, model)
    if choice is None:
        count = sum(math.prod(p.shape if shards is None else shards.shape(p)) for p in model.parameters())
        choice = count >= DEFAULT_FROM
    if shards is None or ranks is None:
        ledger = ledger_of(choice, every, capture)
        return None if ledger is None else TorchLedger(ledger, model, optimizers, None)
    joined = ledger_of(choice, every, capture, RanksLedger.of(ranks))
    return None if joined is None else TorchLedger(joined, model, optimizers, shards)


class TorchLedger:
    """The ledger of one model and its optimizers. `look` and `take` are called after backward(), `about` and `after` around
    an optimizer's step; none of them changes anything of the training, nor raises into it.

    shards  where this rank's parts of the tensors lie; None for whole tensors
    """

    def __init__(
        self, ledger: Ledger, model: torch.nn.Module, optimizers: Sequence[Any], shards: Shards | None
    ) -> None:
        self.own = ledger
        self._model, self._optimizers, self._shards = weakref.ref(model), list(optimizers), shards
        self._tensors: dict[str, torch.nn.Parameter] = {}
        self._places: dict[str, Place] = {}
        self._summaries = _Summaries(self._places)
        self._options: dict[str, Any] = {}
        #: Groups and `requires_grad` as they were at the last step: options are put into words only where one changed.
        self._seen: list[dict[str, Any]] = []
        self._trained: list[bool] = []
        self._until_look = 0
        #: Norms of gradients and weights at this step; NaN where they are not known.
        self._gradient_norm = self._weight_norm = math.nan
        #: Gradients of this step whose norm is still to come, and the loss scale in them.
        self._unmeasured: list[torch.Tensor | None] | None = None
        self._scaled = 1.0
        #: What shows whether the gradients that were looked at have been written to.
        self._versions: list[tuple[int, int]] = []
        self._known: set[int] = set()
        self._sample: _Sample | None = None
        self._weights_norm = _NormOfWeights()
        #: Parameters that were compared with the model's, and whether they are the same in the same order.
        self._asked: Asked | None = None
        self._has_just_these = False
        #: What is known of the newest step, where its line comes later.
        self._late: LateLine | None = None
        #: Whether it is heard when an optimizer has stepped: torch 1 has no such hook.
        hooked = all(hasattr(optimizer, "register_step_post_hook") for optimizer in self._optimizers)
        self._steps = LedgerSteps(ledger, lambda known: self._of(self._weights(), known), self._state, hooked)
        for optimizer in self._optimizers if hooked else ():
            optimizer.register_step_pre_hook(_hook(weakref.ref(self), TorchLedger.about))
            optimizer.register_step_post_hook(_hook(weakref.ref(self), TorchLedger.after))

    # ---- what the recorder calls

    def look(self, step: Any, scaler: Any) -> None:
        """A step whose gradients are there and whose weights have not moved yet: what is known before ranks have met.

        scaler  the GradScaler, whose factor is divided out of the gradients unless it has unscaled them
        """
        with torch.no_grad():
            guarded(self.own, self._look, step, scaler)

    def gradients_are_finite(self, parameters: Sequence[torch.Tensor]) -> bool:
        """Whether `look` has shown that the whole gradients of these parameters hold neither NaN nor infinity."""
        if self._shards is not None or self.own.stopped is not None:
            return False
        return math.isfinite(self.gradient_norm) and self._known.issuperset(map(id, parameters))

    @property
    def gradient_norm(self) -> float:
        """Euclidean norm of the whole gradient of the step that `look` saw last, without a loss scale; NaN where it is not known."""
        with torch.no_grad():
            guarded(self.own, self._measure)
        return self._gradient_norm

    def knows(self, size: float, tensors: int) -> None:
        """The norm of so many of the gradients that `look` saw, from a copy of them: where these are all, it is not computed again."""
        unmeasured = self._unmeasured
        if unmeasured is not None and self._scaled == 1 and tensors == sum(g is not None for g in unmeasured):
            self._gradient_norm, self._unmeasured = size, None

    def news(self, news: News, batch: Any) -> News:
        """What a rank with a shard sends the others at this step, added to `news`."""
        own, found = self.own, [news]
        if isinstance(own, RanksLedger):
            norms = self.gradient_norm, self._weight_norm
            guarded(own, lambda: found.append(own.news(news, norms, batch_hash_of(batch))))
        return found[-1]

    def join(self) -> None:
        """The ranks have met; what they said of the ledger is taken up."""
        if isinstance(self.own, RanksLedger):
            guarded(self.own, self.own.join)

    def leave(self, error: Exception) -> None:
        """The ranks could not meet: no line from here on would be one of all of them."""
        if isinstance(self.own, RanksLedger) and self.own.stopped is None:
            self.own.stopped = f"the ranks could not be joined: {type(error).__name__}"
            self.own.close()

    def take(
        self, step: int, loss: Any, batch: Any, batch_id: Any, scaler: Any, random_state: Any, batch_hash: str | None
    ) -> None:
        """The step that `look` was called for.

        random_state  from before the forward pass, where it was seen: by name, `rng/cpu`
        batch_hash    of `batch_hash_of`, where it is known; None: it is made from `batch`
        """
        with torch.no_grad():
            guarded(self.own, self._take, step, loss, batch, batch_id, scaler, random_state, batch_hash)
        self._unmeasured = None

    def about(self) -> None:
        """An optimizer is about to step, on the gradients as they are now."""
        if self._late is not None:
            guarded(self.own, self._about_late)
            return
        with torch.no_grad():
            guarded(self.own, self._about)

    def after(self) -> None:
        """An optimizer has stepped."""
        if self._late is not None:
            return
        with torch.no_grad():
            guarded(self.own, self._steps.after)

    def close(self) -> None:
        """Writes what waits."""
        with torch.no_grad():
            self._steps.close()

    # ---- a step whose line comes later: `keep` replaces `look`, and `late` both `look` and `take`

    def may_wait(self, step: int) -> bool:
        """Whether the line of step `step` may come later: it has no tensors, nor has the one before it."""
        return self.own.stopped is not None or (self._until_look > 0 and not self._steps.looks_before(step))

    def has_so_many(self, gradients: int) -> bool:
        """Whether so many of the model's parameters have a gradient."""
        return self.own.stopped is not None or gradients == sum(p.grad is not None for p in self._tensors.values())

    def has_just(self, asked: Asked) -> bool:
        """Whether these are all parameters of the model, in its order. The list is not changed in place."""
        if asked is not self._asked:
            own = list(self._tensors.values())
            self._has_just_these = len(asked) == len(own) and all(map(operator.is_, own, (p for _, p, _ in asked)))
            self._asked = asked
        return self._has_just_these

    def keep(
        self, block: Block, random_state: Any, gradients: Sequence[torch.Tensor | None] | None = None
    ) -> LateLine | None:
        """What the line of this step needs from now, on which all gradients are in `block`; None without a ledger.

        gradients  of all parameters of the model, where they are at hand
        """
        guarded(self.own, self._keep, block, random_state, gradients)
        return self._late

    def hash_of(self, batch: Any) -> str | None:
        """The hash of a batch, see `batch_hash_of`."""
        found: list[str | None] = []
        guarded(self.own, lambda: found.append(batch_hash_of(batch)))
        return found[0] if found else None

    def late(self, line: LateLine, step: int, loss: float, size: float, batch_hash: str | None, batch_id: Any) -> None:
        """The step that `line` is of; `size` is the norm of its gradient."""
        if line is self._late:
            self._late = None
        guarded(self.own, self._take_late, line, step, loss, size, batch_hash, batch_id)

    def looked_at(self) -> None:
        """No step's line is still to come."""
        self._late = None
        guarded(self.own, self._look_for_tensors)

    def _keep(self, block: Block, random_state: Any, gradients: Sequence[torch.Tensor | None] | None) -> None:
        self._late = None
        gradients = [p.grad for p in self._tensors.values()] if gradients is None else gradients
        self._late = LateLine(
            self._weights_norm.of(list(self._tensors.values())),
            _versions(gradients),
            self._changed_options(),
            random_state or {"rng/cpu": torch.get_rng_state()},
            block,
        )

    def _about_late(self) -> None:
        line = self._late
        assert line is not None
        line.is_taken, line.factor, line.clipped = True, 1.0, None
        gradients = [p.grad for p in self._tensors.values()]
        if _versions(gradients) == line.versions:
            return
        with torch.no_grad():
            before = [line.block.views.get(f"grad/{name}") for name in self._tensors]
            sample = _Sample.of(before, [version for _, version in line.versions])
            factor = None if sample is None else sample.factor(gradients)
            if factor is None:
                line.clipped = float(norm(gradients))
            else:
                line.factor = factor

    def _take_late(
        self, line: LateLine, step: int, loss: float, size: float, batch_hash: str | None, batch_id: Any
    ) -> None:
        self._gradient_norm, self._weight_norm, self._unmeasured = size, line.weight_norm, None
        self._versions, self._scaled, self._sample = line.versions, 1.0, None
        self._steps.before(step)
        entry = self._entry(batch_hash, line.random_state, line.options)
        self._steps.take(step, loss, _no_tensors, entry, batch_id)
        if line.is_taken:
            self._steps.clipped(line.factor * size if line.clipped is None else line.clipped)
            self._steps.after()

    def _look_for_tensors(self) -> None:
        if self._model() is not None:
            self._until_look = LOOK_EVERY if self._has_all() else 0

    # ---- a step

    def _look(self, step: Any, scaler: Any) -> None:
        self._gradient_norm, self._weight_norm, self._unmeasured = math.nan, math.nan, None
        if self._session_due():
            self._begin()
        gradients = [self._held(p.grad, p) for p in self._tensors.values()]
        self._unmeasured, self._scaled = gradients, self._scale(scaler)
        self._versions = _versions(gradients)
        self._weight_norm = self._weights_norm.of([self._held(p, p) for p in self._tensors.values()])
        self._steps.before(int(step))
        self._sample = None if self.own.due(int(step)) else _Sample.of(gradients)

    def _measure(self) -> None:
        if self._unmeasured is not None:
            gradients, self._unmeasured = self._unmeasured, None
            self._gradient_norm = float(norm(gradients)) / self._scaled

    def _take(
        self, step: Any, loss: Any, batch: Any, batch_id: Any, scaler: Any, random_state: Any, batch_hash: str | None
    ) -> None:
        self._measure()
        if isinstance(self.own, RanksLedger):
            (self._gradient_norm, self._weight_norm), batch_hash = self.own.joined_norms, self.own.joined_batch
        elif batch_hash is None:
            batch_hash = batch_hash_of(batch)
        random_state = random_state or {"rng/cpu": torch.get_rng_state()}
        entry = self._entry(batch_hash, random_state, self._changed_options())
        gradients, scale = {name: p.grad for name, p in self._tensors.items()}, self._scale(scaler)
        value = float(torch.as_tensor(loss).detach())
        self._steps.take(int(step), value, lambda: self._of(gradients, None, 1 / scale), entry, batch_id)

    def _entry(self, batch_hash: str | None, random_state: Any, options: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "batch": batch_hash,
            "rng": _random_hash(random_state),
            "options": options,
            "gradientNorm": number_of(self._gradient_norm),
            "weightNorm": number_of(self._weight_norm),
        }

    def _about(self) -> None:
        gradients = [self._held(p.grad, p) for p in self._tensors.values()]
        if self._shards is None and self._scaled == 1 and _versions(gradients) == self._versions:
            self._steps.clipped(self._gradient_norm)
            return
        factor = None if self._sample is None else self._sample.factor(gradients)
        self._steps.clipped(norm(gradients) if factor is None else factor * self._gradient_norm)

    def _scale(self, scaler: Any) -> float:
        """What gradients are multiplied by."""
        if scaler is None or not scaler.is_enabled():
            return 1.0
        unscaled = any(names.scaler_stage(scaler, optimizer) == "UNSCALED" for optimizer in self._optimizers)
        return 1.0 if unscaled else float(scaler.get_scale())

    # ---- a session

    def _session_due(self) -> bool:
        if self._tensors:
            self._until_look -= 1
            if self._until_look > 0:
                return False
        self._until_look = LOOK_EVERY
        return not self._has_all()

    def _has_all(self) -> bool:
        """Whether the model has the parameters that it had when the session began."""
        model = self._model()
        if model is None:
            raise RuntimeError("the model is gone")
        return list(self._tensors) == [names.plain_name(name) for name, _ in model.named_parameters()]

    def _begin(self) -> None:
        model = self._model()
        assert model is not None
        self._steps.finish(None)
        self._tensors = {names.plain_name(name): p for name, p in model.named_parameters()}
        self._known = set(map(id, self._tensors.values()))
        self._asked = None
        shapes = {name: list(p.shape) for name, p in self._tensors.items()}
        if self._shards is not None:
            shapes = {name: self._shards.shape(p) for name, p in self._tensors.items()}
            self._places.update((name, self._shards.place(p)) for name, p in self._tensors.items())
        count = sum(map(math.prod, shapes.values()))
        self._summaries.keep_codes(count)
        if isinstance(self.own, RanksLedger):
            mine = (self._held(p, p) for p in self._tensors.values())
            self.own.count(count, sum(p.numel() for p in mine if p is not None))
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
                "tensors": [[n, shapes[n], str(p.dtype).replace("torch.", "")] for n, p in self._tensors.items()],
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

    def _held(self, tensor: torch.Tensor | None, parameter: torch.Tensor) -> torch.Tensor | None:
        """What this rank adds to a tensor of the shape of `parameter`."""
        return tensor if self._shards is None or tensor is None else self._shards.held(tensor, parameter)

    def _state(self, known: Summary | None) -> Summary:
        """The state of each tensor, see `Summaries.of_state`."""
        states: dict[str, dict[str, torch.Tensor]] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for name, parameter in self._tensors.items():
            mine = self._held(parameter, parameter)
            shapes[name] = tuple(parameter.shape if mine is None else mine.shape)
            slots = {
                slot: value if isinstance(value, torch.Tensor) else torch.as_tensor(_number(value))
                for optimizer in self._optimizers
                for slot, value in optimizer.state.get(parameter, {}).items()
            }
            states[name] = slots if self._shards is None else self._shards.held_state(slots, parameter)
        return self._summaries.of_state(states, shapes, known)

    def _of(
        self, tensors: Mapping[str, torch.Tensor | None], known: Summary | None = None, factor: float = 1.0
    ) -> Summary:
        """Sketches and checksums of all tensors; zeros where there is none."""
        mine = {name: self._held(t, self._tensors[name]) for name, t in tensors.items()}
        dense = {n: t.to_dense() if t is not None and t.layout != torch.strided else t for n, t in mine.items()}
        waiting = [(row, name, t) for row, (name, t) in enumerate(dense.items()) if t is not None and not t.is_cpu]
        found = self._summaries.of({n: t if t is not None and t.is_cpu else None for n, t in dense.items()}, known)
        if waiting:
            rows = [row for row, _, _ in waiting]
            places = self._places
            sums = [
                (sketch_on_device(t, name, places.get(name, 0)), checksum_on_device(t, places.get(name, 0)))
                for _, name, t in waiting
            ]
            found.sketches[rows] = torch.stack([own for own, _ in sums]).cpu().numpy()
            found.checksums[rows] = torch.stack([total for _, total in sums]).cpu().numpy().view(np.uint64)
        return Summary(found.sketches * factor, found.checksums) if factor != 1 else found


class LateLine:
    """What is known of a step at its own time, whose line comes later."""

    __slots__ = ("block", "clipped", "factor", "is_taken", "options", "random_state", "versions", "weight_norm")

    def __init__(
        self,
        weight_norm: float,
        versions: list[tuple[int, int]],
        options: dict[str, Any] | None,
        random_state: Any,
        block: Block,
    ) -> None:
        self.weight_norm, self.versions, self.options = weight_norm, versions, options
        self.random_state, self.block = random_state, block
        #: Whether its optimizer is about to step, on gradients that were multiplied by a factor, or whose norm is known.
        self.is_taken, self.factor = False, 1.0
        self.clipped: float | None = None


class _NormOfWeights:
    """`norm` of tensors that stay where they are: where they do, nothing but their numbers is looked at again."""

    def __init__(self) -> None:
        self._at: list[int] = []
        self._steady: Steady | None = None

    def of(self, tensors: Sequence[torch.Tensor | None]) -> float:
        """The norm of what they hold now."""
        at = [0 if t is None or t.layout is not torch.strided else t.data_ptr() for t in tensors]
        if at != self._at:
            self._at, self._steady = at, None
            there = [t for t in tensors if t is not None and t.is_cpu and t.dtype is torch.float32]
            if len(there) == len(tensors) and all(at) and all(t.is_contiguous() for t in there):
                self._steady = Steady(map(names.view_of, there))
        return float(norm(tensors)) if self._steady is None else self._steady.norm()


class _Sample:
    """Some entries of each gradient as they are after backward(). A clipping by the norm of all gradients multiplies every
    entry by one factor, so the norm that it leaves is known without a look at all entries."""

    def __init__(self, entries: torch.Tensor, counts: list[int], versions: list[int]) -> None:
        self._entries, self._counts, self._versions = entries, counts, versions

    @classmethod
    def of(cls, gradients: Sequence[torch.Tensor | None], versions: list[int] | None = None) -> _Sample | None:
        """A sample of gradients; None where they are not many numbers of float32 in main memory.

        versions  of the gradients, where these are copies of them
        """
        there = [g for g in gradients if g is not None and g.numel()]
        entries = sum(g.numel() for g in there)
        plain = all(g.is_cpu and g.dtype is torch.float32 and g.is_contiguous() for g in there)
        if not plain or entries < SAMPLED_FROM or entries < SAMPLED_EACH * len(there):
            return None
        parts = _some(there)
        versions = [g._version for g in there] if versions is None else versions
        return cls(torch.cat(parts).double(), [len(part) for part in parts], versions)

    def factor(self, gradients: Sequence[torch.Tensor | None]) -> float | None:
        """What all gradients were multiplied by; None where a sample cannot tell: entries that were changed otherwise, or
        tensors that were written to while no entry of the sample changed."""
        there = [g for g in gradients if g is not None and g.numel()]
        parts = _some(there) if all(g.layout is torch.strided and g.is_contiguous() for g in there) else []
        if [len(part) for part in parts] != self._counts:
            return None
        now, before = torch.cat(parts).double(), self._entries
        if torch.equal(now, before):
            return 1.0 if [g._version for g in there] == self._versions else None
        factor = float(now.dot(before) / before.dot(before))
        told = all(bool(part.any()) for part in before.split(self._counts))
        same = bool(((now - factor * before).abs() <= _ROUNDING * factor * before.abs()).all())
        return factor if told and same else None


def _no_tensors() -> Any:
    raise AssertionError("a step whose line comes late has no tensors")


def _some(gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Entries at equal distances of each tensor."""
    return [g.detach().view(-1)[:: max(1, g.numel() // SAMPLE)].clone() for g in gradients]


class _Summaries(Summaries):
    """Of torch's tensors: those of another device are summed up there."""

    def sketch_of(self, name: str, array: Any, place: Place = 0) -> np.ndarray:
        if not array.is_cpu:
            return np.asarray(sketch_on_device(array, name, place).cpu())
        return super().sketch_of(name, names.view_of(array.float() if array.dtype == torch.bfloat16 else array), place)

    def checksum_of(self, array: Any, place: Place = 0) -> int:
        if not array.is_cpu:
            return int(checksum_on_device(array, place)) & _MASK
        words = array.view(torch.int16) if array.dtype == torch.bfloat16 else array
        return super().checksum_of(names.view_of(words), place)


def _hook(reference: weakref.ref[TorchLedger], call: Callable[[TorchLedger], None]) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        ledger = reference()
        if ledger is not None:
            call(ledger)

    return hook


def _same(group: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether the options of a group are those from before."""
    if len(group) != len(before):
        return False
    if group.keys() == before.keys() and all(map(operator.is_, group.values(), before.values())):
        return True
    for key, value in group.items():
        old = before.get(key, group)
        if old is not value and key not in _NO_OPTIONS and not bool(old == value):
            return False
    return True


def _versions(gradients: Sequence[torch.Tensor | None]) -> list[tuple[int, int]]:
    """What changes where a gradient is written to, or another takes its place while it is there."""
    return [(id(g), g._version) for g in gradients if g is not None]


def norm(tensors: Sequence[torch.Tensor | None]) -> float | torch.Tensor:
    """Norm of all tensors together; on a device it is not waited for."""
    there = [tensor for tensor in tensors if tensor is not None]
    for tensor in there:
        if not tensor.is_cpu or tensor.dtype is not torch.float32 or tensor.layout is not torch.strided:
            return _norm_by_torch(tensors)
    return norm_of(map(names.view_of, there))


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


def _random_hash(state: Mapping[str, torch.Tensor]) -> str:
    """64 bits of a random state, two checksums of the same bytes: states are long, and this is done at every step."""
    crc, adler = 0, 1
    for name in sorted(state):
        data = state[name].numpy()
        crc, adler = zlib.crc32(data, crc), zlib.adler32(data, adler)
    return f"{crc:08x}{adler:08x}"


def batch_hash_of(batch: Any) -> str | None:
    """The hash of the tensors of a batch, the one that an entry of capture.json has; None where there are none."""
    leaves, _ = flatten(batch, lambda value: isinstance(value, (torch.Tensor, np.ndarray)))
    arrays = ((f"batch/{name}", _array(leaf)) for name, leaf in leaves.items())
    known = {name: array for name, array in arrays if array is not None}
    return hash_of(known) if known else None


def _array(leaf: Any) -> Any:
    """A leaf as a capture has it; text and dates by their bytes, None for objects."""
    if not isinstance(leaf, torch.Tensor):
        return leaf if leaf.dtype.kind in "fiub" else None if leaf.dtype.hasobject else np.frombuffer(leaf, np.uint8)
    tensor = names.local(leaf.to_dense() if leaf.layout != torch.strided else leaf)
    return names.array_of(torch.view_as_real(tensor) if tensor.is_complex() else tensor)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (bool, int, float)) else 0.0


def _world() -> int:
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return int(torch.distributed.get_world_size()) if ready else 1

"""Steps that wait: a quiet one is only kept, and up to MOST of them are looked at in a row.

Python that runs once in a training step finds the processor's caches emptied by that step, and takes two to five times as long as
in a loop. So a quiet step only copies what is gone after it, and reads what the next step changes. The judge, hashes, norms and
the lines of the ledger come later, step by step in their order.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..captures import Array
from ..entries import hash_of
from ..recording import Step
from ..step_records import SMALL
from ..triggers import not_finite
from .blocks import Block
from .ledger import Asked, LateLine

if TYPE_CHECKING:
    from .recorder import Recorder

#: Steps that wait at most.
MOST = 8
#: So many do; tests set it to 0.
_most = MOST


class Kept:
    """A quiet step as it was kept: what `Recorder._record` and the ledger read at other steps at once."""

    __slots__ = (
        "batch_block", "batch_hash", "batch_id", "block", "entry", "has_batch", "line", "modes", "options", "outside", "rates",
        "random_state", "size", "step", "stepped", "tasks", "tensors", "unreached", "value",
    )  # fmt: skip

    step: int
    value: float
    tasks: dict[str, float]
    rates: dict[Hashable, float]
    options: list[dict[str, Any]]
    modes: dict[str, bool]
    outside: dict[str, float]
    #: Members of its entry, but for those that follow from the others.
    entry: dict[str, Any]
    #: Its batch and random state, and the block with its gradients.
    tensors: dict[str, Array]
    random_state: dict[str, torch.Tensor]
    block: Block
    batch_block: Block | None
    #: Parameters that ask for a gradient and have none.
    unreached: list[str]
    batch_id: Any
    has_batch: bool
    #: Of its batch, also of one that is not kept; and the norm of its gradient, once it is looked at.
    batch_hash: str | None
    size: float
    line: LateLine | None
    #: Whether its optimizer has stepped.
    stepped: bool

    def loss(self) -> float:
        """Its loss."""
        return self.value


class Waiting:
    """The steps of one recorder that wait."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.kept: list[Kept] = []
        #: Whether the next step may be kept, as far as that follows from the last one that was not.
        self._ready = False
        #: How many steps may wait from the first one on that does.
        self._limit = 0
        #: The thread that trains.
        self._thread = 0
        #: A loss above it is looked at at once.
        self._calm = -math.inf

    # ---- a step

    def takes(
        self, step: Any, loss: Any, tasks: Mapping[str, Any] | None, batch: Any, scaler: Any, batch_id: Any, only: Any
    ) -> bool:
        """Keeps the step, if it is a quiet one; returns whether it did."""
        recorder = self._recorder
        if not self._ready or recorder._own.stopped is not None:
            return False
        if only is not None or type(step) is not int or not self._may(recorder, step):
            return False
        if scaler is not None and scaler.is_enabled():
            return False
        # Without `torch.no_grad`, which takes 50 µs here: nothing that is copied or measured asks for a gradient.
        with recorder._own.guarded():
            value = _value(loss)
            if value is None or not value <= self._calm:
                return False
            return self._keep(recorder, step, value, tasks or {}, batch, batch_id)
        return False

    def _may(self, recorder: Recorder, step: int) -> bool:
        """Whether nothing has to be read before or after the step that comes."""
        if not self.kept:
            self._limit = self._how_many(recorder)
        if self._is_full(recorder):
            return False
        return recorder.ledger is None or recorder.ledger.may_wait(step)

    def _how_many(self, recorder: Recorder) -> int:
        """How many steps from the one on that comes need no snapshot and no checksums."""
        own, records, entries = recorder._own, recorder._records, recorder._entries
        if records.compares_next():
            return 0
        found = (k for k in range(_most) if not own.may_wait(k) or records.checksums_ahead(entries, k))
        return next(found, _most)

    def _is_full(self, recorder: Recorder) -> bool:
        """Whether the step that comes may not wait, whatever it is."""
        if len(self.kept) >= self._limit or recorder._own.is_wanted:
            return True
        return bool(self.kept) and not self.kept[-1].stepped

    def _keep(
        self, recorder: Recorder, step: int, value: float, tasks: Mapping[str, Any], batch: Any, batch_id: Any
    ) -> bool:
        owned = recorder._owned_now()
        if owned is not recorder._planned_for or not (self.kept or self._may_begin(recorder)):
            return False
        asked, ledger = recorder._asked_for, recorder.ledger
        named = _plain_gradients(asked)
        if not named:
            return False
        outside = recorder._records.norms_outside(1.0)
        whole = ledger is not None and len(named) == len(asked) and ledger.has_just(asked)
        if outside or not (ledger is None or whole or ledger.has_so_many(len(named))):
            return False
        kept = Kept()
        kept.step, kept.value, kept.stepped, kept.batch_id, kept.outside = step, value, False, batch_id, outside
        kept.tasks = {name: float(torch.as_tensor(task).detach()) for name, task in tasks.items()}
        # Rates, options and modes as they are before the step; `stepped` looks at them again.
        kept.rates = recorder._rates()
        kept.options, kept.modes = recorder._records.options(), recorder._records.modes()
        leaves, tree = recorder._batch_of(batch)
        kept.batch_hash = None
        kept.has_batch = bool(leaves)
        kept.entry = recorder._batches.members(leaves, tree, batch_id)
        random = recorder.random_state if recorder._marked else None
        arrays, kept.batch_block = recorder._batch_arrays(leaves)
        kept.tensors, kept.random_state = arrays, recorder._random_of(leaves)
        kept.block = recorder._gradient_blocks.filled(named)
        few = len(named) < len(owned)
        kept.unreached = [o.name for o in owned if o.parameter.grad is None] if few else []
        kept.line = None
        if ledger is not None:
            kept.line = ledger.keep(kept.block, random, [gradient for _, gradient in named] if whole else None)
            kept.batch_hash = None if leaves else ledger.hash_of(batch)
        recorder._note_moved_again()
        recorder._unstepped = recorder._to_sum = None
        self.kept.append(kept)
        return True

    def _may_begin(self, recorder: Recorder) -> bool:
        """Whether the recorder does nothing at a step that needs the model as it is then."""
        if recorder.guard is not None or recorder.tracker is not None or recorder._loss_again is not None:
            return False
        if recorder._planned is not None or recorder.ranks is not None or len(recorder.optimizers) != 1:
            return False
        if recorder._waiting is not None or recorder._shared is not None or recorder._unstepped_left():
            return False
        self._thread = threading.get_ident()
        plain = recorder._hears_steps and recorder._all_formula and recorder._on_cpu
        return plain and recorder._entries > SMALL

    def stepped(self) -> bool:
        """The optimizer has stepped; returns whether that was the step of one that waits."""
        if not self.kept or self.kept[-1].stepped:
            return bool(self.kept)
        recorder, kept = self._recorder, self.kept[-1]
        kept.stepped = True
        kept.rates, kept.options = recorder._rates(), recorder._records.options()
        if self._is_full(recorder):
            self.look()
        return True

    def before_forward(self) -> None:
        """A forward pass begins: what the next step needs from before it is only known once no step waits any more."""
        if self.kept and self._is_full(self._recorder):
            self.look()

    # ---- later

    def look(self, ending: bool = True) -> None:
        """Looks at the steps that wait. Never raises.

        ending  False: somebody asks what is known so far; nothing is done for another thread than the one that trains
        """
        if not self.kept or not (ending or threading.get_ident() == self._thread):
            return
        kept, self.kept = self.kept, []
        recorder = self._recorder
        own, ledger = recorder._own, recorder.ledger
        if not own.is_own_process:
            return
        with own.guarded(), own.without_requests(), torch.no_grad():
            # One after the other: what reads megabytes takes from the caches what the rest works with.
            for one in kept:
                one.size = one.block.norm()
            for one in kept:
                if one.has_batch:
                    one.batch_hash = hash_of(one.tensors)
            with own.judged_ahead([one.value for one in kept]):
                for one in kept:
                    own.attempt(one.step, one.loss, self._take, recorder, one)
            for one in kept:
                if ledger is not None and one.line is not None:
                    ledger.late(one.line, one.step, one.value, one.size, one.batch_hash, one.batch_id)
        if ledger is not None:
            ledger.looked_at()
        self.quiet([one.value for one in kept])

    def quiet(self, losses: list[float]) -> None:
        """These losses have been looked at; a larger one is no longer quiet."""
        top = max(losses)
        self._ready, self._calm = True, top + abs(top)

    def _take(self, recorder: Recorder, one: Kept) -> None:
        """The same as `Recorder._record` of a quiet step."""
        own, records = recorder._own, recorder._records
        own.begin(one.step, one.value)
        broken = [] if math.isfinite(one.size) else not_finite(one.block.arrays, ("grad/",))
        own.look_at_gradients(broken, one.size)
        hash_ = one.batch_hash if one.has_batch else None
        entry = records.entry_of(one.step, list(one.rates.values()), hash_, one.options, one.modes, one.outside)
        one.entry.update(entry)
        if one.unreached:
            one.entry["unreached"] = one.unreached
        records.checksums_due(recorder._entries, False)
        random = {name: state.numpy() for name, state in one.random_state.items()}
        tensors = {**one.tensors, **random, **one.block.arrays}
        taken = Step(one.step, one.value, one.rates, tensors, one.tasks, one.entry)
        taken.waits = not one.stepped
        taken.released = lambda: recorder._release(one.block, one.batch_block)
        if not one.stepped:
            recorder._unstepped = taken, {0}
        own.add(taken)


def _plain_gradients(asked: Asked) -> list[tuple[str, torch.Tensor]] | None:
    """Gradients that are there, under their names in a capture; None where one is not of float32 in main memory, or asks for a
    gradient itself."""
    found = []
    for name, parameter, _ in asked:
        gradient = parameter.grad
        if gradient is None:
            continue
        plain = type(gradient) is torch.Tensor and gradient.dtype is torch.float32
        if not plain or gradient.layout is not torch.strided or gradient.requires_grad:
            return None
        found.append((name, gradient))
    return found


def _value(loss: Any) -> float | None:
    """A loss as a number; None where it would be waited for, or is not a number."""
    if type(loss) is torch.Tensor:
        value = loss.item() if loss.is_cpu and loss.numel() == 1 else None
        return value if isinstance(value, float) else None
    return float(loss) if isinstance(loss, (int, float)) else None

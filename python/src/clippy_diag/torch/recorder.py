"""Records the gradient steps around a divergence, so that `clippy-diag` can say what would have prevented it.

from clippy_diag.torch import Recorder

recorder = Recorder(model, optimizer, "capture")
for step, batch in enumerate(batches):
    optimizer.zero_grad()
    loss = compute_loss(model, batch)
    loss.backward()
    recorder.record(step, loss, batch=batch)      # after backward(), before clipping and step()
    optimizer.step()
"""

from __future__ import annotations

import contextlib
import gc
import math
import platform
import random
import weakref
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import torch

from .. import __version__
from ..captures import Array, Source, model_files, number
from ..guarding import advice_entry, alarm_text
from ..joining import Joining, part_folder
from ..messages import describe
from ..options import Budget, OldNames, options_of, path_of
from ..recording import STATUS, Batches, Controls, Recording, Sizes, Skip, Step
from ..rules import Clipping, clipping_words
from ..writing import Snapshot
from . import words as names
from .blocks import Block, Blocks
from .curvature import entries_of
from .guard import Guard
from .ledger import TorchLedger, norm
from .ledger import chosen as chosen_ledger
from .planned import planned
from .ranks import Kind, News, Ranks, alarm_number, emptied, kind_of, names_checksum
from .step_records import StepRecords
from .tracker import Tracker
from .waiting import MOST, Waiting

Group = tuple[int, int]
#: Steps in a row that were taken by nobody that is known, from which on nothing is recorded: weights are loaded once.
OTHERS_IN_A_ROW = 3


class _Owned(NamedTuple):
    """A parameter that an optimizer trains."""

    name: str
    parameter: torch.nn.Parameter
    group: Group
    formula: bool


class Recorder(Controls):
    """One `record` call a step; see the top of this file.

    model          the torch.nn.Module that is trained, in DistributedDataParallel or compiled or as it is
    optimizers     any torch optimizer, or a list of them, as it is or wrapped by Accelerate or Lightning. The steps of Adagrad,
                   SGD, Adam, AdamW and RMSprop are replayed by formula; of others the parameters after each step are kept too
    path           the folder of the capture; later incidents go to `<folder>-2` …; `status.json` in it says how the recording fares
    clipping       the clipping that the loop does after `record`, "global-norm:1" or {"rule": "global-norm", "maxNorm": 1.0}; several
                   rules in the order in which they act, "global-norm:1+rms:1" or a list.
    curvature      a function of no arguments that computes the loss of the current batch again, for the top eigenvalue at an
                   incident (at most 82 Hessian-vector products); or a `Tracker`
    snapshot_every_steps  K: parameters and state are copied every K steps, so a capture holds K to 2K steps before the incident
    steps_after    steps recorded after the incident
    memory, disk   budgets, as "2GB" or bytes; what is kept less of to stay within them is said when recording starts
    max_captures   incidents that are written in one process
    layouts        layouts of kernels that no torch.nn module explains, such as {"shared/*/kernel": "IO"}
    model_file     the capture's model description (docs/recorders.md), copied into the folder
    folder, every, after  old names of path, snapshot_every_steps, steps_after
    guard          a `Guard`: a capture begins where it first alarms, before the loss jumps, and says what it advised. `record` asks
                   for the advice of a step that was not checked yet; following it stays the loop's: `guard.apply(guard.last)`
    ledger         a few hundred bytes of every step in the folder `ledger` next to the capture, by which `clippy-diag compare`
                   finds where two runs part: True, a budget such as "200MB", or False; None: for models from 100,000 parameters on
    ledger_every   steps from one whose tensors are summarised to the next; None: by the number of parameters.
    expected_changes   options that the loop changes on purpose, such as "weight_decay", apart from the learning rate

    Raises TypeError for an optimizer that has no param_groups, ValueError where none of its parameters is the model's.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizers: Any | Sequence[Any],
        path: str | Path = "capture",
        *,
        clipping: Clipping = None,
        curvature: None | Tracker | Callable[[], torch.Tensor] = None,
        snapshot_every_steps: int = 20,
        steps_after: int = 34,
        memory: Budget = "2GB",
        disk: Budget = "20GB",
        max_captures: int = 3,
        layouts: Mapping[str, str] | None = None,
        model_file: None | str | Path = None,
        guard: Guard | None = None,
        ledger: bool | int | str | None = None,
        ledger_every: int | None = None,
        expected_changes: Sequence[str] = (),
        folder: None | str | Path = None,
        every: int | None = None,
        after: int | None = None,
    ) -> None:
        old = OldNames(folder, every, after)
        options = options_of(snapshot_every_steps, steps_after, memory, disk, max_captures, old)
        given = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
        self.optimizers = [names.unwrapped(optimizer) for optimizer in given]
        #: What `clippy_diag.rerun` wants of this process, or None.
        self._planned = planned(self.optimizers)
        if self._planned is not None:
            path, old, ledger = self._planned.plan["scratch"], OldNames(), False
            options["max_captures"] = 0
        self.model = names.plain_model(model)
        self.clipping = clipping_words(clipping)
        self.tracker = curvature if isinstance(curvature, Tracker) else None
        self._loss_again = None if isinstance(curvature, Tracker) else curvature
        self._layouts, self._model_file = dict(layouts or {}), model_file
        self.guard, self._alarmed = guard, False
        self._names: dict[int, str] = {}
        self._owned: dict[str, torch.nn.Parameter] = {}
        self._trained: dict[str, tuple[Group, list[int]]] = {}
        self._own = Recording(path_of(path, old), self._describe, **options)
        #: The ranks that record together; None for one rank, and for ranks that nothing here joins.
        self.ranks: Ranks | None = None
        #: Whether ranks other than the first write parts of a capture; None before the first step.
        self._has_parts: bool | None = None
        self._said_pieces = 0
        #: The alarm of this rank in the step that comes, for people.
        self._alarm_text: str | None = None
        #: Quiet steps that are looked at later.
        self._late = Waiting(self)
        self._own.catch_up, self._own.late_by = self._late.look, MOST
        self._records = StepRecords(self.model, self.optimizers, self._own.folder / STATUS, expected_changes)
        self._own.also_said = self._records.status
        #: What trains, as of the last step, and what it follows from; and the parameters among it that are known already.
        self._owned_key: list[Any] = []
        self._owned_last: list[_Owned] = []
        self._held: list[tuple[str, torch.nn.Parameter, Any]] = []
        self._asked_for: list[tuple[str, torch.nn.Parameter, int]] = []
        self._entries = 0
        self._all_formula = self._on_cpu = False
        self._planned_for: list[_Owned] | None = None
        self._gradient_blocks, self._batch_blocks = Blocks(), Blocks()
        self._name_parameters()
        theirs = names.parameters_of(self.optimizers)
        if theirs and not any(id(p) in self._names for p in theirs):
            raise ValueError("clippy-diag: none of the optimizer's parameters is in the model")
        self._scaler_checked = self._clipping_heard = self._looked_for_ranks = False
        self._batches = Batches(self._own.note)
        self._waiting: tuple[Step, set[int]] | None = None
        #: The newest loss of each optimizer that steps on losses of its own, by its position.
        self._turns: dict[int, float] = {}
        #: A parameter of the last step, its version, and what its optimizer counts; how many steps others moved it.
        self._moved: tuple[torch.nn.Parameter, int, int, _Count] | None = None
        self._moved_by_others = 0
        #: What the newest capture says of a rerun.
        self._rerun: dict[str, Any] = {}
        #: The step of one of several optimizers, as long as others may step on the same loss, and who did.
        self._shared: tuple[Step, set[int]] | None = None
        kind = kind_of(self.model, model, theirs)
        if kind is not None:
            self._record_with_others(kind)
        #: Whose loop it is, such as "transformers", so that advice is a line for it; None for the user's own.
        self.trainer: str | None = None
        #: The autocast that forward passes run under; callbacks of trainers that begin it inside of the model say so.
        self.autocast: dict[str, str] | None = None
        #: The first parameter of the model, which shows the device that it is on.
        self._first: torch.nn.Parameter | None = None
        #: Whether batches go into captures; a tracker sees them anyway.
        self.keep_batches = True
        refusal = _refusal(theirs, given, self._names)
        if refusal:
            self._own.stop(refusal)
        else:
            self._note_what_loops_cannot_do()
        self._mark = _ForwardMark(self)
        #: The module whose forward passes are seen: hooks of what is inside a compiled one run while it is traced only.
        self.watched = model if hasattr(model, "_orig_mod") else self.model
        if self.watched is model or type(model).__name__ == "DistributedDataParallel":
            self._watch_forward()
        #: Whether every optimizer says when it has taken a step, and the step whose checksums after it are to come.
        self._hears_steps = all(hasattr(optimizer, "register_step_post_hook") for optimizer in self.optimizers)
        self._to_sum: Step | None = None
        self._sums_after = False
        for k, optimizer in enumerate(self.optimizers):
            if hasattr(optimizer, "register_step_post_hook"):
                optimizer.register_step_post_hook(_after_step(weakref.ref(self), k))
        self.ledger = self._ledger_of(ledger, ledger_every, path_of(path, old))
        if self.ledger is not None and self.ranks is None:
            # One more waits to hear what its optimizer does.
            self.ledger.own.late_by = MOST + 1
        #: The hash of this step's batch, once it is known.
        self._batch_hash: str | None = None
        #: The last recorded step, and the optimizers whose step on it is still to come.
        self._unstepped: tuple[Step, set[int]] | None = None
        self.random_state: dict[str, torch.Tensor] | None = None
        self._marked = False
        self.other_random: dict[str, Any] | None = None

    def _ledger_of(self, choice: bool | int | str | None, every: int | None, path: Path) -> TorchLedger | None:
        sharded = self.ranks is not None and self.ranks.sharded
        if self.ranks is not None and not sharded and self.ranks.rank:
            return None
        try:
            shards = self.ranks if sharded else None
            return chosen_ledger(choice, every, path, self.model, self.optimizers, shards)
        except ValueError as error:
            if not sharded:
                raise
            self._own.note(str(error))
            return None

    @property
    def parallel(self) -> bool:
        """Whether several ranks record together; each has a recorder that is called at every step. Callbacks of trainers that
        wrap the model by themselves set it before the first step."""
        return self.ranks is not None

    @parallel.setter
    def parallel(self, value: bool) -> None:
        distributed = torch.distributed
        if value and self.ranks is None and distributed.is_available() and distributed.is_initialized():
            self._record_with_others("ddp")

    def _record_with_others(self, kind: Kind) -> None:
        """From here on this rank and the others open captures at the same steps."""
        own, self.ranks = self._own, Ranks(kind)
        own.shared = True
        if self.ranks.rank:
            own.folder, own.part = emptied(part_folder(own.folder, self.ranks.rank)), True
        if not self.ranks.sharded:
            return
        unknown = self.ranks.know(self.model)
        if unknown is not None:
            own.stop(unknown)
        left_out = {"a guard": self.guard, "a tracker": self.tracker, "curvature": self._loss_again}
        for what, given in left_out.items():
            if given is not None:
                own.note(f"{what} needs whole parameters, and these are sharded: it is left out")
        self.guard = self.tracker = self._loss_again = None

    def _note_what_loops_cannot_do(self) -> None:
        """What closed loops will refuse is said at the start, by name."""
        for optimizer in self.optimizers:
            if names.needs_closure(optimizer):
                self._own.note(
                    f"{type(optimizer).__name__} computes the loss several times in a step: its steps are recorded, and closed"
                    " loops are not possible"
                )

    # ---- what a loop calls

    def record(
        self,
        step: int,
        loss: float | torch.Tensor,
        tasks: Mapping[str, float | torch.Tensor] | None = None,
        batch: Any = None,
        scaler: Any = None,
        batch_id: Any = None,
        *,
        only: Any = None,
    ) -> None:
        """Takes one step. It never stops or changes the training: what it cannot do it says, once.

        step      an integer that grows
        loss      of this step, before any loss scale; under accumulation the mean over the micro-batches
        tasks     losses of the tasks, by name
        batch     what the model was given, tensors in any nesting of mappings, lists and tuples, for closed loops; the list of
                  micro-batches under accumulation
        scaler    the GradScaler, if there is one: gradients are recorded without its scale, and steps that it will skip are
                  checked too.
        batch_id  names the batch, or each of its rows (a list or tensor of shape [rows]), so that a report can say which to
                  leave out.
        only      the one of several optimizers that takes this step: parameters of the others have no gradient in it. Where each
                  of them steps on a loss of its own, the step's loss is the sum of the newest ones, which are its tasks
        """
        random_state = self.random_state if self._marked else None
        if self._late.takes(step, loss, tasks, batch, scaler, batch_id, only):
            return
        self._late.look()
        self._batch_hash = None
        if self.ledger is not None:
            self.ledger.look(step, scaler)
        value = self._value_of(loss, batch, scaler, only)
        self._own.attempt(
            step, lambda: value, self._take, only, step, loss, value, tasks or {}, batch, scaler, batch_id
        )
        if self._planned is not None:
            leaves, _ = self._batch_of(batch, alone=True)
            arrays = {f"batch/{name}": _batch_array(leaf) for name, leaf in leaves.items()}
            parameters = names.parameters_of(self.optimizers)
            self._planned.after_record(int(step), value, arrays, self.ranks, parameters)
        if self.ledger is not None:
            self.ledger.take(step, value, batch, batch_id, scaler, random_state, self._batch_hash)
        self._late.quiet([value])

    def __del__(self) -> None:
        """A loop that ends without `close` loses no step."""
        with contextlib.suppress(Exception):
            self._late.look()

    def close(self) -> None:
        """Ends the recording, waits until all is written, says what could not be done. Called at exit too."""
        self._late.look()
        if self.ledger is not None:
            self.ledger.close()
        super().close()

    def also(self, optimizer: Any, scaler: Any = None) -> None:
        """Another of several optimizers is about to step on the loss of the last `record(..., only=)`: the step is that of both.
        Does nothing where that step had its gradients already."""
        if self._own.stopped is None:
            with self._own.guarded():
                self._join(optimizer, scaler)

    def heard_clipping(self, clips: Sequence[Mapping[str, Any]], whole: bool) -> None:
        """For callbacks that hear the clipping: that of a step in the order in which it acts, `whole` once the step is over."""
        words = clipping_words(clips)
        if self._clipping_heard and not whole:
            return
        if self._clipping_heard and words != self.clipping:
            self._own.note("the clipping changes from step to step: a capture names that of its last step")
        self.clipping, self._clipping_heard = words, whole
        self._own.amend("clipping", words)

    # ---- a step

    def _value_of(self, loss: Any, batch: Any, scaler: Any, only: Any) -> float:
        """The loss as a number, the mean over ranks; NaN where it cannot be read. Ranks wait for each other here, so every rank
        calls this at every step, even if its recording has stopped."""
        try:
            if type(loss) is torch.Tensor:
                value = float(loss.item())
            else:
                loss = loss.full_tensor() if hasattr(loss, "full_tensor") else loss
                value = float(torch.as_tensor(loss).detach())
        except Exception as error:
            value = math.nan
            self._own.stop(f"the loss is no number: {describe(error)}")
        if self.ranks is None:
            return value
        try:
            news = self._news(self.ranks, value, batch, scaler, only)
            if self.ledger is not None:
                news = self.ledger.news(news, batch)
            self._meet(self.ranks, news)
            if self.ledger is not None:
                self.ledger.join()
            return self.ranks.mean_loss()
        except Exception as error:
            self._own.stop(f"the losses of the ranks could not be joined: {describe(error)}")
            if self.ledger is not None:
                self.ledger.leave(error)
            return value

    def _meet(self, ranks: Ranks, news: News) -> None:
        ranks.meet(news, next(self.model.parameters()).device)
        if not ranks.met:
            self._own.go_on_from(ranks.share(self._own.earlier_losses()))

    def _news(self, ranks: Ranks, value: float, batch: Any, scaler: Any, only: Any) -> News:
        """What this rank sends the others of a step. Never raises: they wait for it."""
        news = News(value, stopped=1)
        self._alarm_text = None
        if self._own.stopped is not None:
            return news
        with self._own.guarded(), torch.no_grad():
            owned, (_, among) = self._owned_now(), self._stepping(only)
            broken, size = self._seen_gradients(owned, among) if ranks.sharded or ranks.rank == 0 else ([], math.nan)
            scaled = scaler is not None and scaler.is_enabled()
            if not scaled:
                self._own.look_at_gradients(broken, size)
            request, self._alarm_text = self._own.unshared()
            leaves, _ = self._batch_of(batch, alone=True)
            sizes = Sizes(0, 0, 0, 0)
            if not self._own.planned or self._own.snapshot_due():
                sizes = self._sizes(owned, leaves, self._snapshot(owned)[0])
            news = News(
                value,
                requested=request is not None,
                alarm=alarm_number(self._alarm_text),
                skips=scaled and bool(broken),
                has_batch=bool(leaves),
                names=names_checksum([o.name for o in owned]),
                **sizes._asdict(),
            )
        return news

    def _agree(self, ranks: Ranks) -> bool:
        """Takes up what the ranks said of the step; returns whether they record it."""
        own, why = self._own, ranks.disagreement()
        if why is not None:
            own.stop(why)
            return False
        rank = ranks.first_with("requested")
        own.agree(None if rank is None else f"requested on rank {rank}", self._alarm_text or ranks.alarm())
        if self._has_parts is None:
            self._has_parts = ranks.sharded or all(one.has_batch for one in ranks.news)
            if self._has_parts and ranks.rank == 0:
                parts = [part_folder(own.folder, other) for other in range(1, ranks.size)]
                own.join = lambda manifest: Joining(parts, manifest, ranks.pieces, ranks.kind == "tp")
        return True

    def _take(
        self, only: Any, step: int, loss: Any, value: float, tasks: Mapping[str, Any], batch: Any, *others: Any
    ) -> None:
        with torch.no_grad():
            self._record(only, int(step), loss, value, tasks, batch, *others)
        if self.tracker is not None:
            self.tracker.measure(self, int(step), batch)

    def _record(
        self,
        only: Any,
        step: int,
        loss: Any,
        value: float,
        tasks: Mapping[str, Any],
        batch: Any,
        scaler: Any,
        batch_id: Any,
    ) -> None:
        own = self._own
        stepping, among = self._stepping(only)
        self._note_after_without_hook()
        if not self._takes(step, among, scaler, batch, loss):
            return
        several = only is not None and len(self.optimizers) > 1
        if several:
            value, tasks = self._of_turns(min(among), value, tasks)
        own.begin(step, value)
        advice = self._advice(step, batch, loss)
        owned = self._owned_now()
        scaled = scaler is not None and scaler.is_enabled()
        scale = _scale(scaler, stepping) if scaled else 1.0
        if scaled and self._skips(step, value, scaler, owned, among):
            return
        leaves, tree = self._batch_of(batch)
        joined = self._joined(owned, leaves)
        block = self._block(among, scale)
        if not scaled and self.ranks is None:
            own.look_at_gradients(*self._seen_gradients(owned, among, block))
        kept = self._kept(owned, leaves)
        with_gradients = own.gradients_due()
        batch_arrays, free_batch = self._batch_arrays(leaves)
        random = {name: state.numpy() for name, state in self._random_of(leaves).items()}
        tensors: dict[str, Array] = {**batch_arrays, **random}
        waits = (
            self._gradients(tensors, owned, among, scale, block) if with_gradients and self._holds_tensors else set()
        )
        rates = self._rates()
        records = self._records.entry(step, list(rates.values()), batch_arrays, scale)
        self._batch_hash = records.get("batchHash")
        all_there = not with_gradients or (block is not None and len(block.arrays) == len(owned))
        unreached = [] if all_there else [o.name for o in owned if o.parameter.grad is None]
        if unreached:
            records["unreached"] = unreached
        records.update(self._checksums(with_gradients))
        taken = Step(
            step,
            value,
            rates,
            tensors,
            {name: float(torch.as_tensor(task).detach()) for name, task in tasks.items()},
            {
                **({"scale": float(scaler.get_scale())} if scaled else {}),
                **self._batches.members(leaves, tree, batch_id),
                **({} if advice is None else {"guard": advice}),
                **records,
                **self._own_loss(),
            },
            kept,
            # The first snapshot holds all of them; a later one is no part of the state before the first step.
            self._parameters(joined) if self._holds_tensors and (kept is None or len(joined) < len(owned)) else {},
            with_gradients,
            bool(waits) or (with_gradients and (several or self._hears_steps)),
        )
        taken.released = lambda: self._release(block, free_batch)
        self._unstepped = (taken, set(among)) if self._hears_steps else None
        self._to_sum = taken if self._sums_after and with_gradients else None
        self._waiting = (taken, waits) if waits else None
        self._shared = (taken, among) if several and with_gradients else None
        self._say_pieces()
        own.add(taken)

    def _rates(self) -> dict[Hashable, float]:
        """Learning rates of all groups."""
        return {(k, g): _rate(group) for k, o in enumerate(self.optimizers) for g, group in enumerate(o.param_groups)}

    def _batch_arrays(self, leaves: Mapping[str, Any]) -> tuple[dict[str, Array], Block | None]:
        """Copies of a batch's tensors as a capture has them, and the block that they are in where they are in one."""
        named = [(f"batch/{name}", leaf) for name, leaf in leaves.items()]
        plain = all(type(t) is torch.Tensor and t.is_cpu and t.layout is torch.strided for _, t in named)
        if not named or not plain or any(t.requires_grad for _, t in named):
            return {name: _batch_array(leaf) for name, leaf in named}, None
        block = self._batch_blocks.filled(named)
        return dict(block.arrays), block

    def _release(self, gradients: Block | None, batch: Block | None) -> None:
        """Nobody needs the blocks of a step any more."""
        if gradients is not None:
            self._gradient_blocks.release(gradients)
        if batch is not None:
            self._batch_blocks.release(batch)

    def _stepping(self, only: Any) -> tuple[list[Any], set[int]]:
        """The optimizers that take this step, and their positions."""
        stepping = self.optimizers if only is None else [names.unwrapped(only)]
        return stepping, {k for k, own in enumerate(self.optimizers) if any(own is one for one in stepping)}

    def _takes(self, step: int, among: set[int], scaler: Any, batch: Any, loss: Any) -> bool:
        """Whether this rank records the step; why it does not is said."""
        ranks = self.ranks
        if ranks is None and self._is_one_of_many():
            return False
        if ranks is not None and not self._agree(ranks):
            return False
        if not self._scaler_checked and scaler is None and _has_active_scaler():
            self._own.stop(
                "a GradScaler is active: pass it as record(..., scaler=scaler), or its scale would be taken for gradient;"
                " one of another training has to be deleted first"
            )
            return False
        self._scaler_checked, self._shared = True, None
        if ranks is not None and ranks.rank and not self._has_parts:
            self._advice(step, batch, loss)  # a guard's check joins the ranks
            return False
        if ranks is None or not ranks.sharded:
            self._look_who_moved(step, among)
        return self._own.stopped is None

    def _skips(self, step: int, value: float, scaler: Any, owned: list[_Owned], among: set[int]) -> bool:
        """Whether the loss scaler leaves this step out, since a gradient on some rank is not finite; then the recording hears of it."""
        gradients = [(o.name, o.parameter.grad) for o in owned if o.group[0] in among]
        broken = [name for name, gradient in gradients if gradient is not None and not _finite(gradient)]
        if self.ranks is not None and not broken and (rank := self.ranks.first_with("skips")) is not None:
            broken = [f"a shard on rank {rank}"]
        if broken:
            self._own.skip(Skip(step, value, float(scaler.get_scale()), broken))
            self.random_state, self._marked = None, False
        return bool(broken)

    def _joined(self, owned: list[_Owned], leaves: Mapping[str, Any]) -> list[_Owned]:
        """Parameters that train for the first time. With them it is planned anew what is kept."""
        own = self._own
        if owned is self._planned_for and own.planned:
            return []
        self._planned_for = owned
        joined = [o for o in owned if o.name not in self._trained]
        shape_of = (lambda p: list(p.shape)) if self.ranks is None else self.ranks.shape_of
        self._trained.update((o.name, (o.group, shape_of(o.parameter))) for o in owned)
        if joined or not own.planned:
            snapshot, _ = self._snapshot(owned)
            self._plan(owned, leaves, snapshot)
            if own.spills and len(joined) < len(owned):
                own.restart()
            if own.cut("parameters were added") and len(joined) < len(owned):
                own.restart()
        return joined

    def _kept(self, owned: list[_Owned], leaves: Mapping[str, Any]) -> Snapshot | None:
        """A snapshot from before this step, where one is due."""
        own, ranks = self._own, self.ranks
        if not own.snapshot_due():
            return None
        sources, meta = self._snapshot(owned)
        if own.outgrown(sum(source.nbytes for source in sources) if ranks is None else ranks.sizes().snapshot):
            self._plan(owned, leaves, sources)
            if own.spills or own.gradients != "every-step":
                own.restart()
        return own.keep(sources, meta)

    def _block(self, among: set[int], scale: float) -> Block | None:
        """A copy of all gradients of those that step, as far as they are kept anyway and a plain copy is one."""
        own, ranks = self._own, self.ranks
        if scale != 1 or (own.gradients != "every-step" and not own.is_open):
            return None
        if ranks is not None and (ranks.sharded or not self._holds_tensors):
            return None
        named = self._named_gradients(among)
        return self._gradient_blocks.filled(named) if named else None

    def _named_gradients(self, among: set[int]) -> list[tuple[str, torch.Tensor]] | None:
        """All gradients of those that step; None where a plain copy is not what a capture has of one."""
        named = []
        for name, parameter, k in self._asked_for:
            gradient = parameter.grad
            if gradient is None or k not in among:
                continue
            if gradient.layout is not torch.strided or gradient.dtype not in names.DTYPES or _is_sharded(gradient):
                return None
            named.append((name, gradient))
        return named

    def _gradients(
        self, tensors: dict[str, Array], owned: list[_Owned], among: set[int], scale: float, block: Block | None
    ) -> set[int]:
        """Puts the gradients of those that step into `tensors`, and parameters where they are due. Returns the optimizers whose
        step is to be seen by the parameters that it leaves.

        block  a copy of all these gradients, where there is one
        """
        due = self._own.parameters_due()
        waits: set[int] = set()
        if block is not None:
            tensors.update(block.arrays)
            if not due and self._all_formula:
                return waits
        for o in owned:
            steps = o.group[0] in among
            if steps and block is None:
                self._take_gradient(tensors, o, scale)
            if due or (steps and not o.formula):
                tensors.update(self._parameters([o]))
            if steps and not o.formula:
                waits.add(o.group[0])
        return waits

    def _parameters(self, owned: list[_Owned]) -> dict[str, Array]:
        named = ((f"param/{o.name}", o.parameter) for o in owned)
        return {name: self._copy(self._part_of(name, parameter, parameter)) for name, parameter in named}

    def _random_of(self, leaves: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The random state of a step whose batch is kept. From here on it is that before the next step."""
        found = self.random_state if leaves else None
        # Where no forward pass of the model is seen, the state after this step is that before the next.
        if leaves and not self._marked and names.is_compiled(self.model):
            self._own.note(
                "model.compile() hides the random state from before a forward pass: a closed loop repeats no dropout where"
                " something else draws between two steps; torch.compile(model) hides nothing"
            )
        self.random_state = None if self._marked else self._random_now()
        self._marked = False
        return found or {}

    def _checksums(self, with_gradients: bool) -> dict[str, Any]:
        """Checksums of whole tensors from before the step, where they are due; of a replica those of its weights."""
        ranks, held = self.ranks, self._held
        replica = ranks is not None and not ranks.sharded and not self._holds_tensors
        whole = ranks is None or not ranks.sharded
        due = whole and self._records.checksums_due(self._entries, self._own.is_open)
        self._sums_after = due and self._hears_steps and not replica
        if not due and not self._records.compares_next():
            return {}
        if not replica:
            return self._records.before(held, due and with_gradients)
        return {"before": self._records.weights(held)} if due and with_gradients else {}

    def _own_loss(self) -> dict[str, Any]:
        """This rank's own loss as a member of a step's entry, where each rank writes a part."""
        ranks = self.ranks
        return {"ownLoss": number(ranks.news[ranks.rank].loss)} if ranks is not None and self._has_parts else {}

    def _say_pieces(self) -> None:
        """What this rank's part holds of sharded tensors, once more of it is known."""
        ranks = self.ranks
        if ranks is not None and len(ranks.pieces) != self._said_pieces and self._own.part:
            self._said_pieces = len(ranks.pieces)
            self._own.amend("pieces", ranks.pieces_json())

    def _look_who_moved(self, step: int, among: set[int]) -> None:
        """Parameters that move while their optimizer takes no step are loaded, or trained by an optimizer that was not given:
        recorded steps from before do not lead to them, and if that goes on, nothing that is recorded is true."""
        if self._moved is not None:
            parameter, k, version, before = self._moved
            if parameter._version == version or before.moved(self.optimizers[k], parameter):
                self._moved_by_others = 0
            else:
                self._moved_by_others += 1
                if self._moved_by_others == 1:
                    self._own.note(
                        f"parameters moved before step {step}, and the recorder's optimizer took no step: weights were loaded, or"
                        " another optimizer trains them; recorded steps from before are left out"
                    )
                self._own.restart()
                if self._moved_by_others == OTHERS_IN_A_ROW:
                    self._own.stop(
                        f"{OTHERS_IN_A_ROW} steps in a row were taken by an optimizer that the recorder was not given: make a"
                        " new Recorder with it"
                    )
        self._note_moved(among)

    def _note_moved(self, among: set[int]) -> None:
        """A parameter of this step, by which the next one sees who moves it."""
        self._moved = None
        for k, optimizer in enumerate(self.optimizers):
            for group in optimizer.param_groups if k in among else ():
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        count = _Count.of(optimizer, parameter)
                        self._moved = None if count is None else (parameter, k, parameter._version, count)
                        return

    def _note_moved_again(self) -> None:
        """`_note_moved` of the only optimizer, whose parameter of the step before will do."""
        if self._moved is not None:
            parameter, k, _, count = self._moved
            value, state = count.value, self.optimizers[k].state.get(parameter)
            if parameter.grad is not None and state and state.get("step") is value and torch.is_tensor(value):
                self._moved = parameter, k, parameter._version, _Count(value, value._version)
                return
        self._note_moved({0})

    def _seen_gradients(
        self, owned: list[_Owned], among: set[int], block: Block | None = None
    ) -> tuple[list[str], float]:
        """See `gradients_of`; one look at all gradients is enough for the ledger and for this."""
        if block is not None and self._on_cpu:
            size = block.norm()
            if math.isfinite(size):
                if self.ledger is not None:
                    self.ledger.knows(size, len(block.arrays))
                return [], size
        if self.ledger is not None and self.ledger.gradients_are_finite([o.parameter for o in owned]):
            return [], self.ledger.gradient_norm
        return gradients_of(owned, among)

    @property
    def _in_turn(self) -> bool:
        """Whether optimizers step on losses of their own."""
        return len(self._turns) > 1

    def _of_turns(self, k: int, value: float, tasks: Mapping[str, Any]) -> tuple[float, Mapping[str, Any]]:
        """Loss and tasks of a step that one of several optimizers takes: losses of several kinds in turn have no level."""
        if self._turns and k not in self._turns:
            self._own.begin_anew()
            self._rerun["inTurn"] = True
        self._turns[k] = value
        if not self._in_turn:
            return value, tasks
        newest = {f"optimizer {at}": own for at, own in sorted(self._turns.items())}
        return sum(self._turns.values()), {**newest, **tasks}

    def _join(self, optimizer: Any, scaler: Any) -> None:
        if self._shared is None or not self._shared[0].waits:
            return
        taken, among = self._shared
        inner = names.unwrapped(optimizer)
        k = next((k for k, own in enumerate(self.optimizers) if own is inner), None)
        if k is None or k in among:
            return
        among.add(k)
        scale = _scale(scaler, [inner]) if scaler is not None and scaler.is_enabled() else 1.0
        with torch.no_grad():
            for o in self._owned_now():
                if o.group[0] != k:
                    continue
                self._take_gradient(taken.tensors, o, scale)
                if not o.formula:
                    taken.tensors[f"param/{o.name}"] = self._copy(o.parameter)
        if not names.has_formula(inner):
            waits = self._waiting[1] if self._waiting is not None else set()
            self._waiting = taken, waits | {k}

    def _advice(self, step: int, batch: Any, loss: Any) -> dict[str, Any] | None:
        """What the guard says of the step, as a member of its entry. The first alarm of a row is an incident."""
        if self.guard is None:
            return None
        last = self.guard.last
        advice = last if last is not None and last.step == step else self.guard.check(step, batch, loss)
        alarmed, self._alarmed = self._alarmed, advice.action != "apply"
        if self._alarmed and not alarmed:
            self._own.alarm(alarm_text(advice))
        return advice_entry(advice)

    def _take_gradient(self, tensors: dict[str, Array], owned: _Owned, scale: float) -> None:
        gradient = owned.parameter.grad
        if gradient is None:
            return
        if gradient.is_sparse and gradient.sparse_dim() == 1:
            gradient = gradient.coalesce()
            tensors[f"grad/{owned.name}/indices"] = names.array_of(gradient.indices()[0])
            tensors[f"grad/{owned.name}/values"] = names.array_of(gradient.values(), None, scale)
            return
        if gradient.layout != torch.strided:
            gradient = gradient.to_dense()
        gradient = self._part_of(f"grad/{owned.name}", gradient, owned.parameter)
        tensors[f"grad/{owned.name}"] = self._copy(gradient, scale)

    @property
    def _holds_tensors(self) -> bool:
        """Whether this rank records gradients and parameters: all ranks of a sharded model, else the first."""
        return self.ranks is None or self.ranks.sharded or self.ranks.rank == 0

    def _part_of(self, name: str, tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        """What this rank holds of a tensor, as far as it is sharded."""
        return tensor if self.ranks is None else self.ranks.part_of(name, tensor, parameter)

    def _copy(self, tensor: torch.Tensor, scale: float = 1.0) -> Array:
        return names.array_of(tensor, self._own.buffer(names.buffer_kind(tensor), tuple(tensor.shape)), scale)

    def _batch_of(self, batch: Any, alone: bool = False) -> tuple[dict[str, Any], Any]:
        """The batch as named tensors, and how they nest; nothing where any rank has none.

        alone  of this rank, whatever the others have
        """
        if batch is None or not self.keep_batches:
            return {}, None
        if not alone and self.ranks is not None and not all(one.has_batch for one in self.ranks.news):
            self._own.note("batches are not kept: not every rank gave one")
            return {}, None
        return self._batches.flat(batch, _is_array, _fits)

    def _plan(self, owned: list[_Owned], leaves: Mapping[str, Any], snapshot: list[Source]) -> None:
        sizes = self._sizes(owned, leaves, snapshot)
        if self.ranks is not None and self.ranks.sizes().snapshot:
            sizes = self.ranks.sizes()
        self._own.plan(sizes)

    def _sizes(self, owned: list[_Owned], leaves: Mapping[str, Any], snapshot: list[Source]) -> Sizes:
        held = [(names.local(o.parameter), o.formula) for o in owned] if self._holds_tensors else []
        sparse = sum(
            names.bytes_of(o.parameter.grad) - names.bytes_of(o.parameter)
            for o in owned
            if o.parameter.grad is not None and o.parameter.grad.layout != torch.strided and self._holds_tensors
        )
        gradients = sum(names.bytes_of(p) for p, _ in held) + sparse
        beside = 2 * sum(names.bytes_of(p) for p, formula in held if not formula)
        batch = sum(names.bytes_of(leaf) if isinstance(leaf, torch.Tensor) else leaf.nbytes for leaf in leaves.values())
        state = sum(names.bytes_of(one) for one in self._random_now().values()) if leaves else 0
        return Sizes(gradients, beside, batch + state, sum(source.nbytes for source in snapshot))

    def _note_after(self, k: int) -> None:
        """The optimizer with this index has taken its step."""
        self._note_used(k)
        self._sum_after()
        if self._own.stopped is not None:
            return
        if self._waiting is None:
            if self._shared is None and len(self.optimizers) == 1:
                self._own.settle()
            return
        taken, waits = self._waiting
        if k not in waits:
            return
        for o in self._owned_now():
            if o.group[0] == k and f"param/{o.name}" in taken.tensors:
                part = self._part_of(f"param/{o.name}", o.parameter, o.parameter)
                taken.tensors[f"param-after/{o.name}"] = names.array_of(part)
        waits.discard(k)
        if not waits:
            self._waiting = None
            # Another optimizer may step on the same loss yet; its step, `begin` or the end settles it then.
            if self._shared is None and (self._unstepped is None or not self._unstepped[1]):
                self._own.settle()

    def _unstepped_left(self) -> bool:
        """Whether an optimizer's step on the last recorded loss is still to come."""
        return self._unstepped is not None and bool(self._unstepped[1])

    def _note_used(self, k: int) -> None:
        """Rates and options as the step used them: a loop may set them between `record` and the step."""
        if self._unstepped is None or k not in self._unstepped[1]:
            return
        taken, left = self._unstepped
        left.discard(k)
        now = {(k, g): _rate(group) for g, group in enumerate(self.optimizers[k].param_groups)}
        changed = any(taken.rates.get(key) != rate for key, rate in now.items())
        taken.rates.update(now)
        self._records.used(taken, list(taken.rates.values()) if changed else None)

    def _sum_after(self) -> None:
        """Checksums after a step; of several optimizers those after the last that steps stay."""
        taken = self._to_sum
        if taken is None or self._own.stopped is not None:
            return
        self._owned_now()
        self._records.after(taken, self._held)
        if self._waiting is None and self._shared is None and len(self.optimizers) == 1:
            self._to_sum = None
            self._own.settle()

    def _note_after_without_hook(self) -> None:
        """torch 1 has no hook after a step: the parameters are as the step left them until the next `record`."""
        for k, optimizer in enumerate(() if self._hears_steps else self.optimizers):
            if not hasattr(optimizer, "register_step_post_hook"):
                self._note_after(k)

    # ---- parameters and snapshots

    def _name_parameters(self) -> None:
        for full, parameter in self.model.named_parameters():
            name = names.plain_name(full)
            if id(parameter) not in self._names:
                self._names[id(parameter)], self._owned[name] = name, parameter

    def _owned_now(self) -> list[_Owned]:
        """Parameters that the optimizers train at this step; groups and freezing may have changed since the last. It is the same
        list as long as nothing did."""
        key: list[Any] = []
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                key.append(bool(group.get("maximize")))
                key += [id(p) for p in group["params"] if p.requires_grad or p.grad is not None]
        if key != self._owned_key or not self._owned_last:
            self._owned_last, self._owned_key = self._owned_anew(), key
            self._held = [(o.name, o.parameter, self.optimizers[o.group[0]]) for o in self._owned_last]
            self._asked_for = [(f"grad/{o.name}", o.parameter, o.group[0]) for o in self._owned_last]
            self._entries = sum(o.parameter.numel() for o in self._owned_last)
            self._all_formula = all(o.formula for o in self._owned_last)
            self._on_cpu = all(o.parameter.is_cpu for o in self._owned_last)
        return self._owned_last

    def _owned_anew(self) -> list[_Owned]:
        owned: list[_Owned] = []
        looked = False
        for k, optimizer in enumerate(self.optimizers):
            formula = names.has_formula(optimizer)
            for g, group in enumerate(optimizer.param_groups):
                for parameter in group["params"]:
                    if not parameter.requires_grad and parameter.grad is None:
                        continue
                    if id(parameter) not in self._names:
                        if not looked:
                            self._name_parameters()
                            looked = True
                        if id(parameter) not in self._names:
                            name = f"optimizer.{k}.{len(self._names)}"
                            self._names[id(parameter)], self._owned[name] = name, parameter
                            self._own.note(
                                f"a parameter of the optimizer is not in the model: it is recorded as {name}"
                            )
                    owned.append(_Owned(self._names[id(parameter)], parameter, (k, g), formula))
        return owned

    def _snapshot(self, owned: list[_Owned]) -> tuple[list[Source], dict[str, Any]]:
        """What a rerun needs from before this step: tensors to copy, and the rest as JSON."""
        owned = owned if self._holds_tensors else []
        sources = [
            names.source_of(f"param/{o.name}", self._part_of(f"param/{o.name}", o.parameter, o.parameter))
            for o in owned
        ]
        other: dict[str, dict[str, Any]] = {}
        for k, optimizer in enumerate(self.optimizers):
            found, plain = names.state_sources(
                optimizer, [(o.name, o.parameter) for o in owned if o.group[0] == k], self._part_of
            )
            sources += found
            other.update(plain)
        trained = {source.name for source in sources}
        for full, buffer in self.model.named_buffers() if self._holds_tensors else ():
            name = names.plain_name(full)
            if f"buffer/{name}" not in trained and buffer.layout == torch.strided:
                sources.append(names.source_of(f"buffer/{name}", self._part_of(f"buffer/{name}", buffer, buffer)))
        modes = {
            names.plain_name(name): module.training
            for name, module in self.model.named_modules()
            if name == "" or module.training != self.model.training
        }
        return sources, {
            "modes": modes,
            "optimizers": [self._optimizer_json(k) for k in range(len(self.optimizers))],
            "optimizerState": other,
            "random": self.other_random,
            "groups": {
                (k, g): names.options_of(optimizer, group, _rate(group))
                for k, optimizer in enumerate(self.optimizers)
                for g, group in enumerate(optimizer.param_groups)
            },
        }

    # ---- the manifest

    def _describe(self, step: int, meta: Mapping[str, Any]) -> dict[str, Any]:
        keys = [(k, g) for k, optimizer in enumerate(self.optimizers) for g in range(len(optimizer.param_groups))]
        recorded = meta["groups"]
        groups = [
            recorded.get((k, g))
            or names.options_of(
                self.optimizers[k], self.optimizers[k].param_groups[g], _rate(self.optimizers[k].param_groups[g])
            )
            for k, g in keys
        ]
        kinds = names.layouts_of(self.model, self._owned, self._layouts)
        described: dict[str, Any] = {
            **self._records.described(keys),
            "groupKeys": keys,
            **self._world(),
            "framework": f"pytorch {torch.__version__}",
            **({"trainer": self.trainer} if self.trainer is not None else {}),
            "optimizer": groups[0],
            **({"groups": groups[1:]} if len(groups) > 1 else {}),
            "clipping": self.clipping,
            "parameters": [
                {
                    "name": name,
                    "shape": shape,
                    **kinds.get(name, {"layout": "none", "embedding": False}),
                    **({"group": keys.index(group) - 1} if keys.index(group) else {}),
                }
                for name, (group, shape) in self._trained.items()
            ],
            "rerun": {
                "optimizerClass": names.class_path(self.optimizers[0]),
                # As of the first recorded step: some optimizers count their steps in the options of their groups.
                "optimizers": meta["optimizers"],
                "optimizerState": meta["optimizerState"],
                "modes": meta["modes"],
                **({} if self.autocast is None else {"autocast": self.autocast}),
                **({"compiled": True} if names.is_compiled(self.watched) else {}),
                **({"inTurn": True} if self._in_turn else {}),
                "versions": {
                    "clippy-diag": __version__,
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                    "torch": torch.__version__,
                },
            },
        }
        self._rerun = described["rerun"]
        if self._batches.tree is not None:
            described["batch"] = self._batches.tree
        if meta["random"] is not None:
            described["rerun"]["rng"] = "rng.json"
            described["files"] = {"rng.json": meta["random"]}
        if self._model_file is not None:
            described.update(model_files(self._model_file))
        if self._loss_again is not None:
            try:
                described["curvature"] = entries_of(self, step, self._loss_again)
            except Exception as error:
                self._own.note(f"no curvature at step {step}: {error}")
        return described

    def _world(self) -> dict[str, Any]:
        """What capture.json says of the ranks."""
        if self.ranks is None:
            return {}
        world: dict[str, Any] = {"world": {"size": self.ranks.size, "kind": self.ranks.kind}}
        return {**world, "isPart": True, "pieces": self.ranks.pieces_json()} if self._own.part else world

    def _optimizer_json(self, k: int) -> dict[str, Any]:
        optimizer = self.optimizers[k]
        return {
            "class": names.class_path(optimizer),
            "groups": [
                {
                    "parameters": [self._names[id(p)] for p in group["params"] if id(p) in self._names],
                    "options": {key: names.json_of(value) for key, value in group.items() if key != "params"},
                }
                for group in optimizer.param_groups
            ],
        }

    # ---- the training around it

    def _is_one_of_many(self) -> bool:
        """Whether this is another rank than the first of a training on several that nothing here joins: it is not recorded."""
        if self._looked_for_ranks:
            return False
        self._looked_for_ranks = True
        distributed = torch.distributed
        if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() < 2:
            return False
        rank, ranks = distributed.get_rank(), distributed.get_world_size()
        if rank:
            self._own.leave_to_another(
                f"rank {rank} of {ranks} is not recorded: without DistributedDataParallel rank 0 alone is"
            )
            return True
        self._own.note(
            f"{ranks} ranks train without DistributedDataParallel: loss, gradients and batches are those of rank 0 alone"
        )
        return False

    def _watch_forward(self) -> None:
        try:
            self.watched.register_forward_pre_hook(self._mark)
        except Exception as error:  # a scripted module takes no hooks
            self._own.note(f"random state is not recorded, so closed loops repeat no dropout: {error}")

    def mark_random_state(self) -> None:
        """Keeps the random state from before the first forward pass of a step; reading it draws nothing."""
        if self._marked or self._own.stopped is not None:
            return
        self._late.before_forward()
        self._marked = True
        self.random_state = self._random_now()

    def mark_autocast(self) -> None:
        """Notes the autocast of a forward pass, which a closed loop runs under too."""
        if self.autocast is None and self._own.stopped is None and not self._late.kept:
            if self._first is None:
                self._first = next(self.model.parameters(), None)
            self.autocast = None if self._first is None else names.autocast_now(self._first.device.type)

    def _random_now(self) -> dict[str, torch.Tensor]:
        state = {"rng/cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized() and torch.cuda.is_available():
            for device in {p.device.index for p in self.model.parameters() if p.is_cuda}:
                state[f"rng/cuda/{device}"] = torch.cuda.get_rng_state(device)
        if self._own.snapshot_due():
            kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
            version, internal, gauss_next = random.getstate()
            self.other_random = {
                "python": [version, list(internal), gauss_next],
                "numpy": [kind, np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)],
            }
        return state


class _ForwardMark:
    """The hook before a forward pass. It survives a copy of the model (an average of weights, a checkpoint of the whole module) as a
    hook that does nothing, and is not traced by torch.compile."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = weakref.ref(recorder)

    def __call__(self, module: torch.nn.Module, inputs: Any) -> None:
        if _compiling():
            return
        recorder = self._recorder()
        if recorder is not None and module is recorder.watched and torch.is_grad_enabled():
            with recorder.guarded():
                recorder.mark_random_state()
                recorder.mark_autocast()

    def __deepcopy__(self, memo: Any) -> Any:
        return {}.get

    def __reduce__(self) -> Any:
        # `{}.get(module, inputs)` gives the inputs back: a pickle of the model loads where clippy_diag is not installed.
        return getattr, ({}, "get")


#: Whether `torch.compile` traces what runs now; older versions cannot tell.
_compiling: Callable[[], bool] = getattr(getattr(torch, "compiler", None), "is_compiling", lambda: False)


def _after_step(reference: weakref.ref[Recorder], k: int) -> Callable[..., None]:
    def hook(optimizer: Any, *_: Any) -> None:
        recorder = reference()
        if recorder is not None:
            with recorder._own.guarded():
                if not recorder._late.stepped():
                    with torch.no_grad():
                        recorder._note_after(k)

    return hook


class _Count(NamedTuple):
    """What changes with each step that an optimizer takes, as it was. A tensor is not read before another one has taken its
    place: a device need not be waited for."""

    value: Any
    version: int

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> _Count | None:
        """None where the optimizer keeps nothing of the kind."""
        state = optimizer.state.get(parameter) if type(optimizer).__name__ in names.SLOTS else None
        if not state or not names.has_formula(optimizer):
            return None
        value = state.get("step", state.get("momentum_buffer"))
        return None if value is None else cls(value, value._version if isinstance(value, torch.Tensor) else 0)

    def moved(self, optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> bool:
        """Whether the optimizer has taken a step since."""
        state = optimizer.state.get(parameter)
        if state and state.get("step", self.value) is self.value and torch.is_tensor(self.value):
            return bool(self.value._version != self.version)
        now = _Count.of(optimizer, parameter)
        if now is None or now.value is self.value:
            return now is None or now.version != self.version
        if torch.is_tensor(self.value) and self.value.numel() > 1:
            return now.version != self.version
        return float(now.value) != float(self.value)


def _rate(group: Mapping[str, Any]) -> float:
    rate = group.get("lr")
    return 0.0 if rate is None else float(rate)


def gradients_of(owned: list[_Owned], among: set[int]) -> tuple[list[str], float]:
    """`grad/<name>` of the gradients that hold a NaN or an infinity: one look at all, then one at each where that finds any; and
    the norm of all."""
    named = [(o.name, o.parameter.grad) for o in owned if o.group[0] in among and o.parameter.grad is not None]
    values = [g._values() if g.is_sparse else names.local(g) for _, g in named]
    # Of sums of squares, which are ten times as fast on a processor as the largest entry of each.
    size = math.hypot(*(float(norm(group)) for group in _alike(values).values()))
    if math.isfinite(size):
        return [], size
    return [f"grad/{name}" for (name, _), value in zip(named, values) if not bool(torch.isfinite(value).all())], size


def _alike(tensors: list[torch.Tensor]) -> dict[tuple[torch.device, torch.dtype], list[torch.Tensor]]:
    """Tensors that are not empty, by device and type."""
    found: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in tensors:
        if tensor.numel() and tensor.is_floating_point() and tensor.layout == torch.strided:
            found.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return found


def _finite(gradient: torch.Tensor) -> bool:
    gradient = names.local(gradient)
    return bool(torch.isfinite(gradient.coalesce().values() if gradient.is_sparse else gradient).all())


def _is_array(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


def _fits(leaf: Any) -> bool:
    """Whether a capture can hold a tensor of a batch."""
    return leaf.dtype in names.DTYPES if isinstance(leaf, torch.Tensor) else leaf.dtype.kind in "fiub"


def _batch_array(leaf: Any) -> Array:
    if isinstance(leaf, torch.Tensor):
        leaf = leaf if type(leaf) is torch.Tensor else names.local(leaf)
        return names.array_of(leaf.to_dense() if leaf.layout != torch.strided else leaf)
    return np.array(leaf)


def _is_sharded(tensor: torch.Tensor) -> bool:
    return type(tensor) is not torch.Tensor and hasattr(tensor, "to_local")


def _has_active_scaler() -> bool:
    """Whether any GradScaler of the process is active. One of a training that is over may be kept by a cycle until it is collected."""
    if not any(_is_active_scaler(o) for o in gc.get_objects()):
        return False
    gc.collect()
    return any(_is_active_scaler(o) for o in gc.get_objects())


def _is_active_scaler(thing: Any) -> bool:
    return type(thing).__name__.endswith("GradScaler") and hasattr(thing, "get_scale") and thing.is_enabled()


def _scale(scaler: Any, optimizers: list[Any]) -> float:
    """What gradients are multiplied by: the scaler's factor, 1 once it has unscaled them."""
    unscaled = {names.scaler_stage(scaler, o) == "UNSCALED" for o in optimizers}
    if len(unscaled) > 1:
        raise ValueError(
            "gradients of some optimizers are unscaled and of some not; call record before or after all unscale_"
        )
    return 1.0 if unscaled.pop() else float(scaler.get_scale())


def _refusal(parameters: list[torch.nn.Parameter], optimizers: list[Any], named: Mapping[int, str]) -> str | None:
    """What this recorder cannot follow, by name; found before anything is copied."""
    for parameter in parameters:
        if hasattr(parameter, "_shard_param_infos") or getattr(parameter, "_is_flat_param", False):
            return (
                f'"{named.get(id(parameter), "a parameter")}" is a flat parameter of FullyShardedDataParallel, which has no'
                " names and shapes of the model's own: wrap the model with use_orig_params=True"
            )
    for optimizer in optimizers:
        if type(optimizer).__name__ == "ZeroRedundancyOptimizer":
            return "ZeroRedundancyOptimizer keeps the state of most parameters on other ranks, where it is not recorded"
        if type(optimizer).__module__.split(".")[0] in ("deepspeed", "apex"):
            return f"{type(optimizer).__name__} of {type(optimizer).__module__.split('.')[0]} keeps gradients to itself"
    return None

"""The core of every recorder: a ring of steps in memory, the trigger, budgets, files. Knows no framework.

In memory, or beyond the budget on disk, are the steps since the older of two snapshots of parameters and optimizer
state. Snapshots are renewed every K steps, so a capture begins K to 2K steps before the incident. When the judge sees
an incident, or on request, a thread writes what is held; each of the next `after` steps is added as it comes.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import json
import math
import os
import shutil
import signal
import threading
import time
import weakref
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Literal, NamedTuple, TypedDict

import numpy as np

from .captures import (
    MANIFEST,
    Array,
    Source,
    flatten,
    free_space,
    number,
    number_back,
    overwrite_json,
    size_of,
    text_of,
    write_fetched,
    write_json,
)
from .entries import changed_only, hash_of
from .joining import Joining
from .messages import describe, tell, warn, warnings_are_errors, warnings_are_no_errors
from .options import Budget, bytes_of, deprecated
from .triggers import LOOKED_EVERY, Norms, Verdict, Watch, asked_by_file, gradient_norm, not_finite
from .writing import OpenCapture, Snapshot, Way, Writer, write_arriving

if TYPE_CHECKING:
    from typing_extensions import Self

STATUS = "status.json"
#: Losses before the first recorded step that a capture keeps, so that its band is known.
HISTORY = 500
#: Seconds after which status.json is written again: a resume is judged against the losses that a killed job left in it.
SAID_EVERY = 30
#: Bytes that status.json has at least, so that it can be written to a disk that has become full.
STATUS_ROOM = 8192
#: Problems and incidents that status.json lists at most; a run that stays broken has one at every step.
MOST_PROBLEMS, MOST_INCIDENTS = 50, 200
#: Skipped steps in a row, after one that was taken, that are an incident; a healthy loss scaler skips one.
SKIPS_IN_A_ROW = 4


def size_text(size: float) -> str:
    """A size for people: "55 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


State = Literal["recording", "capturing", "stopped", "closed"]


class IncidentSeen(TypedDict):
    """An incident as status.json lists it."""

    step: int
    reason: str
    #: The folder of its capture, or None.
    capture: str | None


class Status(TypedDict):
    """What status.json holds."""

    state: State
    #: Why nothing is recorded any more, or None.
    stopped: str | None
    lastStep: int | None
    #: Steps that an incident is said late at most; so many of the newest may be missing here.
    lateBy: int
    #: Steps that were recorded.
    steps: int
    plan: str
    #: "every-step", or "after-trigger" where memory is too small for the gradients of 2K steps.
    gradients: str
    #: Bytes: `budget`, `held`, `mostHeld`.
    memory: dict[str, int]
    disk: dict[str, int]
    captures: list[str]
    incidents: list[IncidentSeen]
    problems: list[str]
    #: The newest losses with their steps; numbers that are not finite are text.
    losses: list[list[Any]]


class Sizes(NamedTuple):
    """Bytes of one step and of one snapshot, from which the plan follows."""

    gradients: int
    #: What else is kept of each step with its gradients: parameters before and after under an unknown optimizer.
    beside: int
    #: Batch and random state of each step.
    batch: int
    snapshot: int


@dataclass
class Step:
    """One step, as an integration hands it over. Arrays are kept, not copied."""

    step: int
    loss: float
    #: Learning rate of each parameter group under a key that stays when groups are added.
    rates: dict[Hashable, float]
    tensors: dict[str, Array]
    tasks: dict[str, float] = field(default_factory=dict)
    #: Further members of the step's entry in capture.json.
    entry: dict[str, Any] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    #: Values of parameters that joined the training at this step, `param/<name>`: they had not moved before.
    joined: dict[str, Array] = field(default_factory=dict)
    has_gradients: bool = True
    #: Whether the parameters after the step are still to come (`Recording.settle`).
    waits: bool = False
    #: Bytes of it that count as held.
    counted: int = 0
    #: Tensors of it that are counted.
    of_tensors: int = 0
    #: Whether it is kept among the first steps, also when the ring lets it go.
    pinned: bool = False
    #: Called when nobody needs its tensors any more.
    released: Callable[[], None] | None = None

    def nbytes(self) -> int:
        """Bytes of the tensors that go into the step's file."""
        return sum((array[1] if isinstance(array, tuple) else array).nbytes for array in self.tensors.values())


class Skip(NamedTuple):
    """A step that the loss scaler skipped: nothing moved."""

    step: int
    loss: float
    scale: float
    tensors: list[str]


#: Fills the manifest: called as (step of the incident, meta of the first snapshot, keys of groups) when a capture opens.
Describe = Callable[[int, Mapping[str, Any]], dict[str, Any]]


class Recording:
    """Steps in memory until an incident, then on disk. Used by the recorders of all frameworks.

    folder        the capture; a second incident goes to `<folder>-2`, up to `max_captures`
    describe      gives the manifest's framework, optimizer, parameters, … and `groupKeys`, the keys of `Step.rates` in order
    every, after  K, and the number of steps recorded after the incident
    memory, disk  budgets: text such as "2GB", or bytes
    part          whether this is another rank than the first of several that record together: it says nothing of its own
    """

    def __init__(
        self,
        folder: str | Path,
        describe: Describe,
        *,
        every: int = 20,
        after: int = 34,
        memory: Budget = "2GB",
        disk: Budget = "20GB",
        max_captures: int = 3,
        part: bool = False,
    ) -> None:
        if every < 1 or after < 0:
            raise ValueError(f"clippy-diag: every={every} must be at least 1 and after={after} at least 0")
        self.folder = Path(folder)
        self.describe = describe
        self.part = part
        #: Makes what takes in the parts of the other ranks when a capture opens; None without other ranks.
        self.join: Callable[[dict[str, Any]], Joining] | None = None
        #: Whether requests and alarms wait until all ranks know of them (`unshared`, `agree`).
        self.shared = False
        self._unshared: tuple[str | None, str | None] = (None, None)
        #: Hands over the steps that wait to be: at the end, or as somebody asks; and how many steps an incident is said late at most.
        self.catch_up: Callable[[bool], None] = _nothing
        self.late_by = 0
        #: Members of status.json in addition to the recording's own.
        self.also_said: Callable[[], Mapping[str, Any]] = dict
        self.every, self.after, self.max_captures = every, after, max_captures
        self.memory, self.disk = bytes_of(memory), bytes_of(disk)
        self.stopped: str | None = None
        #: "every-step", or "after-trigger" where memory is too small for the gradients of 2K steps.
        self.gradients = "every-step"
        #: Bytes in memory: the ring, and what waits to be written.
        self.held = 0
        #: The largest that `held` was.
        self.most_held = 0
        self.captures: list[str] = []
        self.problems: list[str] = []
        self._watch = Watch()
        #: What the newest loss shows, and what those show that were judged ahead.
        self._verdict = Verdict(None, False, None)
        self._judged_before: collections.deque[Verdict] = collections.deque()
        self._norms = Norms()
        self._ring: collections.deque[Step] = collections.deque()
        self._losses: collections.deque[tuple[int, float]] = collections.deque(maxlen=HISTORY + 2 * every)
        self._skips: collections.deque[Skip] = collections.deque(maxlen=2 * every)
        self._pool: dict[tuple[str, tuple[int, ...]], list[np.ndarray]] = collections.defaultdict(list)
        self._since = 0
        self._wanted: str | None = None
        self._incident: str | None = None
        self._alarm: str | None = None
        #: How many losses were judged, and at which of them the last loss was kept; the newest that was judged.
        self._judged = self._kept_losses = 0
        self._newest_loss = 0.0
        #: The first steps, until the loss has fallen once; None once they are not needed, or where memory has no room.
        self._first_steps: list[Step] | None = []
        #: Tensors that were not finite at the last look.
        self._broken: set[str] = set()
        self._asked = time.monotonic()
        self._waiting: Step | None = None
        self._open: OpenCapture | None = None
        self._taken = self._skipped_in_a_row = 0
        self._scale_fell = False
        self._last: int | None = None
        self._spill = False
        self._planned: Sizes | None = None
        self._plan_text = self._plan_said = ""
        self._incidents: list[IncidentSeen] = []
        #: Whether status.json is that of another process: see `leave_to_another`.
        self._another_writes = False
        #: Why status.json is not up to date, or None.
        self._unwritten: str | None = None
        self._spool_files = 0
        self._loss_of_snapshot: BaseException | None = None
        self._way: Way | None = None
        #: Bytes of memory left by the steps that are held, for what waits to be written.
        self._room = self.memory
        self._lock = threading.RLock()
        self._writer = Writer()
        self._closed = False
        self._pid = os.getpid()
        #: Losses that an earlier process left, until the first step shows which of them precede it.
        self._earlier: list[tuple[int, float]] | None = _losses_in(self.folder / STATUS)
        self._said = time.monotonic()
        reference = weakref.ref(self)
        self._at_exit = lambda: _close_at_exit(reference)
        atexit.register(self._at_exit)

    # ---- what an integration asks before it copies anything

    @property
    def planned(self) -> bool:
        """Whether `plan` was called."""
        return self._planned is not None

    def plan(self, sizes: Sizes) -> None:
        """Chooses what is kept, so that it stays within the budgets, and says it. Call it before anything is copied,
        and again when parameters were added."""
        step = sizes.gradients + sizes.beside + sizes.batch
        snapshots = 2 * sizes.snapshot
        held, said = snapshots + 2 * self.every * step, ""
        self._spill, self.gradients = False, "every-step"
        if held > self.memory:
            shorter = (self.memory - snapshots) // (2 * step) if step else 0
            if sizes.batch == 0 and shorter >= 3:
                self.every = min(self.every, shorter)
                said = f"; snapshots every {self.every} steps, to stay within memory"
            else:
                self.gradients = "after-trigger"
                said = "; gradients are kept from an incident on"
                if sizes.batch:
                    said += ", earlier ones can be computed again from the batches"
                if snapshots + 2 * self.every * sizes.batch > self.memory:
                    self._spill, snapshots = True, 0
                    said += "; snapshots go to disk"
                    if 2 * self.every * sizes.batch > self.memory:
                        self.every = max(1, self.memory // (2 * sizes.batch))
                        said += f" every {self.every} steps"
            held = snapshots + 2 * self.every * (step if self.gradients == "every-step" else sizes.batch)
        self._room = self.memory - held
        kept_first = sizes.snapshot + self.after * (step if self.gradients == "every-step" else sizes.batch)
        if self._spill or kept_first > self._room // 2:
            self._forget_first_steps()
        if self._first_steps is not None:
            held += kept_first
        early = 2 * self.every * (step if self.gradients == "every-step" else sizes.batch)
        disk = sizes.snapshot + early + (self.after + 1) * step
        if self._spill and 3 * sizes.snapshot > self.disk:
            raise OSError(
                f"snapshots of {size_text(sizes.snapshot)} fit neither memory={size_text(self.memory)} nor"
                f" disk={size_text(self.disk)}: nothing can be recorded; raise a budget"
            )
        text = (
            f"holds up to {size_text(held)} of memory={size_text(self.memory)}; a capture takes up to"
            f" {size_text(min(disk, self.disk))} of disk={size_text(self.disk)}{said}"
        )
        first = self._planned is None
        self._planned = sizes
        self._plan_text = text
        # A batch that is a little larger, or the optimizer's state that came late, is no news; another way to record is.
        if first or said != self._plan_said:
            self._plan_said = said
            self._tell(f"recording for {self.folder}: {text}")
            free = free_space(self.folder)
            if free is not None and free < min(disk, self.disk):
                self._problem(
                    f"the disk of {self.folder} has {size_text(free)} free and a capture takes up to"
                    f" {size_text(min(disk, self.disk))}: it may be cut short"
                )
        self._write_status("recording")
        if first and self._unwritten is not None:
            self.stop(f"nothing can be recorded: {self._unwritten}")

    def outgrown(self, snapshot: int) -> bool:
        """Whether a snapshot of so many bytes is larger than planned: optimizers make their state at the first step."""
        return self._planned is not None and snapshot > self._planned.snapshot

    def snapshot_due(self) -> bool:
        """Whether the next step needs a snapshot."""
        return self._open is None and (self._since % self.every == 0 or not self._ring)

    def may_wait(self, waiting: int) -> bool:
        """Whether the step that comes, before which so many wait to be handed over, needs nothing from before it."""
        calm = self._open is None and self._wanted is None and bool(self._ring)
        return calm and self.gradients == "every-step" and (self._since + waiting) % self.every != 0

    @property
    def capturing(self) -> bool:
        """Whether a capture is being written."""
        return self._open is not None

    @property
    def is_wanted(self) -> bool:
        """Whether a capture was asked for that is not written yet."""
        return self._wanted is not None

    @property
    def is_own_process(self) -> bool:
        """Whether this is the process that it began in, and no copy of it."""
        return os.getpid() == self._pid

    @contextlib.contextmanager
    def without_requests(self) -> Iterator[None]:
        """Within it, steps from before a request are handed over: its capture opens at the next one."""
        wanted, self._wanted = self._wanted, None
        try:
            yield
        finally:
            self._wanted = wanted or self._wanted

    def parameters_due(self) -> bool:
        """Whether the next step of an open capture should come with its parameters, as a check of the replay."""
        return self._since % self.every == 0 and self._open is not None

    @property
    def is_open(self) -> bool:
        """Whether a capture is being written."""
        return self._open is not None

    def gradients_due(self) -> bool:
        """Whether this step, of which `begin` has seen the loss, needs its gradients."""
        return self.gradients == "every-step" or self._open is not None or self._reason() is not None

    def buffer(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """An array of this numpy type (`"<f4"`) and shape that nobody needs any more, or None."""
        free = self._pool.get((dtype, shape))
        return free.pop() if free else None

    def copied(self, view: np.ndarray) -> np.ndarray:
        """A copy of an array, in memory that is free again where there is some."""
        buffer = self.buffer(view.dtype.str, view.shape)
        if buffer is None:
            return np.array(view)
        np.copyto(buffer, view)
        return buffer

    def keep(self, sources: list[Source], meta: dict[str, Any]) -> Snapshot:
        """Copies a snapshot into memory, or to disk where that is what the plan says: then tensors wait in memory for the
        thread that writes them, within the budget."""
        if not self._spill:
            tensors = {source.name: self._fetch(source) for source in sources}
            self.look_for_broken(not_finite(tensors, ("param/", "state/")), ("param/", "state/"))
            return Snapshot(tensors, meta)
        spool = Path(f"{self.folder}.spool")
        spool.mkdir(parents=True, exist_ok=True)
        self._spool_files += 1
        path = spool / f"snapshot-{self._spool_files}.safetensors"
        if self._way is not None:
            self._way.wait()
        if not self._writer.ready():
            write_fetched(path, sources, (source.fetch(None) for source in sources))
            return Snapshot({}, meta, path)
        self._way = way = Way(self._room, self._held)
        self._writer.do(lambda: write_arriving(path, sources, way), 0, self._lost)
        with way:
            for source in sources:
                way.put(source.fetch(None))
        return Snapshot({}, meta, path)

    def _lost(self, error: BaseException) -> None:
        """A snapshot could not be written. The loop's own thread hears of it at the next step."""
        self._loss_of_snapshot = OSError(f"a snapshot could not be written to disk: {error}")

    @property
    def spills(self) -> bool:
        """Whether snapshots go to disk."""
        return self._spill

    def begin_anew(self) -> None:
        """The losses from here on are no longer comparable with those before: none of these are kept."""
        self.restart()
        self._forget_first_steps()
        self._watch = Watch()
        self._norms = Norms()
        self._losses.clear()

    def restart(self) -> None:
        """Forgets the steps in memory: the next one is the first of a capture."""
        if self._first_steps is not None and len(self._first_steps) <= self.after:
            self._forget_first_steps()
            self._first_steps = []
        while self._ring:
            self._drop(self._ring.popleft())

    def _fetch(self, source: Source) -> Array:
        kind = _NUMPY_OF.get(source.dtype)
        return source.fetch(self.buffer(kind, source.shape) if kind else None)

    # ---- steps

    def request(self, reason: str = "requested") -> None:
        """Writes a capture at the next step, incident or not."""
        if self.shared:
            self._unshared = reason, self._unshared[1]
        else:
            self._wanted = reason

    def unshared(self) -> tuple[str | None, str | None]:
        """The request and the alarm of this rank that the others have not heard of; each is given once."""
        found, self._unshared = self._unshared, (None, None)
        return found

    def agree(self, request: str | None, alarm: str | None) -> None:
        """What all ranks know by now: the next step that `begin` announces opens a capture on each of them."""
        self._wanted, self._alarm = request or self._wanted, alarm or self._alarm

    def earlier_losses(self) -> list[tuple[int, float]]:
        """Losses that an earlier process left, until the first step."""
        return list(self._earlier or ())

    def go_on_from(self, losses: list[tuple[int, float]]) -> None:
        """The losses of an earlier process, as the first rank knows them."""
        self._earlier = losses

    def begin(self, step: int, loss: float) -> None:
        """A step starts: its loss is judged before anything of it is copied. Raises what kept a snapshot from the disk."""
        if self._loss_of_snapshot is not None:
            raise self._loss_of_snapshot
        self.settle()
        if self._earlier is not None:
            self._resume(step)
        elif time.monotonic() - self._said > SAID_EVERY:
            self._write_status("recording")
        if time.monotonic() - self._asked > LOOKED_EVERY:
            self._asked = time.monotonic()
            if asked_by_file(self.folder):
                self.request("asked for by a file")
        self._last = step
        self._judge_loss(loss)

    def _resume(self, step: int) -> None:
        """Where this step continues the run of an earlier process, its loss is judged against that run."""
        before = [(at, loss) for at, loss in self._earlier or () if at < step]
        self._earlier = None
        # Some may have been taken unseen, but not so many that the level is another one.
        if not before or step - before[-1][0] > max(self.every, before[-1][0] - before[0][0]):
            return
        for at, loss in before:
            self._watch.add(loss)
            self._losses.append((at, loss))

    def alarm(self, reason: str) -> None:
        """The step that `begin` announced, or the one that it announces next, is an incident for a reason of its own."""
        if self.shared:
            self._unshared = self._unshared[0], self._unshared[1] or reason
        elif self._judged > self._kept_losses:
            self._incident = self._incident or reason
        else:
            self._alarm = reason

    def look_for_broken(self, found: list[str], among: tuple[str, ...]) -> None:
        """Values that are not finite are an incident of their own, when they first appear: a loss may stay finite.

        found  names of those that are not, such as `grad/layer.weight`, of all whose names begin as in `among`
        """
        before = self._broken
        self._broken = {name for name in before if not name.startswith(among)} | set(found)
        if found and not before:
            kind, _, name = found[0].partition("/")
            if kind == "state":
                name = name.partition("/")[2]
            what = {"grad": "gradients", "param": "weights", "state": "optimizer state"}[kind]
            others = f" and of {len(found) - 1} others" if len(found) > 1 else ""
            self.alarm(f"{what} of {name}{others} are not finite")

    def look_at_gradients(self, found: list[str], norm: float) -> None:
        """Gradients that are not finite, and a norm of all of them that is several times what it was, are incidents.

        found  names of those that are not finite, as in `look_for_broken`
        norm   Euclidean norm of all gradients of the step, without a loss scale; NaN where it is not known
        """
        self.look_for_broken(found, ("grad/",))
        changed = self._norms.add(norm)
        # It never takes the last capture: a loss that is lost is worth more.
        if changed is not None and len(self.captures) < self.max_captures - 1:
            self.alarm(changed)

    def gradients_seen(self, tensors: Mapping[str, Array], norm: float | None = None) -> None:
        """`look_at_gradients` of the tensors of a step, of which those are gradients that are called `grad/<name>`; `norm` where it
        is known."""
        norm = gradient_norm(tensors) if norm is None else norm
        self.look_at_gradients([] if math.isfinite(norm) else not_finite(tensors, ("grad/",)), norm)

    def _reason(self) -> str | None:
        """Why a capture opens at this step, or None."""
        return self._wanted or (self._incident if len(self.captures) < self.max_captures else None)

    def add(self, taken: Step) -> str | None:
        """Takes the step that `begin` announced; returns why a capture was opened at it, or None."""
        self._taken += 1
        self._since += 1
        self._skipped_in_a_row, self._scale_fell = 0, False
        opened = None
        if self._open is not None:
            self._append(taken)
        else:
            self._hold(taken)
            reason = self._reason()
            if reason and self._verdict.nothing_learnt and self._first_steps:
                self._capture_first_steps(taken.step, reason)
                opened = reason
            elif reason and self._ring:
                self._start(taken.step, reason, list(self._ring))
                opened = reason
            elif self._incident:
                self._remember(taken.step, self._incident, None)
        self._keep_loss(taken.step, taken.loss)
        return opened

    def skip(self, skipped: Skip) -> str | None:
        """Takes, after `begin`, a step that the loss scaler skips; several in a row are an incident, and so is a loss
        that is not finite."""
        self._skipped_in_a_row += 1
        incident = self._incident
        if incident is None and self._skipped_in_a_row == SKIPS_IN_A_ROW and self._taken:
            incident = f"the loss scaler skipped {SKIPS_IN_A_ROW} steps in a row, its scale is {skipped.scale:g}"
        if incident is None and skipped.scale < 1 and not self._scale_fell:
            self._scale_fell = True
            incident = f"the loss scale fell to {skipped.scale:g} and steps are skipped"
        self._incident = incident
        self._keep_loss(skipped.step, skipped.loss)
        if self._open is not None:
            self._open.manifest["skipped"].append(skipped.step)
            self._open.manifest["skips"].append(_skip_entry(skipped))
            self._count_down()
            return None
        self._skips.append(skipped)
        reason = self._reason()
        if reason and self._ring:
            self._start(skipped.step, reason, list(self._ring))
            return reason
        if incident:
            self._remember(skipped.step, incident, None)
        return None

    def cut(self, why: str) -> bool:
        """Ends the capture that is being written, if one is; returns whether one was."""
        if self._open is None:
            return False
        self._problem(f"the capture in {self._open.target} ends after step {self._losses[-1][0]}: {why}")
        self._open.left = -1
        self._count_end()
        return True

    def complete(self, after: dict[str, Array]) -> None:
        """The parameters after the last step, `param-after/<name>`, where it waits for them."""
        if self._waiting is not None:
            self._waiting.tensors.update(after)
        self.settle()

    def settle(self) -> None:
        """The parameters after the last step are in its tensors now: it may be written."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.waits = False
            self._count(waiting)
            if self._open is not None:
                self._write_step(waiting)
                self._count_end()

    def _hold(self, taken: Step) -> None:
        if taken.snapshot is not None:
            snapshots = [k for k, held in enumerate(self._ring) if held.snapshot is not None]
            for _ in range(snapshots[-1] if len(snapshots) > 1 else 0):
                self._drop(self._ring.popleft())
        if taken.snapshot is None and not self._ring:
            return  # after a capture the first step waits for its snapshot
        self._ring.append(taken)
        self._count(taken)
        if taken.waits:
            self._waiting = taken
        first = self._first_steps
        if first is not None:
            if self._verdict.learnt:
                self._forget_first_steps()
            elif len(first) <= self.after and (first or taken.snapshot is not None):
                taken.pinned = True
                first.append(taken)

    def _forget_first_steps(self) -> None:
        """The loss has fallen, or there is no room: the first steps are kept no longer than others."""
        first, self._first_steps = self._first_steps, None
        for old in first or ():
            old.pinned = False
            if not any(old is held for held in self._ring):
                self._drop(old)

    def _drop(self, old: Step) -> None:
        """Forgets a step, unless it is one of the first; its arrays may be written to again."""
        if old.pinned:
            return
        self._reuse(array for name, array in old.tensors.items() if name.startswith(("grad/", "param/")))
        if old.snapshot is not None:
            self._reuse(old.snapshot.tensors.values())
        if old.released is not None:
            old.released()
        self._remove(old.snapshot)
        self._held(-old.counted)

    def _reuse(self, arrays: Iterable[Array]) -> None:
        for array in arrays:
            values = array[1] if isinstance(array, tuple) else array
            if values.base is None and values.flags.owndata and values.flags.writeable:
                free = self._pool[values.dtype.str, values.shape]
                if len(free) < 2 * self.every * 4:
                    free.append(values)

    def _remove(self, snapshot: Snapshot | None) -> None:
        """Removes the file of a snapshot that nobody needs, after what is still being written to it."""
        path = None if snapshot is None else snapshot.spilled
        if path is not None:
            self._writer.do(lambda: path.unlink(missing_ok=True), 0, self._failed)

    def _count(self, taken: Step) -> None:
        """Counts as held what the step holds by now; tensors are added to a step and none is taken away."""
        if taken.counted and len(taken.tensors) == taken.of_tensors:
            return
        taken.of_tensors = len(taken.tensors)
        size = taken.nbytes() + (size_of(taken.snapshot.tensors.values()) if taken.snapshot else 0)
        self._held(size - taken.counted)
        taken.counted = size

    def _held(self, change: int) -> None:
        with self._lock:
            # Nothing is held once the recording has stopped, whatever is still on its way.
            self.held = max(0, self.held + change)
            self.most_held = max(self.most_held, self.held)

    # ---- a capture

    def _capture_first_steps(self, step: int, reason: str) -> None:
        """A run that learnt nothing went wrong at its start: its first steps are the capture, which ends with them."""
        held, self._first_steps = self._first_steps or [], None
        for old in held:
            old.pinned = False
        for old in self._ring:
            if all(old is not one for one in held):
                self._drop(old)
        if all(self._waiting is not one for one in held):
            # The newest step is no neighbour of the first ones: it is not written with them once it is complete.
            self._waiting = None
        self._start(step, reason, held)
        if self._open is not None:
            self._open.left = -1
            self._count_end()

    def _start(self, step: int, reason: str, held: list[Step]) -> None:
        """Opens a capture that begins with the steps that are held."""
        first, last = held[0], held[-1]
        # The held steps do not include one that a loss scaler skipped.
        incident = step if self._skipped_in_a_row else last.step
        assert first.snapshot is not None
        self._wanted = None
        if self._first_steps is not None:
            # What is written now is not needed twice.
            self._forget_first_steps()
        number_of, target = 1, self.folder
        while (target / MANIFEST).exists() or (number_of > 1 and target.exists()):
            number_of += 1
            target = self.folder.with_name(f"{self.folder.name}-{number_of}")
        described = self.describe(step, first.snapshot.meta)
        keys, files = described.pop("groupKeys"), described.pop("files", {})
        copies = described.pop("copies", {})
        before = [(s, loss) for s, loss in self._losses if s < first.step][-HISTORY:]
        within = [skipped for skipped in self._skips if skipped.step > first.step]
        earlier = [taken.step for taken in held if taken.step < step and _has_batch(taken)]
        manifest: dict[str, Any] = {
            "version": 2,
            **described,
            "flushed": {"step": step, "reason": reason},
            **({"gradients": self.gradients} if self.gradients != "every-step" else {}),
            "history": {"steps": [s for s, _ in before], "loss": [number(loss) for _, loss in before]},
            "references": earlier[:-2][:: max(1, len(earlier[:-2]) // 4)][:4],
            "skipped": [skipped.step for skipped in within],
            "skips": [_skip_entry(skipped) for skipped in within],
            "steps": [],
        }
        self._ring.clear()
        self._skips.clear()
        self._open = opened = OpenCapture(target, manifest, keys, self.after, incident)
        if self.join is not None:
            opened.joining = self.join(manifest)
        self.captures.append(str(target))
        self._remember(step, reason, str(target))
        joined: dict[str, Array] = {}
        for taken in held:
            joined.update({name: array for name, array in taken.joined.items() if name not in joined})
        snapshot = first.snapshot
        failed = self._failed_in(opened)
        self._writer.do(lambda: opened.begin(snapshot, joined, files, copies), 0, failed)
        for taken in held:
            # Later snapshots serve as checks of the replay.
            if taken is not first and taken.snapshot is not None:
                checks = {n: a for n, a in taken.snapshot.tensors.items() if n.startswith("param/")}
                taken.tensors = {**checks, **taken.tensors}
            if taken is not first:
                self._remove(taken.snapshot)
            if not taken.waits:
                self._write_step(taken)
        self._writer.do(lambda: opened.place(self._lock), 0, failed)
        self._wait()
        if last.step == step:
            opened.left -= 1
            self._count_end()
        else:
            self._count_down()
        if self._writer.refused is not None:
            self._problem(f"no thread can be started ({self._writer.refused}): the loop waits while steps are written")

    def write_held(self, reason: str) -> bool:
        """Writes a capture of the steps that are held, without a next one; returns whether a capture has them now.

        A capture that is being written has the newest step already, and goes on.
        """
        if self._open is None:
            if self._closed or self.stopped is not None or not self._ring:
                return False
            self._start(self._ring[-1].step, reason, list(self._ring))
            if self._open is not None:
                self._open.left = -1
                self._count_end()
        self._writer.wait(threading.TIMEOUT_MAX)
        return True

    def _append(self, taken: Step) -> None:
        opened = self._open
        assert opened is not None
        size = taken.nbytes()
        if taken.snapshot is not None:
            raise AssertionError("an open capture takes no snapshot")
        patience = opened.patience
        while self._writer.waiting + size > self.memory and patience > 0 and taken.has_gradients:
            time.sleep(0.02)
            patience -= 0.02
        opened.patience = max(0.0, patience)
        if taken.has_gradients and self._writer.waiting + size > self.memory and self._writer.waiting:
            self._without_gradients(taken, "the disk is slower than the training and memory is full")
        if taken.has_gradients and opened.written + self._writer.waiting + size > self.disk:
            self._without_gradients(taken, f"disk={size_text(self.disk)} is used up")
        self._count(taken)
        if taken.waits:
            self._waiting = taken
        else:
            self._write_step(taken)
        self._count_down()

    def _without_gradients(self, taken: Step, why: str) -> None:
        taken.tensors = {n: a for n, a in taken.tensors.items() if n.startswith(("batch/", "rng/"))}
        taken.has_gradients = taken.waits = False
        self._problem(f"gradients of some steps after an incident are not kept: {why}")

    def _write_step(self, taken: Step) -> None:
        opened = self._open
        if opened is None:  # it could not be written on
            self._held(-taken.counted)
            return
        size = taken.nbytes()
        entry: dict[str, Any] = {
            "step": taken.step,
            "file": f"step-{taken.step:08d}.safetensors",
            "loss": number(taken.loss),
            **({"tasks": {name: number(value) for name, value in taken.tasks.items()}} if taken.tasks else {}),
            **({} if taken.has_gradients else {"gradients": False}),
            **changed_only(taken.entry, opened.last),
        }
        opened.last = taken.entry
        rates = [taken.rates.get(key) for key in opened.keys]
        entry["learningRate"] = rates[0]
        if len(rates) > 1:
            entry["groupLearningRates"] = rates[1:]
        tensors = taken.tensors

        counted = taken.counted

        def write() -> None:
            random = {name: array for name, array in tensors.items() if name.startswith("rng/")}
            if random and "rngHash" not in entry:
                # Few steps are written, so that it is not made before.
                entry["rngHash"] = hash_of(random)
            opened.append(entry, tensors)
            self._held(-counted)

        self._writer.do(write, size, self._failed_in(opened))

    def _count_down(self) -> None:
        opened = self._open
        if opened is None:
            return  # it could not be written on
        opened.left -= 1
        self._wait()
        self._count_end()

    def _count_end(self) -> None:
        opened = self._open
        if opened is None or opened.left >= 0:
            return
        if self._waiting is not None:
            return  # the last step's parameters after it are still to come
        self._open, self._since = None, 0
        self._writer.do(opened.end, 0, self._failed_in(opened))
        self._write_status("recording")

    def _wait(self) -> None:
        """Small captures are on disk when `add` returns; large ones go on being written while the loop runs."""
        opened = self._open
        if opened is None:
            return  # it could not be written on
        start = time.monotonic()
        self._writer.wait(opened.patience)
        opened.patience = max(0.0, opened.patience - (time.monotonic() - start))

    def _failed(self, error: BaseException) -> None:
        """A file outside the captures could not be written."""
        self._problem(f"a file beside {self.folder} could not be written: {describe(error)}")

    def _failed_in(self, opened: OpenCapture) -> Callable[[BaseException], None]:
        """What the writer calls where `opened` cannot be written on: it ends there, and what is whole is kept."""

        def failed(error: BaseException) -> None:
            if opened.broken is not None:
                return
            why = describe(error)
            kept = opened.salvage(why, self._lock)
            if self._open is opened:
                self._open, self._since = None, 0
            if kept:
                last = opened.manifest["steps"][-1]["step"]
                self._problem(f"the capture in {opened.target} ends after step {last}: {why}")
                return
            for known in self._incidents:
                if known["capture"] == str(opened.target):
                    known["capture"] = None
            with contextlib.suppress(ValueError):
                self.captures.remove(str(opened.target))
            self._problem(f"the capture of step {opened.incident} could not be written to {opened.target}: {why}")

        return failed

    # ---- what is said

    def stop(self, why: str) -> None:
        """Records no more; the training goes on."""
        if self.stopped is not None:
            return
        self.stopped = why
        self._ring.clear()
        self._pool.clear()
        self._first_steps = None
        self.held = 0
        warn(f"recording stopped, training goes on: {why}", stacklevel=3)
        self._write_status("stopped")

    def leave_to_another(self, why: str) -> None:
        """Records no more, because another process writes in this folder: its status.json is kept."""
        self._another_writes = True
        self.stop(why)

    def guarded(self) -> contextlib.AbstractContextManager[None]:
        """Nothing raised inside reaches the loop: it stops the recording, and says so."""
        return _Guarded(self)

    def attempt(self, step: Any, loss: Callable[[], float], take: Callable[..., None], *arguments: Any) -> None:
        """Takes a step by `take(*arguments)`; nothing raised in it reaches the loop. Once the recording has stopped the
        losses are still judged, so that no later incident goes unsaid.

        loss  computes the loss of the step; called where `take` did not come as far as judging it
        """
        seen = self._judged
        if self.stopped is None:
            with self.guarded():
                take(*arguments)
        if self.stopped is not None:
            with contextlib.suppress(Exception):  # an unreadable loss was reported when the recording stopped
                self._see(step, loss, self._judged > seen)

    def _see(self, step: Any, loss: Callable[[], float], judged: bool) -> None:
        """Keeps the loss of a step that is not recorded, and says its incident; `judged` where `begin` has seen it."""
        if not judged:
            try:
                self._last = int(step)
            except Exception:
                self._last = 0 if self._last is None else self._last + 1
            self._judge_loss(loss())
        if self._kept_losses < self._judged:
            self._keep_loss(self._last or 0, self._newest_loss)
            if self._incident is not None:
                self._remember(self._last or 0, self._incident, None)
        if time.monotonic() - self._said > SAID_EVERY:
            self._write_status("stopped")

    def _judge_loss(self, loss: float) -> None:
        self._newest_loss = loss
        self._judged += 1
        alarm, self._alarm = self._alarm, None
        self._verdict = self._judged_before.popleft() if self._judged_before else self._watch.add(loss)
        self._incident = self._verdict.reason or alarm

    @contextlib.contextmanager
    def judged_ahead(self, losses: Iterable[float]) -> Iterator[None]:
        """Judges the losses of the steps that are handed over inside, in their order: in a row that takes half of the time."""
        self._judged_before.extend([self._watch.add(loss) for loss in losses])
        try:
            yield
        finally:
            self._judged_before.clear()

    def _keep_loss(self, step: int, loss: float) -> None:
        self._losses.append((step, loss))
        self._kept_losses = self._judged

    def amend(self, member: str, value: Any) -> None:
        """What became known of a capture that is being written."""
        if self._open is not None:
            self._open.manifest[member] = value

    def note(self, what: str) -> None:
        """Says once what the recorder cannot do."""
        self._problem(what)

    def _problem(self, what: str) -> None:
        with self._lock:
            if what in self.problems or len(self.problems) > MOST_PROBLEMS:
                return
            if len(self.problems) == MOST_PROBLEMS:
                what = "further problems are not listed"
            self.problems.append(what)
        if not self.part:
            warn(what, stacklevel=3)
        self._write_status("recording")

    def _tell(self, text: str) -> None:
        if not self.part:
            tell(text)

    def _remember(self, step: int, reason: str, capture: str | None) -> None:
        if len(self._incidents) < MOST_INCIDENTS or capture is not None:
            self._incidents.append({"step": step, "reason": reason, "capture": capture})
        if capture is None:
            if self.stopped is not None:
                why = "the recording had stopped"
            elif len(self.captures) >= self.max_captures:
                why = f"max_captures is {self.max_captures}"
            else:
                why = "no step that was taken is in memory"
            self._problem(f"an incident at step {step} was not captured ({reason}): {why}")
        else:
            self._tell(f"step {step}: {reason}; the steps that were recorded go to {capture}")
        self._write_status("recording")

    def status(self, state: State) -> Status:
        """What status.json holds."""
        return {
            "state": "stopped" if self.stopped else "capturing" if self._open else state,
            "stopped": self.stopped,
            "lastStep": self._last,
            "lateBy": self.late_by,
            "steps": self._taken,
            "plan": self._plan_text,
            "gradients": self.gradients,
            "memory": {"budget": self.memory, "held": self.held, "mostHeld": self.most_held},
            "disk": {"budget": self.disk},
            "captures": list(self.captures),
            "incidents": list(self._incidents),
            "problems": list(self.problems),
            **self.also_said(),  # type: ignore[typeddict-item]  # members of the framework's own
            "losses": [[step, number(loss)] for step, loss in list(self._losses)[-HISTORY:]],
        }

    def _write_status(self, state: State) -> None:
        if self._another_writes or (self.part and self.stopped is None):
            return
        if not self.is_own_process:
            return
        self._said = time.monotonic()
        document = self.status(state)

        # A disk that is busy with a capture would make the loop wait for these few bytes.
        if self._writer.busy:
            self._writer.do(lambda: self._put_status(document), 0, self._failed)
        else:
            self._put_status(document)

    def _put_status(self, document: Status) -> None:
        """Writes status.json; on a full disk into the bytes that the file has already. Never raises."""
        path = self.folder / STATUS
        with self._lock:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_json(path, document, durable=False, least=STATUS_ROOM)
                self._unwritten = None
            except Exception as error:
                if overwrite_json(path, lambda: _shortened(document)):
                    self._unwritten = None
                    return
                said, self._unwritten = self._unwritten, f"{path} cannot be written: {describe(error)}"
                if said is None:
                    self.problems.append(self._unwritten)
                    warn(self._unwritten, stacklevel=4)

    def close(self) -> None:
        """Ends the recording: waits until everything is written, and says what it could not do. Never raises."""
        if self._closed or not self.is_own_process:
            return
        with self.guarded():
            self.catch_up(True)
        self._closed = True
        atexit.unregister(self._at_exit)
        with self.guarded():
            self.settle()
        opened = self._open
        if opened is not None:
            self._writer.do(opened.end, 0, self._failed_in(opened))
        self._writer.finish()
        self._open = None
        self._ring.clear()
        self._pool.clear()
        self._first_steps = None
        self.held = 0
        with contextlib.suppress(Exception):  # an invalid path, or a disk that is gone
            shutil.rmtree(f"{self.folder}.spool", ignore_errors=True)
        if self.planned or self.stopped:
            self._write_status("closed")
        for text in [*([f"recording stopped early: {self.stopped}"] if self.stopped else []), *self.problems]:
            self._tell(text)
        if self.captures:
            self._tell(f"captures: {', '.join(self.captures)}; read them with: clippy-diag analyze {self.captures[0]}")


def plain_ids(batch_id: Any) -> int | str | list[int | str]:
    """The id of a batch, or the ids of its rows in their order, as JSON can hold them.

    batch_id  one id, or a list, tuple, array or tensor of shape [rows] with one for each row
    """
    plain = batch_id.tolist() if hasattr(batch_id, "tolist") else batch_id
    if isinstance(plain, (list, tuple)):
        return [one if isinstance(one, (int, str)) else str(one) for one in plain]
    return plain if isinstance(plain, (int, str)) else str(plain)


class Batches:
    """Batches as named tensors. The nesting of the first batch is stored once; a step whose batch nests otherwise has its own."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.tree: Any = None
        self._note = note

    def flat(
        self, batch: Any, is_tensor: Callable[[Any], bool], fits: Callable[[Any], bool]
    ) -> tuple[dict[str, Any], Any]:
        """Tensors by name, and the tree; nothing where there is no batch, or a capture cannot hold it, which is said."""
        if batch is None:
            return {}, None
        leaves, tree = flatten(batch, is_tensor)
        for name, leaf in leaves.items():
            if not fits(leaf):
                self._note(f'batches are not kept: "{name}" is of {leaf.dtype}')
                return {}, None
        if self.tree is None:
            self.tree = tree
        return leaves, tree

    def members(self, leaves: Mapping[str, Any], tree: Any, batch_id: Any) -> dict[str, Any]:
        """What a step's entry says of its batch."""
        return {
            **({} if batch_id is None else {"batchId": plain_ids(batch_id)}),
            **({"batch": tree} if leaves and tree != self.tree else {}),
        }


class _Guarded(contextlib.AbstractContextManager[None]):
    """See `Recording.guarded`."""

    def __init__(self, own: Recording) -> None:
        self._own = own

    def __enter__(self) -> None:
        self._shown = warnings_are_no_errors() if warnings_are_errors() else None
        if self._shown is not None:
            self._shown.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if self._shown is not None:
            self._shown.__exit__(kind, error, trace)
        if not isinstance(error, Exception):
            return False
        self._own.stop(describe(error))
        return True


class Controls:
    """What the recorder of every framework offers in addition to `record`."""

    _own: Recording

    def capture(self, reason: str = "requested") -> None:
        """Writes a capture at the next step, incident or not, and records on for `steps_after` steps: a drill, to see that all
        works, or a look at a moment that matters."""
        self._own.request(reason)

    def capture_on_signal(self, number: int) -> None:
        """Writes a capture whenever the process gets a signal, such as `signal.SIGUSR1`; what handled it before still does.

        Call it in the main thread. Nothing is installed unasked: schedulers use these signals to announce the end of a job.
        """
        before = signal.getsignal(number)

        def handle(received: int, frame: Any) -> None:
            self._own.request(f"asked for by {signal.Signals(received).name}")
            if callable(before):
                before(received, frame)

        signal.signal(number, handle)

    def flush(self, reason: str = "requested") -> None:
        """The old name of `capture`."""
        deprecated("flush", "capture")
        self._own.request(reason)

    def capture_now(self) -> None:
        """The old name of `capture`."""
        deprecated("capture_now", "capture")
        self._own.request("capture_now")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the recording, waits until all is written, says what could not be done. Called at exit too."""
        self._own.close()

    def note(self, what: str) -> None:
        """Says once, in status.json and at the end, what could not be done."""
        self._own.note(what)

    def stop(self, why: str) -> None:
        """Records no more, and says why; the training goes on."""
        self._own.catch_up(False)
        self._own.stop(why)

    def guarded(self) -> contextlib.AbstractContextManager[None]:
        """See `Recording.guarded`."""
        return self._own.guarded()

    def beside(self, suffix: str) -> Path:
        """A path next to the capture's folder."""
        return self._own.folder.with_name(self._own.folder.name + suffix)

    @property
    def stopped(self) -> str | None:
        """Why nothing is recorded any more, or None."""
        return self._own.stopped

    @property
    def captures(self) -> list[str]:
        """Folders of the captures that were written, in order; on another rank than the first of several, none."""
        self._own.catch_up(False)
        return [] if self._own.part else list(self._own.captures)

    @property
    def problems(self) -> list[str]:
        """What could not be done, each once."""
        self._own.catch_up(False)
        return list(self._own.problems)

    @property
    def status(self) -> Status:
        """What status.json says."""
        self._own.catch_up(False)
        return self._own.status("recording")


def _losses_in(path: Path) -> list[tuple[int, float]]:
    """Steps, which grow, and losses of a status.json; none where it cannot be read, or holds something else."""
    try:
        losses = [(int(step), number_back(loss)) for step, loss in json.loads(text_of(path))["losses"]]
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError):
        return []
    return losses[-HISTORY:] if all(a[0] < b[0] for a, b in zip(losses, losses[1:])) else []


def _nothing(ending: bool) -> None:
    """No steps wait."""


def _close_at_exit(reference: weakref.ref[Recording]) -> None:
    recording = reference()
    if recording is not None:
        recording.close()


def _shortened(document: Status) -> Status | None:
    """The document with half of its losses, the newest; None where there are few left."""
    losses = document["losses"]
    if len(losses) < 8:
        return None
    document["losses"] = losses[len(losses) // 2 :]
    return document


def _has_batch(taken: Step) -> bool:
    return any(name.startswith("batch/") for name in taken.tensors)


def _skip_entry(skipped: Skip) -> dict[str, Any]:
    return {
        "step": skipped.step,
        "loss": number(skipped.loss),
        "scale": number(skipped.scale),
        "nonFinite": skipped.tensors,
    }


_NUMPY_OF = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "BF16": "<i2"}

"""What the callbacks of the torch trainers share: options, a recorder made late, losses of micro-batches, endings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..ledger_steps import ledger_of
from ..messages import describe, tell, warn
from ..options import Budget, OldNames, deprecated, options_of, path_of
from ..preflight_setup import no_answer, report
from ..rules import Clipping, clipping_words
from ..wrapped import Wrapped
from . import words as names
from .ahead import LossFn
from .guard import Guard
from .preflight import preflight
from .recorder import Recorder
from .tracker import Tracker


class Attached:
    """A recorder that is made when its trainer begins. The callbacks say what happens; nothing here raises into a trainer.

    folder   where captures go, see `clippy_diag.torch.Recorder`, which takes `options` too
    batches  whether batches are kept. They may hold personal data; without them there is no closed loop.
    trainer  whose loop it is, as a capture names it.
    guard    whether a `Guard` checks every step and its advice is followed.
    loss_fn  what the guard tries a step with.
    pulse    the guard's log.
    """

    def __init__(
        self,
        folder: str | Path,
        batches: bool,
        trainer: str,
        options: dict[str, Any],
        *,
        guard: bool = False,
        loss_fn: LossFn | None = None,
        pulse: None | str | Path = None,
        preflight: bool = False,
    ) -> None:
        self.folder, self.batches, self.trainer, self.options = folder, batches, trainer, options
        self.with_guard, self.loss_fn, self.pulse = guard, loss_fn, pulse
        #: Whether a preflight is wanted, and its document once there is one.
        self.with_preflight = preflight
        self.preflight_answer: dict[str, Any] | None = None
        self._scaler = Wrapped()
        self.recorder: Recorder | None = None
        #: The recorder of this training, or of the last one once it is over; why none could be made.
        self.newest: Recorder | None = None
        self.failed: str | None = None
        self._wanted: str | None = None
        self._losses: list[torch.Tensor] = []
        self._micro: list[Any] = []
        #: The optimizer that took the last loss, where there are several.
        self._first: Any = None
        #: The guard's state of a checkpoint, until there is a guard to take it.
        self._saved_guard: Mapping[str, Any] | None = None

    def try_rates(
        self,
        model: torch.nn.Module,
        optimizers: Any,
        batches: Any,
        loss_fn: LossFn | None,
        clipping: Clipping,
        ranks: int = 1,
        warmup: int = 0,
    ) -> None:
        """The preflight that was asked for, before the first step: its statement goes to standard error, the document to
        `<folder>-preflight.json`. Never raises: why there is none is said."""
        if not self.with_preflight:
            return
        missing = "loss_fn=, (model, batch) -> loss" if loss_fn is None else "batches, a DataLoader"
        try:
            if ranks > 1:
                raise ValueError(
                    f"{ranks} ranks train together; call clippy_diag.preflight before the model is wrapped"
                )
            if loss_fn is None or batches is None:
                raise ValueError(f"it needs {missing}")
            clipping = self.options.get("clipping", clipping)
            answer = preflight(model, optimizers, batches, loss_fn, warmup=warmup, clipping=clipping)
            self.preflight_answer = answer
            report(answer, self.folder)
        except Exception as error:
            no_answer(error)

    def guard_state(self) -> dict[str, Any] | None:
        """What a checkpoint keeps of the guard; its reference batches only where batches may be kept. None without a guard."""
        guard = self.recorder.guard if self.recorder is not None else None
        return None if guard is None else guard.state_dict(batches=self.batches)

    def load_guard_state(self, state: Mapping[str, Any] | None) -> None:
        """Gives the guard of this training, or of the next one, its state back. Never raises: what is wrong is said."""
        self._saved_guard = state
        if self.recorder is not None:
            self._restore_guard(self.recorder)

    def _restore_guard(self, recorder: Recorder) -> None:
        state, self._saved_guard = self._saved_guard, None
        if state is None or recorder.guard is None:
            return
        try:
            recorder.guard.load_state_dict(state)
        except Exception as error:
            recorder.note(f"the guard's state in the checkpoint was not loaded: {describe(error)}")

    def begin(
        self,
        model: torch.nn.Module,
        optimizers: Any,
        clipping: Clipping,
        ranks: int = 1,
        autocast: dict[str, str] | None = None,
    ) -> None:
        """Makes the recorder. What cannot be recorded is said. `autocast` is what the trainer runs the model under."""
        self.end()
        options = dict(self.options)
        # What the user says of a loop whose clipping no trainer knows.
        clipping = options.pop("clipping", clipping)
        try:
            guard = None
            if self.with_guard:
                guard = Guard(model, optimizers, self.loss_fn, pulse=self.pulse, clipping=clipping)
                guard.parallel = guard.parallel or ranks > 1
            self.recorder = Recorder(model, optimizers, self.folder, clipping=clipping, guard=guard, **options)
        except Exception as error:
            self.newest, self.failed = None, describe(error)
            warn(f"nothing is recorded: {error}", stacklevel=3)
            return
        self.newest, self.failed = self.recorder, None
        self._restore_guard(self.recorder)
        self.recorder.keep_batches, self.recorder.trainer = self.batches, self.trainer
        self.recorder.autocast = autocast
        self.recorder.parallel = self.recorder.parallel or ranks > 1
        if not self.batches and self.recorder.stopped is None:
            tell(
                "batches are not kept, as they may hold personal data, so no closed loop is possible;"
                " batches=True keeps them"
            )
        if self._wanted:
            self.recorder.capture(self._wanted)

    def refuse(self, model: torch.nn.Module, optimizers: Any, why: str) -> None:
        """Says, in status.json too, why this training is not recorded."""
        self.begin(model, optimizers, {"rule": "none"})
        if self.recorder is not None:
            self.recorder.stop(why)

    @property
    def active(self) -> bool:
        """Whether steps are recorded."""
        return self.recorder is not None and self.recorder.stopped is None

    def before_forward(self, batch: Any = None) -> None:
        """A micro-batch is about to go through the model."""
        if self.active and self.recorder is not None:
            with self.recorder.guarded():
                self.recorder.mark_random_state()
            looks = self.recorder.tracker, self.recorder.guard, self.recorder.ledger
            if batch is not None and (self.batches or any(one is not None for one in looks)):
                self._micro.append(batch)

    def after_loss(self, loss: Any) -> None:
        """The loss of a micro-batch, as its share of the step's loss."""
        if self.active:
            self._losses.append(loss.detach() if isinstance(loss, torch.Tensor) else torch.tensor(float(loss)))

    def step(self, step: int, scaler: Any = None, only: Any = None) -> None:
        """The gradients of a step are there, before clipping. Where no loss came since the last, `only`, one of several
        optimizers, steps on that of the one before; else nothing is done."""
        if self.recorder is None:
            return
        if not self._losses:
            if only is not None and only is not self._first:
                self.recorder.also(only, scaler)
            return
        self._first = only
        with self.recorder.guarded():
            loss = float(torch.stack([value.float().reshape(()).cpu() for value in self._losses]).sum())
            batch = None
            if self._micro:
                batch = self._micro[0] if len(self._micro) == 1 else list(self._micro)
            self._follow_guard(step, loss, batch, scaler, only)
            self.recorder.record(step, loss, batch=batch, scaler=scaler, only=only)
        self._losses, self._micro = [], []

    def _follow_guard(self, step: int, loss: float, batch: Any, scaler: Any, only: Any) -> None:
        """Checks the step and does what the guard advises; what is recorded afterwards is what the optimizer takes."""
        recorder = self.recorder
        if recorder is None or recorder.guard is None:
            return
        guard = recorder.guard
        if only is not None:
            recorder.note(
                "the guard does not follow several optimizers, of which each steps by itself: nothing is checked"
            )
            recorder.guard = None
            return
        if scaler is not None and scaler.is_enabled() and guard.scaler is not scaler:
            guard.scaler, unscale = scaler, scaler.unscale_
            # The trainer unscales too, and a scaler refuses that a second time.
            self._scaler.put(
                scaler, "unscale_", lambda own: unscale(own) if names.scaler_stage(scaler, own) == "READY" else None
            )
        guard.apply(guard.check(step, batch, loss))

    def shares(self, optimizer: Any) -> bool:
        """Whether one of several optimizers steps on the loss that another one took."""
        return self._first is not None and self._first is not optimizer and not self._losses

    def clipped(self, clips: list[dict[str, Any]], whole: bool) -> None:
        """The clipping that a step goes through, in the order in which it acts; `whole` once the step is over."""
        if self.recorder is not None and self.active:
            self.recorder.heard_clipping(clips, whole)

    def note(self, what: str) -> None:
        """Says once what could not be done."""
        if self.recorder is not None:
            self.recorder.note(what)

    @property
    def waiting(self) -> bool:
        """Whether losses came that no step took."""
        return bool(self._losses)

    def request(self, reason: str) -> None:
        """Writes a capture at the next step."""
        self._wanted = reason
        if self.recorder is not None:
            self.recorder.capture(reason)

    def end(self) -> None:
        """Waits until all is written, and says what could not be done."""
        recorder, self.recorder = self.recorder, None
        self._losses, self._micro, self._first = [], [], None
        self._scaler.restore()
        if recorder is not None:
            if recorder.guard is not None:
                recorder.guard.close()
            recorder.close()


def autocast_of(accelerator: Any) -> dict[str, str] | None:
    """The autocast that Accelerate begins inside of the models that it prepares."""
    dtype = {"fp16": "float16", "bf16": "bfloat16"}.get(str(accelerator.mixed_precision))
    return None if dtype is None else {"device": accelerator.device.type, "dtype": dtype}


class AttachedCallback:
    """What the callbacks of the torch trainers offer in addition to their trainer's events.

    path          the folder of the capture; `status.json` in it says how the recording fares
    snapshot_every_steps, steps_after  a capture holds `snapshot_every_steps` to twice as many steps before the incident, and
                  `steps_after` steps after it
    batches       whether batches are kept (they may hold personal data); without them no closed loop is possible
    guard         whether a `Guard` checks every step, and its advice is followed: docs/guard.md
    loss_fn       (model, batch) -> loss, with which the guard tries a step on copies; without it signs alone decide
    pulse         a file for the guard's line of JSON a step
    preflight     whether to find, before the first step and on copies, the largest learning rate that the training is stable at:
                  docs/preflight.md. Takes up to a minute; the answer is in `preflight_answer`.
    memory, disk, max_captures, curvature, layouts, model_file, expected_changes, folder, every, after  as of
                  `clippy_diag.torch.Recorder`
    clipping      where your own code clips in a way that the trainer does not know
    ledger, ledger_every  as of `clippy_diag.torch.Recorder`: some hundred bytes of every step, for `clippy-diag compare`
    """

    #: Whose loop it is, as a capture names it.
    TRAINER = "torch"

    def __init__(
        self,
        path: str | Path = "capture",
        *,
        snapshot_every_steps: int = 20,
        steps_after: int = 34,
        batches: bool = False,
        guard: bool = False,
        loss_fn: LossFn | None = None,
        pulse: None | str | Path = None,
        preflight: bool = False,
        clipping: Clipping = None,
        curvature: None | Tracker | Callable[[], torch.Tensor] = None,
        memory: Budget = "2GB",
        disk: Budget = "20GB",
        max_captures: int = 3,
        layouts: Mapping[str, str] | None = None,
        model_file: None | str | Path = None,
        ledger: bool | int | str | None = None,
        ledger_every: int | None = None,
        expected_changes: Iterable[str] = (),
        folder: None | str | Path = None,
        every: int | None = None,
        after: int | None = None,
    ) -> None:
        super().__init__()
        old = OldNames(folder, every, after)
        checked = options_of(snapshot_every_steps, steps_after, memory, disk, max_captures, old)
        ledger_of(ledger, ledger_every, Path("capture"))  # a wrong option is an error here, not in the training
        self._own = Attached(
            path_of(path, old),
            batches,
            self.TRAINER,
            {
                "snapshot_every_steps": checked["every"],
                "steps_after": checked["after"],
                "memory": checked["memory"],
                "disk": checked["disk"],
                "max_captures": checked["max_captures"],
                "curvature": curvature,
                "layouts": layouts,
                "model_file": model_file,
                "ledger": ledger,
                "ledger_every": ledger_every,
                "expected_changes": expected_changes,
                **({} if clipping is None else {"clipping": clipping_words(clipping)}),
            },
            guard=guard,
            loss_fn=loss_fn,
            pulse=pulse,
            preflight=preflight,
        )
        self._wrapped = Wrapped()

    def capture(self, reason: str = "requested") -> None:
        """Writes a capture at the next step, incident or not: a drill, or a look at a moment that matters."""
        self._own.request(reason)

    def capture_now(self) -> None:
        """The old name of `capture`."""
        deprecated("capture_now", "capture")
        self._own.request("capture_now")

    @property
    def stopped(self) -> str | None:
        """Why nothing is recorded, also once the training is over; None where it is."""
        return self._own.failed or (None if self._own.newest is None else self._own.newest.stopped)

    @property
    def captures(self) -> list[str]:
        """Folders of the captures of this training, or of the last one."""
        return [] if self._own.newest is None else self._own.newest.captures

    @property
    def problems(self) -> list[str]:
        """What could not be done in this training, or in the last one, each once."""
        failed = [] if self._own.failed is None else [self._own.failed]
        return failed + ([] if self._own.newest is None else self._own.newest.problems)

    @property
    def preflight_answer(self) -> dict[str, Any] | None:
        """The document of the preflight of this training, or of the last one, as docs/preflight.md has it; None without one."""
        return self._own.preflight_answer

    @property
    def guard(self) -> Guard | None:
        """The guard while it is attached to a training, or None."""
        return self._own.recorder.guard if self._own.recorder is not None else None

    @property
    def recorder(self) -> Recorder | None:
        """The recorder while it is attached to a training, or None."""
        return self._own.recorder

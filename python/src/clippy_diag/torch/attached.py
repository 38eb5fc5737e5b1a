"""What the callbacks of the torch trainers share: options, a recorder made late, losses of micro-batches, endings."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from .recorder import Recorder


class Attached:
    """A recorder that is made when its trainer begins. The callbacks say what happens; nothing here raises into a trainer.

    folder   where captures go, see `clippy_diag.torch.Recorder`, which takes `options` too
    batches  whether batches are kept. They may hold personal data; without them there is no closed loop
    """

    def __init__(self, folder: str | Path, batches: bool, options: dict[str, Any]) -> None:
        self.folder, self.batches, self.options = folder, batches, options
        self.recorder: Recorder | None = None
        self._wanted: str | None = None
        self._losses: list[torch.Tensor] = []
        self._micro: list[Any] = []

    def begin(self, model: torch.nn.Module, optimizers: Any, clipping: dict[str, Any], ranks: int = 1) -> None:
        """Makes the recorder. What cannot be recorded is said."""
        self.end()
        try:
            self.recorder = Recorder(model, optimizers, self.folder, clipping=clipping, **self.options)
        except Exception as error:
            warnings.warn(f"clippy-diag: nothing is recorded: {error}", stacklevel=3)
            return
        self.recorder.keep_batches = self.batches
        self.recorder.parallel = self.recorder.parallel or ranks > 1
        if not self.batches and self.recorder.stopped is None:
            print(
                "clippy-diag: batches are not kept, as they may hold personal data, so no closed loop is possible;"
                " batches=True keeps them",
                file=sys.stderr,
            )
        if self._wanted:
            self.recorder.flush(self._wanted)

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
            try:
                self.recorder.mark_random_state()
            except Exception as error:
                self.recorder.stop(f"{type(error).__name__}: {error}")
            if batch is not None and (self.batches or self.recorder.tracker is not None):
                self._micro.append(batch)

    def after_loss(self, loss: Any) -> None:
        """The loss of a micro-batch, as its share of the step's loss."""
        if self.active:
            self._losses.append(loss.detach() if isinstance(loss, torch.Tensor) else torch.tensor(float(loss)))

    def step(self, step: int, scaler: Any = None, only: Any = None) -> None:
        """The gradients of a step are there, before clipping; does nothing where no loss came since the last."""
        if not self._losses or self.recorder is None:
            return
        try:
            loss = float(torch.stack([value.float().reshape(()).cpu() for value in self._losses]).sum())
            batch = None
            if self._micro:
                batch = self._micro[0] if len(self._micro) == 1 else list(self._micro)
            self.recorder.record_of(only, step, loss, batch=batch, scaler=scaler)
        except Exception as error:
            self.recorder.stop(f"{type(error).__name__}: {error}")
        self._losses, self._micro = [], []

    @property
    def waiting(self) -> bool:
        """Whether losses came that no step took."""
        return bool(self._losses)

    def request(self, reason: str) -> None:
        """Writes a capture at the next step."""
        self._wanted = reason
        if self.recorder is not None:
            self.recorder.flush(reason)

    def end(self) -> None:
        """Waits until all is written, and says what could not be done."""
        recorder, self.recorder = self.recorder, None
        self._losses, self._micro = [], []
        if recorder is not None:
            recorder.close()

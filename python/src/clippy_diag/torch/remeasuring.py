"""Loss and gradient of recorded batches in the caller's own model of PyTorch (`clippy_diag.remeasuring`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..captures import Capture
from ..remeasuring import Arrays, Measured, Remeasurer
from . import words as names
from .closed_loop import LossFn, _as_before, _tensors, _TorchTrainer

_TYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


@contextlib.contextmanager
def remeasurer_of(capture: Capture, model: torch.nn.Module, loss_fn: LossFn) -> Iterator[Remeasurer]:
    """Puts the recorded weights into the model; it is as before afterwards, random state included. Raises ValueError for steps of several
    optimizers that each have a loss of their own."""
    if capture.manifest.get("rerun", {}).get("inTurn"):
        raise ValueError(
            f"clippy-diag: {capture.folder}: several optimizers step in turn, each on a loss of its own, which one loss_fn does not give"
        )
    plain = names.plain_model(model)
    with _as_before(plain):
        again = _Again(capture, plain, loss_fn, True, None)
        again.called = model if names.is_compiled(model) else plain
        yield again


class _Again(_TorchTrainer):
    @property
    def computes(self) -> str | None:
        """The type that autocast computes in."""
        return None if self.autocast is None else _TYPES.get(self.autocast["dtype"])

    def measured(
        self, index: int, weights: Arrays, batch_of: int | None = None, evaluation: bool = False, draw: int = 0
    ) -> Measured:
        """As `Remeasurer` has it."""
        entry = self.capture.steps[index]
        file = _tensors(self.capture.folder / entry["file"])
        # Other random numbers than torch's are recorded before the first step alone; later ones go on as they do here.
        later = None if index == 0 else self._other_random()
        self._begin()
        if later is not None:
            self._put_other_random(*later)
        self._modes_of(index, evaluation)
        with torch.no_grad():
            for spec, p in self.parameters:
                p.copy_(torch.from_numpy(np.array(weights[spec["name"]])))
        if batch_of is not None:
            other = _tensors(self.capture.folder / self.capture.steps[batch_of]["file"])
            file = {n: t for n, t in file.items() if not n.startswith("batch/")}
            file |= {n: t for n, t in other.items() if n.startswith("batch/")}
            entry = {**entry, "batch": self.capture.steps[batch_of].get("batch", self.capture.manifest.get("batch"))}
        if draw:
            file = {n: t for n, t in file.items() if not n.startswith("rng/")}
            torch.manual_seed(draw)
        scale = float(entry.get("scale", 1))
        self.model.zero_grad(set_to_none=True)
        loss = 0.0
        for part in self._losses(entry, file):
            (part * scale if scale != 1 else part).backward()
            loss += float(part.detach())
        return Measured(loss, {name: g / scale for name, g in self._slopes()})

    def _slopes(self) -> Iterator[tuple[str, np.ndarray]]:
        for spec, p in self.parameters:
            if p.grad is not None:
                dense = p.grad.to_dense() if p.grad.layout != torch.strided else p.grad
                yield spec["name"], names.view_of(dense.detach().double().cpu())

    def _modes_of(self, index: int, evaluation: bool) -> None:
        """Those of the last entry that has modes: it has all of them."""
        told = (entry["modes"] for entry in reversed(self.capture.steps[: index + 1]) if entry.get("modes"))
        self._put_modes(next(told, {}))
        if evaluation:
            self.model.eval()

    @staticmethod
    def _other_random() -> tuple[Any, Any]:
        import random

        return random.getstate(), np.random.get_state()

    @staticmethod
    def _put_other_random(python: Any, of_numpy: Any) -> None:
        import random

        random.setstate(python)
        np.random.set_state(of_numpy)

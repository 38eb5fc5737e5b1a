"""The top preconditioned eigenvalue while the training runs, a few products at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import torch

from ..captures import number
from ..spectrum import check_operator, top_eigenvalue
from .curvature import Graph, _trained, critical_sharpness, limit_of, undisturbed

if TYPE_CHECKING:
    from .recorder import Recorder

#: Products of the first measurement, and of each after it, which starts from the last vector; one more for the residual.
FIRST, LATER = 20, 3


class Tracker:
    """Keeps the top eigenvalue of P^(-1/2) H P^(-1/2) during training, for `Recorder(..., curvature=Tracker(every=50))`.

    every    steps between two measurements
    loss_fn  (model, batch) -> loss, with the batch that `record` was given; without it the model is called with the batch and
             has to return a `loss`, as those of transformers do
    log      a JSON-lines file for `step, precond_eigenvalue, precond_residual, critical_sharpness`, which `analyze` and `watch`
             chart; by default next to the capture, `<folder>-curvature.jsonl`

    A measurement starts from the vector of the one before and takes at most four Hessian-vector products (the first
    takes 21), each about two gradients. Where the model has no second derivative, critical sharpness is measured
    instead, by about twenty forward passes. `last` has the last measurement with its seconds, `seconds` their sum.
    Parameters, gradients, buffers, optimizer and random state stay as they are.
    """

    def __init__(
        self,
        every: int = 50,
        loss_fn: Callable[[torch.nn.Module, Any], torch.Tensor] | None = None,
        log: None | str | Path = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"clippy-diag: every={every} must be at least 1")
        self.every, self.loss_fn, self.log = every, loss_fn, log
        self.last: dict[str, Any] | None = None
        self.seconds = 0.0
        self.measurements = 0
        self._vector: torch.Tensor | None = None
        self._steps = 0
        self._forward_only = False

    def measure(self, recorder: Recorder, step: int, batch: Any) -> dict[str, Any] | None:
        """Measures at every `every`-th call; returns what it found, or None. Never raises: failures are reported once."""
        self._steps += 1
        if (self._steps - 1) % self.every:
            return None
        if batch is None:
            recorder.note("Tracker needs the batch: record(..., batch=batch)")
            return None
        begun = time.perf_counter()
        try:
            with undisturbed(recorder.model):
                found = self._measure(recorder, batch)
        except Exception as error:
            recorder.note(f"no curvature at step {step}: {error}")
            return None
        seconds = time.perf_counter() - begun
        self.seconds += seconds
        self.measurements += 1
        self.last = {"step": step, **found, "seconds": round(seconds, 4)}
        path = Path(self.log) if self.log is not None else recorder.beside("-curvature.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf8") as file:
            file.write(json.dumps(self.last) + "\n")
        return self.last

    def columns(self) -> dict[str, Any]:
        """The last measurement as columns of a log."""
        known = ("precond_eigenvalue", "precond_residual", "critical_sharpness")
        return {name: value for name, value in (self.last or {}).items() if name in known}

    def _measure(self, recorder: Recorder, batch: Any) -> dict[str, Any]:
        def loss() -> torch.Tensor:
            if self.loss_fn is not None:
                return self.loss_fn(recorder.model, batch)
            out = recorder.model(**batch) if isinstance(batch, Mapping) else recorder.model(batch)
            value = out["loss"] if isinstance(out, Mapping) else getattr(out, "loss", None)
            if value is None:
                raise ValueError("the model returns no loss; give Tracker(loss_fn=lambda model, batch: ...)")
            return value

        trained: list[Any] = _trained(recorder.optimizers)
        if not self._forward_only:
            try:
                return self._eigenvalue(trained, loss)
            except (RuntimeError, NotImplementedError) as error:
                if not any(
                    sign in str(error) for sign in ("not implemented", "double backward", "differentiate twice")
                ):
                    raise
                self._forward_only = True
                recorder.note(f"critical sharpness is tracked in place of an eigenvalue: {error}")
        sharpness = critical_sharpness(trained, loss)
        return {"critical_sharpness": None if sharpness is None else number(sharpness[0])}

    def _eigenvalue(self, trained: list[Any], loss: Callable[[], torch.Tensor]) -> dict[str, Any]:
        graph = Graph(trained, loss())
        divided = graph.operator(True)
        preconditioned, operator = divided is not None, divided or graph.operator(False)
        assert operator is not None
        fresh = self._vector is None or self._vector.numel() != operator.size
        if fresh:
            check_operator(operator)
        top = top_eigenvalue(operator, FIRST if fresh else LATER, None if fresh else self._vector, 1e-3)
        if bool(torch.isfinite(top.vector).all()):
            self._vector = top.vector
        limit = limit_of(graph.trained, preconditioned)
        return {
            "precond_eigenvalue" if preconditioned else "eigenvalue": number(top.value),
            "precond_residual" if preconditioned else "residual": number(top.residual),
            **({"stability_ratio": number(top.value / limit.value)} if limit else {}),
            "products": top.products,
        }

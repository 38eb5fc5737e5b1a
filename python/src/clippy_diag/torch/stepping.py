"""Runs an optimizer of PyTorch on the recorded steps of a capture (`clippy_diag.stepping`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..captures import INITIAL, Capture
from ..rules import Rules
from ..stepping import Arrays, Course, Stepper
from .closed_loop import AFTER, _tensors, _TorchTrainer, clip_gradients

#: Makes an optimizer from its parameter groups; a class does.
Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


def steppers_of(capture: Capture, optimizer: Make | Sequence[Make]) -> Callable[[], Stepper]:
    """Makes steppers. Raises ValueError where the capture holds no optimizer of PyTorch that can be built again, or another number of
    them than are given."""
    described = capture.manifest.get("rerun", {}).get("optimizers", [])
    makes = list(optimizer) if isinstance(optimizer, Sequence) else [optimizer] * len(described)
    if not described or len(makes) != len(described):
        raise ValueError(
            f"clippy-diag: {capture.folder} holds {len(described)} optimizers, and {len(makes)} were given as optimizer="
        )
    return lambda: _Steps(capture, makes)


class _Bare:
    """The parameters of a model without the model."""

    def __init__(self, capture: Capture) -> None:
        initial = _tensors(capture.folder / INITIAL, "param/")
        specs = capture.manifest["parameters"]
        self._named = [
            (spec["name"], torch.nn.Parameter(initial[f"param/{spec['name']}"], requires_grad=True)) for spec in specs
        ]

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return iter(self._named)


class _Steps(_TorchTrainer):
    def __init__(self, capture: Capture, makes: Sequence[Make]) -> None:
        super().__init__(capture, _Bare(capture), lambda *_: torch.zeros(()), False, None)
        self._makes = makes
        self._sparse = any(name.endswith("/indices") for name in capture.tensors(capture.steps[0], "grad/"))

    def _made(self) -> list[torch.optim.Optimizer]:
        made = []
        for make, described in zip(self._makes, self.rerun["optimizers"]):
            self.make = make
            made.append(self._of_class(described))
        return made

    def start(self) -> None:
        self.put({})
        self.optimizers = self._made()

    def put(self, weights: Arrays) -> None:
        with torch.no_grad():
            for spec, p in self.parameters:
                name = spec["name"]
                if not weights:
                    p.copy_(self.initial[f"param/{name}"])
                elif name in weights:
                    p.copy_(torch.from_numpy(np.array(weights[name])))

    def renew(self) -> None:
        for optimizer in self.optimizers:
            optimizer.state.clear()

    def weights(self) -> dict[str, np.ndarray]:
        return {spec["name"]: p.detach().to(torch.float64, copy=True).numpy() for spec, p in self.parameters}

    def step(self, index: int, gradients: dict[str, np.ndarray], rules: Rules, course: Course) -> None:  # type: ignore[override]
        entry = self.capture.steps[index]
        recorded = self.capture.tensors(entry, "grad/") if self._sparse else {}
        for spec, p in self.parameters:
            given, rows = gradients.get(spec["name"]), recorded.get(f"grad/{spec['name']}/indices")
            p.grad = None if given is None else torch.from_numpy(np.array(given)).to(p.dtype)
            if p.grad is not None and rows is not None:  # classes such as SparseAdam leave other rows alone
                there = torch.from_numpy(np.unique(rows).astype(np.int64))
                p.grad = torch.sparse_coo_tensor(
                    there[None], p.grad[there], p.shape, is_coalesced=True, check_invariants=True
                )
        for rule, options in rules:
            if rule not in AFTER:
                clip_gradients(rule, options, self.parameters)
        if course.gradient != 1:
            for _, p in self.parameters:
                if p.grad is not None:
                    p.grad.mul_(course.gradient)
        groups = [(optimizer, group) for optimizer in self.optimizers for group in optimizer.param_groups]
        self._set_options(entry)
        self._set_rates(entry, [course.rate] * len(groups))
        decays = [group.get("weight_decay") for _, group in groups]
        for (_, group), decay in zip(groups, decays):
            if course.decay != 1 and decay:
                group["weight_decay"] = decay * course.decay
        for optimizer in self.optimizers:
            optimizer.step()
        for (_, group), decay in zip(groups, decays):
            if decay is not None:
                group["weight_decay"] = decay

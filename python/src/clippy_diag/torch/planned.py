"""What a recorder does in a process that `clippy_diag.rerun` launched: it changes one thing and ends the run after the last step."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..captures import number, write_json
from ..entries import hash_of
from ..rerunning import SCHEMA, VARIABLE, Plan, Trace
from . import words as names

if TYPE_CHECKING:
    from .ranks import Ranks

#: Seconds that a rank gives the others to leave their last exchange before its process ends.
GRACE = 0.5


class Planned:
    """The plan of this process.

    optimizers  those of the training, whose learning rates are multiplied around each step where the plan says so
    """

    def __init__(self, plan: Plan, optimizers: list[Any]) -> None:
        self.plan, self._optimizers = plan, optimizers
        self._trace: Trace = {"steps": [], "loss": [], "mismatch": None, "done": False}
        self._step: int | None = None
        #: Learning rates of an optimizer's groups as the loop set them.
        self._before: dict[int, list[Any]] = {}
        for k, optimizer in enumerate(optimizers if plan["rateFactors"] else ()):
            optimizer.register_step_pre_hook(lambda *_, k=k: self._multiply(k))
            optimizer.register_step_post_hook(lambda *_, k=k: self._restore(k))

    def after_record(
        self,
        step: int,
        loss: float,
        batch: dict[str, Any],
        ranks: Ranks | None,
        parameters: list[torch.nn.Parameter],
    ) -> None:
        """Takes note of a step whose gradients are there and whose optimizer has not stepped yet, and changes it by the plan.
        Ends the process at the last step."""
        plan = self.plan
        self._step = step
        if not plan["first"] <= step <= plan["last"]:
            return
        rank = 0 if ranks is None else ranks.rank
        self._compare(step, batch, ranks)
        self._trace["steps"].append(step)
        self._trace["loss"].append(number(loss))
        self._trace["done"] = ends = step == plan["last"] or self._trace["mismatch"] is not None
        if rank == 0:
            write_json(Path(plan["trace"]), self._trace, durable=False)
        if ends:
            _end(ranks)
        if step in plan["skip"]:
            for p in parameters:
                p.grad = None
            return
        for rule, options in plan["clip"]:
            _clip(rule, options, [p for p in parameters if p.grad is not None], ranks)

    def _compare(self, step: int, batch: dict[str, Any], ranks: Ranks | None) -> None:
        """Holds the batch's hash against the recorded one; all ranks hear of a difference on any."""
        hashes = self.plan["batchHashes"].get(str(step), [])
        rank = 0 if ranks is None else ranks.rank
        differs = bool(batch) and rank < len(hashes) and hash_of(batch) != hashes[rank]
        found: list[Any] = [differs]
        if ranks is not None:
            found = [None] * ranks.size
            torch.distributed.all_gather_object(found, differs)
        if any(found) and self._trace["mismatch"] is None:
            self._trace["mismatch"] = {"step": step, "rank": found.index(True)}

    def _multiply(self, k: int) -> None:
        factors = self.plan["rateFactors"].get(str(self._step))
        if factors is None:
            return
        first = sum(len(optimizer.param_groups) for optimizer in self._optimizers[:k])
        groups = self._optimizers[k].param_groups
        self._before[k] = [group["lr"] for group in groups]
        for g, group in enumerate(groups):
            group["lr"] = group["lr"] * factors[min(first + g, len(factors) - 1)]

    def _restore(self, k: int) -> None:
        for group, rate in zip(self._optimizers[k].param_groups, self._before.pop(k, [])):
            group["lr"] = rate


def planned(optimizers: list[Any]) -> Planned | None:
    """The plan that this process was launched with, or None.

    Raises ValueError for a plan of another version: no part of the training may count as an arm that it is not.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    plan: Plan = json.loads(Path(path).read_text("utf8"))
    if plan.get("schemaVersion") != SCHEMA:
        raise ValueError(f"clippy-diag: {VARIABLE} names a plan of version {plan.get('schemaVersion')}, not {SCHEMA}")
    return Planned(plan, optimizers)


def _clip(rule: str, options: dict[str, float], parameters: list[torch.nn.Parameter], ranks: Ranks | None) -> None:
    """Clips gradients in place, of any sharding, in addition to what the loop does."""
    with torch.no_grad():
        gradients = [p.grad for p in parameters if p.grad is not None]
        if rule == "value":
            for gradient in gradients:
                names.local(gradient).clamp_(-options["clipValue"], options["clipValue"])
            return
        norm = math.sqrt(_squares(gradients, ranks))
        factor = min(1.0, options["maxNorm"] / (norm + 1e-6)) if math.isfinite(norm) else math.nan
        for gradient in gradients:
            names.local(gradient).mul_(factor)


def _squares(gradients: list[torch.Tensor], ranks: Ranks | None) -> float:
    """The sum of squares of whole gradients."""
    shards, copies = 0.0, 0.0
    for gradient in gradients:
        if hasattr(gradient, "full_tensor"):
            norm: Any = torch.linalg.vector_norm(gradient)
            copies += float(norm.full_tensor()) ** 2
        elif ranks is not None and ranks.kind == "fsdp1":
            shards += float(gradient.double().square().sum())
        else:
            copies += float(gradient.double().square().sum())
    if ranks is not None and ranks.kind == "fsdp1":
        total = torch.tensor(shards, dtype=torch.float64, device=gradients[0].device if gradients else None)
        torch.distributed.all_reduce(total)
        shards = float(total)
    return shards + copies


def _end(ranks: Ranks | None) -> None:
    """Ends the process with code 0: no code of the training runs any more, so nothing of the user's is overwritten."""
    if ranks is not None:
        with contextlib.suppress(Exception):
            torch.distributed.barrier()
        time.sleep(GRACE)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(0)

"""Says of a step, before it is taken, whether it would harm the run, and what to do instead.

from clippy_diag.torch import Guard

guard = Guard(model, optimizer, loss_fn=lambda model, batch: compute_loss(model, batch), pulse="pulse.jsonl")
for step, batch in enumerate(batches):
    optimizer.zero_grad()
    loss = compute_loss(model, batch)
    loss.backward()
    advice = guard.check(step, batch, loss)      # after backward(), before clipping and step()
    guard.apply(advice)                          # scales the gradients or removes them
    optimizer.step()
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..guarding import WARM_UP, Advice, BaseGuard, Measured, WithoutRows
from ..rules import Clipping, Rules, clipping_words, recorded_rules
from . import words as names
from .ahead import LookAhead, LossFn
from .measures import measure, over_ranks
from .rows import ONE_RANK, Ranks, gradients_without_bad_rows


class Guard(BaseGuard):
    """One `check` and one `apply` a step; see the top of this file.

    model        the torch.nn.Module that is trained: plain, compiled or in DistributedDataParallel.
    optimizer    any torch optimizer, or a list of them, wrapped or not.
    loss_fn      (model, batch) -> loss, a scalar: lets the guard try a suspicious step on copies first. Without it the signs
                 alone decide, which is less reliable (docs/guard.md).
    scaler       the GradScaler, if there is one: `check` unscales the gradients as `scaler.unscale_` does.
    pulse        a file for one line of JSON a step, which `clippy-diag analyze`, `watch` and `gate` read.
    advice_only  `apply` changes nothing.
    clipping     the clipping that the loop does afterwards, as a `Recorder` takes it: tried steps are clipped too.
    clip_at      the risk at which a step is changed or skipped.

    `check` changes only what a scaler's `unscale_` changes. Neither raises into the loop: failures are reported once.
    Under DistributedDataParallel every rank has a guard that is called at every step; all get the same advice.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Any | Sequence[Any],
        loss_fn: LossFn | None = None,
        scaler: Any = None,
        pulse: None | str | Path = None,
        advice_only: bool = False,
        *,
        clipping: Clipping = None,
        clip_at: float = 0.9,
    ) -> None:
        super().__init__(pulse, advice_only, clip_at)
        given = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
        self.optimizers = [names.unwrapped(one) for one in given]
        self.model = names.plain_model(model)
        self.scaler = scaler
        self._sharded = _is_sharded(self.model)
        #: Whether several ranks train the model, each with a guard that is called at every step.
        self.parallel = self._sharded or type(model).__name__ == "DistributedDataParallel"
        self._clipping = self._rules(clipping)
        self._ahead: LookAhead | None = None
        if self._sharded:
            self._say("parameters are sharded: steps are not tried before, the signs alone decide")
        elif loss_fn is not None:
            self._ahead = LookAhead(self.model, self.optimizers, loss_fn, self._clipping, self._mean_of_ranks)
        self._names: dict[int, str] = {id(p): name for name, p in self.model.named_parameters()}
        self._rates = _LoweredRates(self.optimizers)
        #: Gradients of the batch without the rows that the last advice leaves out, in the order of the optimizers' parameters.
        self._of_others: list[torch.Tensor | None] = []

    def _rules(self, clipping: Clipping) -> Rules:
        try:
            return recorded_rules(clipping_words(clipping))
        except ValueError as error:
            self._say(f"steps are tried without the loop's clipping: {error}")
            return ()

    # ---- what a loop calls

    def check(self, step: int, batch: Any, loss: float | torch.Tensor) -> Advice:
        """After backward, before clipping and the optimizer's step: what the step would do.

        step   an integer that grows
        batch  what `loss_fn` takes, for the step that is tried; None where there is none
        loss   of this step, before any loss scale

        Parameters, gradients, optimizer state, buffers, modes and random state stay bitwise as they are. Never raises.
        """
        return self._timed(int(step), lambda: self._check(int(step), batch, loss))

    def apply(self, advice: Advice) -> None:
        """Does what the advice says: nothing, multiplies every gradient by `advice.scale`, or removes the gradients, so that
        the optimizer moves no parameter that has none (zeros would still move momentum and decay).

        "lower-rate" multiplies the rate of every group for the next step of the optimizer; after it the rates are again those
        of the loop, so schedules go on. It stays in force until the loop's own rate is as before, or twice the rate holds."""
        if self.advice_only or advice.action == "apply":
            return
        if advice.action == "lower-rate":
            self._checks.follow(advice, self._rates.largest())
        if advice.learning_rate is not None:
            self._rates.lower(self._checks.lowered)
        if advice.action == "lower-rate":
            return
        if advice.rows:
            for parameter, gradient in zip(names.parameters_of(self.optimizers), self._of_others):
                parameter.grad = gradient
            self._of_others = []
            return
        for parameter in names.parameters_of(self.optimizers):
            if advice.action == "skip":
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.detach().mul_(advice.scale)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned, with its batches on the model's device. Raises ValueError, and changes nothing,
        for anything else."""
        super().load_state_dict(state)
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        self._checks.references = [(_on(device, data), loss) for data, loss in self._checks.references]

    # ---- a step

    def _check(self, step: int, batch: Any, loss: float | torch.Tensor) -> Advice:
        self._unscale()
        self._rates.restore()
        if not self.checks and not self._resumed:
            self._say_blind()
        ahead = self._ahead if batch is not None else None
        self._of_others = []
        self._checks.released(self._rates.largest())
        self._rates.lower(1.0 if self.advice_only else self._checks.lowered)
        try:
            seen = self._measure(loss)
            signs, advice = self._checks.advise(
                step,
                seen,
                None if ahead is None else lambda references, scale, rate: ahead.run(batch, references, scale, rate),
                None if ahead is None else lambda: copy.deepcopy(batch),
                lowers=ahead is not None,
                look_at_rows=None if ahead is None else lambda kept: self._rows(ahead, batch, kept),
            )
        finally:
            self._rates.restore()
        if self._pulse is not None and not self._rank():
            base = self._rates.largest()
            lowered = 1.0 if advice.learning_rate is None or not base > 0 else advice.learning_rate / base
            self._pulse.write(seen, signs, advice, not self.advice_only, lowered)
        return advice

    def _rows(self, ahead: LookAhead, batch: Any, references: Sequence[Any]) -> WithoutRows | None:
        """The step without the bad rows of its batch; the gradient of the others is kept for `apply`."""
        found = gradients_without_bad_rows(ahead, batch, references, self._ranks())
        if found is None:
            return None
        self._of_others = found.gradients
        return WithoutRows(found.bad, found.of, ahead.run(found.batch, references, first=found.gradients))

    def _say_blind(self) -> None:
        """A guard that begins in the middle of a run has no past to compare with."""
        taken = max((names.steps_taken(optimizer) for optimizer in self.optimizers), default=0)
        if taken >= WARM_UP:
            self._say(
                f"the optimizer has taken {taken} steps and the guard has seen none: for its first {WARM_UP} steps it sees only"
                " what is not finite. Save guard.state_dict() with your checkpoints, and load it with load_state_dict"
            )

    def _unscale(self) -> None:
        if self.scaler is None or not self.scaler.is_enabled():
            return
        for optimizer in self.optimizers:
            if names.scaler_stage(self.scaler, optimizer) == "READY":
                self.scaler.unscale_(optimizer)

    def _measure(self, loss: float | torch.Tensor) -> Measured:
        named = [
            (self._name(p), p, optimizer, group)
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for p in group["params"]
        ]
        value = self._mean_of_ranks(torch.as_tensor(loss).detach().float().reshape(1).clone())
        found, own_loss = measure(named, value, self._clipping)
        if self._sharded and torch.distributed.get_world_size() > 1:
            found = over_ranks(found, named, self._reduced, lambda v: self._reduced(v, torch.distributed.ReduceOp.MAX))
        # Where nothing divides the gradient, what is usual for the tensor takes the place.
        usual = [self._usual.surprise(one.name, one.largest, one.square, one.entries) for one in found]
        surprise = [own if math.isnan(one.surprise) else one.surprise for one, own in zip(found, usual)]
        groups = [group for o in self.optimizers for group in o.param_groups]
        rates = [float(group["lr"]) for group in groups if group.get("lr") is not None]
        return Measured(
            own_loss,
            max(rates, default=math.nan),
            math.sqrt(sum(one.square for one in found)),
            math.sqrt(sum(one.update for one in found)),
            min((one.factor for one in found), default=1.0)
            if all(one.factor == one.factor for one in found)
            else math.nan,
            [one.name for one in found],
            surprise,
            [one.name for one in found if not math.isfinite(one.square)],
            max((float(group.get("weight_decay") or 0.0) for group in groups), default=0.0),
        )

    # ---- the training around it

    def _name(self, parameter: torch.nn.Parameter) -> str:
        if id(parameter) not in self._names:
            self._names.update((id(p), n) for n, p in self.model.named_parameters() if id(p) not in self._names)
            self._names.setdefault(id(parameter), f"optimizer.{len(self._names)}")
        return self._names[id(parameter)]

    def _rank(self) -> int:
        return int(torch.distributed.get_rank()) if self.parallel else 0

    def _ranks(self) -> Ranks:
        if not self.parallel or torch.distributed.get_world_size() == 1:
            return ONE_RANK

        def over(how: Any) -> Callable[[torch.Tensor], torch.Tensor]:
            return lambda value: self._reduced(value, how).to(value.device)

        distributed = torch.distributed
        own, world = distributed.get_rank(), distributed.get_world_size()
        return Ranks(own, world, over(distributed.ReduceOp.SUM), over(distributed.ReduceOp.MAX))

    def _mean_of_ranks(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over ranks, in place; the value itself where there is one process."""
        if self.parallel and torch.distributed.get_world_size() > 1:
            value = self._reduced(value)
            value /= torch.distributed.get_world_size()
        return value

    def _reduced(self, value: torch.Tensor, how: Any = None) -> torch.Tensor:
        """The sum over ranks, or what `how` makes of them."""
        value = value.to(next(self.model.parameters()).device)
        torch.distributed.all_reduce(value, torch.distributed.ReduceOp.SUM if how is None else how)
        return value


def _on(device: torch.device, data: Any) -> Any:
    """A batch in the nesting that it has, with its tensors on a device."""
    if isinstance(data, torch.Tensor):
        return data.to(device)
    if isinstance(data, Mapping):
        return {key: _on(device, part) for key, part in data.items()}
    return type(data)(_on(device, part) for part in data) if type(data) in (list, tuple) else data


class _LoweredRates:
    """The learning rates of the groups, lowered for one step and then again as the loop has set them."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._optimizers = optimizers
        #: The groups that are lowered, each with its own rate.
        self._kept: list[tuple[dict[str, Any], Any]] = []
        self._hooks: list[Any] = []

    def largest(self) -> float:
        """The largest rate of all groups."""
        return max((float(g["lr"]) for o in self._optimizers for g in o.param_groups if "lr" in g), default=math.nan)

    def lower(self, factor: float) -> None:
        """Multiplies every rate until the last optimizer has stepped, or `restore` is called."""
        if factor == 1:
            return
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                if group.get("lr") is not None:
                    self._kept.append((group, group["lr"]))
                    group["lr"] = group["lr"] * factor
        last = self._optimizers[-1]
        if hasattr(last, "register_step_post_hook"):
            self._hooks.append(last.register_step_post_hook(lambda *_: self.restore()))

    def restore(self) -> None:
        """The rates as the loop has set them."""
        for group, rate in self._kept:
            group["lr"] = rate
        for hook in self._hooks:
            hook.remove()
        self._kept, self._hooks = [], []


def _is_sharded(model: torch.nn.Module) -> bool:
    """Whether each rank holds a part of some parameters. Raises ValueError where ranks hold parts of different ones: they cannot
    agree on a step."""
    sizes = {p.device_mesh.size() for p in model.parameters() if hasattr(p, "device_mesh")}
    sizes |= {module.world_size for module in model.modules() if type(module).__name__ == "FullyShardedDataParallel"}
    if sizes and sizes != {torch.distributed.get_world_size()}:
        raise ValueError(
            f"clippy-diag: parameters are sharded over {' and '.join(map(str, sorted(sizes)))} of"
            f" {torch.distributed.get_world_size()} ranks; a guard knows shards over all ranks only"
        )
    return bool(sizes)

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

import dataclasses
import math
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..guarding import (
    CHEAP,
    GIVEN,
    HOLDS,
    IN_A_ROW,
    KEEP_EVERY,
    LOOKED,
    SCALES,
    SUSPICIOUS,
    Advice,
    Ahead,
    Measured,
    Pulse,
    Signs,
    Watch,
    rises,
    risk_of,
    usual_text,
)
from ..rules import Clipping, Rules, clipping_words, recorded_rules
from . import words as names
from .ahead import LookAhead, LossFn, cloned
from .measures import measure

#: Weight of the newest step in what a tensor's gradient usually is, under an optimizer that keeps no squares.
_NEWEST = 0.05


class Guard:
    """One `check` and one `apply` a step; see the top of this file.

    model        the torch.nn.Module that is trained, in DistributedDataParallel or compiled or as it is
    optimizer    any torch optimizer, or a list of them, wrapped or not
    loss_fn      (model, batch) -> loss, a scalar: lets the guard try a suspicious step on copies first. Without it the signs
                 alone decide, which is worth less (docs/guard.md)
    scaler       the GradScaler, if there is one: `check` unscales the gradients as `scaler.unscale_` does
    pulse        a file for one line of JSON a step, which `clippy-diag analyze`, `watch` and `gate` read
    advice_only  `apply` changes nothing
    clipping     the clipping that the loop does afterwards, as a `Recorder` takes it: tried steps are clipped too
    clip_at      the risk from which on a step is not taken as it is

    `check` changes nothing but what a scaler's `unscale_` changes, and neither raises into the loop: what fails is said once.
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
        if not 0 < clip_at <= 1:
            raise ValueError(f"clippy-diag: clip_at={clip_at} must be above 0 and at most 1")
        given = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
        self.optimizers = [names.unwrapped(one) for one in given]
        self.model = names.plain_model(model)
        self.scaler, self.advice_only, self.clip_at = scaler, advice_only, clip_at
        #: The advice of the last check.
        self.last: Advice | None = None
        #: What could not be done, each said once.
        self.problems: list[str] = []
        #: Seconds of all checks, and how many of them looked ahead.
        self.seconds, self.looks, self.checks = 0.0, 0, 0
        #: Whether several ranks train the model, each with a guard that is called at every step.
        self.parallel = type(model).__name__ == "DistributedDataParallel"
        self._ahead: LookAhead | None = None
        sharded = next((p for p in self.model.parameters() if type(p.data).__name__ == "DTensor"), None)
        if loss_fn is not None and (sharded is not None or "FullyShardedDataParallel" in type(model).__name__):
            self._say("parameters are sharded: steps are not tried before, the signs alone decide")
        elif loss_fn is not None:
            self._ahead = LookAhead(self.model, self.optimizers, loss_fn, self._rules(clipping), self._mean_of_ranks)
        self._pulse = None if pulse is None else Pulse(pulse, self._say)
        self._watch = Watch()
        self._usual: dict[str, float] = {}
        #: Batches from before, each with its loss when it was trained on.
        self._references: list[tuple[Any, float]] = []
        self._in_a_row = 0
        self._names: dict[int, str] = {id(p): name for name, p in self.model.named_parameters()}

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
        begun = time.perf_counter()
        try:
            advice = self._check(int(step), batch, loss)
        except Exception as error:
            self._say(f"a step could not be checked: {type(error).__name__}: {error}")
            advice = Advice(int(step), 0.0, "apply", "The step could not be checked; the problem is in guard.problems.")
        seconds = time.perf_counter() - begun
        self.seconds += seconds
        self.checks += 1
        self.last = advice = dataclasses.replace(advice, seconds=seconds)
        return advice

    def apply(self, advice: Advice) -> None:
        """Does what the advice says: nothing, multiplies every gradient by `advice.scale`, or removes the gradients, so that
        the optimizer moves no parameter that has none (zeros would still move momentum and decay)."""
        if self.advice_only or advice.action == "apply":
            return
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if advice.action == "skip":
                        parameter.grad = None
                    elif parameter.grad is not None:
                        parameter.grad.detach().mul_(advice.scale)

    def close(self) -> None:
        """Closes the pulse, and says on stderr what the guard could not do."""
        if self._pulse is not None:
            self._pulse.close()
        for problem in self.problems:
            print(f"clippy-diag: guard: {problem}", file=sys.stderr, flush=True)

    # ---- a step

    def _check(self, step: int, batch: Any, loss: float | torch.Tensor) -> Advice:
        self._unscale()
        seen = self._measure(loss)
        signs: Signs | None = None
        if seen.broken or not math.isfinite(seen.loss):
            advice = _not_finite(step, seen)
        else:
            signs = self._watch.signs(seen)
            advice = self._judge(step, batch, seen, signs)
            if advice.action == "apply" or self.advice_only:
                self._watch.add(seen)
                if self._ahead is not None and batch is not None and (self._watch.steps - 1) % KEEP_EVERY == 0:
                    self._references = [*self._references[-1:], (cloned(batch), seen.loss)]
        self._in_a_row = self._in_a_row + 1 if advice.action != "apply" else 0
        if self._in_a_row == IN_A_ROW and not self.advice_only:
            self._say(f"{IN_A_ROW} steps in a row were not taken as they are, the last is {step}: look at the run")
        if self._pulse is not None and not self._rank():
            self._pulse.write(seen, signs, advice)
        return advice

    def _unscale(self) -> None:
        if self.scaler is None or not self.scaler.is_enabled():
            return
        for optimizer in self.optimizers:
            if not is_unscaled(self.scaler, optimizer):
                self.scaler.unscale_(optimizer)

    def _measure(self, loss: float | torch.Tensor) -> Measured:
        named = [
            (self._name(p), p, optimizer, group)
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for p in group["params"]
        ]
        found = measure(named)
        surprise = list(found.surprise)
        for k, (name, square) in enumerate(zip(found.names, found.square)):
            if math.isnan(surprise[k]) or not found.divides[k]:
                # Nothing divides this gradient: what is usual for the tensor takes the place.
                usual = self._usual.get(name)
                surprise[k] = found.largest[k] / usual if usual else math.nan
            if math.isfinite(square):
                size = math.sqrt(square / max(1, found.entries[k]))
                self._usual[name] = (
                    size if name not in self._usual else (1 - _NEWEST) * self._usual[name] + _NEWEST * size
                )
        rates = [float(group["lr"]) for o in self.optimizers for group in o.param_groups if group.get("lr") is not None]
        value = self._mean_of_ranks(torch.as_tensor(loss).detach().double().reshape(1).clone())
        return Measured(
            float(value),
            max(rates, default=math.nan),
            math.sqrt(sum(found.square)) if all(math.isfinite(s) for s in found.square) else math.nan,
            math.sqrt(sum(found.update)),
            min(found.factor, default=math.nan) if not any(map(math.isnan, found.factor)) else math.nan,
            found.names,
            surprise,
            [name for name, square in zip(found.names, found.square) if not math.isfinite(square)],
        )

    def _judge(self, step: int, batch: Any, seen: Measured, signs: Signs) -> Advice:
        suspicion = risk_of(CHEAP, signs)
        tensor = seen.names[signs.tensor] if signs.tensor >= 0 else None
        if self._ahead is None or batch is None or not self._references:
            if suspicion < self.clip_at:
                return Advice(step, suspicion, "apply", "Nothing about this step is far from the usual.", tensor=tensor)
            # Back to the usual size: nobody tried whether that holds.
            scale = math.exp(-max(signs.gradient, signs.update, 0.7))
            return self._clipped(
                step, suspicion, scale, seen, tensor, f"Before this step {usual_text(signs, seen.names)}.", None
            )
        if not self._watch.look_due(seen, suspicion, SUSPICIOUS):
            return Advice(
                step,
                min(suspicion, SUSPICIOUS),
                "apply",
                "Nothing about this step is far from the usual.",
                tensor=tensor,
            )
        self.looks += 1
        self._watch.looked(seen)
        batches, bases = [data for data, _ in self._references], [base for _, base in self._references]
        ahead = self._ahead.run(batch, batches)
        found = rises(ahead, bases, self._watch.unit)
        risk = risk_of(LOOKED, signs, found.after)
        record = {"own": list(ahead.own), "kept": [list(losses) for losses in ahead.kept]}
        if risk < self.clip_at:
            return Advice(step, risk, "apply", _held(ahead), tensor=tensor, ahead=record)
        why = f"{_hurt(ahead)}; {usual_text(signs, seen.names)}."
        for scale in SCALES:
            tried = rises(self._ahead.run(batch, batches, scale), bases, self._watch.unit)
            if tried.after <= max(HOLDS, tried.before + GIVEN):
                return self._clipped(
                    step, risk, scale, seen, tensor, f"{why} At {scale:g} of the gradient it holds.", record
                )
        return Advice(step, risk, "skip", f"{why} No smaller step on this batch holds.", None, 0.0, tensor, 0.0, record)

    def _clipped(
        self, step: int, risk: float, scale: float, seen: Measured, tensor: str | None, why: str, ahead: Any
    ) -> Advice:
        return Advice(step, risk, "clip", why, f"global-norm:{seen.grad_norm * scale:.6g}", scale, tensor, 0.0, ahead)

    # ---- the training around it

    def _name(self, parameter: torch.nn.Parameter) -> str:
        if id(parameter) not in self._names:
            self._names.update((id(p), n) for n, p in self.model.named_parameters() if id(p) not in self._names)
            self._names.setdefault(id(parameter), f"optimizer.{len(self._names)}")
        return self._names[id(parameter)]

    def _rank(self) -> int:
        return int(torch.distributed.get_rank()) if self.parallel else 0

    def _mean_of_ranks(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over ranks, in place; the value itself where there is one process."""
        if self.parallel and torch.distributed.get_world_size() > 1:
            value = value.to(next(self.model.parameters()).device)
            torch.distributed.all_reduce(value)
            value /= torch.distributed.get_world_size()
        return value

    def _say(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)
            warnings.warn(f"clippy-diag: guard: {what}", stacklevel=4)


def is_unscaled(scaler: Any, optimizer: torch.optim.Optimizer) -> bool:
    """Whether a GradScaler has divided this step's gradients by its factor already."""
    states = getattr(scaler, "_per_optimizer_states", {})
    stage = states[id(optimizer)].get("stage") if id(optimizer) in states else None
    return getattr(stage, "name", "READY") != "READY"


def _not_finite(step: int, seen: Measured) -> Advice:
    what = f"The gradient of {seen.broken[0]}" if seen.broken else "The loss"
    others = f", nor that of {len(seen.broken) - 1} more" if len(seen.broken) > 1 else ""
    tensor = seen.broken[0] if seen.broken else None
    return Advice(
        step,
        1.0,
        "skip",
        f"{what} is not finite{others}: the step would carry it into the parameters.",
        None,
        0.0,
        tensor,
    )


def _hurt(ahead: Ahead) -> str:
    before, after = _ends(ahead)
    what = "batches from before" if ahead.kept else "this batch"
    return f"Tried on copies, this step takes the loss on {what} from {before:.3g} to {after:.3g}"


def _held(ahead: Ahead) -> str:
    before, after = _ends(ahead)
    what = "batches from before" if ahead.kept else "this batch"
    return f"Tried on copies, it leaves the loss on {what} near where it was ({before:.3g}, then {after:.3g})."


def _ends(ahead: Ahead) -> tuple[float, float]:
    """The loss before and at worst after, mean over the reference batches."""
    rows = ahead.kept or [ahead.own]
    means = [sum(row[k] for row in rows) / len(rows) for k in range(len(rows[0]))]
    worst = max(means[1:], key=lambda value: math.inf if math.isnan(value) else value)
    return means[0], worst

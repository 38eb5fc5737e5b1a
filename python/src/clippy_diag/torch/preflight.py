"""The largest learning rate at which a PyTorch training is stable in its first steps, before it runs.

from clippy_diag import preflight

answer = preflight(model, optimizer, loader, loss_fn=lambda model, batch: compute_loss(model, batch))
print(answer["preflight"]["statement"])
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import torch

from ..preflight_setup import AUDITED, Batches, audit_of, checked, read_batches, same_draws, with_audit
from ..preflighting import LOWER, QUIET, How, preflight_of
from ..rules import DEFAULTS, Clipping, clipping_words, recorded_rules, rules_of
from . import words as names
from .ahead import LookAhead, LossFn, draw_again, draws_of
from .curvature import twin_of, undisturbed
from .recorder import Recorder


def preflight(
    model: torch.nn.Module,
    optimizer: Any | Sequence[Any],
    batches: Iterable[Any],
    loss_fn: LossFn | None = None,
    seconds: float = 60,
    *,
    rate: float | None = None,
    warmup: int = 0,
    clipping: Clipping = None,
    rules: None | Sequence[str] | Mapping[str, Mapping[str, float]] = None,
    audited: bool = True,
    command: Iterable[str] | None = None,
) -> dict[str, Any]:
    """The largest learning rate at which the training is stable in its first steps, compared with the rate that it is set to.

    model      the torch.nn.Module to be trained, on its device and in its mode (dropout stays on)
    optimizer  any torch optimizer, or a list of them, wrapped or not; its rate is the asked one
    batches    a DataLoader or another iterable of batches as `loss_fn` takes them; at most 144 are read. What an iterator (a
               generator) gives is used up, so pass the loader itself
    loss_fn    (model, batch) -> loss, a scalar; left out, the model is called with the batch and must return a `loss`
    seconds    after which no further rate is tried; the answer then rests on what is known
    rate       the peak learning rate of the run. Left out, the largest `max_lr`, `initial_lr` or `lr` of the groups is taken,
               so that a warm-up that begins at 0 does not hide it.
    warmup     steps over which the learning rate of the run rises to its peak; of more than 20, 20 are tried
    clipping   the clipping of the loop, as a `Recorder` takes it
    rules      clipping rules to try where the asked rate is not well within, as `closed_loop` takes them; () for none
    audited    also audit the quiet steps with `clippy-diag audit`, where the command line is installed
    command    how the command line is called, as `clippy_diag.audit` takes it

    Returns `{"schemaVersion", "preflight": {"asked", "stableRate", "ratio", "verdict", "limitedBy", "underRules", "batchScaling",
    "warmup", "gradients", "seconds", "ladder", "statement", "audit"}}`, as docs/preflight.md describes it. Rates are those of the
    group with the largest one; the others keep their proportions. Weights, gradients, optimizer state, buffers, modes and
    random state are bitwise as before. Memory: copies of weights, optimizer state and gradients, about three times theirs.

    Raises TypeError for a model, optimizer or loss_fn of another kind, ValueError for too few batches, a rate that is not
    positive, sharded parameters, or an optimizer that calls the loss itself (LBFGS).
    """
    plain, optimizers = _checked(model, optimizer)
    asked = _asked(optimizers) if rate is None else float(rate)
    asked, seconds = checked(asked, seconds, warmup)
    words = clipping_words(clipping)
    tried = rules_of(DEFAULTS if rules is None else rules)
    with same_draws(batches), undisturbed(plain):
        read = read_batches(batches)
        trial = _TorchTrial(plain, optimizers, loss_fn or _loss_of_model, words, read, asked)
        with trial.ahead.copies(trial.parameters):
            document = preflight_of(trial, seconds, tried, warmup)
            found = trial.audit_quiet_steps(command) if audited else None
    return with_audit(document, found)


def _checked(model: Any, optimizer: Any) -> tuple[torch.nn.Module, list[torch.optim.Optimizer]]:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"clippy-diag: model is a {type(model).__name__}, not a torch.nn.Module")
    given = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    optimizers = [names.unwrapped(one) for one in given]
    plain = names.plain_model(model)
    for one in optimizers:
        if names.needs_closure(one):
            raise ValueError(
                f"clippy-diag: {type(one).__name__} computes the loss several times in a step, which a preflight cannot repeat"
            )
    for name, parameter in plain.named_parameters():
        if hasattr(parameter, "device_mesh"):
            raise ValueError(f"clippy-diag: {name} is sharded; call preflight before the model is sharded")
    mine = {id(p) for p in plain.parameters()}
    if not any(id(p) in mine for one in optimizers for group in one.param_groups for p in group["params"]):
        raise ValueError("clippy-diag: none of the optimizer's parameters is in the model; make the optimizer from it")
    return plain, optimizers


def _asked(optimizers: Sequence[torch.optim.Optimizer]) -> float:
    return max((_peak(group) for one in optimizers for group in one.param_groups), default=math.nan)


def _peak(group: Mapping[str, Any]) -> float:
    """The peak rate of a group: schedulers keep it as `max_lr` or `initial_lr` while `lr` is that of the present step."""
    for key in ("max_lr", "initial_lr", "lr"):
        if group.get(key) is not None:
            return float(group[key])
    return math.nan


def _loss_of_model(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    out = model(**batch) if isinstance(batch, Mapping) else model(batch)
    loss = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    if not isinstance(loss, torch.Tensor):
        raise TypeError("clippy-diag: the model returns no loss; give loss_fn=lambda model, batch: ...")
    return loss


class _State(NamedTuple):
    values: list[torch.Tensor]
    buffers: list[torch.Tensor]
    twins: list[torch.optim.Optimizer]


class _TorchTrial:
    """A `Trial` (preflighting.py) over a PyTorch model whose parameters hold copies of their values."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        loss_fn: LossFn,
        clipping: Any,
        batches: Batches,
        asked: float,
    ) -> None:
        self.model, self.optimizers, self.batches, self.asked = model, optimizers, batches, asked
        self.loss_fn, self.clipping = loss_fn, clipping
        self.kinds = {type(one).__name__.lower() for one in optimizers}
        self.ahead = LookAhead(model, optimizers, self._loss, recorded_rules(clipping))
        self.parameters = names.parameters_of(optimizers)
        own = {id(p): name for name, p in model.named_parameters()}
        self.names = [own.get(id(p), f"parameter {k}") for k, p in enumerate(self.parameters)]
        largest = _asked(optimizers)
        #: The rate of each group over the largest one.
        self._shares = [[_peak(g) / largest if largest > 0 else 1.0 for g in one.param_groups] for one in optimizers]
        self.twins = [twin_of(one) for one in optimizers]
        self._draws = draws_of(self.parameters)
        self.gradients = 0
        self._start: _State | None = None

    def _loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        loss = self.loss_fn(model, batch)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise TypeError(f"clippy-diag: loss_fn must return one number as a tensor, and returned {shape}")
        return loss.reshape(())

    def keep(self) -> _State:
        """A copy of weights, buffers and optimizer state."""
        state = _State(
            [p.detach().clone() for p in self.parameters],
            [buffer.detach().clone() for buffer in self.model.buffers()],
            [twin_of(twin) for twin in self.twins],
        )
        if self._start is None:
            self._start = state
        return state

    def put(self, kept: _State) -> None:
        """Weights, buffers, optimizer state and random numbers of a kept state."""
        with torch.no_grad():
            for p, value in zip(self.parameters, kept.values):
                p.data.copy_(value)
            for buffer, value in zip(self.model.buffers(), kept.buffers):
                buffer.copy_(value)
        self.twins = [twin_of(twin) for twin in kept.twins]
        draw_again(self._draws)

    def train(
        self,
        rate: float,
        steps: int,
        first: int,
        how: How = How(),  # noqa: B008
        after: Callable[[int, Any, torch.Tensor], None] | None = None,
    ) -> bool:
        """Takes steps at a rate; `after` is called between backward and step."""
        self._set_rate(rate)
        own = self.ahead.rules
        self.ahead.rules = own if how.rules is None else [rule for rule in how.rules if rule[0] != "none"]
        try:
            for k in range(steps):
                at = (first + k) * how.batches
                chosen = [self.batches.training[(at + j) % len(self.batches.training)] for j in range(how.batches)]
                loss = self._differentiate(chosen)
                if not bool(torch.isfinite(loss)):
                    return False
                if after is not None:
                    after(k, chosen[0], loss)
                before = self._before(how.slowed)
                self.ahead.step(self.parameters, self.twins, 1.0)
                if before is not None and how.slowed is not None:
                    p, value = before
                    p.data.copy_(value + how.slowed[1] * (p.data - value))
        finally:
            self.ahead.rules = own
        return all(bool(torch.isfinite(p.detach()).all()) for p in self.parameters)

    def _differentiate(self, batches: Sequence[Any]) -> torch.Tensor:
        wanted = [p for p in self.parameters if p.requires_grad]
        loss = torch.stack([self._loss(self.model, batch) for batch in batches]).mean()
        self.gradients += len(batches)
        for p in self.parameters:
            p.grad = None
        for p, gradient in zip(wanted, torch.autograd.grad(loss, wanted, allow_unused=True)):
            p.grad = gradient
        return loss.detach()

    def _before(self, slowed: tuple[str, float] | None) -> tuple[torch.nn.Parameter, torch.Tensor] | None:
        if slowed is None:
            return None
        p = self.parameters[self.names.index(slowed[0])]
        return p, p.detach().clone()

    def _set_rate(self, rate: float) -> None:
        for twin, shares in zip(self.twins, self._shares):
            for group, share in zip(twin.param_groups, shares):
                now = group["lr"]
                group["lr"] = torch.full_like(now, rate * share) if isinstance(now, torch.Tensor) else rate * share

    def losses(self) -> list[float]:
        """The loss of every fixed batch, under the same random numbers each time; buffers stay as they are."""
        buffers = [buffer.detach().clone() for buffer in self.model.buffers()]
        now = draws_of(self.parameters)
        found = [self.ahead.loss_of(batch, self._draws) for batch in self.batches.fixed]
        with torch.no_grad():
            for buffer, value in zip(self.model.buffers(), buffers):
                buffer.copy_(value)
        draw_again(now)
        return found

    def moved(self, since: _State) -> dict[str, float]:
        """The norm of every tensor's change over its norm; a tensor near zero counts as one with entries of 0.001."""
        return {
            name: float((p.detach() - value).norm()) / (float(value.norm()) + 1e-3 * math.sqrt(max(1, value.numel())))
            for name, p, value in zip(self.names, self.parameters, since.values)
            if p.requires_grad
        }

    def audit_quiet_steps(self, command: Iterable[str] | None) -> dict[str, Any] | None:
        """What `clippy-diag audit` says of the first quiet steps, repeated under a recorder; None where there is no command line."""
        assert self._start is not None
        self.put(self._start)
        counted = self.gradients

        def write(folder: Path) -> None:
            recorder = Recorder(
                self.model,
                self.twins,
                folder,
                clipping=self.clipping,
                snapshot_every_steps=AUDITED,
                steps_after=0,
            )

            def record(step: int, batch: Any, loss: torch.Tensor) -> None:
                if step == QUIET - 1:
                    recorder.capture("preflight")
                recorder.record(step, loss, batch=batch)

            self.train(self.asked / LOWER, QUIET, 0, after=record)
            recorder.close()

        try:
            return audit_of(write, command)
        finally:
            self.gradients = counted

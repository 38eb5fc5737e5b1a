"""Says of a Keras step, before it is taken, whether it would harm the run, and what to do instead. In a loop of your own.

    from clippy_diag.keras import Guard

    guard = Guard(model, optimizer, loss_fn=lambda model, batch: compute_loss(model(batch["x"], training=True), batch["y"]))
    for step, batch in enumerate(batches):
        with tf.GradientTape() as tape:
            loss = compute_loss(model(batch["x"], training=True), batch["y"])
        gradients = tape.gradient(loss, model.trainable_variables)
        advice = guard.check(step, batch, loss, gradients)
        gradients = guard.apply(advice, gradients)
        if gradients is not None:                       # None: this step is not to be taken
            optimizer.apply(gradients, model.trainable_variables)

Backends: TensorFlow (eager; loss and gradients may come from a `tf.function`) and PyTorch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..guarding import ABSOLUTE, LARGEST_SURPRISE, RELATIVE, STEPS, Advice, Ahead, BaseGuard, Measured
from . import words as names
from .curvature import divisor, divisor_of
from .gradients import loss_scale
from .graph_steps import GraphSteps


class Guard(BaseGuard):
    """One `check` and one `apply` a step; see the top of this file.

    model        the keras.Model that is trained
    optimizer    any optimizer of Keras. With a LossScaleOptimizer the gradients are those of the scaled loss, as it takes them
    loss_fn      (model, batch) -> loss, a scalar: lets the guard try a suspicious step first. Without it signs alone decide.
    pulse        a file for one line of JSON a step, which `clippy-diag analyze`, `watch` and `gate` read.
    advice_only  `apply` returns the gradients unchanged.
    clip_at      the risk at which a step is changed or skipped.

    `check` does not change variables, optimizer or random state, and never raises. Raises ValueError for a `clip_at`
    outside of (0, 1].
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        loss_fn: Callable[[Any, Any], Any] | None = None,
        pulse: None | str | Path = None,
        advice_only: bool = False,
        *,
        clip_at: float = 0.9,
    ) -> None:
        super().__init__(pulse, advice_only, clip_at)
        self.model, self.optimizer, self.loss_fn = model, optimizer, loss_fn
        if loss_fn is not None and keras.backend.backend() not in ("tensorflow", "torch"):
            self._say(f"steps are not tried on the backend of {keras.backend.backend()}: signs alone decide")
            self.loss_fn = None
        self._rate = _LoweredRate(names.inner(optimizer))
        self._steps = GraphSteps(optimizer, all(variable.dtype == "float32" for variable in model.trainable_variables))

    # ---- what a loop calls

    def check(self, step: int, batch: Any, loss: Any, gradients: Sequence[Any]) -> Advice:
        """Before `optimizer.apply`: what the step would do.

        step       an integer that grows
        batch      what `loss_fn` takes; None where there is none
        loss       of this step, before any loss scale
        gradients  in the order of `model.trainable_variables`, None where there is none
        """
        return self._timed(
            int(step),
            lambda: self._check(int(step), batch, float(np.asarray(names.array_of(loss))), list(gradients)),
        )

    def apply(self, advice: Advice, gradients: Sequence[Any]) -> list[Any] | None:
        """The gradients to give to `optimizer.apply`: unchanged, times `advice.scale`, or None where it is not to be called.

        "lower-rate" sets the optimizer's learning rate until the next check, which sets it back to the loop's own first. A rate that
        the loop has set in between stays. It is never advised where a schedule of Keras gives the rate."""
        if self.advice_only or advice.action == "apply":
            return list(gradients)
        if advice.action == "lower-rate":
            self._checks.follow(advice, self._rate.now())
        if advice.learning_rate is not None:
            self._rate.lower(self._checks.lowered)
        if advice.action == "lower-rate":
            return list(gradients)
        if advice.action == "skip":
            return None
        return [None if g is None else _scaled(g, advice.scale) for g in gradients]

    # ---- a step

    def _check(self, step: int, batch: Any, loss: float, gradients: list[Any]) -> Advice:
        tries = self.loss_fn is not None and batch is not None
        self._rate.restore()
        self._checks.released(self._rate.now())
        self._rate.lower(1.0 if self.advice_only else self._checks.lowered)
        try:
            seen = self._measure(loss, gradients)
            signs, advice = self._checks.advise(
                step,
                seen,
                (lambda references, scale, rate: self._look(batch, references, scale, gradients, rate))
                if tries
                else None,
                (lambda: copy.deepcopy(batch)) if tries else None,
                lowers=tries and self._rate.can_be_set,
            )
        finally:
            self._rate.restore()
        if self._pulse is not None:
            base = self._rate.now()
            lowered = 1.0 if advice.learning_rate is None or not base > 0 else advice.learning_rate / base
            self._pulse.write(seen, signs, advice, not self.advice_only, lowered)
        return advice

    def restore_rate(self) -> None:
        """Sets a lowered learning rate back to the loop's own; for loops that read it between two checks."""
        self._rate.restore()

    def _measure(self, loss: float, gradients: list[Any]) -> Measured:
        optimizer = names.inner(self.optimizer)
        variables = list(self.model.trainable_variables)
        scale = loss_scale(self.optimizer)
        rate = names.rate_of(optimizer)
        found: list[str] = []
        broken: list[str] = []
        surprises: list[float] = []
        square = moved = 0.0
        factor = 1.0
        with np.errstate(all="ignore"):
            values = [None if g is None else names.array_of(g).astype(np.float64) / scale for g in gradients]
            clipped = _clipped(optimizer, values)
            for name, variable, g, own_clipped in zip(names.names_of(variables), variables, values, clipped):
                if g is None:
                    continue
                found.append(name)
                own = float((g * g).sum())
                square += own
                if not math.isfinite(own):
                    broken.append(name)
                largest = float(np.abs(g).max()) if g.size else 0.0
                usual = self._usual.surprise(name, largest, own, g.size)
                root = divisor(optimizer, variable, np.zeros_like(g)) if optimizer.built else None
                surprises.append(
                    usual if root is None else float(min(LARGEST_SURPRISE, np.abs(g / np.maximum(root, 1e-30)).max()))
                )
                update = None if own_clipped is None else _update(optimizer, variable, own_clipped, rate)
                if update is None:
                    moved = factor = math.nan
                    continue
                taken = _moved(optimizer, variable, update, rate)
                moved += float((taken * taken).sum())
                bound = RELATIVE * np.abs(names.array_of(variable)) + ABSOLUTE
                factor = min(factor, 1 / max(1.0, float((np.abs(update) / bound).max())))
        decay = float(getattr(optimizer, "weight_decay", None) or 0.0)
        return Measured(loss, rate, math.sqrt(square), math.sqrt(moved), factor, found, surprises, broken, decay)

    def _look(self, batch: Any, references: Sequence[Any], scale: float, gradients: list[Any], rate: float) -> Ahead:
        """Losses before, after one and after STEPS steps on the batch, at a rate that many times the one in force."""
        own: list[float] = []
        kept: list[list[float]] = [[] for _ in references]
        trained = list(self.model.trainable_variables)
        with self._as_before() as seeds:

            def look() -> None:
                own.append(self._loss(batch, seeds))
                for losses, data in zip(kept, references):
                    losses.append(self._loss(data, seeds))

            look()
            if rate != 1:  # a variable of the optimizer, put back like all others
                inner = names.inner(self.optimizer)
                inner.learning_rate = names.rate_of(inner) * rate
            for k in range(STEPS):
                taken = gradients if k == 0 else self._gradients(batch, trained, seeds)
                self._steps.apply([g if g is None else _scaled(g, scale) for g in taken], trained)
                if k in (0, STEPS - 1):
                    look()
                    if not math.isfinite(own[-1]):
                        break
        return Ahead(own, kept)

    def _loss(self, batch: Any, seeds: Callable[[], None]) -> float:
        assert self.loss_fn is not None
        seeds()
        value = float(np.asarray(names.array_of(self.loss_fn(self.model, batch))))
        seeds()
        return value

    def _gradients(self, batch: Any, trained: list[Any], seeds: Callable[[], None]) -> list[Any]:
        assert self.loss_fn is not None
        seeds()
        scale = loss_scale(self.optimizer)
        values = [variable.value for variable in trained]
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = self.loss_fn(self.model, batch) * scale
            found = list(tape.gradient(loss, values))
        else:
            import torch

            found = list(torch.autograd.grad(self.loss_fn(self.model, batch) * scale, values, allow_unused=True))
        seeds()
        return found

    @contextmanager
    def _as_before(self) -> Iterator[Callable[[], None]]:
        """Gives what puts back the variables that forward passes move; everything is as before at the end."""
        if not self.optimizer.built:
            self.optimizer.build(self.model.trainable_variables)
        trained = {id(variable) for variable in self.model.trainable_variables}
        everything = {id(v): v for v in [*self.model.variables, *self.optimizer.variables]}.values()
        plain = [variable for variable in everything if "string" not in str(variable.dtype)]
        kept = [(variable, names.array_of(variable)) for variable in plain]
        moving = [(v, a) for v, a in kept if id(v) not in trained and any(v is own for own in self.model.variables)]
        random = names.random_state()

        try:
            yield lambda: names.put_back(moving, random)
        finally:
            names.put_back(kept, random)


class _LoweredRate:
    """The learning rate of an optimizer, lowered for one step and then again what the loop has set."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        #: The loop's own rate, and the lowered one that is in force; None where none is.
        self._kept: tuple[float, float] | None = None
        #: False where a schedule gives the rate.
        self.can_be_set = hasattr(optimizer, "_learning_rate") and hasattr(optimizer._learning_rate, "assign")

    def now(self) -> float:
        """The rate of the step that comes next."""
        return names.rate_of(self._optimizer)

    def lower(self, factor: float) -> None:
        """Multiplies the rate until `restore` is called."""
        if factor == 1 or not self.can_be_set:
            return
        base = self.now()
        self._optimizer.learning_rate = base * factor
        self._kept = base, self.now()

    def restore(self) -> None:
        """The loop's own rate. One that was set since `lower` is the loop's own."""
        if self._kept is not None and self.now() == self._kept[1]:
            self._optimizer.learning_rate = self._kept[0]
        self._kept = None


def _clipped(optimizer: Any, gradients: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """What the optimizer's own clipping makes of the gradients of all variables."""
    clipping = names.clipping_of(optimizer)
    if clipping["rule"] == "value":
        limit = clipping["clipValue"]
        return [None if g is None else np.clip(g, -limit, limit) for g in gradients]
    if clipping["rule"] == "none":
        return list(gradients)
    squares = [0.0 if g is None else float((g * g).sum()) for g in gradients]
    own = [sum(squares)] * len(squares) if clipping["rule"] == "global-norm" else squares
    factors = [min(1.0, clipping["maxNorm"] / math.sqrt(square)) if square > 0 else 1.0 for square in own]
    return [None if g is None else g * factor for g, factor in zip(gradients, factors)]


def _moved(optimizer: Any, variable: Any, update: np.ndarray, rate: float) -> np.ndarray:
    """What the step takes off a variable: the update, the weight decay, and where an average of the weights overwrites them what that
    leaves."""
    weights = names.array_of(variable).astype(np.float64)
    taken, decay = update, getattr(optimizer, "weight_decay", None)
    # Keras takes the decay of every optimizer off the weights, before the update.
    if decay and optimizer._use_weight_decay(variable):
        taken = taken + rate * decay * weights
    every = getattr(optimizer, "ema_overwrite_frequency", None)
    if getattr(optimizer, "use_ema", False) and every and (int(names.array_of(optimizer.iterations)) + 1) % every == 0:
        average = names.array_of(optimizer._model_variables_moving_average[names.index_of(optimizer, variable)])
        # Before the first step the average is set to the weights.
        old = average.astype(np.float64) if int(names.array_of(optimizer.iterations)) else weights - taken
        momentum = optimizer.ema_momentum
        taken = weights - (momentum * old + (1 - momentum) * (weights - taken))
    return taken


def _update(optimizer: Any, variable: Any, gradient: np.ndarray, rate: float) -> np.ndarray | None:
    """The update that the optimizer is about to make, without weight decay; None where its formula is not known."""
    if not names.has_plain_formula(optimizer) or not optimizer.built:
        return None
    kind, index = type(optimizer).__name__, names.index_of(optimizer, variable)

    def slot(name: str) -> np.ndarray:
        return names.array_of(getattr(optimizer, name)[index]).astype(np.float64)

    if kind == "SGD":
        if not optimizer.momentum:
            return rate * gradient
        new = optimizer.momentum * slot("momentums") - rate * gradient
        return np.asarray(optimizer.momentum * new - rate * gradient if optimizer.nesterov else new)
    root = divisor_of(optimizer, variable, gradient)
    if kind in ("Adam", "AdamW"):
        beta = optimizer.beta_1
        taken = int(names.array_of(optimizer.iterations)) + 1
        first = (beta * slot("_momentums") + (1 - beta) * gradient) / (1 - beta**taken)
        return np.asarray(rate * first / root)
    update = rate * gradient / root
    if kind == "RMSprop" and optimizer.momentum:
        update = update + optimizer.momentum * slot("_momentums")
    return np.asarray(update)


def _scaled(gradient: Any, scale: float) -> Any:
    if type(gradient).__name__ == "IndexedSlices":
        return type(gradient)(gradient.values * scale, gradient.indices, gradient.dense_shape)
    return gradient * scale

"""A guard inside of a jitted step: a transformation of optax around the user's own.

    import clippy_diag.jax

    tx = clippy_diag.jax.guard(optax.adamw(1e-3))
    opt_state = tx.init(params)

    @jax.jit
    def train_step(params, opt_state, batch):
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        updates, opt_state = tx.update(grads, opt_state, params, value=loss)
        return optax.apply_updates(params, updates), opt_state, loss

    clippy_diag.jax.guard_report(opt_state)      # {"step": 499, "risk": 0.002, "action": "apply", "taken": {"apply": 500, …}}

Everything is computed on the device and nothing waits for the host. What the guard knows of the run is part of the optimizer's
state, so a checkpoint of that state holds it.
"""

from __future__ import annotations

import atexit
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..guarding import CALM, CHEAP, HISTORY, WARM_UP, Action, Advice, Measured, Pulse, Said, Signs, usual_text
from ..messages import describe
from .options import Rate, read_chain

#: What is compared with the past, as logarithms: loss, learning rate, norm of the gradient, norm of the update.
_KINDS = 4
_ACTIONS: tuple[Action, ...] = ("apply", "clip", "skip")


class GuardState(NamedTuple):
    """The state of `guard`: what it knows of the run, what it did last, and the state of the transformation inside."""

    #: Updates so far, and how many of them were usual.
    count: Any
    usual: Any
    #: The last HISTORY usual steps as logarithms, NaN where there was none.
    past: Any
    #: Of the last update: risk, position in _ACTIONS, factor on its gradients.
    risk: Any
    action: Any
    scale: Any
    #: Updates by action.
    taken: Any
    inner: Any


def guard(
    tx: Any,
    *,
    learning_rate: Rate | None = None,
    clip_at: float = 0.9,
    advice_only: bool = False,
    pulse: None | str | Path = None,
    axis_name: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """A transformation that does what `tx` does, except at steps that would harm the run. Updates that it leaves alone are those of
    `tx` bit for bit; in a jitted step XLA compiles another program with it, which may round otherwise in the last digit.

    tx             any transformation of optax
    learning_rate  a number or a schedule, where none can be read from `tx`; without one the rate is no sign
    clip_at        the risk, in (0, 1], from which on a step is changed
    advice_only    no step is changed; `guard_report` and the pulse say what was advised
    pulse          a file for one line of JSON a step, which `clippy-diag analyze`, `watch` and `gate` read
    axis_name      the mapped axis of `pmap` or `shard_map`, over which loss and norms are averaged: all devices decide as one.
                   Under `jit` with sharded arrays they are global already

    `update(grads, state, params, value=loss)`; without `value` the loss is no sign. Other arguments go to `tx`.

    A gradient, loss or update that is not finite: the updates are zero and the inner state stays as it was. A risk of `clip_at` or
    more: the step is made anew from gradients of the usual size, and its update is scaled to the usual norm at most. The risk is
    that of the signs alone (docs/guard.md); no step is tried on earlier batches.

    Raises ValueError for a `clip_at` outside of (0, 1].
    """
    if not 0 < clip_at <= 1:
        raise ValueError(f"clippy-diag: clip_at={clip_at} must be above 0 and at most 1")
    inner = optax.with_extra_args_support(tx)
    rate_of = read_chain(tx).learning_rate if learning_rate is None else learning_rate
    writer = None if pulse is None else _Writer(pulse, advice_only)

    def init(params: Any) -> GuardState:
        zero = jnp.zeros((), jnp.int32)
        return GuardState(
            zero,
            zero,
            jnp.full((HISTORY, _KINDS), jnp.nan, jnp.float32),
            jnp.zeros((), jnp.float32),
            zero,
            jnp.ones((), jnp.float32),
            jnp.zeros((len(_ACTIONS),), jnp.int32),
            inner.init(params),
        )

    def update(updates: Any, state: GuardState, params: Any = None, **extra: Any) -> tuple[Any, GuardState]:
        made, after = inner.update(updates, state.inner, params, **extra)
        values = _measured(updates, made, extra.get("value"), _rate_at(rate_of, state.count), axis_name)
        above = _above(values, state)
        finite = jnp.isfinite(values[2]) & jnp.isfinite(values[3]) & ~_is_broken_loss(values[0], extra)
        risk = jnp.where(finite, _risk(above), 1.0)
        action = jnp.where(finite, jnp.where(risk >= clip_at, 1, 0), 2).astype(jnp.int32)
        factor = jnp.exp(-jnp.maximum(jnp.maximum(above[2], above[3]), 0.7))
        scale = jnp.where(action == 0, 1.0, jnp.where(action == 1, factor, 0.0))
        if not advice_only:
            usual_norm = jnp.exp(_center(state)[3])

            def smaller() -> tuple[Any, Any]:
                gentle = jax.tree_util.tree_map(lambda g: g * scale.astype(g.dtype), updates)
                again, later = inner.update(gentle, state.inner, params, **extra)
                bound = jnp.minimum(1.0, usual_norm / jnp.maximum(_norm(again, axis_name), 1e-30))
                return jax.tree_util.tree_map(lambda u: u * bound.astype(u.dtype), again), later

            def nothing() -> tuple[Any, Any]:
                return jax.tree_util.tree_map(jnp.zeros_like, made), state.inner

            made, after = jax.lax.switch(action, [lambda: (made, after), smaller, nothing])
        if writer is not None:
            jax.debug.callback(writer.line, state.count, values, above, risk, action, scale)
        takes = (action == 0) | (advice_only & finite)
        past = state.past.at[state.usual % HISTORY].set(
            jnp.where(takes, jnp.log(values), state.past[state.usual % HISTORY])
        )
        return made, GuardState(
            state.count + 1,
            state.usual + takes.astype(jnp.int32),
            past,
            risk.astype(jnp.float32),
            action,
            scale.astype(jnp.float32),
            state.taken.at[action].add(1),
            after,
        )

    return optax.GradientTransformationExtraArgs(init, update)


def guard_report(opt_state: Any) -> dict[str, Any]:
    """What the guard in a state of the optimizer did: `step` of the last update (from 0; -1 before the first), its `risk` in [0, 1],
    its `action` ("apply", "clip" or "skip"), the `scale` on its gradients, and `taken`, the number of updates by action.

    Raises ValueError where the state holds no guard.
    """
    states = jax.tree_util.tree_leaves(opt_state, is_leaf=lambda node: isinstance(node, GuardState))
    found = next((node for node in states if isinstance(node, GuardState)), None)
    if found is None:
        raise ValueError("clippy-diag: this state is not one of clippy_diag.jax.guard")
    return {
        "step": int(found.count) - 1,
        "risk": float(found.risk),
        "action": _ACTIONS[int(found.action)],
        "scale": float(found.scale),
        "taken": {name: int(count) for name, count in zip(_ACTIONS, found.taken)},
    }


def _rate_at(rate: Rate | None, count: Any) -> Any:
    if rate is None:
        return jnp.nan
    return rate(count) if callable(rate) else rate


def _mean(value: Any, axis_name: str) -> Any:
    return jax.lax.pmean(value, axis_name)  # type: ignore[no-untyped-call]


def _norm(tree: Any, axis_name: str | None) -> Any:
    square = sum(jnp.vdot(leaf, leaf).real.astype(jnp.float32) for leaf in jax.tree_util.tree_leaves(tree))
    return jnp.sqrt(square if axis_name is None else _mean(square, axis_name))


def _measured(updates: Any, made: Any, loss: Any, rate: Any, axis_name: str | None) -> Any:
    """Size of the loss, learning rate, and norms of gradient and update; NaN where one is not known."""
    size = jnp.nan if loss is None else jnp.abs(jnp.asarray(loss, jnp.float32)).reshape(())
    if loss is not None and axis_name is not None:
        size = _mean(size, axis_name)
    known = (size, rate, _norm(updates, axis_name), _norm(made, axis_name))
    return jnp.stack([jnp.asarray(value, jnp.float32) for value in known])


def _is_broken_loss(size: Any, extra: dict[str, Any]) -> Any:
    return jnp.asarray(False) if extra.get("value") is None else ~jnp.isfinite(size)


def _center(state: GuardState) -> Any:
    return jnp.where(state.usual >= WARM_UP, jnp.nanmedian(state.past, axis=0), jnp.nan)


def _above(values: Any, state: GuardState) -> Any:
    """How far a step is from the usual, as differences of logarithms; 0 where that is not known."""
    above = jnp.log(values) - _center(state)
    return jnp.where(jnp.isfinite(above), above, 0.0)


def _risk(above: Any) -> Any:
    """The same as `risk_of(CHEAP, …)`."""
    loss, rate, _, update = jnp.maximum(above, 0.0)
    return jax.nn.sigmoid(CHEAP.bias + CHEAP.update * update + CHEAP.loss * loss + CHEAP.rate * rate)


class _Writer:
    """Writes the pulse from callbacks of the device."""

    def __init__(self, path: str | Path, advice_only: bool) -> None:
        self._pulse, self._obeyed = Pulse(path, Said()), not advice_only
        self._said = Said()
        atexit.register(self._pulse.close)

    def line(self, count: Any, values: Any, above: Any, risk: Any, action: Any, scale: Any) -> None:
        # Whatever is raised in a callback ends the program that called it.
        try:
            loss, rate, norm, moved = (float(value) for value in values)
            of_loss, of_rate, of_norm, of_update = (float(value) for value in above)
            signs = Signs(of_loss, of_rate, of_norm, of_update, 0.0, -1)
            name = _ACTIONS[int(action)]
            why = CALM if name == "apply" else f"Before this step {usual_text(signs, [])}."
            advice = Advice(int(count), float(risk), name, why, scale=float(scale))
            self._pulse.write(Measured(loss, rate, norm, moved, math.nan, [], [], []), signs, advice, self._obeyed)
        except Exception as error:
            self._said(f"a line of the pulse was not written: {describe(error)}")

"""The recorder inside of a jitted step: a transformation of optax around the user's own.

    import clippy_diag.jax

    tx = clippy_diag.jax.flight(optax.adamw(1e-3), "capture")
    opt_state = tx.init(params)

    @jax.jit
    def train_step(params, opt_state, batch):
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        updates, opt_state = tx.update(grads, opt_state, params, value=loss, batch=batch)
        return optax.apply_updates(params, updates), opt_state, loss

Nothing is declared by hand: optimizer, clipping and learning rate are read from the transformation. Each step hands its
gradients to the recorder by a call from the device (`telling.py`); the Python of the loop never waits for it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..ledger import FIRST_STEPS
from ..messages import describe
from ..options import Budget
from .options import Rate, as_words, read_chain
from .recorder import Recorder, Seen

try:
    from .telling import tell, works
except ImportError:  # a version of JAX that has these parts in another place
    tell = works = None  # type: ignore[assignment]

#: Squares that are summed at a time.
ROW = 1024


class FlightState(NamedTuple):
    """The state of `flight`: how many updates were made, and the state of the transformation inside."""

    count: Any
    inner: Any


#: Recorders of the flights of this process.
_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def capture(opt_state: Any, reason: str = "requested") -> list[str]:
    """Writes a capture of the steps up to this state, without a next step; returns the folders of all captures so far.

    opt_state  what `tx.update` of a `flight` returned last, alone or inside of a larger state; it is waited for
    reason     why, as the capture says it

    Every flight of the process writes one. A capture that is being written goes on. `tx.capture()` waits for the next step.

    Raises ValueError where `opt_state` has no state of a flight.
    """
    leaves = jax.tree_util.tree_leaves(opt_state, is_leaf=lambda leaf: isinstance(leaf, FlightState))
    if not any(isinstance(leaf, FlightState) for leaf in leaves):
        raise ValueError("clippy-diag: capture needs the state that tx.update of clippy_diag.jax.flight returned")
    jax.block_until_ready(opt_state)  # type: ignore[no-untyped-call]
    _wait()
    written: list[str] = []
    for recorder in list(_recorders):
        with recorder.guarded():
            recorder._own.write_held(reason)
        written += recorder.captures
    return written


class Flight(optax.GradientTransformationExtraArgs):  # type: ignore[misc]
    """What `flight` returns: a transformation of optax, with the recorder that it feeds.

    `capture()`, `captures`, `problems` and `stopped` are the recorder's; `close()` waits for what is on its way. Both are
    done at exit too.
    """

    recorder: Recorder

    def capture(self, reason: str = "requested") -> None:
        """Writes a capture at the next step, incident or not."""
        self.recorder.capture(reason)

    @property
    def captures(self) -> list[str]:
        """Folders of the captures that were written."""
        _wait()
        return self.recorder.captures

    @property
    def problems(self) -> list[str]:
        """What could not be done, each once."""
        return self.recorder.problems

    @property
    def stopped(self) -> str | None:
        """Why nothing is recorded any more, or None."""
        return self.recorder.stopped

    def close(self) -> None:
        """Waits for the steps that are on their way, and ends the recording."""
        with contextlib.suppress(Exception):
            _wait()
        self.recorder.close()


def flight(
    tx: Any,
    path: str | Path = "capture",
    *,
    learning_rate: Rate | None = None,
    layouts: Mapping[str, str] | None = None,
    snapshot_every_steps: int = 20,
    steps_after: int = 34,
    memory: Budget = "2GB",
    disk: Budget = "20GB",
    max_captures: int = 3,
    model_file: str | Path | None = None,
    ledger: bool | int | str | None = None,
    ledger_every: int | None = None,
    expected_changes: Iterable[str] = (),
) -> Flight:
    """A transformation that does what `tx` does, bit for bit, and records the steps around an incident.

    tx             any transformation of optax, such as `optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))`.
                   Adam, AdamW, SGD and Adagrad are replayed by formula, with the clipping before them. For any other one
                   (multi_transform, MultiSteps, apply_if_finite, …) each step keeps the parameters before and after it.
    path           the folder of the capture
    learning_rate  a number or a schedule, where none can be read from `tx`.
    layouts, snapshot_every_steps, steps_after, memory, disk, max_captures, model_file, ledger, ledger_every, expected_changes
                   as of `clippy_diag.jax.Recorder`

    `update(grads, state, params, value=loss, batch=None, batch_id=None)`: `params` is needed; without `value` the norm of the
    gradient is judged in place of the loss, with a note; `batch` is what the loss was computed on, for closed loops;
    `batch_id` is a number, or an array of one for each row. Other arguments go to `tx`.

    Raises ValueError where no learning rate can be read and none is given, and for options as `Recorder` does.
    """
    inner = optax.with_extra_args_support(tx)
    chain = read_chain(tx)
    if learning_rate is not None:
        chain = chain._replace(learning_rate=learning_rate)
    if chain.learning_rate is None:
        if chain.optimizer.get("formula", True):
            raise ValueError("clippy-diag: no learning rate can be read from the transformation; give learning_rate=")
        chain = chain._replace(learning_rate=1.0)
    recorder = Recorder(
        path,
        as_words(chain),
        clipping=chain.clipping,
        layouts=layouts,
        snapshot_every_steps=snapshot_every_steps,
        steps_after=steps_after,
        memory=memory,
        disk=disk,
        max_captures=max_captures,
        model_file=model_file,
        ledger=ledger,
        ledger_every=ledger_every,
        expected_changes=expected_changes,
    )
    recorder.in_graph = True
    every = recorder.snapshot_every_steps

    def hear(
        count: Any,
        loss: Any,
        gradients: Any,
        batch: Any,
        batch_id: Any,
        norm: Any,
        params: Any = None,
        state: Any = None,
    ) -> None:
        # Whatever is raised in a callback ends the program that called it.
        try:
            step = int(count)
            given = [jax.tree_util.tree_map(np.asarray, part) for part in (gradients, params, state, batch, batch_id)]
            gradients, params, state, batch, batch_id = given
            kept = state if step % every == 0 else None
            recorder.record(step, np.asarray(loss), gradients, params, kept, batch, None, batch_id)
            recorder.to_ledger(Seen(step, np.asarray(loss), gradients, params, state, batch, batch_id, norm))
        except Exception as error:
            recorder.stop(describe(error))

    def init(params: Any) -> FlightState:
        return FlightState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(
        updates: Any,
        state: FlightState,
        params: Any = None,
        *,
        value: Any = None,
        batch: Any = None,
        batch_id: Any = None,
        **extra: Any,
    ) -> tuple[Any, FlightState]:
        if params is None:
            raise ValueError("clippy-diag: flight needs the parameters: tx.update(grads, state, params, value=loss)")
        if value is None:
            recorder.note("no loss was given (value=loss): the norm of the gradient is judged in its place")
        loss = optax.tree_utils.tree_l2_norm(updates) if value is None else jnp.asarray(value)
        shown = jax.tree_util.tree_map(
            lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, (state.inner, batch)
        )

        recorder.decide_on_ledger(params)
        norm = None if recorder.ledger is None else weight_norm(params)
        seen = state.count, loss, updates, shown[1], batch_id, norm
        # Parameters and state are a large part of what a call costs: they come where somebody takes them.
        with_params, with_state = state.count % every <= 1, state.count % every == 0
        if recorder.ledger is not None:
            # A step with tensors, and the one after it, which shows what it did.
            steps = jax.tree_util.tree_reduce(lambda sum, leaf: sum + leaf.size, params, 0)
            with_state |= state.count % recorder.ledger.own.every_for(steps) <= 1
            with_params |= state.count <= FIRST_STEPS
        if not recorder.formula:
            with_params |= True
        kind = jnp.where(with_state, 2, with_params.astype(jnp.int32))
        count = _told(hear, kind, seen, [(), (params,), (params, shown[0])])
        if value is not None:
            extra = {"value": value, **extra}
        made, after = inner.update(updates, state.inner, params, **extra)
        return made, FlightState(count, after)

    made = Flight(init, update)
    made.recorder = recorder
    _recorders.add(recorder)
    # Runs before the recorder's own end.
    atexit.register(made.close)
    return made


def _told(hear: Callable[..., None], kind: Any, seen: tuple[Any, ...], more: Sequence[tuple[Any, ...]]) -> Any:
    """The count of updates after this one, once the host has heard of it: `seen`, which begins with the count before it, and so
    much more as its kind says.
    """
    count = seen[0]
    if tell is None or jax.device_count() > 1 or jax.default_backend() not in ("cpu", "gpu") or not works():
        # JAX brings the shards together.
        jax.lax.switch(kind, [functools.partial(jax.debug.callback, hear, *seen, *given) for given in more])
        return count + 1
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves((kind, seen, more))):
        hear(*seen, *more[int(kind)])
        return count + 1

    def telling(form: int) -> Callable[[], Any]:
        def host(kind: Any, count: Any, *given: Any) -> Any:
            # Where steps are mapped over, all forms are called.
            if int(kind) == form:
                hear(count, *given)
            return count + 1

        return lambda: tell(host, kind, *seen, *more[form])

    return jax.lax.switch(kind, [telling(form) for form in range(len(more))])


def weight_norm(tree: Any) -> Any:
    """Norm of all parameters, as a part of the graph: squares are summed in rows, which keeps the digits of float32."""
    total = jnp.zeros((), jnp.float32)
    for leaf in jax.tree_util.tree_leaves(tree):
        flat = jnp.abs(jnp.ravel(leaf)).astype(jnp.float32)
        rows = flat[: flat.size // ROW * ROW].reshape(-1, ROW)
        rest = flat[rows.size :]
        total += jnp.sum(jnp.sum(rows * rows, axis=1)) + jnp.sum(rest * rest)
    return jnp.sqrt(total)


def _wait() -> None:
    """Waits for the host to hear of all steps that were begun."""
    jax.effects_barrier()  # type: ignore[no-untyped-call]
    # A call of `tell` has ended when what its step returns is there.
    for array in jax.live_arrays():  # type: ignore[no-untyped-call]
        with contextlib.suppress(Exception):
            array.block_until_ready()


def _is_key(leaf: Any) -> bool:
    return str(getattr(leaf, "dtype", "")).startswith("key<")

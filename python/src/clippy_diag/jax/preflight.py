"""The largest learning rate at which an optax training is stable in its first steps, before it runs.

from clippy_diag.jax import preflight

answer = preflight(params, optax.adamw(1e-3), batches, loss_fn)      # loss_fn(params, batch) -> loss
print(answer["preflight"]["statement"])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..clipping import clip_gradients, clip_updates
from ..preflight_setup import AUDITED, Batches, audit_of, checked, read_batches, same_draws, with_audit
from ..preflighting import LOWER, QUIET, How, preflight_of
from ..rules import DEFAULTS, Rules, rules_of
from .flight import Flight
from .options import Chain, as_words, read_chain
from .recorder import Recorder, fields_of, kind_of, named_leaves

LossFn = Callable[[Any, Any], Any]
#: Counts of updates at which a schedule is looked at for its peak: all of the first, then fewer.
COUNTS = np.unique(np.concatenate([np.arange(10_000), np.geomspace(10_000, 1e7, 400).astype(int)]))


def preflight(
    params: Any,
    optimizer: Any,
    batches: Iterable[Any],
    loss_fn: LossFn,
    seconds: float = 60,
    *,
    opt_state: Any = None,
    rate: float | None = None,
    warmup: int = 0,
    rules: None | Sequence[str] | Mapping[str, Mapping[str, float]] = None,
    audited: bool = True,
    command: Iterable[str] | None = None,
) -> dict[str, Any]:
    """The largest learning rate at which the training is stable in its first steps, compared with the rate that it is set to.

    params     any tree of arrays, the weights from which the training begins
    optimizer  a transformation of optax with a learning rate, a number or a schedule, at its end, as optax's own have it; of any other
               one a function that makes it from a rate, such as `lambda rate: my_optimizer(rate)`, and `rate=`
    batches    an iterable of batches as `loss_fn` takes them; at most 144 are read. What an iterator gives is used up
    loss_fn    (params, batch) -> loss, a scalar; random keys that it needs have to be in the batch, as arrays
    seconds    after which no further rate is tried; the answer then rests on what is known
    opt_state  the state to begin with; left out, `optimizer.init(params)`
    rate       the peak learning rate of the run; left out, the one that is read from the optimizer, of a schedule its largest
    warmup, rules, audited, command   as of `clippy_diag.torch.preflight`; rules act before the clipping inside of `optimizer`

    Returns what `clippy_diag.torch.preflight` returns. Arrays of JAX do not change, so nothing of the training does; the random
    state of Python and numpy is as before. Memory: about three times weights and state.

    Raises ValueError for too few batches, or a rate that is not positive or cannot be read; TypeError where loss_fn returns no
    single number.
    """
    if isinstance(optimizer, Flight):
        raise ValueError("clippy-diag: this transformation records; give preflight the one inside of flight()")
    params = jax.tree_util.tree_map(jnp.asarray, params)
    if hasattr(optimizer, "update"):
        opt_state = optimizer.init(params) if opt_state is None else opt_state
        chain, stepper = _transformation(optimizer, opt_state)
    elif callable(optimizer):
        if rate is None:
            raise ValueError("clippy-diag: optimizer is a function of a rate; give the peak rate of the run with rate=")
        opt_state = optimizer(rate).init(params) if opt_state is None else opt_state
        chain, stepper = read_chain(optimizer(rate)), _Stepper(lambda at, *of_step: optimizer(at).update(*of_step))
    else:
        raise TypeError(
            f"clippy-diag: optimizer is a {type(optimizer).__name__}, no transformation of optax and no function of a rate"
        )
    asked, seconds = checked(stepper.own if rate is None else float(rate), seconds, warmup)
    tried = rules_of(DEFAULTS if rules is None else rules)
    with same_draws(batches):
        trial = _OptaxTrial(_State(params, opt_state), stepper, loss_fn, read_batches(batches), asked)
        trial.kinds = _kinds_of(chain)
        document = preflight_of(trial, seconds, tried, warmup)
        found = trial.audit_quiet_steps(chain, command) if audited else None
    return with_audit(document, found)


Update = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


class _Stepper:
    """Steps of an optimizer at any rate.

    update  (rate, gradients, state, weights) -> (updates, state)
    own     the rate that the optimizer is set to, NaN where it is made from one
    """

    def __init__(self, update: Update, own: float = math.nan) -> None:
        self.own, self._update = own, update
        self._jitted = jax.jit(self._step)
        self._compiled = True

    def step(self, rate: float, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        """Weights and state after a step; compiled once for all rates where the optimizer takes a traced one."""
        if self._compiled:
            try:
                return self._jitted(rate, gradients, state, params)  # type: ignore[no-any-return]
            except (jax.errors.JAXTypeError, TypeError, ValueError):
                self._compiled = False
        return self._step(rate, gradients, state, params)

    def _step(self, rate: Any, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        updates, state = self._update(rate, gradients, state, params)
        return optax.apply_updates(params, updates), state


def _transformation(optimizer: Any, state: Any) -> tuple[Chain, _Stepper]:
    """What is read of a transformation of optax, and its steps."""
    chain = read_chain(optimizer)
    fields = fields_of(state)
    injected = fields.get("hyperparams")
    if isinstance(injected, Mapping) and "learning_rate" in injected and not fields.get("hyperparams_states"):

        def injecting(rate: Any, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
            return optimizer.update(gradients, _with_rate(state, rate), params)  # type: ignore[no-any-return]

        return chain, _Stepper(injecting, float(injected["learning_rate"]))
    own = chain.learning_rate
    if own is None:
        raise ValueError(
            "clippy-diag: no learning rate can be read from the transformation; give a function that makes it,"
            " such as lambda rate: optax.adamw(rate), with rate=, the peak rate of the run"
        )
    peak, count = _peak_of(own) if callable(own) else (float(own), None)

    def scaling(rate: Any, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        if count is not None:
            state = _with_count(state, count)
        updates, state = optimizer.update(gradients, state, params)
        # A rate at the end of a chain is a factor on the update.
        return jax.tree_util.tree_map(lambda leaf: (rate / peak * leaf).astype(leaf.dtype), updates), state

    return chain, _Stepper(scaling, peak)


def _kinds_of(chain: Chain) -> set[str]:
    """Names of the optimizers in a chain: "lion" of `scale_by_lion`."""
    parts = chain.optimizer["name"].split("+")
    return {part.replace("scale_by_rss", "adagrad").removeprefix("scale_by_") for part in parts}


def _peak_of(schedule: Callable[[Any], Any]) -> tuple[float, int]:
    """The largest rate of a schedule, and the count of updates at which it is."""
    try:
        values = np.asarray(jax.vmap(schedule)(jnp.asarray(COUNTS)), float)
    except (jax.errors.JAXTypeError, TypeError, ValueError):
        values = np.array([float(schedule(int(count))) for count in COUNTS])  # a schedule that looks at the number
    peak = int(np.nanargmax(values))
    return float(values[peak]), int(COUNTS[peak])


def _with_count(state: Any, count: int) -> Any:
    """The state with the count of every schedule set, and the counts of optimizers as they are."""

    def is_schedule(part: Any) -> bool:
        return isinstance(part, optax.ScaleByScheduleState)

    def with_count(part: Any) -> Any:
        return part._replace(count=jnp.full_like(part.count, count)) if is_schedule(part) else part

    return jax.tree_util.tree_map(with_count, state, is_leaf=is_schedule)


def _with_rate(state: Any, rate: Any) -> Any:
    """The state of `inject_hyperparams` with another learning rate."""

    def is_injected(part: Any) -> bool:
        return hasattr(part, "hyperparams")

    def with_rate(part: Any) -> Any:
        if not is_injected(part):
            return part
        before = part.hyperparams["learning_rate"]
        return part._replace(hyperparams={**part.hyperparams, "learning_rate": jnp.asarray(rate, before.dtype)})

    return jax.tree_util.tree_map(with_rate, state, is_leaf=is_injected)


class _State(NamedTuple):
    params: Any
    state: Any


class _OptaxTrial:
    """A `Trial` (preflighting.py) over a loss and a transformation of optax; its arrays never change."""

    def __init__(self, start: _State, stepper: _Stepper, loss_fn: LossFn, batches: Batches, asked: float) -> None:
        self.asked, self.stepper, self.batches = asked, stepper, batches
        self.kinds: set[str] = set()
        self.params, self.state = self._start = start
        shape = jax.eval_shape(loss_fn, self.params, batches.training[0])
        if getattr(shape, "shape", None) not in ((), (1,)):
            raise TypeError(f"clippy-diag: loss_fn must return one number, and returned {shape}")
        self.gradients = 0

        def number_of(tree: Any, batch: Any) -> Any:
            return jnp.reshape(loss_fn(tree, batch), ())

        self._value, self._slope = jax.jit(number_of), jax.jit(jax.value_and_grad(number_of))
        self._structure = jax.tree_util.tree_structure(self.params)
        self._specs = [
            {"name": name, **kind_of(name, np.ndim(leaf))} for name, leaf in named_leaves(self.params).items()
        ]

    def keep(self) -> _State:
        """Weights and state, which do not change."""
        return _State(self.params, self.state)

    def put(self, kept: _State) -> None:
        """Weights and state of a kept state."""
        self.params, self.state = kept

    def train(
        self,
        rate: float,
        steps: int,
        first: int,
        how: How = How(),  # noqa: B008
        before: Callable[[int, Any, Any, Any], None] | None = None,
    ) -> bool:
        """Takes steps at a rate; `before` gets number, loss, gradients and batch of each."""
        for k in range(steps):
            at = (first + k) * how.batches
            chosen = [self.batches.training[(at + j) % len(self.batches.training)] for j in range(how.batches)]
            loss, slopes = self._differentiate(chosen)
            if not math.isfinite(float(loss)):
                return False
            if before is not None:
                before(k, loss, slopes, chosen[0])
            self._step(rate, slopes, how)
        leaves = jax.tree_util.tree_leaves(self.params)
        return all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)

    def _differentiate(self, batches: Sequence[Any]) -> tuple[Any, Any]:
        found = [self._slope(self.params, batch) for batch in batches]
        self.gradients += len(batches)
        loss, slopes = jax.tree_util.tree_map(lambda *parts: sum(parts) / len(parts), *found)
        return loss, slopes

    def _step(self, rate: float, slopes: Any, how: How) -> None:
        before = self.params
        if how.rules is not None:
            slopes = self._clipped(how.rules, slopes)
        self.params, self.state = self.stepper.step(rate, slopes, self.state, before)
        if how.rules is not None and any(rule == "clippy" for rule, _ in how.rules):
            arrays = self._arrays(self.params)
            clip_updates(how.rules, self._specs, self._arrays(before), arrays, 1.0)
            self.params = self._tree(arrays, before)
        if how.slowed is not None:
            name, part = how.slowed
            old, new = named_leaves(before), dict(named_leaves(self.params))
            new[name] = old[name] + part * (new[name] - old[name])
            self.params = self._tree(new, before)

    def _clipped(self, rules: Rules, slopes: Any) -> Any:
        arrays = self._arrays(slopes)
        clip_gradients(rules, self._specs, arrays, self._arrays(self.params))
        return self._tree(arrays, slopes)

    @staticmethod
    def _arrays(tree: Any) -> dict[str, np.ndarray]:
        return {name: np.asarray(leaf, np.float32) for name, leaf in named_leaves(tree).items()}

    def _tree(self, arrays: Mapping[str, Any], like: Any) -> Any:
        kinds = [leaf.dtype for leaf in jax.tree_util.tree_leaves(like)]
        return jax.tree_util.tree_unflatten(
            self._structure, [jnp.asarray(array, kind) for array, kind in zip(arrays.values(), kinds)]
        )

    def losses(self) -> list[float]:
        """The loss of every fixed batch at the present weights."""
        return [float(self._value(self.params, batch)) for batch in self.batches.fixed]

    def moved(self, since: _State) -> dict[str, float]:
        """The norm of every tensor's change over its norm; a tensor near zero counts as one with entries of 0.001."""
        new, old = self._arrays(self.params), self._arrays(since.params)
        return {
            name: float(np.linalg.norm(new[name] - old[name]))
            / (float(np.linalg.norm(old[name])) + 1e-3 * math.sqrt(max(1, old[name].size)))
            for name in new
        }

    def audit_quiet_steps(self, chain: Chain, command: Iterable[str] | None) -> dict[str, Any] | None:
        """What `clippy-diag audit` says of the first quiet steps, repeated under a recorder; None where there is no command line."""
        self.put(self._start)
        counted, rate = self.gradients, self.asked / LOWER

        def write(folder: Path) -> None:
            said = as_words(chain._replace(learning_rate=rate))
            recorder = Recorder(folder, said, clipping=chain.clipping, snapshot_every_steps=AUDITED, steps_after=0)

            def record(step: int, loss: Any, slopes: Any, batch: Any) -> None:
                if step == QUIET - 1:
                    recorder.capture("preflight")
                state = _with_rate(self.state, rate)
                recorder.record(step, loss, slopes, self.params, state, batch=batch)

            self.train(rate, QUIET, 0, before=record)
            recorder.close()

        try:
            return audit_of(write, command)
        finally:
            self.gradients = counted

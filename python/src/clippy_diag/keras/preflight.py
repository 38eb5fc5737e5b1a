"""The largest learning rate at which a Keras training is stable in its first steps, before it runs. On every backend.

from clippy_diag.keras import preflight

model.compile(optimizer="adam", loss="mse")
answer = preflight(model, model.optimizer, batches)      # batches of (x, y), as fit takes them
print(answer["preflight"]["statement"])
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from ..clipping import clip_gradients, clip_updates
from ..preflight_setup import AUDITED, Batches, audit_of, checked, read_batches, same_draws, with_audit
from ..preflighting import LOWER, QUIET, How, preflight_of
from ..rules import DEFAULTS, Clipping, clipping_words, rules_of
from . import words as names
from .gradients import Differentiated, compiled_loss, loss_scale
from .recorder import Recorder

LossFn = Callable[[Any, Any], Any]
#: What the schedules of Keras call the rates that they pass through.
_RATES = ("initial_learning_rate", "warmup_target", "maximal_learning_rate")


def preflight(
    model: Any,
    optimizer: Any,
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

    model      a keras.Model that is built
    optimizer  any optimizer of Keras; its rate is the asked one. Its own clipping and gradient accumulation are part of each step
    batches    an iterable of batches as `loss_fn` takes them, such as a tf.data.Dataset, a PyDataset or a DataLoader; at most 144 are
               read. What an iterator gives is used up
    loss_fn    (model, batch) -> loss, a scalar; call the model with training=True. Left out, the compiled loss of a batch
               (x, y) or (x, y, sample_weight)
    seconds    after which no further rate is tried; the answer then rests on what is known
    rate       the peak learning rate of the run. Left out, the optimizer's own; of a schedule of Keras the largest that it names
    clipping   what a training step of your own clips by, for the audit; by default what the optimizer does
    warmup, rules, audited, command   as of `clippy_diag.torch.preflight`

    Returns what `clippy_diag.torch.preflight` returns. Variables of model, optimizer and metrics, the learning rate and random
    state are bitwise as before. Memory: about three times weights and state.

    Raises TypeError for a model or loss of another kind. Raises ValueError for too few batches, for a rate that is not positive or
    cannot be read, and for a model that is not built or is trained on several replicas. A tf.data.Dataset that shuffles anew each
    time it is read raises ValueError too, since reading it here would change the order of the training's batches.
    """
    _check(model, batches)
    inner = names.inner(optimizer)
    asked, seconds = checked(_asked(inner) if rate is None else float(rate), seconds, warmup)
    tried = rules_of(DEFAULTS if rules is None else rules)
    words = None if clipping is None else clipping_words(clipping)
    with same_draws(batches), _as_before(model, optimizer):
        trial = _KerasTrial(model, optimizer, loss_fn or compiled_loss, _read(batches), asked)
        document = preflight_of(trial, seconds, tried, warmup)
        found = trial.audit_quiet_steps(words, command) if audited else None
    return with_audit(document, found)


def _check(model: Any, batches: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"clippy-diag: model is a {type(model).__name__}, not a keras.Model")
    if not model.built or not model.trainable_variables:
        raise ValueError(
            "clippy-diag: the model is not built; call it on a batch, or give it an Input, before the preflight"
        )
    strategy = getattr(model, "distribute_strategy", None)
    if getattr(strategy, "num_replicas_in_sync", 1) > 1 or "Mirrored" in type(strategy).__name__:
        raise ValueError("clippy-diag: the model is trained on several replicas, and a preflight sees the batch of one")
    if _reshuffles(batches):
        raise ValueError(
            "clippy-diag: this tf.data.Dataset shuffles anew each time it is read, so reading it would change the order of the"
            " training's batches; give the dataset from before its shuffle(), or a list of its batches"
        )


def _reshuffles(batches: Any) -> bool:
    """Whether a tf.data.Dataset, or one that it is made of, draws another order each time it is read."""
    if "Shuffle" in type(batches).__name__ and getattr(batches, "_reshuffle_each_iteration", True) is not False:
        return True
    inputs = getattr(batches, "_inputs", None)
    return callable(inputs) and any(_reshuffles(one) for one in inputs())


def _each(batches: Any) -> Any:
    """The batches of a PyDataset by number, which does not change its order; others unchanged."""
    if isinstance(batches, keras.utils.PyDataset):
        return (batches[k] for k in range(batches.num_batches or 0))
    return batches


def _read(batches: Any) -> Batches:
    """The batches that are needed, as tensors of the backend."""
    read = read_batches(_each(batches))
    return Batches(*([keras.tree.map_structure(_tensor, batch) for batch in part] for part in read))


def _tensor(leaf: Any) -> Any:
    if keras.ops.is_tensor(leaf) or not hasattr(leaf, "__array__"):
        return leaf
    array = np.asarray(leaf)
    return keras.ops.convert_to_tensor(array) if array.dtype.kind in "fiub" else leaf


def _asked(optimizer: Any) -> float:
    """The rate that the optimizer is set to; of a schedule of Keras the largest that its configuration names."""
    schedule = optimizer._learning_rate
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return names.rate_of(optimizer)
    config = schedule.get_config()
    rates = [config[key] for key in _RATES if config.get(key) is not None] + list(config.get("values") or ())
    if not rates:
        raise ValueError(
            f"clippy-diag: the peak of {type(schedule).__name__} is not known; give the peak rate of the run with rate="
        )
    return float(max(rates))


@contextlib.contextmanager
def _as_before(model: Any, optimizer: Any) -> Iterator[None]:
    """Variables, learning rate and random state are afterwards as before."""
    inner = names.inner(optimizer)
    if not optimizer.built:
        with keras.name_scope(optimizer.name, caller=optimizer):
            optimizer.build(model.trainable_variables)
    everything = [*model.variables, *optimizer.variables, *getattr(model, "metrics_variables", ())]
    plain = {id(v): v for v in everything if "string" not in str(v.dtype)}.values()
    kept = [(variable, names.array_of(variable)) for variable in plain]
    random, schedule = names.random_state(), inner._learning_rate
    try:
        with names.gradients_on():
            yield
    finally:
        inner._learning_rate = schedule
        names.put_back(kept, random)


class _State(NamedTuple):
    values: list[np.ndarray]
    random: Mapping[str, Any]


class _KerasTrial:
    """A `Trial` (preflighting.py) over a Keras model; whoever makes it puts the variables back."""

    def __init__(self, model: Any, optimizer: Any, loss_fn: LossFn, batches: Batches, asked: float) -> None:
        self.model, self.optimizer, self.batches, self.asked = model, optimizer, batches, asked
        self._inner = names.inner(optimizer)
        self.kinds = {type(self._inner).__name__.lower()}
        self._trained = list(model.trainable_variables)
        self.names = names.names_of(self._trained)
        self._specs = [{"name": n, **names.layout_of(n, len(v.shape))} for n, v in zip(self.names, self._trained)]
        everything = [*model.variables, *optimizer.variables]
        self._variables = list({id(v): v for v in everything if "string" not in str(v.dtype)}.values())
        self._micro = getattr(self._inner, "gradient_accumulation_steps", None) or 1
        self._differentiated = Differentiated(model, loss_fn)
        self.gradients = 0
        self._rate = asked
        self._steps: dict[tuple[Any, ...], Any] = {}
        self._others = names.others_of(model)
        self._start = self.keep()
        self._draws = self._start.random

    def keep(self) -> _State:
        """Copies of all variables of model and optimizer, and of the random state."""
        return _State([names.array_of(variable) for variable in self._variables], names.random_state())

    def put(self, kept: _State) -> None:
        """Variables and random state of a kept state."""
        names.put_back(list(zip(self._variables, kept.values)), kept.random)

    def train(
        self,
        rate: float,
        steps: int,
        first: int,
        how: How = How(),  # noqa: B008
        before: Callable[[int, Any, Any, Sequence[Any]], None] | None = None,
    ) -> bool:
        """Takes steps at a rate; `before` gets number, batch, loss and gradients of each micro-batch."""
        self._set_rate(rate)
        for k in range(steps * self._micro):
            at = (first * self._micro + k) * how.batches
            chosen = [self.batches.training[(at + j) % len(self.batches.training)] for j in range(how.batches)]
            loss, gradients = self._differentiate(chosen)
            if not math.isfinite(loss):
                return False
            if before is not None:
                before(k, chosen[0], loss, gradients)
            self._step(gradients, how)
        return all(bool(np.isfinite(names.view_of(v)).all()) for v in self._trained)

    def _set_rate(self, rate: float) -> None:
        self._rate = rate
        if isinstance(self._inner._learning_rate, keras.Variable):
            self._inner.learning_rate = rate
        else:  # a schedule, or a function of yours, replaced by a constant one
            self._inner._learning_rate = keras.optimizers.schedules.PiecewiseConstantDecay([2**31 - 2], [rate, rate])

    def _differentiate(self, batches: Sequence[Any]) -> tuple[float, list[Any]]:
        found = [self._differentiated.loss_and_gradients(batch) for batch in batches]
        self.gradients += len(batches)
        loss = float(np.mean([value for value, _ in found]))
        if len(found) == 1:
            return loss, found[0][1]
        parts = zip(*(gradients for _, gradients in found))
        return loss, [None if any(g is None for g in of_one) else _mean(of_one) for of_one in parts]

    def _step(self, gradients: Sequence[Any], how: How) -> None:
        given = [g is not None for g in gradients]
        clippy = how.rules is not None and any(rule == "clippy" for rule, _ in how.rules)
        before = self._arrays() if how.rules is not None or how.slowed is not None else {}
        if how.rules is not None:
            arrays = {n: names.array_of(g) for n, g in zip(self.names, gradients) if g is not None}
            clip_gradients(how.rules, self._specs, arrays, before)
            gradients = [keras.ops.convert_to_tensor(arrays[n]) if n in arrays else None for n in self.names]
        scale = loss_scale(self.optimizer)
        pairs = [(g * scale if scale != 1 else g, v) for g, v, ok in zip(gradients, self._trained, given) if ok]
        with self._clipping_by_rules(how.rules is not None):
            self._apply([g for g, _ in pairs], [v for _, v in pairs])
        if clippy and how.rules is not None:
            after = self._arrays()
            clip_updates(how.rules, self._specs, before, after, 1.0)
            for name, variable in zip(self.names, self._trained):
                variable.assign(after[name])
        if how.slowed is not None:
            name, part = how.slowed
            variable = self._trained[self.names.index(name)]
            variable.assign(before[name] + np.float32(part) * (names.array_of(variable) - before[name]))

    def _apply(self, gradients: list[Any], variables: list[Any]) -> None:
        if keras.backend.backend() != "jax":
            self.optimizer.apply(gradients, variables)
            return
        # On JAX a LossScaleOptimizer branches inside of a trace, where no variable may be assigned to.
        own = list(self.optimizer.variables)
        found = self._compiled(len(gradients))([v.value for v in own], gradients, [v.value for v in variables])
        for variable, value in zip([*variables, *own], [*found[0], *found[1]]):
            variable.assign(value)

    def _compiled(self, count: int) -> Any:
        """The optimizer's step on JAX, for so many gradients. A branch in it is compiled anew wherever it is not in a compiled
        function. A trace takes clipping and a constant schedule as they are now, so others have a function of their own."""
        import jax

        constant = None if isinstance(self._inner._learning_rate, keras.Variable) else self._rate
        key = count, constant, *(getattr(self._inner, name, None) for name in names.CLIPPING)
        if key not in self._steps:
            self._steps[key] = jax.jit(lambda *arguments: self.optimizer.stateless_apply(*arguments))
        return self._steps[key]

    @contextlib.contextmanager
    def _clipping_by_rules(self, ruled: bool) -> Iterator[None]:
        """The optimizer's own clipping is off while rules are tried in its place."""
        own = {key: getattr(self._inner, key, None) for key in names.CLIPPING}
        try:
            for key in own if ruled else ():
                setattr(self._inner, key, None)
            yield
        finally:
            for key, value in own.items() if ruled else ():
                setattr(self._inner, key, value)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: names.array_of(variable) for name, variable in zip(self.names, self._trained)}

    def losses(self) -> list[float]:
        """The loss of every fixed batch, under the same random numbers each time; variables stay as they are."""
        kept, now = [(v, names.array_of(v)) for v in self._others], names.random_state()
        names.put_back([], self._draws)
        found = []
        for batch in self.batches.fixed:
            found.append(self._differentiated.loss(batch))
            # Every batch is met by the same seeds, at every rate.
            names.put_back(kept, self._draws)
        names.put_back([], now)
        return found

    def moved(self, since: _State) -> dict[str, float]:
        """The norm of every tensor's change over its norm; a tensor near zero counts as one with entries of 0.001."""
        places = {id(v): k for k, v in enumerate(self._variables)}
        found = {}
        for name, variable in zip(self.names, self._trained):
            old = since.values[places[id(variable)]].astype(np.float64)
            size = float(np.linalg.norm(old)) + 1e-3 * math.sqrt(max(1, old.size))
            found[name] = float(np.linalg.norm(names.array_of(variable) - old)) / size
        return found

    def audit_quiet_steps(self, clipping: Any, command: Iterable[str] | None) -> dict[str, Any] | None:
        """What `clippy-diag audit` says of the first quiet steps, repeated under a recorder; None where there is no command line."""
        if self._micro > 1:
            return None  # the recorder of own loops sees no accumulated gradient
        self.put(self._start)
        counted = self.gradients

        def write(folder: Path) -> None:
            recorder = Recorder(
                self.model, self._inner, folder, clipping=clipping, snapshot_every_steps=AUDITED, steps_after=0
            )

            def record(step: int, batch: Any, loss: float, gradients: Sequence[Any]) -> None:
                if step == QUIET - 1:
                    recorder.capture("preflight")
                recorder.record(step, loss, gradients, batch=batch)

            self.train(self.asked / LOWER, QUIET, 0, before=record)
            recorder.close()

        try:
            return audit_of(write, command)
        finally:
            self.gradients = counted


def _mean(gradients: Sequence[Any]) -> Any:
    return keras.ops.convert_to_tensor(sum(names.array_of(g) for g in gradients) / len(gradients))

"""What the callback hears of a `fit` on the backend of JAX: the compiled training step returns it together with its logs.

To call Python from inside of a compiled step takes 1.6 ms. Nothing is called here, and nothing comes to the host before it is
looked at. Steps that cannot return are heard from inside, see `jax_ears.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from ..wrapped import Wrapped
from . import words as names
from .ears import HEARD, ReturningEars, loss_means


def returns(model: Any) -> bool:
    """Whether the training function is Keras's own, compiled, for one device of the host."""
    import jax

    maker = str(getattr(type(model).make_train_function, "__module__", ""))
    return (
        "make_train_function" not in vars(model)
        and maker.startswith("keras.src.")
        and hasattr(model, "_make_function")
        and not model.run_eagerly
        and bool(model.jit_compile)
        and getattr(model.optimizer, "dynamic_scale", None) is None
        and keras.distribution.distribution() is None
        and not getattr(keras.config, "is_nnx_enabled", lambda: False)()
        and not any(str(v.dtype).startswith("key<") for v in model.variables)
        and jax.default_backend() == "cpu"
    )


class JaxReturningEars(ReturningEars):
    """Wraps the training function of a model.

    step  called for each step as (data, before, take), see `ClippyCallback._jax_step`
    """

    def __init__(self, model: Any, norms: bool, wrapped: Wrapped, step: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__(model, norms)
        self._step, self.can_wait = step, True
        optimizer = model.optimizer
        self._keys = list(names.inner(optimizer).get_config())
        apply, metrics, make = optimizer.stateless_apply, model._update_metrics_variables, model.make_train_function

        def stateless_apply(variables: Any, gradients: Any, trained: Any) -> Any:
            if self._part is not None:
                self._part["gradients"] = list(gradients)
            return apply(variables, gradients, trained)

        def update_metrics(variables: Any, loss: Any, *arguments: Any) -> Any:
            if self._part is not None:
                self._part["loss"] = loss
            return metrics(variables, loss, *arguments)

        def make_train_function(force: bool = False) -> Any:
            before = {name: vars(model).get(name) for name in ("train_step", "_make_function")}
            model.train_step = self._returning(model.train_step)
            model._make_function = self._stepping(model._make_function)
            try:
                return make(force=force)
            finally:
                for name, value in before.items():
                    if value is None:
                        delattr(model, name)
                    else:
                        setattr(model, name, value)

        wrapped.put(optimizer, "stateless_apply", stateless_apply)
        wrapped.put(model, "_update_metrics_variables", update_metrics)
        wrapped.put(model, "make_train_function", make_train_function)

    def not_listening(self, model: Any) -> Any:
        """Only the training function is heard."""
        return contextlib.nullcontext()

    # ---- in the graph

    def _returning(self, inside: Callable[..., Any]) -> Callable[..., Any]:
        def train_step(state: Any, data: Any) -> Any:
            self.traces += 1
            self._part = {}
            try:
                logs, after = inside(state, data)
                part = self._part
            finally:
                self._part = None
            if isinstance(logs, dict) and "loss" not in part and "loss" in logs:
                part["loss"] = logs["loss"]
            self.traced = isinstance(logs, dict) and len(part) == 2
            if not self.traced:
                return logs, after
            with contextlib.suppress(Exception):
                return {**logs, HEARD: _apart(self._all_heard(part, state, after), (state, logs, after))}, after
            self.traced = False
            return logs, after

        return train_step

    def _all_heard(self, part: dict[str, Any], state: Any, after: Any) -> dict[str, Any]:
        before, plain = self._by_variable(state), names.inner(self._model.optimizer)
        rate = plain._learning_rate
        gradients = zip(self._model.trainable_variables, part["gradients"])
        watched, later = self._watched(), self._by_variable(after)
        return {
            "loss": part["loss"],
            "gradients": {self._key(v): one for v, one in gradients if one is not None},
            "squares": _squares(part["gradients"]),
            "rate": before[id(rate)] if id(rate) in before else rate(before[id(plain._iterations)]),
            "before": {self._key(v): before[id(v)] for v in watched},
            "after": {self._key(v): later[id(v)] for v in [*watched, *loss_means(self._model)] if id(v) in later},
            **({"weights": _squares(state[0])} if self._norms else {}),
        }

    def _by_variable(self, state: Any) -> dict[int, Any]:
        """Values of variables in the state of a training step, by the ids of the variables."""
        model = self._model
        variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        return {id(v): value for many, values in zip(variables, state) for v, value in zip(many, values)}

    # ---- around the compiled step

    def _stepping(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def make_function(step: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            def stepped(state: Any, data: Any) -> Any:
                def take() -> Any:
                    logs, after = step(state, data)
                    return (self._taking(logs), after), lambda: self._given_state(after)

                return self._step(data, lambda: self._given_state(state), take)

            return make(stepped, *arguments, **options)

        return make_function

    @contextlib.contextmanager
    def _given_state(self, state: Any) -> Iterator[None]:
        """Inside, variables have the values of this state: while a fit runs they hold none."""
        values = self._by_variable(state)
        with names.given(values, self._rate_of(values), self._keys):
            yield

    def _rate_of(self, values: dict[int, Any]) -> float:
        plain = names.inner(self._model.optimizer)
        rate = plain._learning_rate
        value = values[id(rate)] if id(rate) in values else rate(values[id(plain._iterations)])
        return float(np.asarray(value))

    def given(self, moment: str) -> contextlib.AbstractContextManager[None]:
        """Inside, what a forward pass may move has these values."""
        return names.given(self.values(moment), self.rate(), self._keys)

    def seen(self) -> int:
        """Steps that were taken so far."""
        return self._count


def _apart(heard: dict[str, Any], others: Any) -> Any:
    """What is heard, of which nothing is a value that goes in or out elsewhere: jit would return one array for both, which the next
    step takes as its own memory."""
    import jax
    import jax.numpy as jnp

    taken = {id(leaf) for leaf in jax.tree_util.tree_leaves(others)}
    return jax.tree_util.tree_map(lambda leaf: jnp.array(leaf, copy=True) if id(leaf) in taken else leaf, heard)


def _squares(values: list[Any]) -> Any:
    """The sum of squares. Those of a row come first, which keeps the digits of float32."""
    import jax.numpy as jnp

    return sum(jnp.sum(jnp.sum(jnp.square(jnp.abs(one).astype("float32")), 0)) for one in values if one is not None)

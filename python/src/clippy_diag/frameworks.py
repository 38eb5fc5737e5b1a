"""`preflight` for whichever framework a model is of; frameworks are imported where they are used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable


def preflight(
    model: Any,
    optimizer: Any,
    batches: Iterable[Any],
    loss_fn: Callable[[Any, Any], Any] | None = None,
    seconds: float = 60,
    **options: Any,
) -> dict[str, Any]:
    """The largest learning rate at which a training is stable in its first steps, compared with the rate that it is set to.

    model      a torch.nn.Module, a keras.Model, or the parameters of an optax training, a tree of arrays
    optimizer  its optimizer; its rate is the asked one
    batches    a loader or another iterable of batches as `loss_fn` takes them
    loss_fn    (model, batch) -> loss, a scalar; left out, a torch model must return a `loss`. A Keras model must be compiled then
    seconds    after which no further rate is tried
    options    as of `preflight` in `clippy_diag.torch`, `clippy_diag.keras` or `clippy_diag.jax`, which explain all of them and what
               is returned

    Nothing of the training changes. Raises TypeError for a model of another framework.
    """
    kinds = [kind.__module__ for kind in type(model).__mro__]
    # On the backend of torch a Keras model is a torch.nn.Module too.
    if any(kind.split(".")[0] == "keras" for kind in kinds):
        from .keras.preflight import preflight as of_keras

        return of_keras(model, optimizer, batches, loss_fn, seconds, **options)
    if any(kind.startswith("torch.nn") for kind in kinds):
        from .torch.preflight import preflight as of_torch

        return of_torch(model, optimizer, batches, loss_fn, seconds, **options)
    if any(kind.__module__.split(".")[0] == "optax" for kind in type(optimizer).__mro__) and loss_fn is not None:
        from .jax.preflight import preflight as of_jax

        return of_jax(model, optimizer, batches, loss_fn, seconds, **options)
    raise TypeError(
        "clippy-diag: preflight takes a torch.nn.Module, a keras.Model, or parameters with a transformation of optax and a loss_fn;"
        f" model is a {type(model).__module__}.{type(model).__name__}"
    )

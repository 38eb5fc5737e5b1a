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

    model      a torch.nn.Module
    optimizer  its optimizer, or a list of them; its rate is the asked one
    batches    a DataLoader or another iterable of batches as `loss_fn` takes them
    loss_fn    (model, batch) -> loss, a scalar; left out, the model must return a `loss`
    seconds    after which no further rate is tried
    options    as of `clippy_diag.torch.preflight`, which explains all of them and what is returned

    Nothing of the training changes. Raises TypeError for a model of another framework.
    """
    if any(kind.__module__.startswith("torch.nn") for kind in type(model).__mro__):
        from .torch.preflight import preflight as of_torch

        return of_torch(model, optimizer, batches, loss_fn, seconds, **options)
    raise TypeError(
        f"clippy-diag: preflight takes a torch.nn.Module, and model is a {type(model).__module__}.{type(model).__name__}"
    )

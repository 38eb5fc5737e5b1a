"""The top Hessian eigenvalue of any Keras model against what its optimizer tolerates, plain and preconditioned.

By double backward and Lanczos; critical sharpness by forward passes alone. docs/curvature.md defines the quantities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ..spectrum import Limit, Operator, entries_of_operators, first_rise, stability_rule
from . import words as names


def curvature(
    model: Any,
    optimizer: Any,
    loss: Callable[[], Any],
    *,
    step: int = 0,
    checkpoint: str | None = None,
    iterations: int = 40,
    critical: bool = True,
) -> list[dict[str, Any]]:
    """Eigenvalues of the loss at the model's variables, as entries of a capture's or a report's `curvature`.

    model, optimizer  in their present state: load a checkpoint to measure that; of a LossScaleOptimizer the inner one counts
    loss              computes the loss of a batch, a scalar; the same value at every call
    step, checkpoint, iterations, critical   as of `clippy_diag.torch.curvature`

    Variables, random state and optimizer are as before afterwards. Backends: TensorFlow (eager) and PyTorch. Raises
    NotImplementedError on another backend, RuntimeError or LookupError for an operation without a second derivative.
    """
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "torch"):
        raise NotImplementedError(f"clippy-diag: curvature on the backend of {backend}; known are tensorflow and torch")
    optimizer = names.inner(optimizer)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    variables = list(model.variables) + list(optimizer.variables)
    kept = [(variable, names.array_of(variable)) for variable in variables]
    random = names.random_state()

    def put_back() -> None:
        names.put_back(kept, random)

    try:
        slopes, product = (_of_tensorflow if backend == "tensorflow" else _of_torch)(model, loss)
        put_back()
        trained = list(model.trainable_variables)
        roots = [divisor(optimizer, variable, slope) for variable, slope in zip(trained, slopes)]
        operators: dict[str, Operator | None] = {"hessian": _operator(trained, product, None)}
        operators["preconditioned-hessian"] = (
            None if any(root is None for root in roots) else _operator(trained, product, roots)
        )
        rate = names.rate_of(optimizer)
        return entries_of_operators(
            operators,
            lambda preconditioned: _limit(optimizer, rate, preconditioned),
            rate,
            (lambda: _critical(model, optimizer, loss, slopes, rate, put_back)) if critical else None,
            checkpoint=checkpoint or f"step {step}",
            step=step,
            iterations=iterations,
            backend=names.framework(),
        )
    finally:
        put_back()


Product = Callable[[list[np.ndarray]], list[np.ndarray]]


def _of_tensorflow(model: Any, loss: Callable[[], Any]) -> tuple[list[np.ndarray], Product]:
    """Gradients, and the product of the Hessian with one array a variable."""
    import tensorflow as tf

    values = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as inner:
            result = loss()
        found = inner.gradient(result, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        slopes = [tf.convert_to_tensor(slope) for slope in found]

    def product(vectors: list[np.ndarray]) -> list[np.ndarray]:
        weights = [tf.convert_to_tensor(vector, slope.dtype) for vector, slope in zip(vectors, slopes)]
        out = outer.gradient(
            slopes, values, output_gradients=weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [names.array_of(tf.convert_to_tensor(part)) for part in out]

    return [names.array_of(slope) for slope in slopes], product


def _of_torch(model: Any, loss: Callable[[], Any]) -> tuple[list[np.ndarray], Product]:
    import torch

    values = [variable.value for variable in model.trainable_variables]
    found = torch.autograd.grad(loss(), values, create_graph=True, allow_unused=True)
    used = [(slope, k) for k, slope in enumerate(found) if slope is not None and slope.requires_grad]
    if not used:
        raise RuntimeError("the loss depends linearly, or not at all, on the trained variables")

    def product(vectors: list[np.ndarray]) -> list[np.ndarray]:
        weights = [torch.from_numpy(vectors[k]).to(slope) for slope, k in used]
        out = torch.autograd.grad([slope for slope, _ in used], values, weights, retain_graph=True, allow_unused=True)
        return [names.array_of(torch.zeros_like(v) if part is None else part) for part, v in zip(out, values)]

    return [names.array_of(torch.zeros_like(v) if s is None else s) for s, v in zip(found, values)], product


def _operator(trained: list[Any], product: Product, roots: list[Any] | None) -> Operator:
    """S H S on vectors of float64; S is 1, or the inverse root of what a step divides by."""
    shapes = [tuple(variable.shape) for variable in trained]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    scale = np.ones(ends[-1])
    if roots is not None:
        flat = np.concatenate([root.reshape(-1) for root in roots])
        scale = np.divide(1.0, np.sqrt(flat), out=np.zeros_like(flat), where=flat > 0)

    def multiply(vector: np.ndarray) -> np.ndarray:
        parts = np.split((vector * scale).astype(np.float32), ends[:-1])
        out = product([part.reshape(shape) for part, shape in zip(parts, shapes)])
        return np.concatenate([part.reshape(-1) for part in out]).astype(np.float64) * scale

    return Operator(int(ends[-1]), lambda seed: np.random.default_rng(seed).normal(size=ends[-1]), multiply)


def divisor(optimizer: Any, variable: Any, gradient: np.ndarray) -> Any:
    """P of a variable, an array of float64: what the next step divides by, with this batch's own g² in it; None for an optimizer that
    divides by nothing, or by what this does not know.

    Adagrad √(G+g²+ε); Adam and AdamW (√v+ε)/√(1−β₂ᵗ) with v ← β₂v + (1−β₂)g², the largest v under amsgrad; RMSprop √(v+ε),
    less the square of the mean where it is centered.
    """
    if not names.has_formula(optimizer) or type(optimizer).__name__ == "SGD":
        return None
    return divisor_of(optimizer, variable, gradient)


def divisor_of(optimizer: Any, variable: Any, gradient: np.ndarray) -> Any:
    """The same of an Adagrad, RMSprop, Adam or AdamW of Keras, whatever Keras does with the weights after the update."""
    kind = type(optimizer).__name__
    index = names.index_of(optimizer, variable)

    def slot(name: str) -> np.ndarray:
        return names.array_of(getattr(optimizer, name)[index]).astype(np.float64)

    slope = gradient.astype(np.float64)
    square = slope**2
    if kind == "Adagrad":
        return np.sqrt(slot("_accumulators") + square + optimizer.epsilon)
    if kind == "RMSprop":
        second = optimizer.rho * slot("_velocities") + (1 - optimizer.rho) * square
        if optimizer.centered:
            second = second - (optimizer.rho * slot("_average_gradients") + (1 - optimizer.rho) * slope) ** 2
        return np.sqrt(np.maximum(second, 0) + optimizer.epsilon)
    beta = optimizer.beta_2
    second = beta * slot("_velocities") + (1 - beta) * square
    if optimizer.amsgrad:
        second = np.maximum(second, slot("_velocity_hats"))
    return (np.sqrt(second) + optimizer.epsilon) / np.sqrt(1 - beta ** (_taken(optimizer) + 1))


def _taken(optimizer: Any) -> int:
    return int(names.array_of(optimizer.iterations))


def _limit(optimizer: Any, rate: float, preconditioned: bool) -> Limit | None:
    if not names.has_formula(optimizer) or rate <= 0:
        return None
    options = {
        "beta1": getattr(optimizer, "beta_1", 0),
        "momentum": getattr(optimizer, "momentum", 0) or 0,
        "nesterov": getattr(optimizer, "nesterov", False),
        "step": _taken(optimizer) + 1,
    }
    rule = stability_rule(type(optimizer).__name__, options, preconditioned)
    return None if rule is None else Limit(rate, rule[0] / rate, rule[1])


def _critical(
    model: Any,
    optimizer: Any,
    loss: Callable[[], Any],
    slopes: list[np.ndarray],
    rate: float,
    put_back: Callable[[], None],
) -> tuple[float, float] | None:
    """Critical sharpness along the update that the optimizer would make."""
    trained = list(model.trainable_variables)
    before = [names.array_of(variable) for variable in trained]
    optimizer.apply([keras.ops.convert_to_tensor(slope) for slope in slopes], trained)
    updates = [start - names.array_of(variable) for start, variable in zip(before, trained)]

    def loss_at(multiple: float) -> float:
        put_back()
        for variable, start, update in zip(trained, before, updates):
            variable.assign(start - multiple * update)
        return float(np.asarray(names.array_of(loss())))

    return first_rise(loss_at, rate)

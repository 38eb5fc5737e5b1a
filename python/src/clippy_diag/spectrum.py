"""Eigenvalues of an operator that multiplies vectors, and what a report says of them. Vectors are numpy arrays or torch tensors.

docs/curvature.md defines the quantities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

import numpy as np

from .captures import number

#: The limit of Adam, as the command line names it.
# Of all limits the one that reruns confirm as a forecast of the largest stable rate (docs/curvature.md).
GRADIENT_DESCENT = "2/η (gradient descent)"
ADAM = "(2+2β₁)(1−β₁ᵗ)/((1−β₁)η) on P⁻¹H (arXiv 2207.14484, with the bias correction of step t)"
#: Losses of float32 passes that differ by less, relatively, are the same.
ROUNDING = 1e-6


class Operator(NamedTuple):
    """S H S of a loss on the trained parameters: H the Hessian, S a diagonal (1, or the inverse root of what a step
    divides by). `random(seed)` draws a vector of normal numbers."""

    size: int
    random: Callable[[int], Any]
    product: Callable[[Any], Any]


def norm_of(vector: Any) -> float:
    """Euclidean norm."""
    return math.sqrt(float(vector @ vector))


def check_operator(operator: Operator) -> None:
    """Raises RuntimeError where a product repeated is another one (the model draws random numbers) or uᵀHv is not vᵀHu (a
    derivative is wrong)."""
    u, v = operator.random(1), operator.random(2)
    hu, hv, again = operator.product(u), operator.product(v), operator.product(v)
    size = max(norm_of(hu) * norm_of(v), norm_of(hv) * norm_of(u))
    if not norm_of(hv - again) <= 1e-3 * norm_of(hv):
        raise RuntimeError("the same product twice gives two results")
    if not abs(float(u @ hv) - float(v @ hu)) <= 1e-3 * size:
        raise RuntimeError(
            "double backward: the products are not symmetric, so a second derivative of the model is wrong"
        )


class Limit(NamedTuple):
    """The largest eigenvalue at which a step is stable on a quadratic, with its formula."""

    rate: float
    value: float
    rule: str


def stability_rule(kind: str, options: Mapping[str, Any], preconditioned: bool) -> tuple[float, str] | None:
    """The limit times the learning rate, with its formula; None where the operator is not the one its limit is about.

    kind     "Adagrad", "SGD", "Adam", "AdamW" or "RMSprop"
    options  `beta1`, `momentum`, `nesterov`, `dampening`, `decay` (of Adagrad's rate), and `step`, the count of the step that
             comes next, from 1; what is absent is 0
    """
    if preconditioned != (kind != "SGD"):
        return None
    if kind in ("Adam", "AdamW"):
        beta, step = float(options["beta1"]), int(options.get("step", 0))
        # The bias correction makes the rate of the first steps larger.
        corrected = 1 - beta**step if step else 1.0
        return (2 + 2 * beta) * corrected / (1 - beta), ADAM
    momentum = float(options.get("momentum", 0))
    if kind == "SGD":
        if momentum and options.get("nesterov"):
            return (2 + 2 * momentum) / (1 + 2 * momentum), "(2+2β)/((1+2β)η) (Nesterov)"
        if momentum:
            damped = 1 - float(options.get("dampening", 0))
            return (
                2 + 2 * momentum
            ) / damped, "(2+2β)/η (heavy ball)" if damped == 1 else "(2+2β)/((1−d)η) (heavy ball)"
        return 2.0, GRADIENT_DESCENT
    decayed = 1 + max(0, int(options.get("step", 0)) - 1) * float(options.get("decay", 0))
    named = "2(1+(t−1)·decay)/η on P⁻¹H" if options.get("decay") else "2/η on P⁻¹H"
    return (2 + 2 * momentum) * decayed, "(2+2β)/η on P⁻¹H" if momentum else named


class Top(NamedTuple):
    """The largest algebraic eigenvalue that a Krylov space shows."""

    value: float
    residual: float
    largest_magnitude: float
    products: int
    vector: Any


def top_eigenvalue(operator: Operator, iterations: int, start: Any = None, tolerance: float = 0.0) -> Top:
    """Lanczos with full reorthogonalisation, and one product more for the exact residual.

    start      a vector to start from, a random one if None
    tolerance  stops where the estimated residual is below this share of the value; 0 goes on to the end
    """
    if start is None:
        start = operator.random(0)
    basis, alphas, betas = [start / norm_of(start)], [], []
    for _ in range(min(iterations, operator.size)):
        w = operator.product(basis[-1])
        alphas.append(float(w @ basis[-1]))
        for _ in range(2):
            for q in basis:
                w = w - (w @ q) * q
        betas.append(norm_of(w))
        if not (math.isfinite(betas[-1]) and betas[-1] > 1e-6 * max(map(abs, alphas))):
            break
        if tolerance and len(alphas) > 1:
            values, vectors = np.linalg.eigh(_tridiagonal(alphas, betas))
            if abs(betas[-1] * vectors[-1, -1]) <= tolerance * abs(values[-1]):
                break
        basis.append(w / betas[-1])
    n = len(alphas)
    matrix = _tridiagonal(alphas, betas)
    if not np.isfinite(matrix).all():
        return Top(math.nan, math.nan, math.nan, n, basis[0])
    values, vectors = np.linalg.eigh(matrix)
    v = sum(float(c) * q for c, q in zip(vectors[:, -1], basis))
    v = v / norm_of(v)
    hv = operator.product(v)
    value = float(v @ hv)
    return Top(value, norm_of(hv - value * v), float(max(values[0], values[-1], key=abs)), n + 1, v)


def _tridiagonal(alphas: list[float], betas: list[float]) -> np.ndarray:
    n = len(alphas)
    return np.diag(alphas) + np.diag(betas[: n - 1], 1) + np.diag(betas[: n - 1], -1)


def entries_of_operators(
    operators: Mapping[str, Operator | None],
    limit_of: Callable[[bool], Limit | None],
    rate: float,
    critical: Callable[[], tuple[float, float] | None] | None,
    **told: Any,
) -> list[dict[str, Any]]:
    """Entries of a report's `curvature` for the operators that are known, `hessian` and `preconditioned-hessian`.

    limit_of  the limit of an operator, by whether it is preconditioned
    rate      the learning rate, for an operator without a limit
    critical  measures the critical sharpness; None to leave it out
    `told`    members that the framework adds: step, checkpoint, backend, iterations (products for each eigenvalue)
    """
    iterations = told.pop("iterations")
    entries: list[dict[str, Any]] = []
    for name, operator in operators.items():
        if operator is None:
            continue
        if name == "hessian":
            check_operator(operator)
        top = top_eigenvalue(operator, iterations)
        limit = limit_of(name != "hessian")
        entries.append(
            {
                **told,
                "method": "lanczos",
                "operator": name,
                "block": "all",
                "task": "all",
                "eigenvalues": [
                    {
                        "value": number(top.value),
                        "residualNorm": number(top.residual),
                        "iterations": top.products - 1,
                        "converged": bool(top.residual <= 1e-3 * abs(top.value)),
                    }
                ],
                "largestMagnitude": number(top.largest_magnitude),
                "hvpCount": top.products,
                "hvpMethod": "double backward",
                "stability": {
                    "learningRate": limit.rate if limit else rate,
                    "limit": limit.value if limit else None,
                    "ratio": number(top.value / limit.value) if limit else None,
                    **({"rule": limit.rule, "forecast": limit.rule == GRADIENT_DESCENT} if limit else {}),
                },
                "seed": 0,
                "source": "recorded",
            }
        )
    found = critical() if critical is not None and entries else None
    for entry in entries:
        if found is not None and entry["stability"]["ratio"] is not None:
            entry["criticalSharpness"] = {"value": found[0], "criticalMultiple": number(found[1])}
    return entries


def first_rise(loss_at: Callable[[float], float], rate: float) -> tuple[float, float] | None:
    """Critical sharpness 2/η_c and η_c, in multiples of the learning rate, from the loss at multiples of an update.

    Brackets by factors of 2 from 1/64 of the learning rate on, then bisects to 1 %. (0, ∞) where no step up to 4096
    times raises the loss; None where none lowers it by more than rounding before one raises it.
    """
    here = loss_at(0.0)
    same, lowest = ROUNDING * abs(here), here

    def raises(multiple: float) -> bool:
        nonlocal lowest
        value = loss_at(multiple)
        lowest = min(lowest, value) if value == value else lowest
        return not value <= here + same

    high = 1 / 64
    while not raises(high):
        high *= 2
        if high > 4096:
            return 0.0, math.inf
    low = 0.0 if high == 1 / 64 else high / 2
    while high - low > 0.01 * high and high > 1e-12:
        middle = (low + high) / 2
        if raises(middle):
            high = middle
        else:
            low = middle
    return (2 / (high * rate), high) if lowest < here - same else None

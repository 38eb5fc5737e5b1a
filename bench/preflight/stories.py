"""The stories of docs/preflight.md: a preflight of a small optax training, and what the training does at several rates.

python bench/preflight/stories.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parents[2] / "python" / "src"))
from clippy_diag.jax import preflight  # noqa: E402

DIRECTION = np.random.default_rng(9).normal(size=16).astype("float32")
STEPS = 300


def net() -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    sizes = {"body": (16, 64), "mix": (64, 64), "out": (64, 1)}
    return {name: jax.random.normal(key, size) / size[0] ** 0.5 for key, (name, size) in zip(keys, sizes.items())}


def loss_fn(params: dict[str, jax.Array], batch: dict[str, Any]) -> jax.Array:
    hidden = jnp.tanh(jnp.tanh(batch["x"] @ params["body"]) @ params["mix"])
    return ((hidden @ params["out"] - batch["y"]) ** 2).mean()


def batches(count: int, rows: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x = rng.normal(size=(rows, 16)).astype("float32")
        y = np.sin(x @ DIRECTION / 2) + x[:, 0] * x[:, 1] + 0.1 * rng.normal(size=rows)
        yield {"x": x, "y": y.astype("float32")[:, None]}


def trained(make: Callable[[float], Any], rate: float, rows: int) -> float:
    """Loss on 4,096 clean rows after STEPS steps; a constant answer has 1.52."""
    optimizer, params = make(rate), net()
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(jax.grad(loss_fn)(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    for batch in batches(STEPS, rows, 5):
        params, state = step(params, state, batch)
    return float(loss_fn(params, next(batches(1, 4096, 77))))


def main() -> None:
    stories: list[tuple[str, Callable[[float], Any], float, int, tuple[float, ...]]] = [
        ("sgd", optax.sgd, 0.1, 64, (0.1, 0.3, 0.5)),
        ("momentum 0.9", lambda rate: optax.sgd(rate, 0.9), 0.1, 64, (0.1, 0.05, 0.015)),
        ("sgd", optax.sgd, 0.1, 8, (0.1, 0.01)),
    ]
    for name, make, asked, rows, rates in stories:
        answer = preflight(net(), make(asked), batches(144, rows, 1), loss_fn, 600, audited=False)["preflight"]
        print(f"{name}, rate {asked}, batch {rows}: {answer['statement']} ({answer['gradients']} gradients)")
        print("  loss after the training:", {rate: round(trained(make, rate, rows), 2) for rate in rates})


if __name__ == "__main__":
    main()

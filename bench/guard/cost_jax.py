"""What the guard of JAX costs inside of a jitted step, in processor time: steps with it and without it, in turns.

python bench/guard/cost_jax.py
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))
from clippy_diag.jax import guard  # noqa: E402

#: Width of four square layers, rows of a batch, steps of a turn.
SIZES = ((32, 64, 200), (256, 256, 60), (256, 1024, 30))
TURNS = 5


def stepper(tx: Any, params: Any, x: Any) -> Any:
    """A function that takes steps and returns the processor time of one."""

    def loss_of(params: Any) -> Any:
        out = x
        for weight in params:
            out = jax.nn.relu(out @ weight)
        return ((out - 1) ** 2).mean()

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any]:
        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    now = [params, tx.init(params)]

    def steps(count: int) -> float:
        begun = time.process_time()
        for _ in range(count):
            now[:] = step(*now)
        jax.block_until_ready(now)
        return (time.process_time() - begun) / count

    return steps


def main() -> None:
    print("| parameters | batch | optimizer | step | with the guard | more |\n|---|---|---|---|---|---|")
    for width, batch, count in SIZES:
        keys = jax.random.split(jax.random.PRNGKey(0), 5)
        params = [jax.random.normal(key, (width, width)) / width**0.5 for key in keys[:4]]
        x = jax.random.normal(keys[4], (batch, width))
        for name, tx in (("SGD", optax.sgd(1e-3)), ("Adam", optax.adam(1e-3))):
            plain, guarded = stepper(optax.with_extra_args_support(tx), params, x), stepper(guard(tx), params, x)
            plain(12), guarded(12)
            taken = [(plain(count), guarded(count)) for _ in range(TURNS)]
            bare, held = (statistics.median(column) for column in zip(*taken))
            more = statistics.median(b - a for a, b in taken)
            size = sum(weight.size for weight in params)
            print(
                f"| {size} | {batch} | {name} | {1e3 * bare:.2f} ms | {1e3 * held:.2f} ms | {1e3 * more:.2f} ms, {100 * more / bare:.0f} % |"
            )


if __name__ == "__main__":
    main()

"""Small trainings in JAX with optax, recorded, with one fault or none; everything is drawn from the seed.

jax_trainings.py OUT --seeds A:B [--healthy]      writes OUT/<seed>/capture and OUT/<seed>/truth.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from drawn import CLASSES, FEATURES, STEPS, WARM_UP, Plan

from clippy_diag.jax import Recorder


def optimizer_of(plan: Plan, rate: Any, decay: float) -> Any:
    return {
        "sgd": lambda: optax.sgd(rate, 0.9),
        "adam": lambda: optax.adam(rate),
        "adamw": lambda: optax.adamw(rate, weight_decay=decay),
        "adagrad": lambda: optax.adagrad(rate),
        "rmsprop": lambda: optax.rmsprop(rate),
    }[plan.kind]()


def described(plan: Plan) -> dict[str, Any]:
    words = {"name": plan.kind, "learning_rate": plan.rate_at if plan.schedule else plan.rate}
    if plan.kind == "sgd":
        words["momentum"] = 0.9
    if plan.kind == "adamw":
        words["weight_decay"] = plan.decay
    return words


def start(plan: Plan) -> dict[str, Any]:
    draw = np.random.default_rng(plan.seed)
    sizes = [("first", FEATURES, plan.hidden), ("second", plan.hidden, plan.hidden), ("head", plan.hidden, CLASSES)]
    return {
        name: {
            "kernel": jnp.asarray(draw.normal(size=(rows, columns)) / np.sqrt(rows), jnp.float32),
            "bias": jnp.zeros(columns),
        }
        for name, rows, columns in sizes
    }


def train(plan: Plan, out: Path) -> dict[str, Any]:
    dead = plan.fault == "dead-tensor"

    def loss_of(params: Any, batch: Any) -> Any:
        h = jnp.tanh(batch[0] @ params["first"]["kernel"] + params["first"]["bias"])
        inner = h @ params["second"]["kernel"] + params["second"]["bias"]
        h = h + jax.nn.relu(inner - 1e3 if dead else inner)
        logits = h @ params["head"]["kernel"] + params["head"]["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    decay = plan.decay * (plan.factor or 0.0) if plan.fault == "decay-factor" else plan.decay
    used = (lambda count: plan.rate * (0.6 + 0.4 * jnp.cos(count / 20))) if plan.schedule else plan.rate
    transform = optimizer_of(plan, used, decay)
    params = start(plan)
    state = transform.init(params)
    recorder = Recorder(
        out / "capture",
        described(plan),
        clipping=None if plan.limit is None else f"global-norm:{plan.limit}",
        snapshot_every_steps=plan.every,
        steps_after=STEPS,
    )
    value_and_grad, update = jax.jit(jax.value_and_grad(loss_of)), jax.jit(transform.update)
    held = None
    for step in range(WARM_UP + STEPS + 4):
        if step == WARM_UP:
            recorder.capture()
        batch = plan.batch()
        loss, grads = value_and_grad(params, batch)
        if plan.fault == "no-zero-grad" and step >= 30:
            grads = grads if held is None else jax.tree.map(jnp.add, grads, held)
        if plan.fault == "lone-gradient" and step == plan.at:
            kernel = np.array(grads["second"]["kernel"])
            kernel.reshape(-1)[plan.place] = max(1e-3, abs(kernel.reshape(-1)[plan.place])) * 2.0**24
            grads["second"]["kernel"] = jnp.asarray(kernel)
        recorder.record(step, float(loss), grads, params, state, batch=batch)
        factor = plan.clip_factor(float(optax.global_norm(grads)))
        grads = jax.tree.map(lambda g, k=factor: g * jnp.float32(k), grads)
        held = grads if plan.fault == "no-zero-grad" else None
        if plan.fault in ("not-divided", "divided-twice"):
            grads = jax.tree.map(lambda g: g * jnp.float32(plan.factor), grads)
        if plan.fault == "state-fresh" and step == plan.at:
            fresh = transform.init(params)
            # The count of the schedule goes on.
            state = (fresh[0], *state[1:])
        updates, state = update(grads, state, params)
        if plan.fault == "rate-factor":
            updates = jax.tree.map(lambda u: u * jnp.float32(plan.factor), updates)
        params = optax.apply_updates(params, updates)
        named = {f"{layer}/{name}": np.asarray(w) for layer, own in params.items() for name, w in own.items()}
        for name, w in plan.wrote(step, named, "second/kernel").items():
            layer, _, part = name.partition("/")
            params[layer][part] = jnp.asarray(w)
    recorder.close()
    return plan.truth("jax")


if __name__ == "__main__":
    drawn.main(train, __doc__)

"""Small trainings in Keras (KERAS_BACKEND), recorded, with one fault or none; everything is drawn from the seed.

keras_trainings.py OUT --seeds A:B [--healthy]      writes OUT/<seed>/capture and OUT/<seed>/truth.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import drawn
import keras
import numpy as np
from drawn import CLASSES, FEATURES, STEPS, WARM_UP, Plan

from clippy_diag.keras import Recorder


def model_of(plan: Plan) -> Any:
    keras.utils.set_random_seed(plan.seed)
    inputs = keras.Input((FEATURES,))
    h = keras.layers.Dense(plan.hidden, activation="tanh", name="first")(inputs)
    second = keras.layers.Dense(plan.hidden, name="second")(h)
    if plan.fault == "dead-tensor":
        second = second - 1e3
    if plan.draw.random() < 0.4:
        h = keras.layers.LayerNormalization(name="norm")(h)
    h = h + keras.ops.relu(second)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="head")(h))


def optimizer_of(plan: Plan) -> Any:
    optimizers = keras.optimizers
    return {
        "sgd": lambda: optimizers.SGD(plan.rate, momentum=0.9),
        "adam": lambda: optimizers.Adam(plan.rate),
        "adamw": lambda: optimizers.AdamW(plan.rate, weight_decay=plan.decay),
        "adagrad": lambda: optimizers.Adagrad(plan.rate),
        "rmsprop": lambda: optimizers.RMSprop(plan.rate),
    }[plan.kind]()


def gradients_of(model: Any, batch: Any) -> tuple[Any, list[Any]]:
    """Loss and gradients, on the backend that Keras runs on."""
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if keras.backend.backend() == "torch":
        model.zero_grad()
        loss = loss_of(batch[1], model(batch[0], training=True))
        loss.backward()
        return loss.detach(), [v.value.grad.detach().clone() for v in model.trainable_weights]
    if keras.backend.backend() == "jax":
        import jax

        fixed = [v.value for v in model.non_trainable_variables]

        def loss_at(weights: list[Any]) -> Any:
            return loss_of(batch[1], model.stateless_call(weights, fixed, batch[0], training=True)[0])

        return jax.value_and_grad(loss_at)([v.value for v in model.trainable_variables])
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = loss_of(batch[1], model(batch[0], training=True))
    found = tape.gradient(loss, model.trainable_weights)
    return loss, [tf.zeros_like(v) if g is None else g for v, g in zip(model.trainable_weights, found)]


def numbers(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def train(plan: Plan, out: Path) -> dict[str, Any]:
    model, optimizer = model_of(plan), optimizer_of(plan)
    optimizer.build(model.trainable_variables)
    recorder = Recorder(
        model,
        optimizer,
        out / "capture",
        clipping=None if plan.limit is None else f"global-norm:{plan.limit}",
        snapshot_every_steps=plan.every,
        steps_after=STEPS,
    )
    variables = model.trainable_variables
    hidden = next(v.path for v in variables if "second" in v.path and "kernel" in v.path)
    held: list[Any] | None = None
    for step in range(WARM_UP + STEPS + 4):
        if step == WARM_UP:
            recorder.capture()
        optimizer.learning_rate = plan.rate_at(step)
        batch = plan.batch()
        loss, gradients = gradients_of(model, batch)
        if plan.fault == "no-zero-grad" and step >= 30 and held is not None:
            gradients = [g + h for g, h in zip(gradients, held)]
        if plan.fault == "lone-gradient" and step == plan.at:
            k = next(k for k, v in enumerate(variables) if v.path == hidden)
            kernel = numbers(gradients[k]).copy()
            kernel.reshape(-1)[plan.place] = max(1e-3, abs(kernel.reshape(-1)[plan.place])) * 2.0**24
            gradients[k] = keras.ops.convert_to_tensor(kernel)
        recorder.record(step, float(numbers(loss)), gradients, batch=batch)
        norm = float(np.sqrt(sum(float((numbers(g).astype(np.float64) ** 2).sum()) for g in gradients)))
        factor = plan.clip_factor(norm)
        gradients = [g * factor for g in gradients]
        held = gradients if plan.fault == "no-zero-grad" else None
        if plan.fault in ("not-divided", "divided-twice"):
            gradients = [g * plan.factor for g in gradients]
        if plan.fault == "state-fresh" and step == plan.at:
            for variable in optimizer.variables:
                if variable.path not in (optimizer.iterations.path, "learning_rate") and "rate" not in variable.path:
                    variable.assign(keras.ops.zeros_like(variable))
        if plan.fault == "decay-factor":
            optimizer.weight_decay = plan.decay * (plan.factor or 0.0)
        before = [numbers(v).copy() for v in variables]
        optimizer.apply(gradients, variables)
        if plan.fault == "rate-factor":
            for variable, old in zip(variables, before):
                variable.assign(old + np.float32(plan.factor) * (numbers(variable) - old))
        optimizer.weight_decay = plan.decay or None
        named = {v.path: numbers(v) for v in variables}
        changed = plan.wrote(step, named, hidden)
        for variable in variables:
            if variable.path in changed:
                variable.assign(changed[variable.path])
    recorder.close()
    return plan.truth("keras")


if __name__ == "__main__":
    drawn.main(train, __doc__)

"""Small trainings whose loss explodes, one for each framework: with a recorder, and the same without."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

#: Steps of a training, and the first of ten steps with bad batches.
STEPS, BAD = 110, 70
#: Called before each step with its number.
At = Callable[[int], None]
#: What is handed to the recorder in place of the true step, loss and batch, by "step", "loss" and "batch".
Given = dict[str, Callable[[Any], Any]]


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of a linear task; those of ten steps are 300 times too large."""
    random = np.random.default_rng(3)
    weights = random.standard_normal((16, 1))
    found = []
    for step in range(STEPS):
        x = random.standard_normal((32, 16))
        y = x @ weights + 0.1 * random.standard_normal((32, 1))
        factor = 300 if BAD <= step < BAD + 10 else 1
        found.append(((x * factor).astype("float32"), (y * factor).astype("float32")))
    return found


def fingerprint(weights: list[np.ndarray]) -> str:
    """A hash of the final weights."""
    whole = hashlib.sha256()
    for array in weights:
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()[:16]


def torch(folder: str | None, at: At, given: Given, options: dict[str, Any], change: Any = None) -> str:
    """A loop of one's own in PyTorch; `change(step, model, optimizer)` is what the loop does to them."""
    import torch

    from clippy_diag.torch import Recorder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    recorder = None if folder is None else Recorder(model, optimizer, folder, **options)
    for step, (x, y) in enumerate(batches()):
        at(step)
        if change is not None:
            change(step, model, optimizer)
        inputs, target = torch.from_numpy(x), torch.from_numpy(y)
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), target)
        loss.backward()
        if recorder is not None:
            recorder.record(
                given.get("step", int)(step),
                given.get("loss", lambda value: value)(loss),
                batch=given.get("batch", lambda value: value)((inputs, target)),
            )
        optimizer.step()
    if recorder is not None:
        recorder.close()
    return fingerprint([p.detach().numpy() for p in model.parameters()])


def jax(folder: str | None, at: At, given: Given, options: dict[str, Any]) -> str:
    """A loop with optax."""
    import jax
    import jax.numpy as jnp
    import optax

    from clippy_diag.jax import Recorder

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"] - y) ** 2)

    first, second = jax.random.split(jax.random.PRNGKey(0))
    params = {"a": 0.2 * jax.random.normal(first, (16, 32)), "b": 0.2 * jax.random.normal(second, (32, 1))}
    tx = optax.sgd(0.05, momentum=0.9)
    state = tx.init(params)
    loss_and_grads, update = jax.jit(jax.value_and_grad(loss_of)), jax.jit(tx.update)
    recorder = None
    if folder is not None:
        recorder = Recorder(folder, {"name": "sgd", "learningRate": 0.05, "momentum": 0.9}, **options)
    for step, (x, y) in enumerate(batches()):
        at(step)
        loss, grads = loss_and_grads(params, x, y)
        if recorder is not None:
            recorder.record(
                given.get("step", int)(step),
                given.get("loss", lambda value: value)(loss),
                grads,
                params,
                state,
                batch=given.get("batch", lambda value: value)({"x": x, "y": y}),
            )
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    if recorder is not None:
        recorder.close()
    return fingerprint([np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(params)])


def keras(folder: str | None, at: At, given: Given, options: dict[str, Any]) -> str:
    """`fit` of Keras 3, with the callback."""
    import keras

    return _fit(keras, folder, at, options)


def keras2(folder: str | None, at: At, given: Given, options: dict[str, Any]) -> str:
    """`fit` of Keras 2, with the callback."""
    import tf_keras

    return _fit(tf_keras, folder, at, options)


def _fit(keras: Any, folder: str | None, at: At, options: dict[str, Any]) -> str:
    from clippy_diag.keras import ClippyCallback

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Input((16,)), keras.layers.Dense(32, activation="tanh"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    rows = batches()
    before = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: at(batch))
    callbacks = [before] if folder is None else [before, ClippyCallback(folder, batches=True, **options)]
    model.fit(
        np.concatenate([x for x, _ in rows]),
        np.concatenate([y for _, y in rows]),
        batch_size=32,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    return fingerprint(model.get_weights())


TRAININGS: dict[str, Callable[..., str]] = {"torch": torch, "jax": jax, "keras": keras, "keras2": keras2}
#: What is loaded before the process is copied for each fault.
MODULES = {
    "torch": ["torch", "clippy_diag.torch"],
    "jax": ["jax", "optax", "clippy_diag.jax"],
    "keras": ["tensorflow", "keras", "clippy_diag.keras"],
    "keras2": ["tensorflow", "keras", "tf_keras", "clippy_diag.keras"],
}

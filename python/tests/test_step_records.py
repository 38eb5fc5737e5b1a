"""What Keras's and JAX's recorders keep of each step for an audit, and what the command line says of it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clippy_diag import audit
from clippy_diag.step_records import StepRecords, moment_of_arrays

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
COMMAND = [NODE or "node", str(ROOT / "bin" / "run.js")]
built = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")
HAS_KERAS = importlib.util.find_spec("keras") is not None and (
    importlib.util.find_spec(os.environ.get("KERAS_BACKEND", "tensorflow")) is not None
)
has_keras = pytest.mark.skipif(not HAS_KERAS, reason="no keras with a backend in this environment")
has_jax = pytest.mark.skipif(importlib.util.find_spec("optax") is None, reason="no optax in this environment")


def links_of(capture: Path) -> dict[str, dict[str, Any]]:
    """Links by name, broken ones first."""
    found: dict[str, dict[str, Any]] = {}
    for link in audit(capture, command=COMMAND)["links"]:
        found.setdefault(link["link"], link)
    return found


def broken_in(links: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return [(name, link["cause"]) for name, link in links.items() if link["outcome"] == "broken"]


def test_a_moment_tells_which_tensor_changed_and_whether_it_was_state() -> None:
    tensors = {"param/a": np.ones(3, "f4"), "param/b": np.ones(2, "f4"), "state/m/a": np.zeros(3, "f4")}
    before = moment_of_arrays(tensors)
    after = moment_of_arrays({**tensors, "param/b": np.array([1, 2], "f4")})
    assert before["state"] == after["state"]
    assert before["weights"]["tensors"]["a"] == after["weights"]["tensors"]["a"]
    assert before["weights"]["tensors"]["b"] != after["weights"]["tensors"]["b"]
    assert before["weights"]["sum"] != after["weights"]["sum"]
    # Two slots that change places are another state.
    two = {"state/m/a": np.ones(3, "f4"), "state/v/a": np.zeros(3, "f4")}
    swapped = {"state/m/a": np.zeros(3, "f4"), "state/v/a": np.ones(3, "f4")}
    assert moment_of_arrays(two)["state"] != moment_of_arrays(swapped)["state"]


def test_a_resume_knows_the_batches_and_rates_of_the_run_before(tmp_path: Path) -> None:
    first = StepRecords(tmp_path / "status.json")
    batch = {"batch/x": np.arange(4)}
    entry = first.entry(7, [0.1], batch, None, options=[], modes=None, outside={})
    assert "repeats" not in entry
    (tmp_path / "status.json").write_text(json.dumps(first.status()), "utf8")
    second = StepRecords(tmp_path / "status.json")
    assert second.run["before"] == {"step": 7, "learningRates": [0.1]}
    assert second.entry(8, [0.1], batch, None, options=[], modes=None, outside={})["repeats"] == 7
    assert second.run["id"] != first.run["id"]


@pytest.mark.parametrize(
    "left", ['{"batches": [3]}', '{"batches": {"a": 1}}', '{"batches": [[1, 2], [true, "x"]]}', "[]", "[" * 9999]
)
def test_what_no_run_before_it_wrote_is_no_past(tmp_path: Path, left: str) -> None:
    (tmp_path / "status.json").write_text(left, "utf8")
    records = StepRecords(tmp_path / "status.json")
    entry = records.entry(8, [0.1], {"batch/x": np.arange(4)}, None, options=[], modes=None, outside={})
    assert "repeats" not in entry and len(records.status()["batches"]) == 1


@pytest.mark.parametrize("expected", ["weight_decay", ["weight_decay"], ("weight_decay",)])
def test_changes_that_are_meant_are_in_the_manifest(tmp_path: Path, expected: Any) -> None:
    assert StepRecords(tmp_path / "status.json", expected).described([])["expectedChanges"] == ["weight_decay"]
    assert "expectedChanges" not in StepRecords(tmp_path / "status.json").described([])


# ---- Keras


def fit(folder: Path, *, fault: str | None = None, expected: tuple[str, ...] = ()) -> None:
    """A fit of 52 steps, of which 21 are in the capture."""
    import keras

    from clippy_diag.keras import ClippyCallback

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(12, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.1),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01, global_clipnorm=0.3, weight_decay=0.05), "mse")
    callback = ClippyCallback(folder, snapshot_every_steps=5, steps_after=20, batches=True, expected_changes=expected)

    class Loop(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 29:
                callback.capture()
            if batch == 36 and fault == "weights-replaced":
                kernel = model.trainable_variables[0]
                kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))

    random = np.random.default_rng(0)
    x = random.normal(size=(520, 6)).astype("float32")
    y = x.sum(1, keepdims=True) + random.normal(size=(520, 1)).astype("float32")
    model.fit(x, y, batch_size=10, shuffle=False, verbose=0, callbacks=[callback, Loop()])
    assert callback.captures, callback.problems


@has_keras
@built
@pytest.mark.parametrize("fault", [None, "weights-replaced"])
def test_a_fit_of_keras_is_audited_link_by_link(tmp_path: Path, fault: str | None) -> None:
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "jax":
        pytest.skip("on JAX a fit hands over neither modes nor weights after a step")
    fit(tmp_path / "capture", fault=fault)
    links = links_of(tmp_path / "capture")
    if fault is None:
        assert broken_in(links) == []
        held = ("batch", "mode", "gradient", "clip", "optimizer", "weights", "between")
        assert [links[name]["outcome"] for name in held] == ["holds"] * len(held)
        return
    assert broken_in(links) in ([("weights", fault)], [("between", fault)], [("weights", fault), ("between", fault)])
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text("utf8"))
    name = manifest["parameters"][0]["name"]
    assert name in links["between"]["statement"]


def own_loop(folder: Path, *, training: bool = True, expected: tuple[str, ...] | None = None) -> None:
    """Where `expected` is given, the weight decay changes at step 20 and the recorder is told what may."""
    import keras

    from clippy_diag.keras import Recorder

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dense(1)]
    )
    optimizer = keras.optimizers.SGD(0.02, momentum=0.9, weight_decay=0.01)
    recorder = Recorder(
        model, optimizer, folder, snapshot_every_steps=5, steps_after=20, expected_changes=expected or ()
    )
    random = np.random.default_rng(0)
    for step in range(32):
        x = random.normal(size=(24, 6)).astype("float32")
        if step == 10:
            recorder.capture()
        if step == 20 and expected is not None:
            optimizer.weight_decay = 0.05
        loss, gradients = _gradients(keras, model, x, x.sum(1, keepdims=True), training)
        recorder.record(step, loss, gradients, batch={"x": x})
        optimizer.apply(gradients, model.trainable_variables)
    recorder.close()
    assert recorder.captures, recorder.problems


def _gradients(keras: Any, model: Any, x: Any, y: Any, training: bool) -> tuple[Any, list[Any]]:
    if keras.backend.backend() == "torch":
        model.zero_grad()
        target = keras.ops.convert_to_tensor(y)
        loss = keras.ops.mean(keras.ops.square(model(x, training=training) - target))
        loss.backward()
        return loss, [v.value.grad for v in model.trainable_variables]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = keras.ops.mean(keras.ops.square(model(x, training=training) - y))
    return loss, tape.gradient(loss, model.trainable_variables)


@has_keras
@built
@pytest.mark.parametrize("training", [True, False])
def test_a_keras_model_that_is_called_as_in_evaluation_is_named(tmp_path: Path, training: bool) -> None:
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "jax":
        pytest.skip("own loops in JAX are recorded by clippy_diag.jax")
    own_loop(tmp_path / "capture", training=training)
    links = links_of(tmp_path / "capture")
    assert broken_in(links) == ([] if training else [("mode", "eval-mode")])
    assert links["optimizer"]["outcome"] == "holds"
    if not training:
        assert "training=True" in links["mode"]["fix"]


@has_keras
@built
@pytest.mark.parametrize("expected", [(), ("weight_decay",)])
def test_a_decay_that_changes_in_keras_is_a_fault_unless_it_is_declared(
    tmp_path: Path, expected: tuple[str, ...]
) -> None:
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "jax":
        pytest.skip("own loops in JAX are recorded by clippy_diag.jax")
    own_loop(tmp_path / "capture", expected=expected)
    links = links_of(tmp_path / "capture")
    assert broken_in(links) == ([] if expected else [("between", "options-changed")])
    assert links["optimizer"]["outcome"] == "holds"


@has_keras
def test_the_callback_of_keras_writes_which_changes_are_meant(tmp_path: Path) -> None:
    fit(tmp_path / "capture", expected=("weight_decay",))
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text("utf8"))
    assert manifest["expectedChanges"] == ["weight_decay"]


# ---- JAX


def flight_of(
    folder: Path, transform: Any, *, times: float = 1.0, decay: float | None = None, expected: tuple[str, ...] = ()
) -> None:
    """A jitted loop under `flight`; `times` multiplies each update, and an injected weight decay becomes `decay` at step 25."""
    import jax
    import jax.numpy as jnp
    import optax

    from clippy_diag.jax import flight

    params = {"kernel": jnp.linspace(-0.5, 0.5, 12).reshape(6, 2), "bias": jnp.zeros(2)}
    tx = flight(transform, folder, snapshot_every_steps=5, steps_after=20, expected_changes=expected)
    state = tx.init(params)

    def loss_of(p: Any, batch: Any) -> Any:
        return jnp.square(jnp.tanh(batch["x"] @ p["kernel"] + p["bias"]) - batch["y"]).mean()

    @jax.jit
    def update(params: Any, state: Any, batch: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        updates, state = tx.update(grads, state, params, value=loss, batch=batch)
        return optax.apply_updates(params, jax.tree.map(lambda u: times * u, updates)), state

    random = np.random.default_rng(0)
    for step in range(40):
        if step == 15:
            jax.effects_barrier()
            tx.capture()
        if step == 25 and decay is not None:
            state.inner.hyperparams["weight_decay"] = jnp.asarray(decay)
        batch = {"x": random.normal(size=(8, 6)).astype("f4"), "y": random.normal(size=(8, 2)).astype("f4")}
        params, state = update(params, state, batch)
    tx.close()
    assert tx.captures, tx.problems


def transforms() -> dict[str, Any]:
    import optax

    return {
        "adamw": optax.chain(optax.clip_by_global_norm(0.2), optax.adamw(0.01, weight_decay=0.1)),
        "sgd with decay": optax.chain(optax.trace(0.9), optax.add_decayed_weights(0.05), optax.scale(-0.05)),
        "rmsprop": optax.rmsprop(optax.cosine_decay_schedule(0.01, 100)),
        "rmsprop with momentum": optax.rmsprop(0.005, momentum=0.9),
        "adagrad": optax.adagrad(0.1),
    }


@has_jax
@built
@pytest.mark.parametrize("name", ["adamw", "sgd with decay", "rmsprop", "rmsprop with momentum", "adagrad"])
def test_the_steps_of_a_chain_of_optax_are_audited_by_formula(tmp_path: Path, name: str) -> None:
    flight_of(tmp_path / "capture", transforms()[name])
    links = links_of(tmp_path / "capture")
    assert broken_in(links) == []
    assert links["optimizer"]["outcome"] == "holds"
    assert links["mode"]["outcome"] == "not-applicable"


@has_jax
@built
def test_updates_that_are_halved_are_a_rate_of_half(tmp_path: Path) -> None:
    flight_of(tmp_path / "capture", transforms()["adamw"], times=0.5)
    links = links_of(tmp_path / "capture")
    # Decay is halved too, and so is the rate: one cause.
    assert broken_in(links) == [("optimizer", "rate-factor")]
    assert links["optimizer"]["factor"] == pytest.approx(0.5, rel=0.01)


@has_jax
@built
@pytest.mark.parametrize("expected", [(), ("weight_decay",)])
def test_a_decay_that_changes_in_jax_is_a_fault_unless_it_is_declared(
    tmp_path: Path, expected: tuple[str, ...]
) -> None:
    import optax

    transform = optax.inject_hyperparams(optax.adamw)(learning_rate=0.01, weight_decay=0.1)
    flight_of(tmp_path / "capture", transform, decay=0.5, expected=expected)
    links = links_of(tmp_path / "capture")
    assert broken_in(links) == ([] if expected else [("between", "options-changed")])

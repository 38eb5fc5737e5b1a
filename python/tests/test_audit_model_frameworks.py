"""`audit(capture, model=…, loss_fn=…)` under JAX and Keras."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clippy_diag import AuditFailed, assert_clean

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
built = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")
COMMAND = [NODE or "node", str(ROOT / "bin" / "run.js")]


def _jax(folder: Path, times: float) -> dict[str, Any]:
    """12 recorded steps whose gradients are so many times those of the loss."""
    jax = pytest.importorskip("jax", reason="no JAX in this environment")
    optax = pytest.importorskip("optax")
    from clippy_diag.jax import Recorder

    def loss_fn(params: Any, batch: Any) -> Any:
        x, y = batch
        return ((jax.numpy.tanh(x @ params["w"]) @ params["v"] - y) ** 2).mean()

    draw = np.random.default_rng(0)
    params: Any = {n: draw.normal(size=s).astype(np.float32) * 0.3 for n, s in (("w", (6, 8)), ("v", (8, 1)))}
    tx = optax.adam(1e-2)
    state = tx.init(params)
    recorder = Recorder(folder, {"name": "adam", "learning_rate": 1e-2}, snapshot_every_steps=3, steps_after=12)
    recorder.capture()
    for step in range(14):
        batch = (draw.normal(size=(16, 6)).astype(np.float32), draw.normal(size=(16, 1)).astype(np.float32))
        loss, slopes = jax.value_and_grad(loss_fn)(params, batch)
        slopes = jax.tree_util.tree_map(lambda g: g * times, slopes)
        recorder.record(step, loss, slopes, params, state, batch=batch)
        updates, state = tx.update(slopes, state, params)
        params = optax.apply_updates(params, updates)
    recorder.close()
    return {"model": params, "loss_fn": loss_fn}


def _keras(folder: Path, times: float) -> dict[str, Any]:
    keras = pytest.importorskip("keras", reason="no Keras in this environment")
    if keras.backend.backend() not in ("tensorflow", "torch"):
        pytest.skip("closed loops run on TensorFlow and PyTorch")
    from clippy_diag.keras import ClippyCallback

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="tanh"), layers.Dropout(0.2), layers.Dense(1)]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    callback = ClippyCallback(folder, snapshot_every_steps=3, steps_after=12, batches=True)
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(16 * 15, 6)).astype("float32"), draw.normal(size=(16 * 15, 1)).astype("float32")

    callback.capture()
    model.fit(x, y, batch_size=16, callbacks=[callback], verbose=0, shuffle=False)

    def loss_fn(model: Any, batch: Any) -> Any:
        x, y = batch
        return keras.ops.mean((model(x, training=True) - y) ** 2) * (1 / times)

    return {"model": model, "loss_fn": loss_fn}


@built
@pytest.mark.parametrize("framework", [_jax, _keras])
@pytest.mark.parametrize("times", [1.0, 4.0])
def test_a_gradient_is_held_against_its_loss(tmp_path: Path, framework: Any, times: float) -> None:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    again = framework(tmp_path / "capture", times)
    if times == 1:
        found = assert_clean(tmp_path / "capture", **again, command=COMMAND)
        outcomes = {link["link"]: link for link in found["links"]}
        assert [outcomes[name]["outcome"] for name in ("loss", "gradient", "accumulation")] == ["holds"] * 3
        assert outcomes["loss"]["checks"] >= 4
        return
    with pytest.raises(AuditFailed) as failed:
        assert_clean(tmp_path / "capture", **again, command=COMMAND)
    broken = [one for one in failed.value.audit["links"] if one["outcome"] == "broken" and one["follows"] is None]
    # In JAX the gradient alone is multiplied, in Keras the loss with it.
    causes = [("accumulation", "not-divided")] if framework is _jax else [("loss", "loss-changed")]
    assert [(one["link"], one["cause"]) for one in broken] == causes
    assert broken[0]["factor"] == pytest.approx(4, rel=1e-3)

"""A fit of Keras 2 (`tf_keras`) with the callback: it trains on, and what is left says why nothing is recorded."""

import json
import warnings

import numpy as np
import pytest

pytest.importorskip("tf_keras")


def fitted(callbacks):
    import tf_keras

    tf_keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
    return model.get_weights()


@pytest.mark.parametrize("action", ["default", "error"])
def test_a_fit_of_keras_2_trains_on_and_is_refused_by_name(tmp_path, action, capsys):
    from clippy_diag.keras import ClippyCallback

    callback = ClippyCallback(tmp_path / "capture", batches=True)
    with warnings.catch_warnings():
        warnings.simplefilter(action, UserWarning)
        weights = fitted([callback])
    assert all(np.array_equal(a, b) for a, b in zip(weights, fitted([])))
    assert "Adam of tf_keras is no optimizer of Keras 3" in callback.stopped
    assert callback.captures == []
    assert json.loads((tmp_path / "capture" / "status.json").read_text())["stopped"] == callback.stopped

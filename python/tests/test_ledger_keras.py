"""The ledger of Keras on whatever backend KERAS_BACKEND names: own loops and `fit`."""

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from conftest import lines_of, records_of, roles_of

keras = pytest.importorskip("keras", reason="no keras in this environment")
BACKEND = keras.backend.backend()
pytest.importorskip(BACKEND, reason=f"no {BACKEND} in this environment")

from test_keras import build, data, gradients_of, two_devices  # noqa: E402

from clippy_diag.keras import ClippyCallback, Recorder  # noqa: E402
from clippy_diag.keras.ears import TensorFlowEars  # noqa: E402
from clippy_diag.keras.ledger import KerasLedger  # noqa: E402
from clippy_diag.sketch import checksum, sketch  # noqa: E402

SIZE = 8


class Stop(keras.callbacks.Callback):
    """Ends the process after a step, as a kill does."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.at:
            if BACKEND == "jax":
                import jax

                jax.effects_barrier()
            os.kill(os.getpid(), signal.SIGKILL)


def fit(folder, steps=24, change=lambda x, y: None, optimizer=None, callbacks=(), dropout=0.2, **options):
    model = build(optimizer or keras.optimizers.Adam(0.01, clipnorm=0.5), dropout)
    x, y = data(steps)
    change(x, y)
    callback = ClippyCallback(folder / "capture", **{"ledger": True, **options})
    model.fit(x, y, batch_size=SIZE, epochs=1, shuffle=False, verbose=0, callbacks=[callback, *callbacks])
    return model


def test_a_fit_has_a_line_of_every_step_and_the_sketches_of_its_tensors(tmp_path):
    model = fit(tmp_path)
    head, *steps = lines_of(tmp_path)
    names = [name for name, _, _ in head["tensors"]]
    assert names == [v.path for v in model.trainable_variables] and head["every"] == 1
    assert BACKEND in head["framework"] and head["options"]["0.learning_rate"] == pytest.approx(0.01)
    assert head["options"]["0.clipnorm"] == 0.5
    assert [line["step"] for line in steps] == list(range(24))
    assert len({line["batch"] for line in steps}) == 24 and len({line["rng"] for line in steps}) == 24
    assert all(line["gradientNorm"] > 0 and line["weightNorm"] > 0 for line in steps)
    records = [roles_of(record, len(names)) for record in records_of(tmp_path)]
    assert len(records) == 24
    for k, kernel in enumerate(np.asarray(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables):
        last = records[-1].get("weightsAfter")
        if last is not None:  # on the backend of jax a step shows what it did at the next one
            np.testing.assert_array_equal(last[0][k], sketch(kernel, names[k]))
            assert int(last[1][k]) == checksum(kernel)
    for earlier, later in zip(records, records[1:]):
        left = earlier.get("weightsNext", earlier.get("weightsAfter"))
        np.testing.assert_array_equal(left[1], later["weights"][1])
        assert (earlier["weights"][1] != later["weights"][1]).any()
    assert (records[3]["state"][1] != records[4]["state"][1]).all()
    assert np.abs(records[4]["state"][0]).sum(1).all()


def of_batch(model, x, y):
    """Loss and gradients of a batch, written without the package."""
    if BACKEND != "jax":
        return gradients_of(model, x, y)
    import jax

    def loss_of(trained, others):
        found, _ = model.stateless_call(trained, others, x, training=True)
        return keras.ops.mean(keras.ops.square(found - y))

    trained, others = ([v.value for v in some] for some in (model.trainable_variables, model.non_trainable_variables))
    return jax.value_and_grad(loss_of)(trained, others)


def test_the_gradient_is_that_of_the_batch_before_clipping(tmp_path):
    fit(tmp_path, steps=1, dropout=0.0, optimizer=keras.optimizers.SGD(0.1, clipnorm=1e-3))
    loss, gradients = of_batch(build(dropout=0.0), *data(1))
    [line] = lines_of(tmp_path)[1:]
    arrays = [np.asarray(keras.ops.convert_to_numpy(gradient)) for gradient in gradients]
    assert line["gradientNorm"] == pytest.approx(np.sqrt(sum((a.astype("f8") ** 2).sum() for a in arrays)), rel=1e-5)
    assert struct.unpack(">d", bytes.fromhex(line["loss"]))[0] == pytest.approx(float(loss), rel=1e-6)


def test_two_fits_of_the_same_are_equal_to_the_bit_and_a_changed_row_is_seen(tmp_path):
    def change(x, y):
        y[9 * SIZE] += 1

    fit(tmp_path / "a")
    fit(tmp_path / "b")
    fit(tmp_path / "c", change=change)
    a, b, c = ([{**line} for line in lines_of(tmp_path / name)[1:]] for name in "abc")
    assert a == b
    differ = [k for k in range(24) if a[k] != c[k]]
    assert differ[0] == 9 and {key for key in a[9] if a[9][key] != c[9][key]} >= {"batch", "loss", "gradientNorm"}
    assert a[9]["weightNorm"] == c[9]["weightNorm"]


@pytest.mark.skipif(BACKEND == "jax", reason="the compiled step hands everything over there")
def test_weights_and_gradients_are_fetched_no_more_often_than_they_are_needed(tmp_path, monkeypatch):
    read, heard = KerasLedger._weights, TensorFlowEars.gradients
    weights, gradients = [], []
    monkeypatch.setattr(KerasLedger, "_weights", lambda self: weights.append(1) or read(self))
    monkeypatch.setattr(TensorFlowEars, "gradients", lambda self: gradients.append(heard(self)) or gradients[-1])
    fit(tmp_path, ledger_every=8)
    # Before each of 24 steps, and after those with tensors.
    assert [step for _, step, _ in records_of(tmp_path)] == [0, 1, 2, 3, 8, 16]
    assert len(weights) == 24 + 6
    if BACKEND == "tensorflow":
        # The recording and the ledger ask for them; another step has its own.
        assert len(gradients) == 48 and len({id(one) for one in gradients}) == 24


def test_a_changed_rate_is_an_option(tmp_path):
    class Rate(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.01 if epoch == 0 else 0.02

    model = build(keras.optimizers.AdamW(0.01))
    x, y = data(6)
    callbacks = [ClippyCallback(tmp_path / "capture", ledger=True), Rate()]
    model.fit(x, y, batch_size=SIZE, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    changes = {line["step"]: line["options"] for line in lines_of(tmp_path)[1:] if "options" in line}
    assert changes == {6: {"0.learning_rate": pytest.approx(0.02)}}


def test_the_training_is_the_same_with_and_without(tmp_path):
    weights = [[np.array(w) for w in fit(tmp_path / str(k), ledger=k == 1).get_weights()] for k in range(2)]
    for a, b in zip(*weights):
        np.testing.assert_array_equal(a, b)


def test_a_killed_fit_leaves_whole_lines_and_records(tmp_path):
    program = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {[p for p in sys.path if p]!r}
        from pathlib import Path
        from test_ledger_keras import Stop, fit
        fit(Path({str(tmp_path)!r}), callbacks=[Stop(15)])
    """)
    done = subprocess.run([sys.executable, "-c", program], cwd=os.path.dirname(__file__), capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    steps = [line["step"] for line in lines_of(tmp_path)[1:]]
    assert steps == list(range(15))
    assert [step for _, step, _ in records_of(tmp_path)] == steps


def test_a_loop_of_ones_own_has_ids_and_what_steps_did(tmp_path):
    model = build()
    optimizer = keras.optimizers.Adam(0.01)
    recorder = Recorder(model, optimizer, tmp_path / "capture", ledger=True)
    x, y = data(12)
    for step in range(12):
        rows = slice(step * SIZE, (step + 1) * SIZE)
        loss, gradients = of_batch(model, x[rows], y[rows])
        ids = range(step * SIZE, (step + 1) * SIZE)
        recorder.record(step, loss, gradients, batch={"x": x[rows], "y": y[rows]}, batch_id=ids)
        optimizer.apply(gradients, model.trainable_variables)
    recorder.close()
    head, *steps = lines_of(tmp_path)
    assert [line["step"] for line in steps] == list(range(12))
    assert len(records_of(tmp_path, "ids")) == 12
    tensors = len(head["tensors"])
    records = [roles_of(record, tensors) for record in records_of(tmp_path)]
    name, gradient = head["tensors"][-2][0], np.asarray(keras.ops.convert_to_numpy(gradients[-2]))
    np.testing.assert_array_equal(records[-1]["gradient"][0][-2], sketch(gradient, name))
    assert all("weightsNext" in record and "stateNext" in record for record in records[:-1])


def test_a_disk_that_fails_stops_the_ledger_and_not_the_fit(tmp_path):
    (tmp_path / "ledger").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="the ledger stopped, training goes on"):
        fit(tmp_path)
    assert json.loads((tmp_path / "capture" / "status.json").read_text())


@pytest.mark.parametrize("inputs, kept", [(49_999, False), (50_000, True)])
def test_a_model_that_trains_100_000_parameters_has_a_ledger_unasked(tmp_path, inputs, kept):
    x, y = np.ones((4, inputs), "f4") / inputs, np.zeros((4, 2), "f4")
    for kind in ("fit", "loop"):
        for choice, there in ((None, kept), (False, False)):
            folder = tmp_path / f"{kind}-{choice}"
            model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(2, use_bias=False)])
            optimizer = keras.optimizers.SGD(0.1)
            model.compile(optimizer, "mse")
            if kind == "fit":
                callback = ClippyCallback(folder / "capture", ledger=choice)
                model.fit(x, y, batch_size=2, epochs=1, verbose=0, callbacks=[callback])
            else:
                recorder = Recorder(model, optimizer, folder / "capture", ledger=choice)
                for step in range(2):
                    recorder.record(step, 1.0, [np.ones((inputs, 2), "f4")])
                recorder.close()
            assert (folder / "ledger").exists() is there
            assert not there or [line["step"] for line in lines_of(folder)[1:]] == [0, 1]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="replicas of TensorFlow")
@pytest.mark.parametrize("devices", [1, 2])
def test_replicas_have_one_ledger(tmp_path, devices):
    import tensorflow as tf

    if len(two_devices()) < devices:
        pytest.skip("two logical devices have to be set up before TensorFlow starts (CLIPPY_TEST_DEVICES=2)")
    with tf.distribute.MirroredStrategy([f"/cpu:{k}" for k in range(devices)]).scope():
        fit(tmp_path, steps=6)
    head, *steps = lines_of(tmp_path)
    assert head["world"] == devices and [line["step"] for line in steps] == list(range(6))
    assert all(line["gradientNorm"] > 0 and line["weightNorm"] > 0 for line in steps)

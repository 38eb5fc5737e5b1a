"""Steps of a compiled fit that wait before they are looked at: what is recorded is the same as of those that do not."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import lines_of, records_of

keras = pytest.importorskip("keras", reason="no keras in this environment")
BACKEND = keras.backend.backend()
if BACKEND not in ("tensorflow", "jax"):
    pytest.skip("of the backends that compile a step", allow_module_level=True)
pytest.importorskip(BACKEND, reason=f"no {BACKEND} in this environment")

from clippy_diag.keras import ClippyCallback  # noqa: E402
from clippy_diag.ledger import HEAD  # noqa: E402

SIZE = 8


def build(**compiled):
    """More parameters than have checksums at every step; dropout and means move in each forward pass."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(80, "tanh", name="hidden")(inputs)
    hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    hidden = keras.layers.Dense(80, name="wide")(keras.layers.Dropout(0.2, name="drop")(hidden))
    outputs = [keras.layers.Dense(1, name=name)(hidden) for name in ("left", "right")]
    model = keras.Model(inputs, outputs)
    model.compile(**{"optimizer": keras.optimizers.Adam(0.001, clipnorm=0.5), "loss": ["mse", "mae"], **compiled})
    return model


def data(steps, bad=()):
    random = np.random.default_rng(0)
    x = random.normal(size=(steps * SIZE, 4)).astype("float32")
    y = (random.normal(size=(steps * SIZE, 1)) * 0.1 + 1).astype("float32")
    for step in bad:
        y[step * SIZE : (step + 1) * SIZE] *= np.float32(500)
    return x, [y, -y]


def fit(folder, steps=150, bad=(), callbacks=(), compiled=None, waits=True, **options):
    model = build(**(compiled or {}))
    x, y = data(steps, bad)
    options = {"snapshot_every_steps": 7, "steps_after": 12, "batches": True, "ledger": True, **options}
    callback = ClippyCallback(folder / "capture", ledger_every=32, **options)
    waited = []
    kept = callback._kept_waiting

    def counted():
        found = kept()
        waited.append(len(callback._waiting))
        return found

    callback._kept_waiting = counted
    with pytest.MonkeyPatch.context() as patch:
        if not waits:
            patch.setattr(ClippyCallback, "_may_wait", lambda self, ears: False)
        model.fit(x, y, batch_size=SIZE, epochs=1, shuffle=False, verbose=0, callbacks=[callback, *callbacks])
    assert (max(waited) > 3) == waits
    assert callback.stopped is None and callback.problems == []
    return model, callback


def sheet(folder):
    return json.loads((folder / "capture.json").read_text())


def test_what_waits_is_recorded_as_what_does_not(tmp_path, read):
    models = [fit(tmp_path / name, bad=[110], waits=name == "late")[0] for name in ("late", "now")]
    for one, other in zip(models[0].get_weights(), models[1].get_weights()):
        np.testing.assert_array_equal(one, other)
    late, now = (sheet(tmp_path / name / "capture") for name in ("late", "now"))
    assert late["flushed"]["reason"] == now["flushed"]["reason"] and late["flushed"]["step"] == 110
    steps = [[entry["step"] for entry in one["steps"]] for one in (late, now)]
    assert steps[0] == steps[1] and steps[0][-1] == 122
    checked = 0
    for one, other in zip(late["steps"], now["steps"]):
        # Those of an open capture are of the moment, so steps that had waited when it opened have none.
        checked += "before" in one
        assert {**other, **one} == other and other.get("modes", {"": True}) == {"": True}
        assert set(other) - set(one) <= {"before", "after"}
        assert set(one["tasks"]) == {"left", "right"}
    assert checked > 3
    captures = [read(tmp_path / name / "capture") for name in ("late", "now")]
    for step in steps[0]:
        one, other = (capture.steps[step] for capture in captures)
        for name in one:
            np.testing.assert_array_equal(one[name][1], other[name][1])
        # The weights of some steps are kept within a capture.
        assert all(name.startswith("param/") for name in set(other) - set(one))


def test_the_ledger_of_what_waits_is_the_same(tmp_path):
    for name in ("late", "now"):
        fit(tmp_path / name, waits=name == "late")
    (late_head, *late), (now_head, *now) = (lines_of(tmp_path / name) for name in ("late", "now"))
    assert late == now and len(late) == 150 and all("skipped" not in line for line in late)
    assert [line["step"] for line in late] == list(range(150))
    assert late_head["options"] == now_head["options"] and late_head["every"] == 32
    records = [records_of(tmp_path / name) for name in ("late", "now")]
    # After the head, which names the session.
    tensors = [[(step, kind, data[HEAD.size :]) for data, step, kind in one] for one in records]
    assert tensors[0] == tensors[1]
    assert [step for step, _, _ in tensors[0]] == [0, 1, 2, 3, 32, 64, 96, 128]


def test_a_process_that_ends_by_an_error_has_every_step(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_keras_waiting import Raises, SIZE, build, data
from clippy_diag.keras import ClippyCallback
model = build()
x, y = data(60)
callback = ClippyCallback({str(tmp_path / "capture")!r}, snapshot_every_steps=20)
model.fit(x, y, batch_size=SIZE, verbose=0, shuffle=False, callbacks=[callback, Raises(45)])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "of the user" in done.stderr
    status = json.loads((tmp_path / "capture" / "status.json").read_text())
    assert status["lastStep"] == 45 and status["steps"] == 46


class Raises(keras.callbacks.Callback):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.at:
            raise RuntimeError("of the user")


def test_an_error_of_a_batch_loses_no_step(tmp_path):
    x, y = data(60)

    def batches():
        for k in range(60):
            if k == 45:
                raise RuntimeError("a file is gone")
            part = slice(k * SIZE, (k + 1) * SIZE)
            yield x[part], tuple(one[part] for one in y)

    model = build()
    callback = ClippyCallback(tmp_path / "capture", ledger=True, ledger_every=32)
    with pytest.raises(Exception, match="a file is gone"):
        model.fit(batches(), steps_per_epoch=60, epochs=1, verbose=0, callbacks=[callback])
    # The data may be read ahead of the steps, so how many were taken is the optimizer's to say.
    taken = int(model.optimizer.iterations)
    assert [line["step"] for line in lines_of(tmp_path)[1:]][-1] >= taken - 2


def test_an_error_of_another_callback_loses_no_step_once_the_next_fit_begins(tmp_path):
    model = build()
    x, y = data(60)
    callback = ClippyCallback(tmp_path / "capture", ledger=True, ledger_every=32)
    with pytest.raises(RuntimeError, match="of the user"):
        model.fit(x, y, batch_size=SIZE, verbose=0, shuffle=False, callbacks=[callback, Raises(45)])
    model.fit(x, y, batch_size=SIZE, verbose=0, shuffle=False, callbacks=[callback])
    steps = [line["step"] for line in lines_of(tmp_path) if "step" in line]
    assert steps == list(range(46 + 60))


def test_a_loss_that_is_lost_is_captured_where_that_ends_the_fit(tmp_path, read):
    model = build()
    x, y = data(60)
    y[0][45 * SIZE] = np.nan
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=20, ledger=True)
    ends = keras.callbacks.TerminateOnNaN()
    model.fit(x, y, batch_size=SIZE, verbose=0, shuffle=False, callbacks=[callback, ends])
    assert int(model.optimizer.iterations) == 46
    assert list(read(tmp_path / "capture").steps)[-1] == 45
    assert [line["step"] for line in lines_of(tmp_path)[1:]] == list(range(46))


class Writes(keras.callbacks.Callback):
    """Writes to a weight between two steps."""

    def __init__(self, at, write):
        super().__init__()
        self.at, self.write = at, write

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.at:
            self.write(self.model.trainable_variables[0])


@pytest.mark.parametrize("way", ["assign", "none", *(["assign_add", "scatter"] if BACKEND == "tensorflow" else [])])
def test_a_write_between_two_steps_is_seen_by_their_checksums(tmp_path, way):
    write = {
        "assign": lambda v: v.assign(v + 1e-3),
        "assign_add": lambda v: v.value.assign_add(0 * v + 1e-3),
        "scatter": lambda v: v.value.scatter_nd_update([[0, 0]], [5.0]),
        "none": lambda v: None,
    }[way]
    # Steps 0 and 256 have checksums, and the steps after them those from before.
    callbacks = [Writes(256, write)]
    model = build()
    x, y = data(280)
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=20)

    class Asks(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 260:
                callback.capture()

    model.fit(x, y, batch_size=SIZE, verbose=0, shuffle=False, callbacks=[Asks(), callback, *callbacks])
    entries = {entry["step"]: entry for entry in sheet(tmp_path / "capture")["steps"]}
    assert {"before", "after"} <= set(entries[256]) and "after" not in entries[257]
    assert (entries[256]["after"]["weights"] == entries[257]["before"]["weights"]) == (way == "none")
    assert entries[256]["before"]["weights"] != entries[256]["after"]["weights"]


def test_the_model_is_left_as_it_was(tmp_path):
    plain = build()
    x, y = data(60)
    plain.fit(x, y, batch_size=SIZE, verbose=0, shuffle=False)
    text = []
    plain.summary(print_fn=lambda line, **_: text.append(line))
    model, _ = fit(tmp_path, steps=60, snapshot_every_steps=20)
    own = []
    model.summary(print_fn=lambda line, **_: own.append(line))
    unnumbered = [[re.sub(r"_\d+", "", str(line)) for line in lines] for lines in (text, own)]
    assert unnumbered[0] == unnumbered[1]
    assert [v.shape for v in model.weights] == [v.shape for v in plain.weights]
    assert [v.shape for v in model.optimizer.variables] == [v.shape for v in plain.optimizer.variables]
    for one, other in zip(model.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "one.keras")
    again = keras.models.load_model(tmp_path / "one.keras")
    paths = [[re.sub(r"_\d+", "", v.path) for v in one.variables] for one in (again, model)]
    assert paths[0] == paths[1]
    assert not {"make_train_function", "train_step", "compute_loss"} & set(model.__dict__)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of the backend of tensorflow")
def test_a_training_function_of_the_users_own_gets_what_the_step_returns(tmp_path):
    seen = []

    class Own(keras.Model):
        def make_train_function(self, force=False):
            import tensorflow as tf

            step = tf.function(self.train_step)

            def train_function(iterator):
                logs = step(next(iterator))
                seen.append(sorted(logs))
                return logs

            self.train_function = train_function

    base = build()
    model = Own(base.inputs, base.outputs)
    model.compile(keras.optimizers.Adam(0.001), loss=["mse", "mae"])
    x, y = data(30)
    callback = ClippyCallback(tmp_path / "capture", ledger=True, ledger_every=32)
    model.fit(x, y, batch_size=SIZE, verbose=0, shuffle=False, callbacks=[callback])
    assert callback.stopped is None and len(seen) == 30 and "loss" in seen[0]
    assert all(not any("clippy" in name for name in names) for names in seen)
    assert len(lines_of(tmp_path)) == 31


def test_eager_loss_scale_and_accumulation_do_not_wait(tmp_path):
    tensorflow = BACKEND == "tensorflow"  # that of jax refuses accumulation
    for name, compiled in {
        "eager": {"run_eagerly": True},
        "scaled": {"optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.001))},
        **(
            {"accumulated": {"optimizer": keras.optimizers.Adam(0.001, gradient_accumulation_steps=2)}}
            if tensorflow
            else {}
        ),
    }.items():
        model = build(**compiled)
        x, y = data(24)
        callback = ClippyCallback(tmp_path / name / "capture", ledger=True, ledger_every=32)
        model.fit(x, y, batch_size=SIZE, verbose=0, shuffle=False, callbacks=[callback])
        assert callback.stopped is None and callback.problems == []
        assert len(lines_of(tmp_path / name)) - 1 == (12 if name == "accumulated" else 24)


def test_an_xla_step_waits_too(tmp_path):
    one, _ = fit(tmp_path / "xla", steps=40, compiled={"jit_compile": True})
    lines = lines_of(tmp_path / "xla")[1:]
    assert len(lines) == 40

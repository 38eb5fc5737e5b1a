"""Bad rows in a closed loop: named, left out as an arm, and none named in the healthy twin or where a row has no loss of its own."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from clippy_diag.bad_rows import NotSeparable, find_bad_rows, rows_of, taken_rows, without_rows

STEPS, ROWS, START = 110, 48, 70
BAD = {START + k: [3 + k, 20, 31] for k in range(4)}


def data_at(step, bad=BAD, ids=True):
    """x [48, 4], y [48], and the id of each row; bad rows have a label 300 times as large."""
    rng = np.random.default_rng(step)
    x = rng.normal(size=(ROWS, 4)).astype(np.float32)
    y = (np.tanh(x[:, 0]) + 0.1 * rng.normal(size=ROWS)).astype(np.float32)
    y[bad.get(step, [])] = 300
    return x, y, [f"{step}/{row}" for row in range(ROWS)] if ids else None


def train_torch(folder, bad, ids=True):
    torch = pytest.importorskip("torch", reason="no torch in this environment")
    from clippy_diag.torch import Recorder, closed_loop

    torch.set_num_threads(1)

    def build():
        torch.manual_seed(1)
        nn = torch.nn
        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))

    def loss_fn(model, batch):
        return ((model(batch["x"])[:, 0] - batch["y"]) ** 2).mean()

    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    recorder = Recorder(model, optimizer, folder)
    for step in range(STEPS):
        x, y, names = data_at(step, bad, ids)
        batch = {"x": torch.tensor(x), "y": torch.tensor(y)}
        if not bad and step == START + 2:
            recorder.capture()
        optimizer.zero_grad()
        loss = loss_fn(model, batch)
        loss.backward()
        recorder.record(step, loss, batch=batch, batch_id=names)
        optimizer.step()
    recorder.close()
    return lambda **options: closed_loop(folder, build(), loss_fn, rules=["none"], **options)


def train_jax(folder, bad, ids=True):
    jax = pytest.importorskip("jax", reason="no JAX in this environment")
    import optax

    from clippy_diag.jax import Recorder, closed_loop

    rng = np.random.default_rng(1)
    params = {"first": rng.normal(0, 0.5, (4, 16)), "last": rng.normal(0, 0.25, 16)}
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, "float32"), params)
    begun = params

    def loss_fn(tree, batch):
        return ((jax.numpy.tanh(batch["x"] @ tree["first"]) @ tree["last"] - batch["y"]) ** 2).mean()

    chain = optax.sgd(0.05)
    state = chain.init(params)
    recorder = Recorder(folder, {"name": "sgd", "learningRate": 0.05})
    slope = jax.jit(jax.value_and_grad(loss_fn))
    for step in range(STEPS):
        x, y, names = data_at(step, bad, ids)
        batch = {"x": jax.numpy.asarray(x), "y": jax.numpy.asarray(y)}
        if not bad and step == START + 2:
            recorder.capture()
        loss, gradients = slope(params, batch)
        recorder.record(step, loss, gradients, params, state, batch=batch, batch_id=names)
        updates, state = chain.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    recorder.close()
    return lambda **options: closed_loop(folder, loss_fn, begun, rules=["none"], **options)


def train_keras(folder, bad, ids=True):
    keras = pytest.importorskip("keras", reason="no Keras in this environment")
    if keras.backend.backend() != "tensorflow" or not hasattr(keras, "ops"):
        pytest.skip("Keras 3 on TensorFlow")
    import tensorflow as tf

    from clippy_diag.keras import Recorder, closed_loop

    def build():
        keras.utils.set_random_seed(1)
        layers = keras.layers
        hidden = [layers.Dense(16), layers.BatchNormalization(), layers.Activation("tanh"), layers.Dropout(0.1)]
        return keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(1)])

    def loss_fn(model, batch):
        return keras.ops.mean((model(batch["x"], training=True)[:, 0] - batch["y"]) ** 2)

    model = build()
    optimizer = keras.optimizers.SGD(0.05)
    optimizer.build(model.trainable_variables)
    recorder = Recorder(model, optimizer, folder)
    for step in range(STEPS):
        x, y, names = data_at(step, bad, ids)
        batch = {"x": x, "y": y}
        if not bad and step == START + 2:
            recorder.capture()
        with tf.GradientTape() as tape:
            loss = loss_fn(model, batch)
        gradients = tape.gradient(loss, model.trainable_variables)
        recorder.record(step, loss, gradients, batch=batch, batch_id=names)
        optimizer.apply(gradients, model.trainable_variables)
    recorder.close()
    return lambda **options: closed_loop(folder, build(), loss_fn, rules=["none"], **options)


FRAMEWORKS = {"torch": train_torch, "jax": train_jax, "keras": train_keras}
framework = pytest.mark.parametrize("train", FRAMEWORKS.values(), ids=FRAMEWORKS)


def arm_of(result):
    """The entry of the arm that leaves rows out; None where there is none."""
    return next((one for one in result["replay"] if one.get("arm", {}).get("kind") == "skip-rows"), None)


@framework
def test_bad_rows_are_named_and_the_training_without_them_is_as_good_as_clean(tmp_path, train):
    loops = train(tmp_path / "capture", BAD)
    result = loops()
    entry = arm_of(result)
    assert entry["arm"]["steps"] == sorted(BAD)
    assert {one["step"]: one["rows"] for one in entry["arm"]["rows"]} == BAD
    assert entry["arm"]["rows"][0]["ids"] == [f"{START}/{row}" for row in BAD[START]]
    # No step is left out, and none of the losses is that of a bad batch.
    assert min(entry["updateNorm"]) > 0 and max(entry["loss"]) < 10
    base = next(one for one in result["replay"] if "arm" not in one)
    before = np.median(base["referenceLoss"][: entry["steps"].index(START)])
    assert np.median(entry["referenceLoss"][-10:]) < 1.1 * before < base["referenceLoss"][-30]
    stored = json.loads((tmp_path / "capture" / "capture.json").read_text())["replay"]
    assert arm_of({"replay": stored}) == entry


@framework
def test_the_healthy_twin_and_batches_that_are_bad_as_a_whole_have_none(tmp_path, train):
    assert arm_of(train(tmp_path / "healthy", {})()) is None
    whole = {step: list(range(ROWS)) for step in BAD}
    assert arm_of(train(tmp_path / "whole", whole)()) is None


def test_rows_without_ids_are_named_by_their_places_and_the_arm_can_be_chosen(tmp_path):
    loops = train_torch(tmp_path / "capture", BAD, ids=False)
    (entry,) = [one for one in loops(arms="skip-rows")["replay"] if "arm" in one]
    assert [one["ids"] for one in entry["arm"]["rows"]] == [None] * 4
    assert arm_of(loops(arms=["skip-batches"])) is None
    with pytest.raises(ValueError, match='no arm "rows"; known are all, skip-batches, skip-rows'):
        loops(arms="rows")


class Norms:
    """A trainer whose rows have the gradients that are given, by step; the loss of a row is its gradient."""

    def __init__(self, sizes, pairs=False):
        self.sizes, self.pairs = sizes, pairs

    def start(self):
        pass

    def loss(self, entry):
        return self.loss_and_size(entry)[0]

    def loss_and_size(self, entry):
        taken = taken_rows(entry, {"x": np.array(self.sizes[entry["step"]])})["x"]
        # Where rows are compared with one another, one alone has no loss.
        return (float(np.mean(taken)) if not self.pairs or len(taken) > 1 else 0.0), float(np.mean(taken))


def found(monkeypatch, bad, pairs=False, ids=None, rows=20):
    shape = SimpleNamespace(shape=(rows,))
    monkeypatch.setattr("clippy_diag.bad_rows.read_raw", lambda path, prefix: {"batch/x": ("F32", shape)})
    usual = np.linspace(0.5, 1.5, rows)
    last = usual.copy()
    last[list(bad)] = list(bad.values())
    steps = [{"step": step, "file": "f", **({} if ids is None else {"batchId": ids})} for step in range(5)]
    trainer = Norms({**dict.fromkeys(range(4), usual), 4: last}, pairs)
    capture = SimpleNamespace(folder=SimpleNamespace(__truediv__=None), manifest={})
    capture.folder = type("Folder", (), {"__truediv__": lambda self, name: name})()
    return find_bad_rows(capture, trainer, steps[4:], steps[:4], lambda loss: loss < 1.2)


def test_a_row_is_bad_above_twice_the_largest_gradient_of_earlier_ones_or_where_it_is_no_number(monkeypatch):
    assert found(monkeypatch, {7: 3.01}) == [{"step": 4, "rows": [7], "ids": None, "of": 20}]
    assert found(monkeypatch, {7: 2.99}) == []
    assert found(monkeypatch, {7: float("nan")}, ids=list("abcdefghijklmnopqrst"))[0]["ids"] == ["h"]


def test_none_is_named_where_too_many_are_bad_where_the_rest_is_or_where_rows_have_no_losses(monkeypatch, capsys):
    assert found(monkeypatch, {7: 9.0, 8: 9.0}) == []  # 10 % of the rows
    assert found(monkeypatch, {7: 9.0, **{row: 2.9 for row in range(10, 20)}}) == []  # the rest is unusual too
    assert capsys.readouterr().err == ""
    assert found(monkeypatch, {7: 9.0}, pairs=True) == []
    assert "neither the mean nor the sum of the losses of its rows" in capsys.readouterr().err
    assert found(monkeypatch, {7: 9.0}, rows=2000) == []
    assert "10000 with those that they are compared with, more than 8192" in capsys.readouterr().err


def capture_of(monkeypatch, shapes, tree, manifest=None):
    raw = {f"batch/{name}": ("F32", SimpleNamespace(shape=shape)) for name, shape in shapes.items()}
    monkeypatch.setattr("clippy_diag.bad_rows.read_raw", lambda path, prefix: raw)
    folder = type("Folder", (), {"__truediv__": lambda self, name: name})()
    return SimpleNamespace(folder=folder, manifest={"batch": tree, **(manifest or {})})


def test_rows_are_the_first_axis_of_all_tensors_or_those_that_have_ids(monkeypatch):
    pair = {"list": [{"tensor": "0"}, {"tensor": "1"}]}
    entry = {"step": 1, "file": "f"}
    assert rows_of(capture_of(monkeypatch, {"0": (8, 3), "1": (8,)}, pair), entry) == 8
    # What has another length is no matter of rows where the ids say how many there are.
    with_key = capture_of(monkeypatch, {"0": (8, 3), "1": (2,)}, pair)
    assert rows_of(with_key, {**entry, "batchId": list(range(8))}) == 8
    leaves = {"0": np.arange(24).reshape(8, 3), "1": np.arange(2)}
    left = taken_rows(without_rows(entry, [1], 8), leaves)
    assert left["0"].shape == (7, 3) and left["1"].shape == (2,)
    for capture, given, why in [
        (with_key, {}, "no first axis in common"),
        (with_key, {"batchId": [1, 2, 3]}, "3 ids of rows"),
        (capture_of(monkeypatch, {"0": (8, 3), "1": (8, 3)}, pair), {}, "micro-batches"),
        (capture_of(monkeypatch, {"0": (8,)}, pair, {"world": {"batches": "by-rank"}}), {}, "several ranks"),
    ]:
        # The names of the tensors are read anew for each case.
        shapes = {"no first": {"0": (8, 3), "1": (2,)}, "3 ids of": {"0": (8, 3), "1": (2,)}}
        shapes = shapes.get(why[:8], {"0": (8, 3), "1": (8, 3)})
        capture_of(monkeypatch, shapes, pair)
        with pytest.raises(NotSeparable, match=why):
            rows_of(capture, {**entry, **given})

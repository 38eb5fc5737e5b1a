"""`preflight` on small Keras trainings, on every backend: the limit where it is known, nothing disturbed, in the callback too."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="no Keras in this environment")
BACKEND = keras.backend.backend()
pytest.importorskip(BACKEND, reason=f"no {BACKEND} in this environment")

import clippy_diag  # noqa: E402
from clippy_diag.keras import ClippyCallback, preflight  # noqa: E402

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
built = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")
SCHEDULES = keras.optimizers.schedules


def linear_regression(optimizer):
    """Least squares on inputs of known covariance: the largest eigenvalue of the Hessian is 2·3² = 18, so SGD is stable to 2/18."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60, 256, 12)) * np.linspace(0.3, 3.0, 12)).astype("float32")
    target = rng.normal(size=(12, 1)).astype("float32")
    model = keras.Sequential([keras.layers.Input((12,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer=optimizer, loss="mse")
    return model, model.optimizer, [(one, one @ target) for one in x]


def answer_of(optimizer, **options):
    return clippy_diag.preflight(*linear_regression(optimizer), **{"audited": False, "rules": (), **options})[
        "preflight"
    ]


def holds_the_limit(answer):
    stable = answer["stableRate"]
    return stable["low"] / 1.5 <= 2 / 18 <= stable["high"] * 1.5


@pytest.mark.parametrize("asked", [0.01, 0.3])
def test_gradient_descent_is_stable_to_two_over_the_largest_eigenvalue(asked):
    answer = answer_of(keras.optimizers.SGD(asked))
    assert holds_the_limit(answer) and answer["verdict"] == ("well-within" if asked == 0.01 else "above")


def test_under_lion_and_adagrad_the_band_is_that_of_more_steps_than_a_ladder_has():
    class Lion(keras.optimizers.SGD):
        """The steps of SGD, so that the ladder is the same."""

    class Adagrad(keras.optimizers.SGD):
        """The same."""

    plain, lion, adagrad = (answer_of(make(0.1))["stableRate"] for make in (keras.optimizers.SGD, Lion, Adagrad))
    longer = (150 / 40) ** 0.5
    assert lion == pytest.approx({end: rate / longer for end, rate in plain.items()})
    assert adagrad == pytest.approx({"low": plain["low"], "high": plain["high"] * longer})


def test_adam_is_well_within_at_a_usual_rate_and_above_at_one_that_destroys():
    assert answer_of(keras.optimizers.Adam(0.03))["verdict"] == "well-within"
    assert answer_of(keras.optimizers.Adam(100.0))["verdict"] == "above"


def test_a_schedule_is_asked_at_its_peak_and_is_there_afterwards():
    schedule = SCHEDULES.CosineDecay(0.0, 1000, warmup_target=0.3, warmup_steps=50)
    model, optimizer, batches = linear_regression(keras.optimizers.SGD(schedule))
    answer = preflight(model, optimizer, batches, audited=False, rules=())["preflight"]
    assert answer["asked"] == pytest.approx(0.3) and answer["verdict"] == "above" and holds_the_limit(answer)
    assert optimizer._learning_rate is schedule and float(np.asarray(optimizer.learning_rate)) == 0.0


def test_clipping_of_the_optimizer_is_part_of_what_is_tried_and_rules_act_in_its_place():
    clipped = keras.optimizers.SGD(0.4, global_clipnorm=0.5)
    assert answer_of(keras.optimizers.SGD(0.4))["verdict"] == "above" and answer_of(clipped)["verdict"] != "above"
    loose = keras.optimizers.SGD(0.3, global_clipnorm=1e6)
    found = {
        one["rule"]: one["stableRate"]
        for one in answer_of(loose, rules=["global-norm:1", "clippy:paper"])["underRules"]
    }
    assert set(found) == {"global-norm:1", "clippy:paper"} and found["global-norm:1"]["low"] >= 0.2
    assert loose.global_clipnorm == 1e6


def net(make):
    """Batch norm, dropout, two layers: variables and random numbers that a preflight could disturb."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(16), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.layers.Input((8,)), *layers, keras.layers.ReLU(), keras.layers.Dense(1)])
    model.compile(optimizer=make(), loss="mse", metrics=["mae"])
    return model


def data(rows=2048):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, 8)).astype("float32")
    return x, x[:, :1] * x[:, 1:2] + x[:, 2:3]


def batches_of(x, y, size=64):
    return [(x[k : k + size], y[k : k + size]) for k in range(0, len(x), size)]


def arrays(variables):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


MAKERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(0.01, clipnorm=1.0),
    "adagrad": lambda: keras.optimizers.Adagrad(0.05),
    "schedule": lambda: keras.optimizers.RMSprop(SCHEDULES.ExponentialDecay(0.01, 10, 0.9)),
    "accumulating": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_fit_with_a_preflight_is_the_fit_without_one(kind, tmp_path):
    x, y = data()

    def fitted(tried):
        model = net(MAKERS[kind])
        callback = ClippyCallback(tmp_path / f"{tried}", preflight=batches_of(x, y) if tried else None)
        history = model.fit(x, y, batch_size=64, epochs=1, verbose=0, shuffle=True, callbacks=[callback])
        draws = random.getstate(), np.random.get_state()[1].copy()
        return model, callback, history.history, draws

    plain, _, losses, draws = fitted(False)
    after, callback, same_losses, same_draws = fitted(True)
    assert losses == same_losses and draws[0] == same_draws[0] and np.array_equal(draws[1], same_draws[1])
    for left, right in zip(
        arrays([*plain.variables, *plain.optimizer.variables]), arrays([*after.variables, *after.optimizer.variables])
    ):
        np.testing.assert_array_equal(left, right)
    answer = json.loads((tmp_path / "True-preflight.json").read_text())
    assert answer == json.loads(json.dumps(callback.preflight_answer))
    assert answer["preflight"]["gradients"] > 20 and answer["preflight"]["ladder"]


def test_a_callback_without_batches_says_what_it_needs(tmp_path):
    with pytest.raises(ValueError, match="preflight=batches"):
        ClippyCallback(tmp_path / "capture", preflight=True)
    x, y = data(256)
    with pytest.warns(UserWarning, match="no preflight: batches gave 4, and at least 16"):
        net(MAKERS["adamw"]).fit(
            x, y, verbose=0, callbacks=[ClippyCallback(tmp_path / "few", preflight=batches_of(x, y))]
        )


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of the backend of tensorflow")
def test_a_dataset_that_shuffles_anew_is_refused_since_reading_it_moves_the_order():
    import tensorflow as tf

    x, y = data()
    model = net(MAKERS["sgd"])
    plain = tf.data.Dataset.from_tensor_slices((x, y))
    with pytest.raises(ValueError, match="shuffles anew each time it is read"):
        preflight(model, model.optimizer, plain.shuffle(2048).batch(64).prefetch(2))
    fixed = plain.shuffle(2048, seed=1, reshuffle_each_iteration=False).batch(64)
    for dataset in (plain.batch(64), fixed):
        assert (
            preflight(model, model.optimizer, dataset, audited=False, rules=())["preflight"]["verdict"] != "cannot-tell"
        )


@built
def test_the_quiet_steps_are_audited():
    command = [NODE, str(ROOT / "bin" / "run.js")]
    x, y = data(4096)
    model = net(lambda: keras.optimizers.Adam(0.01))
    clean = preflight(model, model.optimizer, batches_of(x, y), command=command)["preflight"]["audit"]
    assert clean["broken"] == 0 and "problem" not in clean, clean
    assert {link["link"]: link["outcome"] for link in clean["links"]}["optimizer"] == "holds"
    fault = preflight(model, model.optimizer, batches_of(x, y)[:1] * 80, command=command)["preflight"]
    assert fault["audit"]["broken"] > 0 and "The audit of the quiet steps found a fault" in fault["statement"]


def test_errors_say_what_is_wrong_and_what_to_do():
    model, optimizer, batches = linear_regression(keras.optimizers.SGD(0.1))
    with pytest.raises(TypeError, match="not a keras.Model"):
        preflight(object(), optimizer, batches)
    with pytest.raises(ValueError, match="the model is not built"):
        preflight(keras.Sequential([keras.layers.Dense(1)]), optimizer, batches)
    with pytest.raises(TypeError, match="must return one number"):
        preflight(model, optimizer, batches, lambda m, b: m(b[0]))

    class Own(SCHEDULES.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

        def get_config(self):
            return {}

    model.compile(optimizer=keras.optimizers.SGD(Own()), loss="mse")
    with pytest.raises(ValueError, match="the peak of Own is not known; give the peak rate of the run with rate="):
        preflight(model, model.optimizer, batches)

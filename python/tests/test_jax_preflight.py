"""`preflight` on small optax trainings: the limit where it is known, nothing changed, the audit, errors that say what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="no jax in this environment")
optax = pytest.importorskip("optax", reason="no optax in this environment")
import jax.numpy as jnp  # noqa: E402

import clippy_diag  # noqa: E402
from clippy_diag.jax import flight, preflight  # noqa: E402
from clippy_diag.jax.options import read_chain  # noqa: E402
from clippy_diag.jax.preflight import _kinds_of  # noqa: E402
from clippy_diag.preflighting import band_of  # noqa: E402

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
built = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")


def squares(params, batch):
    return ((batch[0] @ params["w"] - batch[1]) ** 2).mean()


def linear_regression():
    """Least squares on inputs of known covariance: the largest eigenvalue of the Hessian is 2·3² = 18, so SGD is stable to 2/18."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60, 256, 12)) * np.linspace(0.3, 3.0, 12)).astype("float32")
    target = rng.normal(size=(12, 1)).astype("float32")
    params = {"w": jnp.asarray(rng.normal(size=(12, 1)).astype("float32") * 0.3)}
    return params, [(one, one @ target) for one in x]


def answer_of(optimizer, **options):
    params, batches = linear_regression()
    return preflight(params, optimizer, batches, squares, **{"audited": False, **options})["preflight"]


def holds_the_limit(answer):
    stable = answer["stableRate"]
    return stable["low"] / 1.5 <= 2 / 18 <= stable["high"] * 1.5


@pytest.mark.parametrize("asked", [0.01, 0.1, 1.0])
def test_gradient_descent_is_stable_to_two_over_the_largest_eigenvalue(asked):
    assert holds_the_limit(answer_of(optax.sgd(asked)))


def test_a_healthy_training_is_well_within_and_three_times_the_limit_is_above():
    assert answer_of(optax.sgd(0.02))["verdict"] == "well-within"
    assert answer_of(optax.sgd(3 * 2 / 18))["verdict"] == "above"
    assert answer_of(optax.adam(0.03))["verdict"] == "well-within"
    assert answer_of(optax.adam(100.0))["verdict"] == "above"


def test_the_optimizer_is_known_whose_band_is_that_of_more_steps_than_a_ladder_has():
    answer = answer_of(optax.lion(0.05))
    held = max(rung["rate"] for rung in answer["ladder"] if rung["held"])
    failed = min(rung["rate"] for rung in answer["ladder"] if not rung["held"])
    assert answer["stableRate"] == pytest.approx(dict(zip(("low", "high"), band_of(held, failed, ["lion"]))))
    assert "lion" in _kinds_of(read_chain(optax.lion(0.1))) and "adagrad" in _kinds_of(read_chain(optax.adagrad(0.1)))


def test_a_schedule_is_asked_at_its_peak_although_it_begins_at_zero():
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.3, 50, 1000)
    answer = answer_of(optax.sgd(schedule))
    assert answer["asked"] == pytest.approx(0.3) and answer["verdict"] == "above" and holds_the_limit(answer)
    assert answer_of(optax.sgd(schedule), rate=0.02)["verdict"] == "well-within"


def test_a_rate_in_the_state_and_a_maker_are_asked_too():
    injected = answer_of(optax.inject_hyperparams(optax.sgd)(learning_rate=0.3))
    assert injected["asked"] == pytest.approx(0.3) and holds_the_limit(injected)
    made = answer_of(lambda rate: optax.sgd(rate), rate=0.3)
    assert made["verdict"] == "above" and holds_the_limit(made)


def test_clipping_inside_of_the_transformation_is_part_of_what_is_tried():
    clipped = answer_of(optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.4)))
    assert answer_of(optax.sgd(0.4))["verdict"] == "above" and clipped["verdict"] != "above"


def test_rules_are_tried_where_the_rate_is_too_high():
    found = {one["rule"]: one["stableRate"] for one in answer_of(optax.sgd(0.3))["underRules"]}
    assert set(found) == {"global-norm:1", "agc:0.01", "clippy:paper"}
    assert found["global-norm:1"]["low"] >= 0.2


def net(key):
    first, second = jax.random.split(key)
    return {"a": jax.random.normal(first, (4, 16)) / 2, "b": jax.random.normal(second, (16, 1)) / 4}


def loss_of_net(params, batch):
    return ((jnp.tanh(batch["x"] @ params["a"]) @ params["b"] - batch["y"]) ** 2).mean()


class Loader:
    """Draws from numpy's own generator, as a careless loader does."""

    def __iter__(self):
        for _ in range(110):
            x = np.random.normal(size=(64, 4)).astype("float32")
            yield {"x": x, "y": (x[:, :1] * x[:, 1:2] + x[:, 2:3]).astype("float32")}


@pytest.mark.parametrize("make", [optax.adamw, optax.adagrad, optax.rmsprop, lambda rate: optax.sgd(rate, 0.9)])
def test_a_training_after_it_is_the_training_without_it(make):
    def trained(with_preflight):
        np.random.seed(3)
        params, optimizer = net(jax.random.PRNGKey(1)), make(0.01)
        state = optimizer.init(params)
        if with_preflight:
            clippy_diag.preflight(params, optimizer, Loader(), loss_of_net, opt_state=state, command=["does-not-exist"])
        step = jax.jit(lambda p, s, b: optimizer.update(jax.grad(loss_of_net)(p, b), s, p))
        for batch in Loader():
            updates, state = step(params, state, batch)
            params = optax.apply_updates(params, updates)
        return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves((params, state))]

    for plain, after in zip(trained(False), trained(True)):
        np.testing.assert_array_equal(plain, after)


@built
@pytest.mark.parametrize("make", [optax.adamw, optax.inject_hyperparams(optax.adamw), optax.lion])
def test_the_quiet_steps_are_audited(make):
    command = [NODE, str(ROOT / "bin" / "run.js")]
    np.random.seed(0)
    batches = list(Loader())
    clean = preflight(net(jax.random.PRNGKey(1)), make(0.01), batches, loss_of_net, command=command)["preflight"]
    assert clean["audit"]["broken"] == 0 and "problem" not in clean["audit"], clean["audit"]
    outcome = {link["link"]: link["outcome"] for link in clean["audit"]["links"]}
    # The others have no formula, so their steps cannot be checked.
    assert outcome["optimizer"] == ("holds" if make is optax.adamw else "cannot-tell")
    same = preflight(net(jax.random.PRNGKey(1)), make(0.01), batches[:1] * 80, loss_of_net, command=command)[
        "preflight"
    ]
    assert same["audit"]["broken"] > 0 and "The audit of the quiet steps found a fault" in same["statement"]


def test_errors_say_what_is_wrong_and_what_to_do(tmp_path):
    params, batches = linear_regression()
    with pytest.raises(ValueError, match="at least 16 are needed"):
        preflight(params, optax.sgd(0.1), batches[:5], squares)
    with pytest.raises(ValueError, match="give a function that makes it"):
        preflight(params, optax.scale_by_adam(), batches, squares)
    with pytest.raises(ValueError, match="give the peak rate of the run with rate="):
        preflight(params, lambda rate: optax.sgd(rate), batches, squares)
    with pytest.raises(ValueError, match="the learning rate is 0"):
        preflight(params, optax.sgd(0.0), batches, squares)
    with pytest.raises(ValueError, match=r"the one inside of flight\(\)"):
        preflight(params, flight(optax.sgd(0.1), tmp_path / "capture"), batches, squares)
    with pytest.raises(TypeError, match="no transformation of optax"):
        preflight(params, 0.1, batches, squares)
    with pytest.raises(TypeError, match="must return one number"):
        preflight(params, optax.sgd(0.1), batches, lambda p, b: b[0] @ p["w"])
    with pytest.raises(TypeError, match="takes a torch.nn.Module, a keras.Model, or parameters"):
        clippy_diag.preflight(params, 0.1, batches, squares)

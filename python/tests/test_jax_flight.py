"""The recorder in the graph: jitted steps with donated buffers, under the transformations that optax has."""

import json

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="no jax in this environment")
optax = pytest.importorskip("optax", reason="no optax in this environment")
import jax.numpy as jnp  # noqa: E402
from test_jax import batch_at, flat, loss_of, start  # noqa: E402

from clippy_diag.jax import closed_loop, flight  # noqa: E402
from clippy_diag.jax.options import read_chain  # noqa: E402


def trained(tx, steps=75, bad=range(60, 64), with_flight=True, **extra):
    """Final parameters, and losses and parameters by step."""
    params = start()
    state = tx.init(params)

    def train_step(params, state, batch):
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        arguments = {"value": loss, "batch": batch} if with_flight else {}
        updates, state = tx.update(grads, state, params, **arguments, **extra)
        return optax.apply_updates(params, updates), state, loss

    train_step = jax.jit(train_step, donate_argnums=(0, 1))
    truth = {}
    for step in range(steps):
        before = jax.tree.map(np.array, params)
        params, state, loss = train_step(params, state, batch_at(step, bad))
        truth[step] = float(loss), before
    return jax.tree.map(np.array, params), truth


CHAINS = {
    "adam": (lambda: optax.adam(0.01), {"name": "adam", "learningRate": 0.01}, []),
    "adamw": (
        lambda: optax.adamw(0.01, b1=0.8, weight_decay=0.1),
        {"name": "adamw", "weightDecay": 0.1, "beta1": 0.8},
        [],
    ),
    "clipped": (
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.05, momentum=0.9)),
        {"name": "sgd", "momentum": 0.9, "learningRate": 0.05},
        [{"rule": "global-norm", "maxNorm": 1.0}],
    ),
    "schedule": (lambda: optax.adagrad(optax.linear_schedule(0.2, 0.1, 100)), {"name": "adagrad"}, []),
    "lion": (lambda: optax.lion(0.001), {"formula": False, "learningRate": 0.001}, []),
    "multi_transform": (
        lambda: optax.multi_transform(
            {"a": optax.adam(0.01), "b": optax.sgd(0.05)},
            lambda tree: jax.tree_util.tree_map_with_path(lambda path, _: "a" if "out" in str(path) else "b", tree),
        ),
        {"formula": False},
        [],
    ),
    "MultiSteps": (lambda: optax.MultiSteps(optax.adam(0.01), 2).gradient_transformation(), {"formula": False}, []),
    "apply_if_finite": (lambda: optax.apply_if_finite(optax.adam(0.01), 5), {"formula": False}, []),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_jitted_step_is_recorded_and_trains_the_same(tmp_path, read, name):
    make, options, clipping = CHAINS[name]
    tx = flight(make(), tmp_path / "capture", snapshot_every_steps=5, steps_after=9)
    recorded, truth = trained(tx)
    tx.close()
    plain, _ = trained(make(), with_flight=False)
    assert tx.stopped is None
    for before, after in zip(jax.tree.leaves(plain), jax.tree.leaves(recorded)):
        assert np.allclose(before, after, rtol=1e-5, atol=1e-5)
    capture = read(tmp_path / "capture")
    # The loss is high from step 60 on; a chain whose first high loss is not yet above the noise is seen a step later.
    assert list(capture.steps)[0] <= 55
    assert list(capture.steps)[-1] in (69, 70)
    assert {key: capture.manifest["optimizer"].get(key) for key in options if key != "learningRate"} == {
        key: value for key, value in options.items() if key != "learningRate"
    }
    given = capture.manifest["clipping"]
    assert ([] if given == {"rule": "none"} else [given]) == clipping
    for step, tensors in capture.steps.items():
        loss, params = truth[step]
        assert capture.entry(step)["loss"] == pytest.approx(loss, rel=1e-6)
        grads = flat(jax.grad(loss_of)(jax.tree.map(jnp.asarray, params), batch_at(step, range(60, 64))))
        for leaf, grad in grads.items():
            # Not jitted, it adds in another order: an entry is off by the rounding of the largest terms.
            assert np.allclose(tensors[f"grad/{leaf}"][1], grad, rtol=1e-4, atol=2e-6 * max(1, np.abs(grad).max()))
        assert np.array_equal(tensors["batch/x"][1], batch_at(step, range(60, 64))["x"])
        if options.get("formula") is False:
            for leaf, value in flat(params).items():
                assert np.array_equal(tensors[f"param/{leaf}"][1], value)
    if name == "schedule":
        rates = [entry["learningRate"] for entry in capture.manifest["steps"]]
        assert rates == pytest.approx([0.2 - 0.001 * step for step in capture.steps], rel=1e-5)


def test_a_closed_loop_comes_back_from_a_flight(tmp_path):
    tx = flight(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01)), tmp_path / "capture", steps_after=24)
    trained(tx, steps=90)
    tx.close()
    found = closed_loop(tmp_path / "capture", loss_of, start(), rules=["global-norm:0.5"], arms=None)
    assert found["baseline"]["worstDifference"] < 1e-4


def test_without_a_loss_the_norm_of_the_gradient_is_judged(tmp_path):
    with pytest.warns(UserWarning, match="norm of the gradient is judged in its place"):
        tx = flight(optax.adam(0.01), tmp_path / "capture", snapshot_every_steps=5, steps_after=3)
        trained(tx, with_flight=False)
    tx.close()
    assert tx.captures == [str(tmp_path / "capture")]


def test_a_callback_that_fails_ends_the_recording_and_not_the_training(tmp_path, monkeypatch):
    tx = flight(optax.adam(0.01), tmp_path / "capture")
    monkeypatch.setattr(tx.recorder, "record", lambda *_: 1 / 0)
    with pytest.warns(UserWarning, match="training goes on"):
        _, truth = trained(tx, steps=5)
        jax.effects_barrier()
    assert len(truth) == 5 and "ZeroDivisionError" in tx.stopped


def test_a_request_is_served_from_the_loop(tmp_path, read):
    tx = flight(optax.adam(0.01), tmp_path / "capture", snapshot_every_steps=5, steps_after=3)
    tx.capture("drill")
    trained(tx, steps=12, bad=())
    tx.close()
    assert read(tmp_path / "capture").manifest["flushed"] == {"step": 0, "reason": "drill"}


@pytest.mark.parametrize(
    "make, optimizer, rate",
    [
        (lambda: optax.rmsprop(0.1), {"name": "rmsprop"}, 0.1),
        (lambda: optax.adamw(0.1, mask={"a": True}), {"formula": False}, 0.1),
        (lambda: optax.nadam(0.1), {"formula": False}, 0.1),
        (lambda: optax.adam(0.1, mu_dtype=jnp.bfloat16), {"formula": False}, 0.1),
        (lambda: optax.sgd(0.1), {"name": "sgd"}, 0.1),
        (lambda: optax.chain(optax.adam(0.1), optax.ema(0.9)), {"formula": False}, None),
        (lambda: optax.inject_hyperparams(optax.adam)(0.1), {"formula": False}, None),
    ],
)
def test_what_is_not_known_to_the_formulas_has_none(make, optimizer, rate):
    chain = read_chain(make())
    assert {key: chain.optimizer.get(key) for key in optimizer} == optimizer
    assert chain.learning_rate == rate


def test_capture_writes_the_steps_up_to_a_state_without_a_next_one(tmp_path):
    from clippy_diag.jax import capture

    tx = flight(optax.adam(0.1), tmp_path / "capture", snapshot_every_steps=5)
    params = {"w": jnp.ones(4)}
    state = tx.init(params)

    @jax.jit
    def step(params, state, x):
        loss, grads = jax.value_and_grad(lambda params: jnp.sum((x * params["w"] - 1) ** 2))(params)
        updates, state = tx.update(grads, state, params, value=loss, batch={"x": x})
        return optax.apply_updates(params, updates), state

    for k in range(13):
        params, state = step(params, state, jnp.full(4, 1 + 0.1 * k))
    with pytest.raises(ValueError, match="needs the state"):
        capture(optax.adam(0.1).init(params))
    (written,) = [one for one in capture({"optimizer": state}, "before the end") if one.startswith(str(tmp_path))]
    with open(f"{written}/capture.json") as file:
        manifest = json.load(file)
    assert manifest["flushed"] == {"step": 12, "reason": "before the end"}
    assert manifest["steps"][-1]["step"] == 12 and len(manifest["steps"]) >= 8
    # The recording goes on, and writes a further one.
    for k in range(13, 20):
        params, state = step(params, state, jnp.full(4, 1 + 0.1 * k))
    assert len([one for one in capture(state) if one.startswith(str(tmp_path))]) == 2
    tx.close()
    assert tx.stopped is None and tx.problems == []

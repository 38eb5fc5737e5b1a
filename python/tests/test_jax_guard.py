"""The guard in the graph: steps are the user's own until one would harm the run."""

import json
import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="no jax in this environment")
optax = pytest.importorskip("optax", reason="no optax in this environment")
import jax.numpy as jnp  # noqa: E402
from test_jax import batch_at, loss_of, start  # noqa: E402

from clippy_diag.jax import guard, guard_report  # noqa: E402

OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.05, momentum=0.9),
    "adam": lambda: optax.adam(0.01),
    "adagrad": lambda: optax.adagrad(optax.linear_schedule(0.2, 0.1, 100)),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(5.0), optax.adamw(0.01, weight_decay=0.1)),
}


def trained(tx, steps=60, times=lambda step: 1.0, params=None, state=None, first=0, gives_loss=True):
    """Final parameters and state, and a report and the parameters after each step. `times` multiplies the targets."""
    params = start() if params is None else params
    state = tx.init(params) if state is None else state

    @jax.jit
    def train_step(params, state, batch):
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        updates, state = tx.update(grads, state, params, **({"value": loss} if gives_loss else {}))
        return optax.apply_updates(params, updates), state

    seen = []
    for step in range(first, first + steps):
        batch = batch_at(step)
        batch = {**batch, "y": batch["y"] * times(step)}
        params, state = train_step(params, state, batch)
        seen.append((jax.tree.map(np.array, params), state))
    return jax.tree.map(np.array, params), state, seen


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def close(a, b):
    """Equal up to what another program of XLA rounds otherwise."""
    return all(
        np.allclose(x, y, rtol=1e-4, atol=1e-5) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_healthy_run_is_as_without_a_guard(name):
    tx = OPTIMIZERS[name]()
    plain = trained(optax.with_extra_args_support(tx))[0]
    guarded, state, _ = trained(guard(tx))
    assert close(plain, guarded)
    assert guard_report(state)["taken"] == {"apply": 60, "clip": 0, "skip": 0}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_that_is_left_alone_is_bitwise_the_users_own(name):
    tx, params = OPTIMIZERS[name](), start()
    held = guard(tx)
    bare, state = tx.init(params), held.init(params)
    for step in range(3):
        grads = jax.grad(loss_of)(params, batch_at(step))
        mine, bare = tx.update(grads, bare, params)
        guarded, state = held.update(grads, state, params, value=1.0)
        assert same(mine, guarded) and same(bare, state.inner)
        params = optax.apply_updates(params, mine)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_surge_is_held_and_its_twin_without_a_guard_is_lost(name):
    tx = OPTIMIZERS[name]()
    surge = lambda step: 100.0 if step >= 50 else 1.0  # noqa: E731

    def end(params):
        return float(np.mean([float(loss_of(params, batch_at(step))) for step in range(1000, 1020)]))

    well = end(trained(tx := optax.with_extra_args_support(tx), 50)[0])
    lost = end(trained(tx, 60, surge)[0])
    held, state, seen = trained(guard(tx), 60, surge)
    report = guard_report(state)
    assert guard_report(seen[49][1])["taken"]["apply"] == 50 and guard_report(seen[50][1])["action"] != "apply"
    assert sum(report["taken"].values()) == 60 and report["taken"]["clip"] >= 1
    assert not lost <= 1.45 * well
    assert end(held) <= max(1.25 * well, well + 0.25 * (lost - well))


def test_what_is_not_finite_moves_nothing_not_even_the_optimizers_state():
    tx = guard(optax.adam(0.01))
    params = start()
    state = tx.init(params)
    grads = jax.tree.map(jnp.ones_like, params)
    _, state = tx.update(grads, state, params, value=1.0)
    broken = jax.tree.map(lambda g: g.at[(0,) * g.ndim].set(jnp.nan), grads)
    for given, loss in ((broken, 1.0), (grads, math.nan), (grads, math.inf)):
        updates, after = tx.update(given, state, params, value=loss)
        assert all(not np.any(np.asarray(u)) for u in jax.tree.leaves(updates))
        assert same(after.inner, state.inner)
        report = guard_report(after)
        assert report["action"] == "skip" and report["risk"] == 1.0 and report["scale"] == 0.0


def test_a_state_that_is_saved_and_loaded_goes_on_as_if_nothing_had_been():
    tx = guard(optax.adam(0.01))
    surge = lambda step: 100.0 if step >= 32 else 1.0  # noqa: E731
    whole, state, _ = trained(tx, 40, surge)
    params, saved, _ = trained(tx, 30, surge)
    again, resumed, _ = trained(tx, 10, surge, jax.tree.map(jnp.asarray, params), saved, first=30)
    assert same(whole, again) and guard_report(state) == guard_report(resumed)
    # A guard made anew at the resume is blind for its first steps.
    blind = guard(optax.adam(0.01)).init(params)._replace(inner=saved.inner)
    _, fresh, _ = trained(tx, 10, surge, jax.tree.map(jnp.asarray, params), blind, first=30)
    assert guard_report(fresh)["taken"]["clip"] == 0 < guard_report(resumed)["taken"]["clip"]


def test_without_a_loss_the_update_is_the_sign():
    tx = guard(optax.sgd(0.05))
    plain = trained(optax.sgd(0.05), gives_loss=False)[0]
    quiet, state, _ = trained(tx, gives_loss=False)
    assert close(plain, quiet) and guard_report(state)["taken"]["apply"] == 60
    _, state, _ = trained(tx, 55, lambda step: 1e3 if step >= 50 else 1.0, gives_loss=False)
    assert guard_report(state)["taken"]["clip"] >= 1


def test_advice_only_changes_no_step_and_the_pulse_has_a_line_for_each(tmp_path):
    surge = lambda step: 100.0 if 50 <= step < 53 else 1.0  # noqa: E731
    plain = trained(optax.with_extra_args_support(optax.adam(0.01)), 60, surge)[0]
    path = tmp_path / "pulse.jsonl"
    advised, state, _ = trained(guard(optax.adam(0.01), advice_only=True, pulse=path), 60, surge)
    jax.effects_barrier()
    assert close(plain, advised)
    lines = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda line: line["step"])
    assert [line["step"] for line in lines] == list(range(60))
    assert lines[50]["action"] == "clip" and lines[50]["risk"] >= 0.9 and lines[50]["guard_scale"] == 1.0
    assert all(line["action"] == "apply" for line in lines[:50]) and lines[3]["learning_rate"] == pytest.approx(0.01)
    assert guard_report(state)["taken"]["clip"] >= 1


def test_all_devices_of_a_mapped_axis_decide_as_one():
    tx = guard(optax.sgd(0.1), axis_name="data")
    params = {"w": jnp.ones(3)}

    def step(state, gradient, loss):
        return tx.update({"w": jax.lax.pmean(gradient, "data")}, state, params, value=loss)

    mapped = jax.vmap(step, in_axes=(0, 0, 0), axis_name="data")
    state = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tx.init(params))
    for _ in range(20):
        _, state = mapped(state, jnp.ones((2, 3)), jnp.array([1.0, 1.2]))
    # The loss of one device alone is broken: all leave the step out.
    updates, state = mapped(state, jnp.ones((2, 3)), jnp.array([1.0, jnp.nan]))
    assert np.array_equal(state.action, [2, 2]) and not np.any(np.asarray(updates["w"]))


def test_options_that_make_no_sense_are_refused_before_training():
    with pytest.raises(ValueError, match="clip_at"):
        guard(optax.adam(0.01), clip_at=1.5)
    with pytest.raises(ValueError, match="guard"):
        guard_report(optax.adam(0.01).init({"w": jnp.ones(2)}))

"""How `flight` calls the host: as the transformations of JAX have it, and without waiting for what waits for it."""

import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="no jax in this environment")
optax = pytest.importorskip("optax", reason="no optax in this environment")
import jax.numpy as jnp  # noqa: E402

from clippy_diag.jax import flight  # noqa: E402

STEPS = 45


@pytest.fixture
def flown(tmp_path):
    """A flight, and the steps, losses and batches that its recorder hears."""
    tx = flight(optax.adam(0.1), tmp_path / "capture", ledger=True, ledger_every=16)
    heard, record = [], tx.recorder.record

    def hear(step, loss, gradients, params, state, batch, *rest):
        heard.append((step, float(loss), np.array(batch["x"])))
        record(step, loss, gradients, params, state, batch, *rest)

    tx.recorder.record = hear
    yield tx, heard
    tx.close()
    assert tx.stopped is None and tx.problems == []


def start():
    return {"w": jnp.ones(4), "b": jnp.ones(()) / 2}


def loss_of(params, x):
    return jnp.sum((x * params["w"] - 1) ** 2) + params["b"] ** 2


def step_of(tx):
    def step(carry, x):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_of)(params, x)
        updates, state = tx.update(grads, state, params, value=loss, batch={"x": x})
        return (optax.apply_updates(params, updates), state), loss

    return step


def batches():
    return jnp.asarray(np.random.default_rng(0).normal(size=(STEPS, 4)), jnp.float32)


def in_a_loop(make):
    def run(tx):
        step, carry, losses = make(step_of(tx)), (start(), tx.init(start())), []
        for x in batches():
            carry, loss = step(carry, x)
            losses.append(loss)
        return carry, losses

    return run


def in_a_scan(tx):
    return jax.jit(lambda carry: jax.lax.scan(step_of(tx), carry, batches()))((start(), tx.init(start())))


def in_a_shard_map(step):
    whole = jax.sharding.PartitionSpec()
    mesh = jax.make_mesh((1,), ("data",))
    return jax.jit(jax.shard_map(step, mesh=mesh, in_specs=((whole, whole), whole), out_specs=whole))


WAYS = {
    "jit": in_a_loop(jax.jit),
    "donated": in_a_loop(lambda step: jax.jit(step, donate_argnums=0)),
    "eager": in_a_loop(lambda step: step),
    "checkpoint": in_a_loop(lambda step: jax.jit(jax.checkpoint(step))),
    "scan": in_a_scan,
    "shard_map": in_a_loop(in_a_shard_map),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_step_is_heard_once_with_its_own_numbers(flown, way):
    tx, heard = flown
    _, losses = jax.block_until_ready(WAYS[way](tx))
    assert [step for step, _, _ in heard] == list(range(STEPS))
    np.testing.assert_array_equal([loss for _, loss, _ in heard], np.asarray(losses))
    np.testing.assert_array_equal([x for _, _, x in heard], batches())


def test_a_step_that_is_mapped_over_is_heard_once_for_each_copy(flown):
    tx, heard = flown
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start())
    carry = both, jax.vmap(tx.init)(both)
    step = jax.jit(jax.vmap(step_of(tx), in_axes=(0, None)))
    for x in batches():
        carry, _ = step(carry, x)
    jax.block_until_ready(carry)
    assert sorted(step for step, _, _ in heard) == sorted([*range(STEPS)] * 2)


def test_a_step_can_be_differentiated_and_is_heard_where_its_state_is_asked_for(flown):
    tx, heard = flown

    def outer(params):
        carry, losses = jax.lax.scan(step_of(tx), (params, tx.init(start())), batches())
        return jnp.sum(losses), carry

    slopes, _ = jax.block_until_ready(jax.jit(jax.grad(outer, has_aux=True))(start()))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert [step for step, _, _ in heard] == list(range(STEPS))


def test_a_step_has_no_effect_that_python_would_dispatch(flown):
    tx, _ = flown
    carry = start(), tx.init(start())
    assert not jax.make_jaxpr(step_of(tx))(carry, batches()[0]).effects


def test_close_waits_for_steps_on_their_way(flown):
    tx, heard = flown
    hear = tx.recorder.record
    tx.recorder.record = lambda *given: (time.sleep(0.02), hear(*given))
    carry, step = (start(), tx.init(start())), jax.jit(step_of(tx))
    for x in batches():
        carry, _ = step(carry, x)
    tx.close()
    assert len(heard) == STEPS


def test_an_id_that_is_a_text_is_kept(tmp_path):
    tx = flight(optax.sgd(0.1), tmp_path / "capture", ledger=True)
    step = jax.jit(lambda state: tx.update(start(), state, start(), value=1.0, batch_id="shard-7"))
    jax.block_until_ready(step(tx.init(start())))
    tx.close()
    assert tx.stopped is None and b"shard-7" in next((tmp_path / "ledger" / "ids").iterdir()).read_bytes()


TRAINING = """
    import os, sys

    cores = int(sys.argv[2])
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import numpy as np, jax, jax.numpy as jnp, optax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from clippy_diag.jax import flight

    tx = flight(optax.adam(1e-3), sys.argv[1], ledger=True)
    params = {f"w{k}": jnp.full((500, 500), 0.01) for k in range(2)}
    state = tx.init(params)

    def step(params, state, x):
        def loss_of(params):
            return jnp.mean((jnp.tanh(x @ params["w0"]) @ params["w1"]) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, state = tx.update(grads, state, params, value=loss, batch=x)
        return optax.apply_updates(params, updates), state

    x = jnp.ones((1024, 500))
    if jax.device_count() > 1:
        x = jax.device_put(x, NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data")))
    step = jax.jit(step)
    for _ in range(30):
        jnp.zeros((500, 500)) + 1  # takes the only thread while the step waits for its host
        params, state = step(params, state, x)
    tx.close()
    assert tx.stopped is None and tx.problems == [], (tx.stopped, tx.problems)
    assert tx.recorder.status["steps"] == 30, tx.recorder.status["steps"]
"""


@pytest.mark.parametrize("cores, devices", [(1, 1), (0, 2)])
def test_a_training_on_one_core_and_one_on_two_devices_come_to_their_end(tmp_path, cores, devices):
    if cores and not hasattr(os, "sched_setaffinity"):
        pytest.skip("no way to take one core")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TRAINING), str(tmp_path / "capture"), str(cores)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr


def test_a_version_of_jax_that_does_not_take_the_call_is_heard_as_before(tmp_path, monkeypatch):
    from clippy_diag.jax import telling

    def refused(*_arguments, **_options):
        raise TypeError("emit_python_callback() got an unexpected keyword argument")

    monkeypatch.setattr(telling.mlir, "emit_python_callback", refused)
    telling.works.cache_clear()
    try:
        tx = flight(optax.adam(0.1), tmp_path / "capture")
        heard, record = [], tx.recorder.record
        tx.recorder.record = lambda step, *rest: (heard.append(step), record(step, *rest))
        params = start()
        (params, _), losses = jax.jit(lambda carry, x: jax.lax.scan(step_of(tx), carry, x))(
            (params, tx.init(params)), batches()
        )
        tx.close()
        assert not telling.works() and tx.stopped is None and tx.problems == []
        assert len(losses) == STEPS and heard == list(range(STEPS))
    finally:
        monkeypatch.undo()
        telling.works.cache_clear()
    assert telling.works()

"""The ledger of JAX: a loop that calls `record`, and `flight` inside of a jitted step."""

import functools
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from conftest import lines_of, records_of, roles_of

jax = pytest.importorskip("jax", reason="no jax in this environment")
optax = pytest.importorskip("optax", reason="no optax in this environment")
from test_jax import batch_at, loss_of, start  # noqa: E402

from clippy_diag.jax import Recorder, flight  # noqa: E402
from clippy_diag.jax.flight import weight_norm  # noqa: E402
from clippy_diag.jax.ledger import states_of  # noqa: E402
from clippy_diag.sketch import checksum, sketch  # noqa: E402


def flown(folder, steps=30, change=lambda step, batch: batch, after=lambda step: None, **options):
    """Parameters after a training under `flight`, with donated buffers."""
    tx = flight(optax.adamw(0.01), folder / "capture", **{"ledger": True, **options})
    params = start()
    state = tx.init(params)

    @jax.jit
    def train_step(params, state, batch, ids):
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        updates, state = tx.update(grads, state, params, value=loss, batch=batch, batch_id=ids)
        return optax.apply_updates(params, updates), state

    for step in range(steps):
        params, state = train_step(params, state, change(step, batch_at(step, ())), np.arange(8) + 8 * step)
        after(step)
    tx.close()
    return params


def looped(folder, steps=30, change=lambda step, batch: batch, after=lambda step: None, rate=0.01, **options):
    """Parameters after a loop that calls `record`."""
    tx = optax.inject_hyperparams(optax.adamw)(rate)
    recorder = Recorder(folder / "capture", {"name": "adamw"}, **{"ledger": True, **options})
    params = start()
    state = tx.init(params)
    for step in range(steps):
        batch = change(step, batch_at(step, ()))
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        if step == 20:
            state.hyperparams["learning_rate"] = jax.numpy.float32(2 * rate)
        recorder.record(step, loss, grads, params, state, batch=batch, batch_id=f"shard-{step}")
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        after(step)
    recorder.close()
    return params


KINDS = {"flight": flown, "recorder": looped}


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_has_its_line_and_its_tensors(tmp_path, kind):
    KINDS[kind](tmp_path)
    head, *steps = lines_of(tmp_path)
    assert [line["step"] for line in steps] == list(range(30)) and head["every"] == 1
    assert len({line["batch"] for line in steps}) == 30
    assert head["framework"].startswith("jax") and head["optimizers"] == ["optax.adamw"]
    names, weights = [name for name, _, _ in head["tensors"]], flat(start())
    records = [roles_of(record, len(names)) for record in records_of(tmp_path)]
    for k, name in enumerate(names):
        np.testing.assert_array_equal(records[0]["weights"][0][k], sketch(weights[name], name))
        assert int(records[0]["weights"][1][k]) == checksum(weights[name])
    for earlier, later in zip(records, records[1:]):
        assert set(earlier) == {"gradient", "weights", "state", "weightsNext", "stateNext"}
        for role in ("weights", "state"):
            np.testing.assert_array_equal(earlier[f"{role}Next"][1], later[role][1])
            assert (earlier[role][1] != later[role][1]).any()
    assert len(records_of(tmp_path, "ids")) == 30


def flat(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(str(getattr(part, "key", part)) for part in path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_of_the_same_are_equal_to_the_bit_and_a_changed_row_is_seen(tmp_path, kind):
    def change(step, batch):
        return jax.tree.map(lambda leaf: leaf.at[0].add(1) if step == 9 else leaf, batch)

    for name in "ab":
        KINDS[kind](tmp_path / name)
    KINDS[kind](tmp_path / "c", change=change)
    a, b, c = (lines_of(tmp_path / name)[1:] for name in "abc")
    assert a == b
    assert [line for line in a if line not in c][0]["step"] == 9
    assert a[9]["weightNorm"] == c[9]["weightNorm"] and a[9]["batch"] != c[9]["batch"]


def test_an_injected_rate_that_changes_is_an_option(tmp_path):
    looped(tmp_path)
    head, *steps = lines_of(tmp_path)
    assert head["options"]["0.learning_rate"] == pytest.approx(0.01)
    changes = {line["step"]: line["options"] for line in steps if "options" in line}
    assert changes == {20: {"0.learning_rate": pytest.approx(0.02)}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_training_is_the_same_with_and_without(tmp_path, kind):
    made = [KINDS[kind](tmp_path / str(k), ledger=k == 1) for k in range(2)]
    for a, b in zip(*(jax.tree.leaves(one) for one in made)):
        np.testing.assert_array_equal(a, b)
    assert not (tmp_path / "0" / "ledger").exists()


def test_where_tensors_are_not_taken_at_every_step_the_step_after_shows_what_one_did(tmp_path):
    flown(tmp_path, steps=40, ledger_every=16)
    tensors = len(lines_of(tmp_path)[0]["tensors"])
    records = {step: roles_of((data, step, kind), tensors) for data, step, kind in records_of(tmp_path)}
    assert list(records) == [0, 1, 2, 3, 16, 32]
    for step in (0, 16, 32):
        assert set(records[step]) == {"gradient", "weights", "state", "weightsNext", "stateNext"}
    assert [line["step"] for line in lines_of(tmp_path)[1:]] == list(range(40))


def test_a_quiet_step_hands_no_parameters_over_and_their_norm_all_the_same(tmp_path, monkeypatch):
    heard, of_class = {}, Recorder.to_ledger

    def to_ledger(self, seen):
        heard[seen.step] = [part is not None for part in (seen.params, seen.opt_state)]
        return of_class(self, seen)

    monkeypatch.setattr(Recorder, "to_ledger", to_ledger)
    flown(tmp_path / "flight", steps=40, ledger_every=16)
    shown = {step for step in range(40) if step <= 4 or step % 20 <= 1 or step % 16 <= 1}
    assert {step for step, (params, _) in heard.items() if params} == shown
    assert {step for step, (_, state) in heard.items() if state} == {0, 1, 16, 17, 20, 32, 33}
    looped(tmp_path / "loop", steps=20)
    norms = [[line["weightNorm"] for line in lines_of(tmp_path / kind)[1:21]] for kind in ("flight", "loop")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


@pytest.mark.parametrize("shapes", [[(3,)], [(1024, 2), (5, 7, 31)], [(), (0, 4), (2049,)]])
def test_the_norm_in_the_graph_is_that_of_all_entries(shapes):
    arrays = [np.random.default_rng(k).normal(size=shape).astype("f4") for k, shape in enumerate(shapes)]
    expected = np.sqrt(sum((a.astype("f8") ** 2).sum() for a in arrays))
    assert float(jax.jit(weight_norm)(arrays)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rows, kept", [(49_999, False), (50_000, True)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_100_000_parameters_has_a_ledger_unasked(tmp_path, kind, rows, kept):
    params = {"kernel": jax.numpy.zeros((rows, 2))}
    for choice, there in ((None, kept), (False, False)):
        folder = tmp_path / str(choice)
        if kind == "flight":
            tx = recorder = flight(optax.sgd(0.1), folder / "capture", ledger=choice)
            state = tx.init(params)
            update = jax.jit(functools.partial(tx.update, value=1.0))
            for _ in range(2):
                _, state = update(params, state, params)
        else:
            recorder = Recorder(folder / "capture", {"name": "sgd", "learning_rate": 0.1}, ledger=choice)
            for step in range(2):
                recorder.record(step, 1.0, params, params, optax.sgd(0.1).init(params))
        recorder.close()
        assert (folder / "ledger").exists() is there
        assert not there or [line["step"] for line in lines_of(folder)[1:]] == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_leaves_whole_lines_and_records(tmp_path, kind):
    program = textwrap.dedent(f"""
        import os, signal, sys
        sys.path[:0] = {[p for p in sys.path if p]!r}
        from pathlib import Path
        import jax
        from test_ledger_jax import KINDS

        def kill(step):
            if step == 25:
                jax.effects_barrier()
                os.kill(os.getpid(), signal.SIGKILL)

        KINDS[{kind!r}](Path({str(tmp_path)!r}), after=kill)
    """)
    done = subprocess.run([sys.executable, "-c", program], cwd=os.path.dirname(__file__), capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [line["step"] for line in lines_of(tmp_path)[1:]] == list(range(25))
    assert [step for _, step, _ in records_of(tmp_path)] == list(range(25))


def test_state_belongs_to_the_parameter_whose_path_ends_its_own():
    parameters = {"dense/kernel": np.zeros((2, 3)), "kernel": np.zeros(3)}
    leaves = {"0/count": np.array(4), "0/mu/dense/kernel": np.ones((2, 3)), "0/mu/kernel": np.full(3, 2.0)}
    found = states_of(leaves, parameters)
    assert {name: sorted(slots) for name, slots in found.items()} == {
        "dense/kernel": ["0/mu", "shared/0/count"],
        "kernel": ["0/mu", "shared/0/count"],
    }
    assert found["kernel"]["0/mu"].tolist() == [2, 2, 2]


def test_a_disk_that_fails_stops_the_ledger_and_not_the_training(tmp_path):
    (tmp_path / "ledger").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="the ledger stopped, training goes on"):
        looped(tmp_path)

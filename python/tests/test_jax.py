"""The recorder in optax loops, with donated buffers, under every optimizer that has a formula and some that have none."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="no jax in this environment")
optax = pytest.importorskip("optax", reason="no optax in this environment")
import jax.numpy as jnp  # noqa: E402

from clippy_diag.jax import ClosedLoopMismatch, Recorder, closed_loop  # noqa: E402


def start():
    k = jax.random.split(jax.random.PRNGKey(0), 2)
    return {
        "params": {
            "Dense_0": {"kernel": jax.random.normal(k[0], (4, 8)) * 0.3, "bias": jnp.zeros(8)},
            "out": {"kernel": jax.random.normal(k[1], (8, 1)) * 0.3},
        }
    }


def loss_of(params, batch):
    p = params["params"]
    hidden = jnp.tanh(batch["x"] @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])
    return ((hidden @ p["out"]["kernel"] - batch["y"]) ** 2).mean()


def batch_at(step, bad=()):
    random = np.random.default_rng(step)
    y = (random.normal(size=(8, 1)) * 0.1 + 1).astype("float32")
    return {
        "x": jnp.asarray(random.normal(size=(8, 4)).astype("float32")),
        "y": jnp.asarray(y * 50 if step in bad else y),
    }


def train(folder, transform, said, steps=75, bad=range(60, 64), recorded=True, **options):
    params = start()
    state = transform.init(params)
    recorder = Recorder(folder, said, snapshot_every_steps=5, steps_after=9, **options) if recorded else None
    value_and_grad = jax.jit(jax.value_and_grad(loss_of))

    def update(grads, state, params):
        updates, state = transform.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    update = jax.jit(update, donate_argnums=(0, 1, 2))
    truth = {}
    for step in range(steps):
        batch = batch_at(step, bad)
        loss, grads = value_and_grad(params, batch)
        truth[step] = (float(loss), jax.tree.map(np.array, grads), jax.tree.map(np.array, params))
        if recorder:
            recorder.record(step, loss, grads, params, state, batch=batch)
        params, state = update(grads, state, params)
    truth[steps] = (None, None, jax.tree.map(np.array, params))
    if recorder:
        recorder.close()
    return truth, recorder


def flat(tree):
    return {
        "params/Dense_0/bias": tree["params"]["Dense_0"]["bias"],
        "params/Dense_0/kernel": tree["params"]["Dense_0"]["kernel"],
        "params/out/kernel": tree["params"]["out"]["kernel"],
    }


def adam(w, g, s, o, t, lr):
    s["m"] = o["beta1"] * s["m"] + (1 - o["beta1"]) * g
    s["v"] = o["beta2"] * s["v"] + (1 - o["beta2"]) * g**2
    m, v = s["m"] / (1 - o["beta1"] ** t), s["v"] / (1 - o["beta2"] ** t)
    return w - lr * m / (np.sqrt(v) + o["epsilon"]) - (lr * o["weightDecay"] * w if o["name"] == "adamw" else 0)


def sgd(w, g, s, o, t, lr):
    if not o["momentum"]:
        return w - lr * g
    s["momentum"] = o["momentum"] * s["momentum"] + g
    return w - lr * (g + o["momentum"] * s["momentum"] if o["nesterov"] else s["momentum"])


def adagrad(w, g, s, o, t, lr):
    s["accumulator"] = s["accumulator"] + g**2
    return w - lr * g / np.sqrt(s["accumulator"] + o["epsilon"])


def rmsprop(w, g, s, o, t, lr):
    s["v"] = o["rho"] * s["v"] + (1 - o["rho"]) * g**2
    return w - lr * g / np.sqrt(s["v"] + o["epsilon"])


RULES = {
    "adam": (optax.adam(0.01), {"name": "adam", "learningRate": 0.01}, adam),
    "adamw": (optax.adamw(0.01, weight_decay=0.1), {"name": "adamw", "learningRate": 0.01, "weightDecay": 0.1}, adam),
    "sgd": (optax.sgd(0.05), {"name": "sgd", "learningRate": 0.05}, sgd),
    "nesterov": (
        optax.sgd(0.01, momentum=0.9, nesterov=True),
        {"name": "sgd", "learningRate": 0.01, "momentum": 0.9, "nesterov": True},
        sgd,
    ),
    "adagrad": (optax.adagrad(0.1), {"name": "adagrad", "learningRate": 0.1}, adagrad),
    "rmsprop": (optax.rmsprop(0.01), {"name": "rmsprop", "learningRate": 0.01}, rmsprop),
}


@pytest.mark.parametrize("name", RULES)
def test_steps_are_recorded_before_the_update_and_the_formula_explains_them(tmp_path, read, name):
    transform, said, formula = RULES[name]
    truth, recorder = train(tmp_path / "capture", transform, said)
    assert recorder.stopped is None
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == list(range(55, 70))
    assert [(p["name"], p["layout"]) for p in capture.manifest["parameters"]] == [
        ("params/Dense_0/bias", "none"),
        ("params/Dense_0/kernel", "IO"),
        ("params/out/kernel", "IO"),
    ]
    options = capture.manifest["optimizer"]
    for key in flat(truth[0][2]):
        w = capture.initial[f"param/{key}"][1].astype(np.float64)
        np.testing.assert_array_equal(w, flat(truth[55][2])[key])
        slots = {
            n.split("/")[1]: a.astype(np.float64)
            for n, (_, a) in capture.initial.items()
            if n.startswith("state/") and n.endswith(key)
        }
        for step, tensors in capture.steps.items():
            assert capture.entry(step)["loss"] == truth[step][0]
            gradient = tensors[f"grad/{key}"][1]
            np.testing.assert_array_equal(gradient, flat(truth[step][1])[key])
            w = formula(w, gradient.astype(np.float64), slots, options, step + 1, capture.entry(step)["learningRate"])
            np.testing.assert_allclose(w, flat(truth[step + 1][2])[key], rtol=2e-4, atol=2e-6)


def test_training_is_the_same_with_a_recorder(tmp_path):
    transform, said, _ = RULES["adamw"]
    recorded, _ = train(tmp_path / "capture", transform, said)
    plain, _ = train(None, transform, said, recorded=False)
    for a, b in zip(flat(recorded[75][2]).values(), flat(plain[75][2]).values()):
        np.testing.assert_array_equal(a, b)


def test_schedules_chains_and_injected_hyperparameters_give_the_rate_of_each_step(tmp_path, read):
    schedule = optax.cosine_decay_schedule(0.01, 100)
    chain = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
    train(
        tmp_path / "schedule",
        chain,
        {"name": "adamw", "learningRate": schedule},
        clipping={"rule": "global-norm", "maxNorm": 1.0},
    )
    capture = read(tmp_path / "schedule")
    assert capture.manifest["clipping"]["rule"] == "global-norm"
    for step in capture.steps:
        assert capture.entry(step)["learningRate"] == pytest.approx(float(schedule(step)))
    train(tmp_path / "injected", optax.inject_hyperparams(optax.adam)(learning_rate=schedule), {"name": "adam"})
    capture = read(tmp_path / "injected")
    rates = [capture.entry(step)["learningRate"] for step in capture.steps]
    assert rates == pytest.approx([float(schedule(step)) for step in capture.steps], rel=1e-5)


@pytest.mark.parametrize("name", ["lion", "adafactor", "amsgrad"])
def test_an_optimizer_without_a_formula_comes_with_parameters_before_and_after(tmp_path, read, name):
    truth, recorder = train(tmp_path / "capture", getattr(optax, name)(0.01), {"name": name, "learningRate": 0.01})
    assert recorder.stopped is None
    capture = read(tmp_path / "capture")
    assert capture.manifest["optimizer"]["formula"] is False
    for step, tensors in capture.steps.items():
        for key, after in flat(truth[step + 1][2]).items():
            np.testing.assert_array_equal(tensors[f"param-after/{key}"][1], after)


def test_what_contradicts_the_state_raises_in_the_constructor():
    state = optax.adam(0.01).init(start())
    for said, message in [
        ({"name": "sgd", "learningRate": 0.1}, "opt_state has mu, nu"),
        ({"name": "adagrad", "learningRate": 0.1}, "whose state has sum_of_squares"),
        ({"name": "adam", "learningRate": 0.1, "momentum": 0.9}, 'has no option "momentum"'),
        ({"learningRate": 0.1}, "say which optimizer"),
    ]:
        with pytest.raises(ValueError, match=message):
            Recorder("capture", said, opt_state=state)
    with pytest.raises(ValueError, match="MultiSteps"):
        Recorder("capture", {"name": "adam"}, opt_state=optax.MultiSteps(optax.adam(0.01), 2).init(start()))


def test_a_contradiction_found_in_the_loop_stops_the_recorder_and_not_the_loop(tmp_path, status):
    with pytest.warns(UserWarning, match="training goes on"):
        train(tmp_path / "capture", optax.adam(0.01), {"name": "sgd", "learningRate": 0.01}, steps=3)
    assert "optimizer says sgd" in status(tmp_path / "capture")["stopped"]


def test_steps_that_apply_if_finite_leaves_out_are_listed(tmp_path, read):
    params, transform = start(), optax.apply_if_finite(optax.adam(0.01), 5)
    state = transform.init(params)
    recorder = Recorder(
        tmp_path / "capture", {"name": "adam", "learningRate": 0.01}, snapshot_every_steps=2, steps_after=4
    )
    for step in range(10):
        loss, grads = jax.value_and_grad(loss_of)(params, batch_at(step))
        if step == 6:
            grads = jax.tree.map(lambda g: g * jnp.inf, grads)
        if step == 4:
            recorder.capture()
        recorder.record(step, loss, grads, params, state)
        updates, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    recorder.close()
    capture = read(tmp_path / "capture")
    assert capture.manifest["skipped"] == [6]
    assert 6 not in capture.steps


def test_bfloat16_is_recorded_bit_for_bit(tmp_path, read):
    params = {"w": jnp.asarray([1.5, -2.25], jnp.bfloat16)}
    recorder = Recorder(
        tmp_path / "capture", {"name": "sgd", "learningRate": 0.1}, snapshot_every_steps=1, steps_after=0
    )
    recorder.capture()
    recorder.record(0, 1.0, params, params, optax.sgd(0.1).init(params))
    recorder.close()
    dtype, raw = read(tmp_path / "capture").initial["param/w"]
    assert dtype == "BF16" and raw.tolist() == [0x3FC0, 0xC010]


LOOPS = {
    "adam": (lambda rate: optax.adam(rate), {"name": "adam"}),
    "adamw": (lambda rate: optax.adamw(rate, weight_decay=0.1), {"name": "adamw", "weightDecay": 0.1}),
    "adam-decay": (
        lambda rate: optax.chain(optax.add_decayed_weights(0.01), optax.adam(rate)),
        {"name": "adam", "weightDecay": 0.01},
    ),
    "sgd": (lambda rate: optax.sgd(rate), {"name": "sgd"}),
    "nesterov": (
        lambda rate: optax.sgd(rate, 0.9, nesterov=True),
        {"name": "sgd", "momentum": 0.9, "nesterov": True},
    ),
    "adagrad": (lambda rate: optax.adagrad(rate), {"name": "adagrad"}),
    "rmsprop": (
        lambda rate: optax.rmsprop(rate, centered=True, momentum=0.5),
        {"name": "rmsprop", "centered": True, "momentum": 0.5},
    ),
    "lion": (lambda rate: optax.lion(rate), {"name": "lion"}),
}


@pytest.mark.parametrize("name", LOOPS)
def test_the_recorded_run_comes_back_in_a_closed_loop(tmp_path, name):
    make, said = LOOPS[name]
    rates = optax.exponential_decay(3e-3, 10, 0.9)
    truth, _ = train(tmp_path / "capture", make(rates), {**said, "learningRate": rates})
    params = jax.tree.map(jnp.zeros_like, start())
    given = {"optimizer": make} if name == "lion" else {}
    found = closed_loop(tmp_path / "capture", loss_of, params, rules=["global-norm:0.5", "value:1+agc:0.01"], **given)
    assert found["baseline"]["rule"] == "none"
    assert found["baseline"]["worstDifference"] < 1e-5
    none, norm, both = found["replay"][:3]
    assert [entry["label"] for entry in (none, norm, both)] == ["none", "global-norm:0.5", "value:1+agc:0.01"]
    assert none["loss"] == pytest.approx([truth[step][0] for step in none["steps"]], rel=1e-3)
    assert min(norm["minClipFactor"]) < 0.01 and min(both["minClipFactor"]) < 0.1
    assert {entry["arm"]["kind"] for entry in found["replay"] if "arm" in entry} >= {"skip-batches", "learning-rate"}
    assert found["onsetStep"] == 60


@pytest.mark.parametrize(
    "kind, of_step",
    [
        ("adam", {"b1": lambda count: 0.85 + 0.1 * jnp.abs((count % 20) / 10 - 1)}),
        ("sgd", {"momentum": lambda count: jnp.where(count % 8 < 4, 0.9, 0.5)}),
        ("adamw", {"weight_decay": lambda count: jnp.where(count < 58, 0.1, 5.0)}),
    ],
)
def test_options_that_change_while_recorded_are_those_of_each_step(tmp_path, kind, of_step):
    transform = optax.inject_hyperparams(getattr(optax, kind))(learning_rate=3e-3, **of_step)
    first = {key: float(value(0)) for key, value in of_step.items()}
    truth, _ = train(tmp_path / "capture", transform, {"name": kind, "learning_rate": 3e-3, **first})
    found = closed_loop(tmp_path / "capture", loss_of, start(), rules=["none"], arms=None)["replay"][0]
    assert found["loss"] == pytest.approx([truth[step][0] for step in found["steps"]], rel=1e-4)


def test_clipping_of_the_chain_is_said_and_the_loop_clips_by_itself(tmp_path):
    chain = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3))
    train(tmp_path / "capture", chain, {"name": "adam", "learningRate": 3e-3}, clipping="global-norm:0.5")
    found = closed_loop(tmp_path / "capture", loss_of, start(), rules=["none"], arms=None)
    assert found["baseline"]["rule"] == "global-norm:0.5"
    assert found["baseline"]["worstDifference"] < 1e-5
    train(tmp_path / "silent", chain, {"name": "adam", "learningRate": 3e-3})
    with pytest.raises(ClosedLoopMismatch, match="say it to the recorder as clipping"):
        closed_loop(tmp_path / "silent", lambda p, b: loss_of(p, b), start(), arms=None)


def test_what_a_closed_loop_needs_is_asked_for(tmp_path):
    train(tmp_path / "capture", optax.lion(1e-3), {"name": "lion", "learningRate": 1e-3})
    with pytest.raises(ValueError, match="optimizer=lambda rate: optax.lion"):
        closed_loop(tmp_path / "capture", loss_of, start())
    with pytest.raises(ValueError, match='"params/Dense_0/bias"'):
        closed_loop(tmp_path / "capture", loss_of, {"params": {"out": start()["params"]["out"]}}, optimizer=optax.lion)
    with pytest.raises(ClosedLoopMismatch, match="the first loss differs"):
        closed_loop(tmp_path / "capture", lambda p, b: 1.01 * loss_of(p, b), start(), optimizer=optax.lion)


def test_a_typed_random_key_in_a_batch_is_kept_as_its_words(tmp_path, read):
    params, transform = start(), optax.sgd(0.05)
    state = transform.init(params)
    recorder = Recorder(
        tmp_path / "capture", {"name": "sgd", "learning_rate": 0.05}, snapshot_every_steps=3, steps_after=2
    )
    recorder.capture()
    keys = [jax.random.fold_in(jax.random.key(0), step) for step in range(6)]
    for step, key in enumerate(keys):
        batch = {**batch_at(step), "key": key}
        loss, grads = jax.value_and_grad(loss_of)(params, batch_at(step))
        recorder.record(step, loss, grads, params, state, batch=batch)
    recorder.close()
    assert recorder.stopped is None
    capture = read(tmp_path / "capture")
    assert capture.steps[1]["batch/key"][1].tolist() == jax.random.key_data(keys[1]).tolist()


def test_multi_transform_is_recorded_without_a_formula(tmp_path, read):
    transform = optax.multi_transform(
        {"fast": optax.adam(0.01), "still": optax.set_to_zero()},
        lambda tree: jax.tree_util.tree_map_with_path(
            lambda path, _: "still" if "Dense_0" in str(path) else "fast", tree
        ),
    )
    truth, recorder = train(tmp_path / "capture", transform, {"name": "adam", "learning_rate": 0.01})
    assert recorder.stopped is None
    capture = read(tmp_path / "capture")
    assert capture.manifest["optimizer"] == {"name": "adam", "formula": False, "learningRate": 0.01}
    step = list(capture.steps)[2]
    for name, before in flat(truth[step][2]).items():
        assert np.array_equal(capture.steps[step][f"param/{name}"][1], before)
        assert np.array_equal(capture.steps[step][f"param-after/{name}"][1], flat(truth[step + 1][2])[name])


def test_options_are_in_the_words_of_optax_and_a_misspelt_one_is_refused(tmp_path):
    said = {"name": "adamw", "learning_rate": 0.01, "b1": 0.8, "b2": 0.99, "eps": 1e-6, "weight_decay": 0.1}
    options = Recorder(tmp_path / "capture", said).options
    assert options == {"name": "adamw", "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-6, "weightDecay": 0.1}
    with pytest.raises(ValueError, match='no option "beta_1"; it has learning_rate, b1, b2, eps, weight_decay'):
        Recorder(tmp_path / "capture", {"name": "adam", "learning_rate": 0.01, "beta_1": 0.9})


def test_a_gradient_that_is_not_finite_is_an_incident_under_a_finite_loss(tmp_path, read):
    params, transform = start(), optax.sgd(0.05)
    state = transform.init(params)
    with Recorder(tmp_path / "capture", {"name": "sgd", "learning_rate": 0.05}, steps_after=3) as recorder:
        for step in range(20):
            loss, grads = jax.value_and_grad(loss_of)(params, batch_at(step))
            if step == 12:
                grads["params"]["out"]["kernel"] = grads["params"]["out"]["kernel"].at[0, 0].set(jnp.nan)
            recorder.record(step, loss, grads, params, state)
    assert read(tmp_path / "capture").manifest["flushed"] == {
        "step": 12,
        "reason": "gradients of params/out/kernel are not finite",
    }

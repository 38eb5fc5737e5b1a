"""The guard for Keras 3 on the backends of TensorFlow and PyTorch: it changes nothing, and holds what would be lost."""

import json
import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="no Keras in this environment")
if keras.backend.backend() not in ("tensorflow", "torch"):
    pytest.skip("loops of your own run on TensorFlow and torch", allow_module_level=True)

from clippy_diag.keras import Guard  # noqa: E402

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "nesterov": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.003, momentum=0.5, centered=True),
}


def build(plain=False):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((4,)), keras.layers.Dense(16)]
    layers += [] if plain else [keras.layers.BatchNormalization(), keras.layers.Dropout(0.2, seed=3)]
    return keras.Sequential([*layers, keras.layers.ReLU(), keras.layers.Dense(1)])


def loss_fn(model, batch):
    return keras.ops.mean((model(batch["x"], training=True)[:, 0] - batch["y"]) ** 2)


def batch_at(step, times=1.0, rows=32):
    rng = np.random.default_rng(step)
    x = rng.normal(size=(rows, 4)).astype("float32")
    y = np.tanh(x.sum(1)) + 0.1 * rng.normal(size=rows).astype("float32")
    return {
        "x": keras.ops.convert_to_tensor(x * np.float32(times)),
        "y": keras.ops.convert_to_tensor(y.astype("float32")),
    }


def gradients_of(model, batch):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_fn(model, batch)
        return loss, tape.gradient(loss, [v.value for v in model.trainable_variables])
    import torch

    loss = loss_fn(model, batch)
    return loss, list(torch.autograd.grad(loss, [v.value for v in model.trainable_variables]))


def array(value):
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def train(steps, make, *, guarded=True, obey=True, model=None, times=lambda step: 1.0, spoil=None, **options):
    model, optimizer = model or build(), make()
    optimizer.build(model.trainable_variables)
    guard = Guard(model, optimizer, loss_fn, **options) if guarded else None
    advice = []
    for step in range(steps):
        batch = batch_at(step, times(step))
        loss, gradients = gradients_of(model, batch)
        if spoil:
            gradients = spoil(step, gradients)
        if guard is not None:
            advice.append(guard.check(step, batch, loss, gradients))
            if obey:
                gradients = guard.apply(advice[-1], gradients)
        if gradients is not None:
            optimizer.apply(gradients, model.trainable_variables)
    values = [array(v.value) for v in [*model.variables, *optimizer.variables]]
    return model, values, advice, guard


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_check_leaves_every_variable_bitwise_as_it_was(name):
    surge = lambda step: 30.0 if step >= 22 else 1.0  # noqa: E731
    _, bare, _, _ = train(26, OPTIMIZERS[name], guarded=False, times=surge)
    _, seen, advice, guard = train(26, OPTIMIZERS[name], obey=False, times=surge)
    assert any(a.ahead for a in advice) and not guard.problems
    for a, b in zip(bare, seen):
        np.testing.assert_array_equal(a, b)


#: What Keras itself does with gradients before the update, and with weights after it.
UPDATES = {
    **OPTIMIZERS,
    "strong decay": lambda: keras.optimizers.SGD(0.05, weight_decay=5.0),
    "average": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
    "norm": lambda: keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.1),
    "global norm": lambda: keras.optimizers.SGD(0.05, global_clipnorm=0.1, weight_decay=0.1),
    "value": lambda: keras.optimizers.SGD(0.05, clipvalue=0.02),
}


@pytest.mark.parametrize("name", UPDATES)
def test_the_update_is_the_one_that_the_optimizer_then_takes(name, tmp_path):
    model, optimizer = build(plain=True), UPDATES[name]()
    optimizer.build(model.trainable_variables)
    guard = Guard(model, optimizer, pulse=tmp_path / "pulse.jsonl")
    moves = []
    for step in range(5):
        batch = batch_at(step)
        loss, gradients = gradients_of(model, batch)
        guard.check(step, batch, loss, gradients)
        before = [array(v.value).astype(np.float64) for v in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)
        moved = [b - array(v.value) for b, v in zip(before, model.trainable_variables)]
        # Clippy bounds the update without the decay.
        decay = float(array(optimizer.learning_rate)) * (optimizer.weight_decay or 0)
        bound = min(
            ((0.5 * abs(b) + 0.01) / np.maximum(abs(m - decay * b), 1e-30)).min() for b, m in zip(before, moved)
        )
        moves.append((math.sqrt(sum((m**2).sum() for m in moved)), min(1.0, bound)))
    guard.close()
    lines = [json.loads(line) for line in (tmp_path / "pulse.jsonl").read_text().splitlines()]
    for line, (norm, factor) in zip(lines, moves):
        assert line["update_norm"] == pytest.approx(norm, rel=5e-4)
        assert name == "average" or line["clippy_factor"] == pytest.approx(factor, rel=2e-3)


def test_a_mistyped_decay_is_refused_before_it_acts():
    """A decay of 250 in place of 0.01 takes more than the weights off in one step."""

    def advices(decay):
        model, optimizer = build(True), keras.optimizers.AdamW(0.01, weight_decay=0.01)
        optimizer.build(model.trainable_variables)
        guard = Guard(model, optimizer, loss_fn)
        found = []
        for step in range(40):
            optimizer.weight_decay = decay if step == 30 else 0.01
            batch = batch_at(step)
            loss, gradients = gradients_of(model, batch)
            found.append(guard.check(step, batch, loss, gradients).action)
            optimizer.weight_decay = 0.01
            optimizer.apply(gradients, model.trainable_variables)
        return found

    assert set(advices(0.01)) == {"apply"}
    held = advices(250.0)
    assert held[30] in ("lower-rate", "skip") and set(held[:30]) == {"apply"}


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_a_run_that_a_surge_destroys_is_held_and_its_healthy_twin_is_left_alone(name):
    clean = batch_at(10**6, rows=256)
    surge = lambda step: 40.0 if step >= 50 else 1.0  # noqa: E731

    def end(model):
        return float(array(loss_fn(model, clean)))

    well = end(train(50, OPTIMIZERS[name], model=build(True), guarded=False)[0])
    lost = end(train(65, OPTIMIZERS[name], model=build(True), guarded=False, times=surge)[0])
    held, _, advice, _ = train(65, OPTIMIZERS[name], model=build(True), times=surge)
    assert not lost <= 1.45 * well
    assert end(held) <= 1.25 * well
    assert all(a.action == "apply" for a in advice[:50]) and advice[50].action != "apply"
    _, twin, calm, _ = train(65, OPTIMIZERS[name], model=build(True))
    assert all(a.action == "apply" for a in calm)
    for a, b in zip(twin, train(65, OPTIMIZERS[name], model=build(True), guarded=False)[1]):
        np.testing.assert_array_equal(a, b)


def test_a_rate_that_stays_wrong_is_lowered_and_the_run_goes_on_learning():
    def run(guarded, wrong):
        model, optimizer = build(True), OPTIMIZERS["adam"]()
        optimizer.build(model.trainable_variables)
        guard = Guard(model, optimizer, loss_fn)
        own = float(array(optimizer.learning_rate))
        for step in range(60):
            rate = own * (200 if wrong and step >= 35 else 1)
            optimizer.learning_rate = rate
            batch = batch_at(step)
            loss, gradients = gradients_of(model, batch)
            if guarded:
                advice = guard.check(step, batch, loss, gradients)
                # The check itself leaves the loop's own rate.
                assert float(array(optimizer.learning_rate)) == pytest.approx(rate)
                gradients = guard.apply(advice, gradients)
            if gradients is not None:
                optimizer.apply(gradients, model.trainable_variables)
            guard.restore_rate()
            assert float(array(optimizer.learning_rate)) == pytest.approx(rate)
        return float(array(loss_fn(model, batch_at(10**6, rows=256)))), guard.taken

    (lost, _), (held, taken), (well, calm) = run(False, True), run(True, True), run(True, False)
    assert calm == {"apply": 60, "clip": 0, "skip": 0, "lower-rate": 0}
    assert taken["lower-rate"] >= 15 and taken["skip"] <= 10
    assert not lost <= 1.45 * well and held <= 1.25 * well


def test_a_rate_that_the_loop_sets_while_it_is_lowered_stays_and_a_schedule_is_never_set():
    from clippy_diag.keras.guard import _LoweredRate

    optimizer = keras.optimizers.Adam(0.5)
    rate = _LoweredRate(optimizer)
    rate.lower(0.1)
    assert rate.now() == pytest.approx(0.05)
    optimizer.learning_rate = 0.25
    rate.restore()
    assert rate.now() == pytest.approx(0.25)
    rate.lower(0.1)
    rate.restore()
    assert rate.now() == pytest.approx(0.25)
    scheduled = _LoweredRate(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)))
    assert not scheduled.can_be_set
    scheduled.lower(0.1)
    assert scheduled.now() == pytest.approx(0.5)


def test_a_gradient_that_is_not_finite_is_not_to_be_applied():
    def spoil(step, gradients):
        return [g * math.nan if step == 15 and k == 0 else g for k, g in enumerate(gradients)]

    _, values, advice, _ = train(18, OPTIMIZERS["adam"], spoil=spoil)
    assert advice[15].action == "skip" and advice[15].risk >= 0.99
    assert all(np.isfinite(v).all() for v in values if v.dtype.kind == "f")


def test_apply_gives_gradients_back_scaled_or_none():
    from clippy_diag.guarding import Advice

    model, _, _, guard = train(1, OPTIMIZERS["sgd"])
    _, gradients = gradients_of(model, batch_at(1))
    assert all(a is b for a, b in zip(guard.apply(Advice(1, 0.1, "apply", ""), gradients), gradients))
    assert guard.apply(Advice(1, 1.0, "skip", ""), gradients) is None
    for a, b in zip(guard.apply(Advice(1, 0.95, "clip", "", scale=0.2), gradients), gradients):
        np.testing.assert_allclose(array(a), array(b) * 0.2, rtol=1e-6)


def test_what_fails_is_said_once_and_the_loop_goes_on():
    model, optimizer = build(), OPTIMIZERS["sgd"]()

    def fails(model, batch):
        raise RuntimeError("no such batch")

    guard = Guard(model, optimizer, fails)
    with pytest.warns(UserWarning, match="no such batch"):
        for step in range(60):
            loss, gradients = gradients_of(model, batch_at(step))
            assert guard.check(step, batch_at(step), loss, gradients).action == "apply"
    assert len(guard.problems) == 1


def fitted(tmp_path, make, times=lambda step: 1.0, steps=65, model=None, eager=False, **options):
    from clippy_diag.keras import ClippyCallback

    model = model or build(True)
    if make is not None:  # else the training goes on
        model.compile(optimizer=make(), loss="mse", metrics=["mae"], run_eagerly=eager)
    batches = [batch_at(step, times(step)) for step in range(steps)]
    x, y = (np.concatenate([array(batch[part]) for batch in batches]) for part in ("x", "y"))
    callback = ClippyCallback(tmp_path, snapshot_every_steps=5, steps_after=3, **options) if options else None
    history = model.fit(x, y, batch_size=32, shuffle=False, verbose=0, callbacks=[callback] if callback else [])
    return model, history.history


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_in_fit_a_surge_is_held_and_a_healthy_twin_is_left_alone(tmp_path, read, name):
    surge = lambda step: 40.0 if step >= 50 else 1.0  # noqa: E731
    clean = batch_at(10**6, rows=256)
    end = lambda model: float(array(loss_fn(model, clean)))  # noqa: E731
    well = end(fitted(tmp_path, OPTIMIZERS[name], steps=50)[0])
    lost = end(fitted(tmp_path, OPTIMIZERS[name], surge)[0])
    held, _ = fitted(tmp_path / "held", OPTIMIZERS[name], surge, guard=True, pulse=tmp_path / "pulse.jsonl")
    assert not lost <= 1.45 * well and end(held) <= 1.25 * well
    pulse = [json.loads(line) for line in (tmp_path / "pulse.jsonl").read_text().splitlines()]
    assert [line["step"] for line in pulse] == list(range(65))
    assert [line["action"] for line in pulse[:50]] == ["apply"] * 50 and pulse[50]["action"] != "apply"
    capture = read(tmp_path / "held")
    assert capture.manifest["flushed"]["step"] == 50
    assert capture.entry(50)["guard"]["risk"] >= 0.9 and capture.entry(49)["guard"]["action"] == "apply"
    # Nothing stays behind.
    assert not held.run_eagerly and "apply" not in held.optimizer.__dict__ and "compute_loss" not in held.__dict__


def test_a_calm_fit_trains_the_same_under_a_guard_bit_for_bit(tmp_path):
    guarded, with_guard = fitted(tmp_path, OPTIMIZERS["adam"], model=build(), guard=True)
    plain, without = fitted(tmp_path, OPTIMIZERS["adam"], model=build(), eager=True)
    for a, b in zip(guarded.variables, plain.variables):
        np.testing.assert_array_equal(array(a.value), array(b.value))
    # A step that is tried is no step of the metrics.
    assert with_guard == without


def test_a_step_that_is_left_out_moves_nothing_and_is_recorded_so(tmp_path, read):
    spoil = lambda step: np.inf if step == 20 else 1.0  # noqa: E731
    model, _ = fitted(tmp_path / "c", OPTIMIZERS["adam"], spoil, steps=24, guard=True)
    assert all(np.isfinite(array(v.value)).all() for v in model.variables)
    assert int(array(model.optimizer.iterations.value)) == 23
    capture = read(tmp_path / "c")
    assert capture.entry(20)["guard"] == {"risk": 1.0, "action": "skip", "scale": 0.0}
    assert not [name for name in capture.steps[20] if name.startswith("grad/")]
    assert "gradients" not in capture.entry(20)


def test_what_a_guard_in_fit_does_not_follow_is_said(tmp_path, status):
    accumulating = lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2)  # noqa: E731
    fitted(tmp_path, accumulating, steps=4, guard=True)
    assert "the guard checks nothing: the optimizer accumulates" in status(tmp_path)["problems"][0]


def test_a_fit_that_goes_on_knows_what_the_guard_knew(tmp_path):
    path = tmp_path / "guard.json"
    surge = lambda step: 40.0 if step >= 5 else 1.0  # noqa: E731

    def resumed(model, **options):
        pulse = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        fitted(tmp_path / "again", None, surge, steps=8, model=model, guard=True, pulse=pulse, **options)
        return [json.loads(line)["action"] for line in pulse.read_text().splitlines()]

    model, _ = fitted(tmp_path / "first", OPTIMIZERS["adagrad"], steps=30, guard=True, guard_state=path)
    assert json.loads(path.read_text())["checks"]["watch"]["steps"] == 30
    weights, config = model.get_weights(), model.optimizer.get_config()
    with_it = resumed(model, guard_state=path)
    model.set_weights(weights)
    blind = resumed(model)
    assert len(with_it) == len(blind) == 8 and config
    assert set(with_it[:5]) == {"apply"} and with_it[5] != "apply" and blind[5] == "apply"


def test_a_new_fit_begins_anew_and_a_state_that_cannot_be_read_is_said(tmp_path):
    path = tmp_path / "guard.json"
    path.write_text("{")
    model, _ = fitted(tmp_path / "first", OPTIMIZERS["adagrad"], steps=3, guard=True, guard_state=path)
    assert json.loads(path.read_text())["checks"]["watch"]["steps"] == 3
    fitted(tmp_path / "new", OPTIMIZERS["adagrad"], steps=2, guard=True, guard_state=path)
    assert json.loads(path.read_text())["checks"]["watch"]["steps"] == 2
    path.write_text("{")
    with pytest.warns(UserWarning, match="begins anew"):
        fitted(tmp_path / "broken", None, steps=2, model=model, guard=True, guard_state=path)

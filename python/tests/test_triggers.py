"""When a recorder writes a capture: what losses tell, values that are not finite, requests, and runs that learn nothing."""

import json
import math
import os
import signal

import numpy as np
import pytest

from clippy_diag.captures import Source
from clippy_diag.recording import Controls, Recording, Sizes, Step
from clippy_diag.triggers import Learning, Norms, Watch, gradient_norm, not_finite


def noisy(seed, noise, jump, steps=500, at=300, start=1.9):
    """A loss that falls to 0.4 with log-normal noise; from `at` on `jump` times as high, which decays over 15 steps."""
    random = np.random.default_rng(seed)
    losses = 0.4 * np.exp(noise * random.standard_normal(steps)) + start * np.exp(-np.arange(steps) / 30)
    losses[at:] += 0.4 * (jump - 1) * np.exp(-np.arange(steps - at) / 15)
    return losses


def incidents(losses):
    watch = Watch()
    return [step for step, loss in enumerate(losses) if watch.add(float(loss)).reason is not None]


@pytest.mark.parametrize("noise, jump", [(0.15, 2), (0.30, 5), (0.45, 5), (0.45, 12), (0.45, 30)])
def test_a_jump_that_lasts_is_seen_under_noise(noise, jump):
    for seed in range(5):
        assert any(300 <= step < 320 for step in incidents(noisy(seed, noise, jump)))


@pytest.mark.parametrize("noise", [0.05, 0.15, 0.30, 0.45, 0.6])
def test_noise_alone_is_no_incident(noise):
    for seed in range(4):
        assert incidents(noisy(seed, noise, 1)) == []


def test_noise_that_lasts_a_while_is_no_incident():
    for seed in range(4):
        random, level, losses = np.random.default_rng(seed), 0.0, []
        for step in range(600):
            level = 0.9 * level + math.sqrt(1 - 0.9**2) * 0.3 * random.standard_normal()
            losses.append((0.4 + 1.9 * math.exp(-step / 60)) * math.exp(level))
        assert incidents(losses) == []


def test_losses_below_zero_are_compared_by_their_values():
    random = np.random.default_rng(0)
    losses = -2 + 0.1 * random.standard_normal(300)
    assert incidents(losses) == []
    losses[200:230] += 1
    assert any(200 <= step < 215 for step in incidents(losses))


def test_a_rate_that_is_far_too_large_is_seen_at_its_first_steps():
    assert incidents([0.318, 82_900, 0.3, 0.31, 0.29])[0] == 1
    assert incidents([2.3, 4.1, 3.9, 2.8, 2.2, 2.0, 1.9]) == []


def test_learning_is_a_fall_of_several_standard_errors():
    random = np.random.default_rng(0)
    flat, falling = Learning(), Learning()
    said = [flat.add(2.3 + 0.05 * random.standard_normal()) for _ in range(600)]
    assert [step for step, reason in enumerate(said) if reason] == [499]
    assert "nothing was learnt in 500 steps: the loss is 2.29" in said[499]
    slow = [2.3 - 0.1 * step / 500 + 0.05 * random.standard_normal() for step in range(600)]
    assert not any(falling.add(loss) for loss in slow) and falling.learnt
    # A tenth of the steps that the training takes, if that is more.
    assert Learning(steps=20_000).limit == 2000


def test_what_is_not_finite_is_found_in_every_type():
    bad = np.array([1, np.nan], "<f4")
    tensors = {
        "grad/large": np.full(4, 1e30, "<f4"),  # the sum of squares overflows, the values do not
        "grad/f4": bad,
        "grad/f2": bad.astype("<f2"),
        "grad/f8": np.array([np.inf]),
        "grad/bf16": ("BF16", np.array([0x7FC0, 0], "<u2").view("<i2")),
        "grad/fine": ("BF16", np.array([0x7F7F, 0], "<u2").view("<i2")),
        "grad/strided": np.array([[1, 2], [3, np.nan]], "<f4").T,
        "grad/rows/indices": np.array([1, 2]),
        "batch/x": bad,
    }
    assert not_finite(tensors, ("grad/",)) == ["grad/f4", "grad/f2", "grad/f8", "grad/bf16", "grad/strided"]


class Loop:
    def __init__(self, folder, **options):
        self.weights = np.zeros(4, "<f4")
        self.recording = Recording(folder, self.describe, **options)
        self.recording.plan(Sizes(16, 0, 0, 32))

    def describe(self, step, meta):
        return {
            "groupKeys": [0],
            "framework": "none",
            "optimizer": {"name": "sgd", "learningRate": 0.1},
            "clipping": {"rule": "none"},
            "parameters": [{"name": "w", "shape": [4], "layout": "none", "embedding": False}],
        }

    def step(self, step, loss, size=None, waits=False):
        own = self.recording
        # The weights after a step are known once the next one begins.
        own.complete({"param-after/w": self.weights.copy()})
        gradients = {"grad/w": np.full(4, step if size is None else size, "<f4")}
        own.begin(step, loss)
        if size is not None:
            own.gradients_seen(gradients)
        kept = None
        if own.snapshot_due():
            kept = own.keep([Source("param/w", "F32", (4,), lambda buffer: self.weights.copy())], {})
        own.add(Step(step, loss, {0: 0.1}, gradients, snapshot=kept, waits=waits))


def test_weights_that_are_not_finite_are_an_incident_under_a_finite_loss(tmp_path, read):
    loop = Loop(tmp_path / "capture", every=5, after=3)
    for step in range(40):
        if step == 12:
            loop.weights[2] = np.nan
        loop.step(step, 1.0 + 0.01 * (step % 3))
    loop.recording.close()
    reason = read(tmp_path / "capture").manifest["flushed"]
    assert reason == {"step": 15, "reason": "weights of w are not finite"}
    assert len(loop.recording.captures) == 1


def changes(norms):
    watch = Norms()
    return [step for step, norm in enumerate(norms) if watch.add(float(norm)) is not None]


@pytest.mark.parametrize("factor", [2.5, 8.0, 0.3])
def test_a_norm_that_is_several_times_as_large_from_a_step_on_is_seen_within_five(factor):
    for seed in range(5):
        norms = np.exp(0.2 * np.random.default_rng(seed).standard_normal(400))
        norms[250:] *= factor
        assert [250 <= step < 260 for step in changes(norms)] == [True]


@pytest.mark.parametrize("noise", [0.05, 0.3, 0.6])
def test_norms_of_healthy_runs_are_no_change(noise):
    for seed in range(10):
        random = np.random.default_rng(seed)
        noisy = np.exp(noise * random.standard_normal(600))
        falling = noisy * (0.2 + np.exp(-np.arange(600) / 40))
        growing = noisy * (1 + np.arange(600) / 100)
        spikes = noisy.copy()
        spikes[300:303] *= 100
        assert changes(noisy) == changes(falling) == changes(growing) == changes(spikes) == []


def test_the_norm_is_that_of_all_gradients_in_every_type():
    two = np.full(2, 2.0)
    tensors = {"grad/f4": two.astype("<f4"), "grad/f2": two.astype("<f2"), "param/w": two}
    tensors["grad/bf16"] = ("BF16", (two.astype("<f4").view("<u4") >> 16).astype("<u2"))
    assert gradient_norm(tensors) == pytest.approx(math.sqrt(24))
    tensors["grad/nan"] = np.array([1.0, np.nan])
    assert math.isnan(gradient_norm(tensors))


def test_a_changed_norm_takes_one_capture_and_never_the_last(tmp_path, read):
    for most, expected in ((2, 1), (1, 0)):
        loop = Loop(tmp_path / str(most), every=5, after=3, max_captures=most)
        for step in range(300):
            loop.step(step, 1.0 + 0.01 * (step % 3), size=(1 + 0.01 * (step % 7)) * (8 if step >= 200 else 1))
        loop.recording.close()
        assert len(loop.recording.captures) == expected
    reason = read(tmp_path / "2").manifest["flushed"]
    assert reason["step"] == 204
    assert reason["reason"].startswith("the norm of the gradient is 16")


def test_a_file_asks_for_a_capture(tmp_path, read, monkeypatch):
    monkeypatch.setattr("clippy_diag.recording.LOOKED_EVERY", -1)
    loop = Loop(tmp_path / "capture", every=5, after=2)
    for step in range(20):
        if step == 9:
            (tmp_path / "capture" / "capture-now").write_text("")
        loop.step(step, 1.0)
    loop.recording.close()
    assert read(tmp_path / "capture").manifest["flushed"] == {"step": 9, "reason": "asked for by a file"}
    assert not (tmp_path / "capture" / "capture-now").exists()


def flat(step):
    return 2.3 + 0.01 * (step * 7919 % 13)


def test_a_run_that_learns_nothing_leaves_its_first_steps(tmp_path, read, status):
    loop = Loop(tmp_path / "capture", every=5, after=9)
    for step in range(620):
        loop.step(step, flat(step))
        assert loop.recording.held <= 2 * 32 + 10 * 16 + 10 * 16 + 3 * 32
    loop.recording.close()
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == list(range(10))
    for step, tensors in capture.steps.items():
        assert tensors["grad/w"][1].tolist() == [step] * 4
    assert capture.manifest["flushed"]["step"] == 499
    assert "nothing was learnt in 500 steps" in capture.manifest["flushed"]["reason"]
    assert status(tmp_path / "capture")["incidents"][0]["step"] == 499
    assert loop.recording.captures == [str(tmp_path / "capture")]


def test_the_step_at_which_nothing_was_learnt_is_no_neighbour_of_the_first_ones(tmp_path, read):
    loop = Loop(tmp_path / "capture", every=5, after=9)
    for step in range(510):
        loop.step(step, flat(step), waits=True)
    loop.recording.close()
    assert list(read(tmp_path / "capture").steps) == list(range(10))


def test_first_steps_are_let_go_once_the_loss_has_fallen(tmp_path):
    loop = Loop(tmp_path / "capture", every=5, after=9)
    for step in range(620):
        loop.step(step, flat(step) * math.exp(-step / 100))
    assert loop.recording._first_steps is None
    assert loop.recording.held <= 2 * 32 + 10 * 16
    loop.recording.close()
    assert os.listdir(tmp_path / "capture") == ["status.json"]


def test_memory_without_room_for_the_first_steps_keeps_none(tmp_path):
    loop = Loop(tmp_path / "capture", every=5, after=9, memory=2 * 32 + 10 * 16 + 100)
    for step in range(620):
        loop.step(step, flat(step))
    loop.recording.close()
    assert loop.recording.most_held <= 2 * 32 + 10 * 16 + 100
    # What is in memory is captured in their place.
    steps = [entry["step"] for entry in json.loads((tmp_path / "capture" / "capture.json").read_text())["steps"]]
    assert 499 in steps


def test_a_signal_asks_for_a_capture_and_reaches_its_handler_of_before(tmp_path, read):
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        loop = Loop(tmp_path / "capture", every=5, after=2)
        recorder = Controls()
        recorder._own = loop.recording
        recorder.capture_on_signal(signal.SIGUSR1)
        for step in range(20):
            if step == 9:
                os.kill(os.getpid(), signal.SIGUSR1)
            loop.step(step, 1.0)
        recorder.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert read(tmp_path / "capture").manifest["flushed"] == {"step": 9, "reason": "asked for by SIGUSR1"}
    assert heard == [signal.SIGUSR1]

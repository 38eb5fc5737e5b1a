"""The core of all recorders, without a framework: ring, trigger, budgets, files, what is said."""

import json
import math
import os
import signal
import threading
import time

import numpy as np
import pytest

from clippy_diag import recording, step_records
from clippy_diag.captures import Source, read_tensors, write_fetched
from clippy_diag.recording import Recording, Sizes, Skip, Step, bytes_of


class Loop:
    """Trains nothing: a parameter that is the number of the step, and a gradient that is its loss."""

    def __init__(self, folder, size=4, batch=0, **options):
        self.size, self.batch = size, batch
        self.recording = Recording(folder, self.describe, **options)
        nbytes = 4 * size
        self.recording.plan(Sizes(nbytes, 0, 4 * batch, 2 * nbytes))

    def describe(self, step, meta):
        return {
            "groupKeys": [0],
            "framework": "none",
            "optimizer": {"name": "sgd", "learningRate": 0.1},
            "clipping": {"rule": "none"},
            "parameters": [{"name": "w", "shape": [self.size], "layout": "none", "embedding": False}],
        }

    def source(self, name, step):
        value = np.full(self.size, step, "<f4")
        return Source(name, "F32", (self.size,), lambda buffer: value)

    def step(self, step, loss):
        own = self.recording
        own.begin(step, loss)
        snapshot = None
        if own.snapshot_due():
            snapshot = own.keep([self.source("param/w", step), self.source("state/momentum/w", step)], {})
        tensors = {"batch/x": np.full(self.batch, step, "<f4")} if self.batch else {}
        gradients = own.gradients_due()
        if gradients:
            buffer = own.buffer("<f4", (self.size,))
            buffer = np.empty(self.size, "<f4") if buffer is None else buffer
            buffer[:] = loss
            tensors["grad/w"] = buffer
        own.add(Step(step, loss, {0: 0.1}, tensors, snapshot=snapshot, has_gradients=gradients))


def losses(step, jump_at):
    return 1 + 0.01 * (step % 3) if step < jump_at else 50.0


def test_a_capture_begins_k_to_2k_steps_before_the_incident_and_goes_on_after_it(tmp_path, read):
    loop = Loop(tmp_path / "capture", every=10, after=6)
    for step in range(90):
        loop.step(step, losses(step, 57))
    loop.recording.close()
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == list(range(40, 64))
    assert capture.extra == []
    assert capture.initial["param/w"][1].tolist() == [40] * 4
    for step, tensors in capture.steps.items():
        assert tensors["grad/w"][1].tolist() == [np.float32(losses(step, 57))] * 4
        assert ("param/w" in tensors) == (step in (50,))
    assert capture.manifest["history"]["steps"] == list(range(40))
    assert capture.manifest["flushed"]["step"] == 57


def test_a_quiet_run_writes_nothing_but_its_status_and_holds_2k_steps(tmp_path, status):
    loop = Loop(tmp_path / "capture", every=7, after=3)
    for step in range(300):
        loop.step(step, losses(step, 1000) + math.exp(-step / 20))
        assert len(loop.recording._ring) <= 14
    loop.recording.close()
    assert os.listdir(tmp_path / "capture") == ["status.json"]
    assert status(tmp_path / "capture")["state"] == "closed"
    # The first four steps and their snapshot are held beside the ring until the loss has fallen.
    assert loop.recording.most_held <= (14 + 4 + 4 + 2) * 16


def test_later_incidents_have_folders_of_their_own_until_there_are_enough(tmp_path, status):
    loop = Loop(tmp_path / "capture", every=5, after=2, max_captures=2)
    for step in range(600):
        loop.step(step, 50.0 if step % 150 in (120, 121) else losses(step, 1000) + math.exp(-step / 20))
    loop.recording.close()
    assert sorted(os.listdir(tmp_path)) == ["capture", "capture-2"]
    said = status(tmp_path / "capture")
    assert [incident["capture"] is None for incident in said["incidents"]] == [False, False, True, True]
    assert any("max_captures is 2" in problem for problem in said["problems"])


def test_a_request_is_served_at_the_next_step_also_right_after_a_capture(tmp_path, read):
    loop = Loop(tmp_path / "capture", every=5, after=2)
    for step in range(40):
        if step in (20, 23):
            loop.recording.request("drill")
        loop.step(step, 1.0)
    loop.recording.close()
    assert read(tmp_path / "capture").manifest["flushed"] == {"step": 20, "reason": "drill"}
    assert list(read(tmp_path / "capture-2").steps)[0] >= 23


def test_memory_that_is_too_small_shortens_the_ring_where_no_batch_could_give_gradients_again(tmp_path):
    loop = Loop(tmp_path / "capture", size=1000, every=20, memory=120_000)
    assert loop.recording.gradients == "every-step"
    assert loop.recording.every == 13
    for step in range(100):
        loop.step(step, 1.0)
    assert loop.recording.most_held <= 120_000
    loop.recording.close()


def test_with_batches_gradients_are_kept_from_the_incident_on(tmp_path, read, status):
    loop = Loop(tmp_path / "capture", size=1000, batch=10, every=20, after=3, memory=60_000)
    assert loop.recording.gradients == "after-trigger"
    for step in range(90):
        loop.step(step, losses(step, 57))
    assert loop.recording.most_held <= 60_000
    loop.recording.close()
    capture = read(tmp_path / "capture")
    assert capture.manifest["gradients"] == "after-trigger"
    with_gradients = [step for step, tensors in capture.steps.items() if "grad/w" in tensors]
    assert with_gradients == [57, 58, 59, 60]
    assert [e["step"] for e in capture.manifest["steps"] if e.get("gradients") is not False] == with_gradients
    assert all("batch/x" in tensors for tensors in capture.steps.values())
    assert "kept from an incident on" in status(tmp_path / "capture")["plan"]


def test_snapshots_go_to_disk_where_memory_is_smaller_than_two_of_them(tmp_path, read):
    loop = Loop(tmp_path / "capture", size=1000, batch=10, every=20, after=3, memory=12_000)
    assert loop.recording.spills
    for step in range(90):
        loop.step(step, losses(step, 57))
    loop.recording.close()
    capture = read(tmp_path / "capture")
    assert capture.initial["param/w"][1][0] == 20
    assert list(capture.steps) == list(range(20, 61))
    assert sorted(os.listdir(tmp_path)) == ["capture"]


def changing(value, parts=6, size=1000):
    """Sources of one array that the training writes to after the snapshot."""
    return [Source(f"param/{k}", "F32", (size,), lambda buffer, k=k: value + np.float32(k)) for k in range(parts)]


def test_the_loop_goes_on_while_a_snapshot_is_written(tmp_path, monkeypatch):
    begun, let_go = threading.Event(), threading.Event()

    def slow(path, sources, arrays):
        begun.set()
        assert let_go.wait(30)
        return write_fetched(path, sources, arrays)

    monkeypatch.setattr("clippy_diag.writing.write_fetched", slow)
    loop = Loop(tmp_path / "capture", size=8000, batch=10, memory=40_000)
    assert loop.recording.spills
    value = np.zeros(1000, "<f4")
    snapshot = loop.recording.keep(changing(value), {})
    value += 100  # the step that follows
    assert begun.wait(30) and not snapshot.spilled.exists()
    assert loop.recording.held == 6 * 4000
    let_go.set()
    loop.recording._writer.wait(30)
    assert [array[0] for array in read_tensors(snapshot.spilled).values()] == [0, 1, 2, 3, 4, 5]
    assert loop.recording.held == 0
    loop.recording.close()


def test_what_waits_for_a_slow_disk_stays_within_memory(tmp_path, monkeypatch):
    def slow(path, sources, arrays):
        return write_fetched(path, sources, (time.sleep(0.01) or array for array in arrays))

    monkeypatch.setattr("clippy_diag.writing.write_fetched", slow)
    loop = Loop(tmp_path / "capture", size=8000, batch=10, memory=10_100)
    for _ in range(3):
        snapshot = loop.recording.keep(changing(np.zeros(1000, "<f4")), {})
    loop.recording._writer.wait(30)
    assert len(read_tensors(snapshot.spilled)) == 6
    # Two arrays wait; one larger than all of the memory goes alone.
    assert loop.recording.most_held == 8000
    loop.recording.keep(changing(np.zeros(5000, "<f4"), parts=2, size=5000), {})
    loop.recording._writer.wait(30)
    assert loop.recording.most_held == 20_000
    loop.recording.close()


def test_a_disk_that_takes_no_snapshot_stops_the_recording_and_not_the_loop(tmp_path, monkeypatch, status):
    def full(path, sources, arrays):
        next(iter(arrays))
        raise OSError("No space left on device")

    monkeypatch.setattr("clippy_diag.writing.write_fetched", full)
    loop = Loop(tmp_path / "capture", size=1000, batch=10, memory=6_000)
    with pytest.warns(UserWarning, match="training goes on"):
        for step in range(30):
            with loop.recording.guarded():
                if loop.recording.stopped is None:
                    loop.step(step, 1.0)
                    loop.recording._writer.wait(30)
    assert "No space left on device" in loop.recording.stopped
    assert loop.recording.held == 0
    loop.recording.close()
    assert "a snapshot could not be written" in status(tmp_path / "capture")["stopped"]
    assert sorted(os.listdir(tmp_path)) == ["capture"]


def test_a_tensor_that_cannot_be_copied_leaves_no_writer_waiting(tmp_path):
    def fails(buffer):
        raise TypeError("no such type")

    loop = Loop(tmp_path / "capture", size=1000, batch=10, memory=6_000)
    with pytest.raises(TypeError):
        loop.recording.keep([*changing(np.zeros(1000, "<f4")), Source("param/x", "F32", (1,), fails)], {})
    assert loop.recording._writer.wait(30)
    assert loop.recording.held == 0
    loop.recording.close()


def test_disk_that_is_used_up_leaves_gradients_out_and_says_so(tmp_path, read, status):
    loop = Loop(tmp_path / "capture", size=1000, batch=1, every=5, after=30, disk=80_000)
    for step in range(90):
        loop.step(step, losses(step, 57))
    loop.recording.close()
    size = sum(f.stat().st_size for f in (tmp_path / "capture").glob("*.safetensors"))
    assert size <= 90_000
    without = [e["step"] for e in read(tmp_path / "capture").manifest["steps"] if e.get("gradients") is False]
    assert without and without[-1] == 87
    assert any("disk=80 kB is used up" in problem for problem in status(tmp_path / "capture")["problems"])


def test_nothing_fits_is_said_before_memory_is_taken(tmp_path):
    with pytest.raises(OSError, match="raise a budget"):
        Loop(tmp_path / "capture", size=1000, batch=1, memory=1000, disk=10_000)


def test_skipped_steps_in_a_row_are_an_incident_and_one_is_not(tmp_path, read):
    def run(folder, skips):
        loop = Loop(folder, every=5, after=4)
        for step in range(60):
            if step in skips:
                loop.recording.begin(step, 1.0)
                loop.recording.skip(Skip(step, 1.0, 2.0**10, ["w"]))
            else:
                loop.step(step, 1.0)
        loop.recording.close()
        return folder / "capture.json"

    assert not run(tmp_path / "healthy", {10, 30}).exists()
    assert run(tmp_path / "dead", set(range(40, 60))).exists()
    capture = read(tmp_path / "dead")
    assert list(capture.steps) == list(range(30, 40))
    assert capture.manifest["skipped"] == list(range(40, 48))
    assert capture.manifest["skips"][0] == {"step": 40, "loss": 1.0, "scale": 1024.0, "nonFinite": ["w"]}
    assert "skipped 4 steps in a row" in capture.manifest["flushed"]["reason"]


def test_a_loss_that_is_not_finite_at_a_skipped_step_is_an_incident(tmp_path, read):
    loop = Loop(tmp_path / "capture", every=5, after=1)
    for step in range(30):
        loop.step(step, 1.0)
    loop.recording.begin(30, float("nan"))
    loop.recording.skip(Skip(30, float("nan"), 1.0, []))
    loop.recording.close()
    assert read(tmp_path / "capture").manifest["skips"][0]["loss"] == "NaN"


def test_a_disk_that_fails_ends_the_capture_and_not_the_loop(tmp_path, status):
    loop = Loop(tmp_path / "capture", every=5, after=3)
    for step in range(30):
        loop.step(step, 1.0)
    (tmp_path / "capture.partial").write_text("in the way")
    with pytest.warns(UserWarning, match="could not be written"):
        for step in range(30, 60):
            loop.step(step, 50.0)
    loop.recording.close()
    assert any("could not be written" in problem for problem in status(tmp_path / "capture")["problems"])


@pytest.mark.parametrize("moment", range(0, 30, 3))
def test_a_job_that_is_killed_leaves_a_whole_capture_or_none(tmp_path, read, moment):
    """The child dies by SIGKILL at its n-th renaming of a file or folder."""
    pid = os.fork()
    if pid == 0:
        left = [moment]

        def dying(call):
            def renamed(*arguments):
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return call(*arguments)

            return renamed

        os.replace, os.rename = dying(os.replace), dying(os.rename)
        loop = Loop(tmp_path / "capture", every=5, after=6)
        for step in range(60):
            loop.step(step, losses(step, 33))
        loop.recording.close()
        os._exit(0)
    os.waitpid(pid, 0)
    if (tmp_path / "capture" / "capture.json").exists():
        capture = read(tmp_path / "capture")
        assert list(capture.steps) == list(range(25, 25 + len(capture.steps)))
        assert len(capture.steps) >= 9
        assert len(capture.extra) <= 1
    else:
        assert not list(tmp_path.glob("capture/*.safetensors"))


@pytest.mark.parametrize("text, size", [("2GB", 2e9), ("1.5 MiB", 1.5 * 2**20), ("500kb", 5e5), (17, 17)])
def test_budgets(text, size):
    assert bytes_of(text) == size


def test_a_budget_that_is_none_is_refused():
    with pytest.raises(ValueError, match='write "2GB"'):
        bytes_of("lots")


def test_a_resume_is_held_against_the_losses_that_the_job_before_it_left(tmp_path, read):
    """It goes on from step 50 of a job that was at step 60, and its loss breaks at its second step."""
    first = Loop(tmp_path / "capture", every=10)
    for step in range(60):
        first.step(step, losses(step, 1000))
    first.recording.close()
    resumed = Loop(tmp_path / "capture", every=10, after=5)
    for step in range(50, 70):
        resumed.step(step, losses(step, 51))
    resumed.recording.close()
    capture = read(tmp_path / "capture")
    assert capture.manifest["flushed"]["step"] == 51 and list(capture.steps) == list(range(50, 57))
    assert capture.manifest["history"]["steps"] == list(range(50))


@pytest.mark.parametrize(
    "left",
    [
        "{",
        "[]",
        '{"losses": 1}',
        '{"losses": [[0, 1], ["a", 2]]}',
        '{"losses": [[3, 1], [2, 1]]}',
        '{"losses": [[0, 1], [1, 1]]}',
        json.dumps({"losses": [[499, 1]], "more": "x" * (5 << 20)}),
    ],
)
def test_what_no_job_before_it_left_is_no_past(tmp_path, left):
    """Nor is the past of another run, far before its first step."""
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture" / "status.json").write_text(left)
    loop = Loop(tmp_path / "capture", every=10)
    for step in range(500, 560):
        loop.step(step, losses(step, 1000))
    loop.recording.close()
    assert os.listdir(tmp_path / "capture") == ["status.json"]
    steps = [step for step, _ in json.loads((tmp_path / "capture" / "status.json").read_text())["losses"]]
    assert steps == list(range(500, 560))


def test_a_past_that_memory_is_short_for_is_none(tmp_path, monkeypatch):
    def short(path):
        raise MemoryError

    for module in (recording, step_records):
        monkeypatch.setattr(module, "text_of", short)
    assert recording._losses_in(tmp_path) == []
    assert step_records._read(tmp_path) == {}

"""Faults around a recorder: the loop goes on, and what is left says what happened. Each loop is a process of its own."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from clippy_diag import messages
from clippy_diag.captures import overwrite_json

SOURCE = Path(__file__).parent.parent / "src"

#: A loop of 60 steps whose loss jumps at step 30; `fault` runs before it, `at(step)` before each step.
LOOP = """
import os, sys
import numpy as np
from clippy_diag.recording import Recording, Sizes, Step
from clippy_diag.captures import Source

def at(step): pass
{fault}
value = np.zeros(4000, "<f4")
def describe(step, meta):
    return {{"groupKeys": [0], "framework": "none", "optimizer": {{"name": "sgd", "learningRate": 0.1}},
            "clipping": {{"rule": "none"}}, "parameters": [{{"name": "w", "shape": [4000], "layout": "none", "embedding": False}}]}}
recording = Recording(sys.argv[1], describe, every=5, after=5)
def take(step, loss):
    if not recording.planned:
        recording.plan(Sizes(16000, 0, 0, 16000))
    recording.begin(step, loss)
    kept = recording.keep([Source("param/w", "F32", (4000,), lambda buffer: value.copy())], {{}}) if recording.snapshot_due() else None
    recording.add(Step(step, loss, {{0: 0.1}}, {{"grad/w": value.copy()}}, snapshot=kept))
for step in range(60):
    at(step)
    loss = 1.0 + 0.01 * (step % 3) if step < 30 else 5e7
    recording.attempt(step, lambda: loss, take, step, loss)
recording.close()
os.write(1, b"TRAINED TO THE END")
"""


def run(folder, fault="", options=(), **process):
    code = LOOP.format(fault=textwrap.dedent(fault))
    arguments = [sys.executable, *options, "-c", code, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    process = {"stderr": subprocess.PIPE, **process}
    done = subprocess.run(arguments, stdout=subprocess.PIPE, env=environment, timeout=120, **process)
    assert (done.returncode, done.stdout) == (0, b"TRAINED TO THE END"), done.stderr
    return (done.stderr or b"").decode("utf8", "replace")


def status_of(folder):
    return json.loads((folder / "status.json").read_text())


def captured(folder):
    return [entry["step"] for entry in json.loads((folder / "capture.json").read_text())["steps"]]


@pytest.mark.parametrize("options", [(), ("-W", "error"), ("-W", "error::UserWarning")])
def test_a_folder_that_cannot_be_made_is_said_and_trained_past(tmp_path, options):
    (tmp_path / "file").write_text("in the way")
    said = run(tmp_path / "file" / "capture", options=options)
    assert "recording stopped" in said and "cannot be written" in said
    assert "an incident at step 30 was not captured (loss 5e+07" in said
    assert "read them with" not in said


def test_warnings_that_are_errors_leave_the_capture_whole(tmp_path):
    run(tmp_path / "capture", options=["-W", "error"])
    assert captured(tmp_path / "capture") == list(range(25, 36))


@pytest.mark.parametrize(
    "fault",
    [
        "sys.stderr.close()",
        "sys.stderr = None",
        "class Raises:\n    def write(self, text): raise RuntimeError(text)\n    def flush(self): pass\nsys.stderr = Raises()",
        "import warnings\ndef shown(*_): raise KeyError('no')\nwarnings.showwarning = shown",
        "os.close(2)",
    ],
)
def test_messages_that_nobody_hears_change_nothing(tmp_path, fault):
    run(tmp_path / "capture", fault)
    assert captured(tmp_path / "capture") == list(range(25, 36))
    assert status_of(tmp_path / "capture")["stopped"] is None


def test_a_reader_of_stderr_that_is_gone_changes_nothing(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    run(tmp_path / "capture", stderr=writer)
    os.close(writer)
    assert captured(tmp_path / "capture") == list(range(25, 36))


def test_without_a_thread_the_loop_writes_itself(tmp_path):
    said = run(
        tmp_path / "capture",
        """
        import threading
        def refuse(self): raise RuntimeError("can't start new thread")
        threading.Thread.start = refuse
        """,
    )
    assert captured(tmp_path / "capture") == list(range(25, 36))
    assert "no thread can be started" in said


@pytest.mark.parametrize("name", ["a\\0b", "a\\ud800b"])
def test_a_path_that_is_none_is_said(tmp_path, name):
    said = run(tmp_path, f"sys.argv[1] += '/{name}'")
    assert "cannot be written" in said and "recording stopped" in said
    assert "an incident at step 30 was not captured" in said


FULL = """
import clippy_diag.captures, errno
room, write = [{room}], open
class Full:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): self.file.close()
    def write(self, data):
        room[0] -= len(data)
        if room[0] < 0: raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)
    def __getattr__(self, name): return getattr(self.file, name)
def limited(path, mode="r", **options):
    file = write(path, mode, **options)
    return Full(file) if mode in ("wb", "w") else file
def at(step):
    if step == 28: clippy_diag.captures.open = limited
"""


@pytest.mark.parametrize(("room", "last"), [(0, None), (50_000, None), (140_000, 30), (170_000, 31)])
def test_a_full_disk_is_said_and_leaves_what_is_whole(tmp_path, room, last):
    """Sixteen kilobytes a step: what ends before step 30 is calm, and would look like a healthy run."""
    said = run(tmp_path / "capture", FULL.format(room=room))
    status = status_of(tmp_path / "capture")
    assert not list(tmp_path.rglob("*.tmp")) and not (tmp_path / "capture.partial").exists()
    assert "No space left on device" in said
    assert [incident["step"] for incident in status["incidents"]][:1] == [30]
    if last is None:
        assert not (tmp_path / "capture" / "capture.json").exists()
        assert status["captures"] == [] and "read them with" not in said
        assert "could not be written" in " ".join(status["problems"])
    else:
        assert status["captures"] == [str(tmp_path / "capture")]
        assert last <= captured(tmp_path / "capture")[-1] < 35
        manifest = json.loads((tmp_path / "capture" / "capture.json").read_text())
        assert all((tmp_path / "capture" / entry["file"]).exists() for entry in manifest["steps"])


def test_losses_after_an_early_end_are_judged_all_the_same(tmp_path):
    said = run(tmp_path / "capture", "def at(step):\n    if step == 10: recording.stop('out of luck')")
    status = status_of(tmp_path / "capture")
    assert status["stopped"] == "out of luck"
    assert status["incidents"] == [
        {"step": 30, "reason": "loss 5e+07 after a median of 1.01", "capture": None},
    ]
    assert "the recording had stopped" in said


def test_messages_never_raise(monkeypatch, capsys):
    import warnings

    class Evil(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    assert messages.describe(Evil()) == "Evil"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert messages.warn("said all the same")
    assert "clippy-diag: said all the same" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="clippy-diag: a warning"):
        assert messages.warn("a warning")
    monkeypatch.setattr(sys, "stderr", None)
    assert not messages.tell("nobody listens")


def test_a_shorter_document_is_written_into_the_bytes_of_the_one_before(tmp_path):
    path = tmp_path / "status.json"
    path.write_text("x" * 40)
    sizes = iter([100, 50, 10])
    assert overwrite_json(path, lambda: {"x": "y" * next(sizes)})
    assert json.loads(path.read_text()) == {"x": "y" * 10}
    assert not overwrite_json(path, lambda: None)
    assert not overwrite_json(tmp_path / "none", lambda: {"x": 1})


def test_names_of_before_work_for_one_version_and_say_so(tmp_path):
    from clippy_diag.options import OldNames, options_of, path_of

    with pytest.warns(DeprecationWarning, match="every= is the old name of snapshot_every_steps="):
        options = options_of(20, 34, "2GB", "1 GiB", 3, OldNames(every=7))
    assert options == {"every": 7, "after": 34, "memory": 2 * 10**9, "disk": 2**30, "max_captures": 3}
    with pytest.warns(DeprecationWarning, match="folder= is the old name of path="):
        assert path_of("capture", OldNames(folder=tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((0, 34, "2GB", "20GB", 3), "snapshot_every_steps=0 must be at least 1"),
        ((20, -1, "2GB", "20GB", 3), "steps_after=-1"),
        ((2.5, 34, "2GB", "20GB", 3), "snapshot_every_steps=2.5 is no whole number"),
        ((20, 34, "much", "20GB", 3), '"much" is no size'),
        ((20, 34, "2GB", float("nan"), 3), "no size"),
        ((20, 34, "2GB", "20GB", True), "max_captures=True"),
    ],
)
def test_options_are_checked_where_a_recorder_is_made(options, error):
    from clippy_diag.options import OldNames, options_of

    with pytest.raises((ValueError, TypeError), match=error):
        options_of(*options, OldNames())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_in_the_place_of_a_status_is_not_waited_for(tmp_path):
    (tmp_path / "capture").mkdir()
    os.mkfifo(tmp_path / "capture" / "status.json")
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\nfrom test_recording import Loop\nLoop({str(tmp_path / 'capture')!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

"""Steps of PyTorch that wait before they are looked at: what is recorded is the same as of those that do not."""

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest

from conftest import lines_of, records_of

torch = pytest.importorskip("torch", reason="no torch in this environment")

from clippy_diag.ledger import HEAD  # noqa: E402
from clippy_diag.torch import Recorder, waiting  # noqa: E402

WIDTH, SIZE, STEPS = 80, 8, 150
torch.set_num_threads(1)
QUIET = {"snapshot_every_steps": 20, "steps_after": 12, "ledger": True, "ledger_every": 32}


class Loop:
    """A training with more parameters than have checksums at every step. `change`, called with the loop before each step, may
    change anything; `between` after the backward pass."""

    def __init__(self, folder, change=None, between=None, after=None, first=0, optimizer=None, **options):
        torch.manual_seed(1)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, WIDTH), torch.nn.Dropout(0.2), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1)
        )
        make = optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
        self.optimizer = make(self.model.parameters())
        self.recorder = Recorder(self.model, self.optimizer, folder / "capture", **{**QUIET, **options})
        self.change, self.between, self.after = change, between, after
        self.data, self.step, self.scale, self.skip = torch.Generator().manual_seed(2), first, 1.0, False
        self.batch = torch.empty(SIZE, WIDTH)
        #: The most steps that waited.
        self.waited = 0

    def one(self):
        # One piece of memory for all batches, as some loops have.
        self.batch.normal_(generator=self.data)
        y = self.batch.mean(1, keepdim=True) + 0.1 * torch.randn(SIZE, 1, generator=self.data)
        self.scale, self.skip = 1.0, False
        if self.change is not None:
            self.change(self)
        self.optimizer.zero_grad()
        self.loss = self.scale * ((self.model(self.batch) - y) ** 2).mean()
        self.loss.backward()
        if self.between is not None:
            self.between(self)
        self.recorder.record(
            self.step,
            self.loss,
            {"half": self.loss / 2},
            {"x": self.batch, "y": y},
            batch_id=range(self.step, self.step + 8),
        )
        if self.after is not None:
            self.after(self)
        if not self.skip:
            self.optimizer.step()
        self.waited = max(self.waited, len(self.recorder._late.kept))
        self.step += 1

    def run(self, steps=STEPS):
        for _ in range(steps):
            self.one()
        return self

    def until_three_wait(self):
        self.run(44)
        while len(self.recorder._late.kept) < 3:
            self.one()
        return self


def both(tmp_path, monkeypatch, run):
    """`run(folder)` with steps that wait, and without."""
    loops = []
    for name, most in (("late", 8), ("now", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(waiting, "_most", most)
            (tmp_path / name).mkdir()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loop = run(tmp_path / name)
                loop.recorder.close()
        assert (loop.waited > 3) == (most > 0), loop.waited
        assert loop.recorder.stopped is None
        loops.append(loop)
    for one, other in zip(*(loop.model.parameters() for loop in loops)):
        np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())
    return loops


def status_of(folder):
    return json.loads((folder / "capture" / "status.json").read_text())


def assert_same(tmp_path, read, captures=1, checksums=True, ledger=True):
    """Captures, ledger and status of both are the same, but for what is only seen in an open capture."""
    late, now = (tmp_path / name for name in ("late", "now"))
    kinds = [sorted(p.name for p in one.iterdir()) for one in (late, now)]
    assert kinds[0] == kinds[1]
    found = [p.parent.name for p in sorted(late.glob("*/capture.json"))]
    assert len(found) == captures
    for name in found:
        sheets = [read(one / name) for one in (late, now)]
        own, other = (dict(sheet.manifest) for sheet in sheets)
        steps, others = own.pop("steps"), other.pop("steps")
        assert {**own, "run": 0} == {**other, "run": 0}
        assert [one["step"] for one in steps] == [one["step"] for one in others]
        for one, two in zip(steps, others):
            # Those of an open capture are of the moment, so steps that had waited when it opened have none.
            assert {**two, **one} == two and set(two) - set(one) <= {"before", "after"}
            assert not checksums or one == two
        for step, tensors in sheets[0].steps.items():
            assert list(tensors) == list(sheets[1].steps[step])
            for key, (kind, array) in tensors.items():
                assert kind == sheets[1].steps[step][key][0]
                np.testing.assert_array_equal(array, sheets[1].steps[step][key][1])
        for key, (_, array) in sheets[0].initial.items():
            np.testing.assert_array_equal(array, sheets[1].initial[key][1])
    lines, others = (lines_of(one) for one in (late, now))
    for line in (*lines, *others):
        line.pop("session", None)
    assert lines == others or not ledger
    for kind in ("tensors", "ids"):
        records = [[(s, k, data[HEAD.size :]) for data, s, k in records_of(one, kind)] for one in (late, now)]
        assert records[0] == records[1] or not ledger
    said = [status_of(one) for one in (late, now)]
    for one in said:
        for incident in one["incidents"]:
            incident["capture"] = incident["capture"] and Path(incident["capture"]).name
    for member in ("steps", "lastStep", "losses", "batches", "learningRates", "incidents"):
        assert said[0][member] == said[1][member], member
    return [line for line in lines if "step" in line]


def at(step, do):
    return lambda loop: do(loop) if loop.step == step else None


def broken(loop):
    next(loop.model.parameters()).grad[0, 0] = torch.inf


def explode(loop):
    loop.scale = 300.0 if loop.step >= 110 else 1.0


def climb(loop):
    loop.scale = 1.1 ** max(0, loop.step - 70)


def large(loop):
    """A gradient that is several times as large, while the loss is the same."""
    if loop.step >= 130:
        for parameter in loop.model.parameters():
            parameter.grad *= 40


INCIDENTS = {
    "nothing": ({}, 0),
    "jump": ({"change": explode}, 1),
    "climb": ({"change": climb}, 2),
    "nan": ({"change": at(110, lambda loop: setattr(loop, "scale", float("nan")))}, 1),
    "gradient": ({"between": at(107, broken)}, 1),
    "norm": ({"between": large}, 1),
    "asked": ({"change": at(105, lambda loop: loop.recorder.capture("drill"))}, 1),
}


@pytest.mark.parametrize("kind", INCIDENTS)
def test_what_waits_is_recorded_as_what_does_not(tmp_path, monkeypatch, read, kind):
    options, captures = INCIDENTS[kind]
    both(tmp_path, monkeypatch, lambda folder: Loop(folder, **options).run())
    lines = assert_same(tmp_path, read, captures, checksums=kind in ("nothing", "jump", "nan", "asked"))
    assert [line["step"] for line in lines] == list(range(STEPS))


def frozen(loop):
    loop.model[0].bias.requires_grad_(loop.step % 50 < 25)


def eval_mode(loop):
    loop.model.train(loop.step < 60)


def rates(loop):
    loop.optimizer.param_groups[0]["lr"] = 1e-3 / (1 + loop.step)


def decay_later(loop):
    if loop.step in (33, 66):
        loop.optimizer.param_groups[0]["weight_decay"] = 0.1 * loop.step


def clip(loop):
    torch.nn.utils.clip_grad_norm_(loop.model.parameters(), 0.05)


def loaded(loop):
    if loop.step == 70:
        with torch.no_grad():
            next(loop.model.parameters()).mul_(1.01)


def skipped(loop):
    loop.skip = loop.step in (41, 42, 77)


def looks(loop):
    loop.model(loop.batch)  # a forward pass between record and the step
    assert loop.recorder.captures == []


def added(loop):
    if loop.step == 73:
        loop.model.add_module("more", torch.nn.Linear(1, 1))
        loop.optimizer.add_param_group({"params": loop.model.more.parameters(), "lr": 1e-4})


CHANGES = {
    "a schedule": {"change": rates},
    "an option, before": {"change": decay_later},
    "an option, before the step": {"after": decay_later},
    "clipping": {"after": clip},
    "modes": {"change": eval_mode},
    "freezing": {"change": frozen},
    "weights, by hand": {"change": loaded},
    "steps that are not taken": {"after": skipped},
    "somebody who looks": {"after": at(61, looks)},
    "more parameters": {"change": added},
    "momentum": {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9)},
    "no state": {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1e-2)},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_are_those_of_their_step(tmp_path, monkeypatch, read, kind):
    def run(folder):
        loop = Loop(folder, **CHANGES[kind]).run(120)
        loop.recorder.capture()
        return loop.run(20)

    both(tmp_path, monkeypatch, run)
    # Parameters that were added are looked for at other steps: from there on the ledger has them.
    assert_same(tmp_path, read, ledger=kind != "more parameters")


def test_a_resume_goes_on_as_without_waiting(tmp_path, monkeypatch, read):
    def run(folder):
        Loop(folder).run(60).recorder.close()
        return Loop(folder, first=60, change=explode).run(80)

    both(tmp_path, monkeypatch, run)
    assert_same(tmp_path, read)


def test_a_jump_is_seen_at_once_and_a_climb_within_eight_steps(tmp_path):
    loop = Loop(tmp_path, change=explode).run(110)
    assert loop.recorder._own.captures == []
    loop.one()
    assert len(loop.recorder._own.captures) == 1
    other = Loop(tmp_path / "climb", between=at(107, broken)).run(107)
    seen = next(k for k in range(20) if other.one() or other.recorder._own.captures)
    assert seen <= waiting.MOST


def test_what_is_asked_of_a_recorder_is_as_of_now(tmp_path):
    loop = Loop(tmp_path, between=at(107, broken)).run(108)
    assert len(loop.recorder.captures) == 1 and loop.recorder._late.kept == []
    assert loop.recorder.status["lastStep"] == 107


def test_what_needs_the_model_at_each_step_does_not_wait(tmp_path):
    curvature = Loop(tmp_path / "one", curvature=lambda: torch.zeros(()))
    small = Loop(tmp_path / "two")
    small.recorder._records.checksums_ahead = lambda entries, steps: True
    unknown = Loop(tmp_path / "three", optimizer=lambda parameters: torch.optim.Adamax(parameters))
    for loop in (curvature, small, unknown):
        assert loop.run(60).waited == 0


def test_a_recorder_that_nobody_closes_has_every_step(tmp_path):
    loop = Loop(tmp_path).until_three_wait()
    steps = loop.step
    del loop
    gc.collect()
    # The line of the last step waits for the next one, as it does without waiting.
    assert [line["step"] for line in lines_of(tmp_path)[1:]] == list(range(steps - 1))


def of_a_process(folder, ending):
    """What a process printed that ends with three steps that wait; and how many it took."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_torch_waiting import Loop
loop = Loop(Path({str(folder)!r})).until_three_wait()
print(loop.step, flush=True)
{textwrap.dedent(ending)}
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    return done, int(done.stdout.split()[0])


def test_a_process_that_ends_by_an_error_has_every_step(tmp_path):
    done, steps = of_a_process(tmp_path, "raise RuntimeError('of the user')")
    assert done.returncode == 1 and "of the user" in done.stderr
    status = status_of(tmp_path)
    assert status["lastStep"] == steps - 1 and status["steps"] == steps and status["state"] == "closed"
    assert [line["step"] for line in lines_of(tmp_path)[1:]][-1] >= steps - 2


def test_a_process_that_is_killed_loses_no_more_steps_than_the_ledger_says(tmp_path):
    done, steps = of_a_process(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL
    head, *lines = lines_of(tmp_path)
    assert head["lateBy"] == waiting.MOST + 1 and status_of(tmp_path)["lateBy"] == waiting.MOST
    assert [line["step"] for line in lines] == list(range(len(lines)))
    assert steps - head["lateBy"] <= len(lines) <= steps - 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_copy_of_the_process_writes_nothing(tmp_path):
    ending = """
    before = open('LEDGER').read()
    child = os.fork()
    if child == 0:
        loop.recorder.captures
        loop.recorder.close()
        os._exit(0 if open('LEDGER').read() == before else 3)
    assert os.waitpid(child, 0)[1] == 0
    loop.recorder.close()
    """
    done, steps = of_a_process(tmp_path, ending.replace("LEDGER", str(tmp_path / "ledger" / "steps.jsonl")))
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in lines_of(tmp_path)[1:]] == list(range(steps))


def test_a_failure_stops_the_recording_and_not_the_training(tmp_path, monkeypatch):
    loop = Loop(tmp_path).run(44)
    monkeypatch.setattr(loop.recorder._gradient_blocks, "filled", lambda named: 1 / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop.run(20)
        loop.change = explode
        loop.step = 110
        loop.run(20)
    assert "ZeroDivisionError" in loop.recorder.stopped
    # Losses are judged all the same.
    assert any("not captured" in problem for problem in loop.recorder.problems)

"""A training by a trainer of PyTorch that is killed: its ledger is whole, and lacks no more steps than its first line says."""

import importlib
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from conftest import lines_of, records_of

#: Steps that were taken when the process is killed.
TAKEN = 10
#: By trainer: the module it needs, and a program in which `folder` and `kill` are known.
PROGRAMS = {
    "huggingface": (
        "transformers",
        """
        import transformers
        from test_huggingface import ClippyCallback, train

        class Killed(transformers.Trainer):
            def training_step(self, *arguments, **options):
                kill(self.state.global_step)
                return super().training_step(*arguments, **options)

        train(folder, 30, ClippyCallback(folder / "capture", ledger=True), kind=Killed)
        """,
    ),
    "lightning": (
        "lightning",
        """
        from test_lightning import ClippyCallback, Net, train

        class Killed(Net):
            def training_step(self, batch, index):
                kill(index)
                return super().training_step(batch, index)

        train(folder, [ClippyCallback(folder / "capture", ledger=True)], Killed())
        """,
    ),
    "accelerate": (
        "accelerate",
        """
        from test_accelerate import ClippyCallback, train

        class Killed(ClippyCallback):
            heard = 0

            def batch(self, batch):
                kill(self.heard)
                self.heard += 1
                super().batch(batch)

        train(folder, Killed(folder / "capture", ledger=True), steps=30)
        """,
    ),
}


@pytest.mark.parametrize("trainer", PROGRAMS)
def test_a_killed_training_leaves_whole_lines_and_records(tmp_path, trainer):
    needs, program = PROGRAMS[trainer]
    for module in ("torch", needs):
        try:
            importlib.import_module(module)
        except ImportError:
            pytest.skip(f"no {module} in this environment")
    head = textwrap.dedent(f"""
        import os, signal, sys
        sys.path[:0] = {[p for p in sys.path if p]!r}
        from pathlib import Path
        folder = Path({str(tmp_path)!r})

        def kill(step):
            if step == {TAKEN}:
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    script = head + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", script], cwd=os.path.dirname(__file__), capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    first, *lines = lines_of(tmp_path)
    steps = [line["step"] for line in lines]
    begin = steps[0]  # transformers counts from 1
    assert steps == list(range(begin, begin + len(steps)))
    assert TAKEN - first["lateBy"] <= len(steps) <= TAKEN
    records = [step for _, step, _ in records_of(tmp_path)]
    assert records == list(range(begin, begin + len(records))) and len(steps) - 1 <= len(records) <= TAKEN

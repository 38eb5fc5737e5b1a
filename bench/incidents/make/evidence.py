"""Writes what a run leaves behind: the printed log, records, declared settings, checkpoints and a capture."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nets import Batch
from trainers import TRAINERS
from training import Fault, Setup, Trace, World, train

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "python" / "src"))
from clippy_diag.torch import Recorder  # noqa: E402

#: Steps before which a checkpoint is written.
CHECKPOINTS_EVERY = 80
#: Steps that a job which died had printed after its last checkpoint.
OVERLAP = 5
#: When every run began: a case is the same on any day.
BEGAN = "2026-03-02T10:00:00Z"
#: Steps after a drill, or after the recorder's own trigger.
EVERY, AFTER = 8, 26


def words(value: Any) -> Any:
    """Numbers that JSON has not, as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _significant(value: Any, digits: int = 6) -> Any:
    """What is logged has six digits, as loggers print; equal on processors that differ in the last bits."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) and math.isfinite(value) else value


def _compact(path: Path) -> None:
    """Writes JSON again without blanks and line ends: the same values, and a fifth less."""
    path.write_text(json.dumps(json.loads(path.read_text()), separators=(",", ":")))


def _in_one_storage(state: Any) -> Any:
    """The same state, whose tensors share one storage a dtype: a storage of its own costs a small tensor as much as its values."""
    flat: dict[torch.dtype, list[torch.Tensor]] = {}
    _each_tensor(state, lambda one: flat.setdefault(one.dtype, []).append(one.detach().reshape(-1)))
    shared = {dtype: iter(torch.cat(parts).split([part.numel() for part in parts])) for dtype, parts in flat.items()}
    return _each_tensor(state, lambda one: next(shared[one.dtype]).view(one.shape))


def _each_tensor(value: Any, of: Callable[[torch.Tensor], Any]) -> Any:
    if isinstance(value, torch.Tensor):
        return of(value)
    if isinstance(value, dict):
        # A copy keeps the versions of the modules, an attribute of PyTorch's dict.
        again = copy.copy(value)
        again.update((key, _each_tensor(one, of)) for key, one in value.items())
        return again
    return [_each_tensor(one, of) for one in value] if isinstance(value, list) else value


class Writer:
    """Records a run while it trains."""

    def __init__(self, setup: Setup, folder: Path, drill: int, resumed: int | None, name: str) -> None:
        self.setup, self.folder, self.drill, self.resumed, self.name = setup, folder, drill, resumed, name
        self.recorder: Recorder | None = None
        self.process = 0
        (folder / "checkpoints").mkdir(parents=True)

    def _begin(self, world: World) -> None:
        spec = self.setup.family.spec
        model = None
        if spec is not None:
            model = self.folder / "model.json"
            model.write_text(json.dumps(spec))
        clip = self.setup.clip
        self.recorder = Recorder(
            world.net, world.optimizer, self.folder / f"recorded-{self.process}", every=EVERY, after=AFTER, max_captures=3,
            clipping=None if clip is None else f"global-norm:{clip:g}", model_file=model,
        )  # fmt: skip

    def observe(self, step: int, world: World, loss: torch.Tensor, batch: Batch) -> None:
        """Before the clipping of a step."""
        if self.recorder is not None and step == self.resumed:
            self.recorder.close()
            self.recorder, self.process = None, self.process + 1
        if self.recorder is None:
            self._begin(world)
        if step == self.drill:
            self.recorder.capture()
        self.recorder.record(step, loss, batch=batch)

    def ended(self, step: int, world: World) -> None:
        """After a step."""
        following = step + 1
        if following % CHECKPOINTS_EVERY == 0 or following == self.resumed:
            state = {"step": following, "model": world.net.state_dict(), "optimizer": world.optimizer.state_dict()}
            torch.save(_in_one_storage(state), self.folder / "checkpoints" / f"step-{following}.pt")

    def close(self, wanted: int) -> None:
        """Keeps the capture that holds a step, and no other."""
        if self.recorder is not None:
            self.recorder.close()
        found = sorted(p.parent for p in self.folder.glob("recorded-*/capture.json"))
        best = None
        for path in found:
            steps = [one["step"] for one in json.loads((path / "capture.json").read_text())["steps"]]
            if steps and steps[0] <= wanted + AFTER and (best is None or wanted in steps):
                best = path
        if best is not None:
            best.rename(self.folder / "capture")
            (self.folder / "capture" / "status.json").unlink(missing_ok=True)
            self._without_chance(best.name)
        for path in self.folder.glob("recorded-*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        (self.folder / "model.json").unlink(missing_ok=True)

    def _without_chance(self, process: str) -> None:
        """Writes an id from the case in place of the recorder's random one, and a fixed time in place of now."""
        manifest = self.folder / "capture" / "capture.json"
        text = manifest.read_text()
        run = json.loads(text)["run"]
        own = hashlib.sha256(f"{self.name} {process}".encode()).hexdigest()[:32]
        manifest.write_text(text.replace(run["id"], own).replace(run["startedAt"], BEGAN))
        _compact(manifest)
        _compact(self.folder / "capture" / "rng.json")


def _printed_records(trace: Trace, resumed: int | None, before: list[dict[str, Any]], smoothed: bool) -> list[dict[str, Any]]:
    """The records as they were printed: those of a job that died first, where it was resumed."""
    records = [{k: _significant(v) for k, v in record.items()} for record in trace.records]
    if smoothed:
        mean = records[0]["loss"]
        for record in records:
            mean = 0.95 * mean + 0.05 * record["loss"]
            record["loss"] = _significant(mean)
    if resumed is None:
        return records
    died = [{k: _significant(v) for k, v in r.items()} for r in before if resumed <= r["step"] < resumed + OVERLAP]
    return [*records[:resumed], *died, {"resumed": resumed}, *records[resumed:]]


def _write_logs(folder: Path, records: list[dict[str, Any]], trainer: str) -> None:
    lines, structured = [], []
    for record in records:
        if "resumed" in record:
            lines.append(f"Resuming from checkpoints/step-{record['resumed']}.pt")
            continue
        lines.extend(TRAINERS[trainer](record))
        structured.append(json.dumps({k: words(v) for k, v in record.items()}))
    (folder / "train.log").write_text("\n".join(lines) + "\n")
    (folder / "metrics.jsonl").write_text("\n".join(structured) + "\n")


def _config(setup: Setup) -> dict[str, Any]:
    return {
        "model": setup.model, "optimizer": setup.optimizer, "learning_rate": setup.rate, "schedule": setup.schedule,
        "weight_decay": setup.weight_decay, "max_grad_norm": setup.clip, "gradient_accumulation_steps": setup.accumulation,
        "loss_scale": setup.loss_scale, "batch_size": setup.rows, "max_steps": setup.steps,
    }  # fmt: skip


def write_evidence(
    folder: Path, setup: Setup, seed: int, fault: Fault | None, trainer: str, drill: int, resumed: int | None, keep: int | None, twin: Trace | None
) -> Trace:
    """Trains a run, writes its evidence, and gives its trace.

    drill    the step at which a capture is asked for, where the recorder's own trigger has not begun one
    resumed  the step at which a new process goes on
    keep     the step before which a snapshot is kept
    twin     the trace of the healthy twin, whose records the job printed that died before a resume; the run's own where None
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # The twin has the same setup and seed, and is another run.
    writer = Writer(setup, folder, drill, resumed, f"{setup} {seed} {fault is None}")
    with contextlib.redirect_stderr(io.StringIO()):
        trace = train(setup, seed, fault, keep=keep, observe=writer.observe, ended=writer.ended)
        writer.close(drill)
    before = (trace if twin is None else twin).records
    smoothed = fault is not None and fault.name == "smoothed-print"
    _write_logs(folder, _printed_records(trace, resumed, before, smoothed), trainer)
    (folder / "config.json").write_text(json.dumps(_config(setup), indent=1) + "\n")
    return trace

"""Trains the runs in float32 with clippy-diag's recorder attached, and writes their log and their captures.

    python make.py FOLDER FIRST COUNT        FOLDER/<index>/{run.json, train.jsonl, capture/, plain/}

`capture` has batches and a model, `plain` is the same without the model. What is there already stays.
"""

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))
from clippy_diag.torch import Recorder  # noqa: E402
from families import AFTER, first_draw, half_of, run_of  # noqa: E402
from training import Run, fresh, train  # noqa: E402


def record(run: Run, folder: Path) -> None:
    model = folder / "model.json"
    model.write_text(json.dumps(run.spec))
    now: dict[str, Recorder | None] = {"recorder": None}
    lines = []
    last = run.steps - 1

    def begin(net, optimizer, rule):
        now["recorder"] = Recorder(
            net, optimizer, folder / "capture", model_file=model, max_captures=1, clipping=None if rule == "none" else rule
        )

    def one(step, loss, batch, net, optimizer):
        if now["recorder"] is None:
            begin(net, optimizer, run.rule)
        elif run.resumed and step == run.start:
            # The first process died a few steps later than its last checkpoint.
            now["recorder"].close()
            shutil.rmtree(folder / "capture", ignore_errors=True)
            lines.extend([dict(line, step=line["step"] + 5) for line in lines[-5:]])
            begin(net, optimizer, run.rule if run.unclipped_from is None else "none")
        size = float(torch.sqrt(sum((p.grad**2).sum() for p in net.parameters() if p.grad is not None)))
        lines.append(
            {"step": step, "loss": float(loss), "lr": optimizer.param_groups[0]["lr"], "grad_norm": size}
        )
        if step == last - AFTER and not (folder / "capture" / "capture.json").exists():
            now["recorder"].capture()
        now["recorder"].record(step, loss, batch=batch)

    with contextlib.redirect_stderr(io.StringIO()):
        train(run, fresh(run), 0, last, dtype=torch.float32, record=one)
        now["recorder"].close()
    model.unlink()
    manifest = json.loads((folder / "capture" / "capture.json").read_text())
    end = manifest["steps"][-1]["step"]
    (folder / "train.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines if line["step"] <= max(end, run.start or 0))
    )
    plain = folder / "plain"
    plain.mkdir()
    for file in (folder / "capture").iterdir():
        if file.suffix == ".safetensors":
            os.link(file, plain / file.name)
    manifest.pop("model", None)
    (plain / "capture.json").write_text(json.dumps(manifest))


def main() -> None:
    torch.set_num_threads(1)
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for index in range(first, first + count):
        own = folder / f"{index:04d}"
        if (own / "run.json").exists():
            continue
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        number = first_draw(index)
        if number is None:
            (own / "run.json").write_text(json.dumps({"index": index, "made": False}))
            continue
        run = run_of(index, number)
        record(run, own)
        told = {
            "index": index, "made": True, "draw": number, "half": half_of(index), "family": run.family, "cause": run.cause,
            "optimizer": run.optimizer, "rate": run.rate, "rule": run.rule, "start": run.start, "strength": run.strength,
        }  # fmt: skip
        (own / "run.json").write_text(json.dumps(told))
        print(index, run.family, run.optimizer, run.strength, flush=True)


if __name__ == "__main__":
    main()

"""The Python programs of the README and of docs/recorders.md run as they are printed, in a training with an incident."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch in this environment")
ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "docs" / "recorders.md").exists():
    pytest.skip("the docs lie in the checkout", allow_module_level=True)


def programs(path, heading):
    """Python blocks of a section, in order."""
    text = "\n" + (ROOT / path).read_text(encoding="utf8")
    section = text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"```python\n(.*?)```", section, re.S)
    assert found, f"no program below {heading} in {path}"
    return found


class Net(torch.nn.Module):
    """Learns a line; from the 100th batch on the labels are in another unit."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.calls = torch.nn.Linear(4, 1), 0

    def forward(self, x, labels):
        self.calls += 1
        times = 100 if self.calls >= 100 else 1
        return {"loss": ((self.net(x)[:, 0] - times * labels) ** 2).mean()}


def test_the_first_minute_of_the_readme(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers", reason="no transformers in this environment")
    pytest.importorskip("accelerate", reason="no accelerate in this environment")
    monkeypatch.chdir(tmp_path)
    (program,) = programs("README.md", "## The first minute in Python")
    x = torch.randn(800, 4, generator=torch.Generator().manual_seed(0))
    data = [{"x": row, "labels": row.sum() + 1} for row in x]
    args = transformers.TrainingArguments(
        "out",
        max_steps=140,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    exec(program, {"model": Net(), "args": args, "data": data})
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text())
    assert 99 <= manifest["flushed"]["step"] <= 102 and manifest["trainer"] == "transformers"
    assert manifest["clipping"] == {"rule": "global-norm", "maxNorm": 1.0}
    if shutil.which("node") is None or not (ROOT / "dist" / "index.js").exists():
        pytest.skip("needs Node and the built command line")
    program = [shutil.which("node"), str(ROOT / "bin" / "run.js"), "analyze", "capture"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith(("✗ DIVERGED at step 1", "✗ WENT UP")), done.stdout + done.stderr


def test_the_loop_and_the_closed_loop_of_the_docs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)

    def compute_loss(model, batch):
        return ((model(batch["x"])[:, 0] - batch["y"]) ** 2).mean()

    def batch_at(step):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return {"x": x, "y": x.sum(1) * (100 if 90 <= step < 93 else 1)}

    space = {
        "torch": torch,
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.01),
        "batches": [batch_at(step) for step in range(130)],
        "compute_loss": compute_loss,
    }
    (loop,) = programs("docs/recorders.md", "## A loop in PyTorch")
    exec(loop, space)
    assert json.loads((tmp_path / "capture" / "capture.json").read_text())["flushed"]["step"] == 90
    (again,) = programs("docs/recorders.md", "## Closed loops in your own model")
    exec(again, space)
    replayed = json.loads((tmp_path / "capture" / "capture.json").read_text())["replay"]
    assert {"kind": "skip-batches", "steps": [90, 91, 92]} in [entry.get("arm") for entry in replayed]


def test_the_loop_of_the_packages_own_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(4, 1)
    batch = torch.ones(2, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (_, program) = programs("python/README.md", "## Record why")
    space = {
        "model": model,
        "optimizer": optimizer,
        "batches": [batch],
        "compute_loss": lambda model, batch: model(batch).sum(),
    }
    exec(program, space)
    assert space["recorder"].stopped is None and space["recorder"].status["steps"] == 1

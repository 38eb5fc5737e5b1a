"""The programs that `clippy-diag init --framework …` prints run as they are printed, and leave a whole capture."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "src" / "app" / "engine" / "snippets"
NEEDS = {
    "torch": ["torch"],
    "hf": ["torch", "transformers", "accelerate"],
    "lightning": ["torch", "lightning"],
    "accelerate": ["torch", "accelerate"],
    "keras": ["keras", os.environ.get("KERAS_BACKEND", "tensorflow")],
    "jax": ["jax", "optax"],
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_snippet_runs_as_printed(tmp_path, read, name):
    path = FOLDER / f"{name}.py"
    if not path.exists():
        pytest.skip("the snippets lie in the checkout")
    missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    (tmp_path / "train.py").write_text(path.read_text())
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    capture = read(tmp_path / "capture")
    assert len(capture.steps) == 35 and capture.extra == []
    assert capture.manifest["clipping"] == {"rule": "global-norm", "maxNorm": 1.0}
    assert any(tensor.startswith("batch/") for tensor in capture.steps[min(capture.steps)])

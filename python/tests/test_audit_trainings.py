"""Drawn trainings of bench/audit: healthy ones are clean whatever they are made of, and a planted fault is named with its link."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from clippy_diag import assert_clean, audit

torch = pytest.importorskip("torch", reason="no torch in this environment")

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
if NODE is None or not (ROOT / "dist").exists():
    pytest.skip("the command line is not built", allow_module_level=True)
COMMAND = [NODE, str(ROOT / "bin" / "run.js")]


@pytest.fixture(scope="module")
def trainings() -> Any:
    spec = importlib.util.spec_from_file_location("trainings", ROOT / "bench" / "audit" / "trainings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = torch.get_num_threads()
    # Nets this small are slower on several.
    torch.set_num_threads(1)
    yield module
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("seed", "parts"),
    [
        (22002, {"sparse": True, "tied": True}),
        (22008, {"sparse": True, "schedule": "OneCycleLR"}),
        (22000, {"groups": 2, "average": True, "schedule": "DecaySchedule"}),
        (22010, {"average": True, "frozen": True}),
        (22004, {"checkpoint": True, "schedule": "OneCycleLR"}),
    ],
)
def test_a_healthy_training_is_clean(tmp_path: Path, trainings: Any, seed: int, parts: dict[str, Any]) -> None:
    truth = trainings.train(seed, None, tmp_path)
    assert parts.items() <= truth["parts"].items()
    assert_clean(tmp_path / "capture", command=COMMAND)


def test_healthy_trainings_accumulate_and_scale(tmp_path: Path, trainings: Any) -> None:
    scaled, narrow = trainings.train(22000, None, tmp_path / "0"), trainings.train(22010, None, tmp_path / "10")
    assert scaled["scaler"] and scaled["accumulate"] > 1
    assert narrow["autocast"] and narrow["accumulate"] > 1
    for name in ("0", "10"):
        assert_clean(tmp_path / name / "capture", command=COMMAND)


@pytest.mark.parametrize(
    ("seed", "fault", "member", "value"),
    [
        (7117, "all-scaled", "tied", True),
        (7115, "rounded", "groups", 2),
        (7106, "clip-inactive", "accumulate", None),
        (7108, "clip-before-unscale", "scaler", True),
        (7132, "clip-norm-factor", "autocast", True),
        (7111, "decay-factor", "schedule", "OneCycleLR"),
        (7118, "weights-replaced", "groups", 2),
        (7109, "rate-factor", "sparse", True),
    ],
)
def test_a_fault_is_named(tmp_path: Path, trainings: Any, seed: int, fault: str, member: str, value: Any) -> None:
    truth = trainings.train(seed, fault, tmp_path, rows=member == "sparse")
    drawn = {**truth, **truth["parts"]}
    assert drawn[member] > 1 if value is None else drawn[member] == value
    found = audit(tmp_path / "capture", command=COMMAND)
    broken = [link for link in found["links"] if link["outcome"] == "broken" and link["follows"] is None]
    assert broken and broken[0]["cause"] == fault
    # Checksums say that something wrote between two steps; without them the weights are off.
    assert broken[0]["link"] in ({"weights", "between"} if truth["link"] == "weights" else {truth["link"]})
    if truth["factor"] is not None:
        assert abs(broken[0]["factor"] - truth["factor"]) <= 0.01 * truth["factor"]

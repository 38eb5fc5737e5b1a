"""`audit` and `assert_clean` against the command line of the checkout, where it is built."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from clippy_diag import AuditFailed, assert_clean, audit

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "bin" / "run.js"
NODE = shutil.which("node")
built = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")
COMMAND = [NODE or "node", str(PROGRAM)]
HEALTHY = ROOT / "fixtures" / "captures" / "seed-2"


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """A capture of which the learning rate was another than it says."""
    folder = tmp_path / "capture"
    shutil.copytree(HEALTHY, folder)
    manifest = json.loads((folder / "capture.json").read_text("utf8"))
    for step in manifest["steps"]:
        step["learningRate"] *= 2
    (folder / "capture.json").write_text(json.dumps(manifest), "utf8")
    return folder


@built
def test_a_clean_capture_passes_and_is_told() -> None:
    found = assert_clean(HEALTHY, command=COMMAND)
    assert found["broken"] == 0
    assert {link["link"]: link["outcome"] for link in found["links"]}["optimizer"] == "holds"


@built
def test_a_fault_fails_with_its_statement(doubled: Path) -> None:
    with pytest.raises(AuditFailed, match="0.5") as failed:
        assert_clean(doubled, command=COMMAND)
    broken = [link for link in failed.value.audit["links"] if link["outcome"] == "broken"]
    assert [link["cause"] for link in broken] == ["rate-factor"]
    assert abs(broken[0]["factor"] - 0.5) < 0.005
    # Adagrad forgets no scale: the cause is the rate, and a test may say that it is meant.
    assert_clean(doubled, command=COMMAND, allow=["rate-factor"], needs=[])


@built
def test_what_is_no_capture_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no capture\.json"):
        audit(tmp_path, command=COMMAND)


def test_a_link_that_was_not_checked_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = {"link": "optimizer", "outcome": "cannot-tell", "cause": None, "follows": None}
    link |= {"statement": "no snapshot", "wouldTell": "more steps"}
    answer = json.dumps({"schemaVersion": "3.0", "audit": {"links": [link], "checks": 0, "broken": 0}})
    fake = tmp_path / "fake.py"
    fake.write_text(f"print({answer!r})", "utf8")
    with pytest.raises(AuditFailed, match="no snapshot; would tell: more steps"):
        assert_clean(tmp_path, command=[sys.executable, str(fake)])

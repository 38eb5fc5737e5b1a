"""The judge gives what that of the command line gives, on the shared cases; a recorder captures the clear ones where they begin."""

import json
import math
from pathlib import Path

import pytest

from clippy_diag.judge import Judge, judge_losses, worst

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "incidents"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the shared cases lie in the checkout")
CASES = json.loads((FOLDER / "cases.json").read_text()) if FOLDER.exists() else []
SAID = json.loads((FOLDER / "onsets.json").read_text()) if FOLDER.exists() else {}


def test_incidents_and_their_beginnings_are_those_of_the_command_line():
    assert len(CASES) > 100
    for case in CASES:
        losses = [float(loss) for loss in case["losses"]]
        judge, begins = Judge(), []
        for position, loss in enumerate(losses):
            if judge.add(loss) is not None:
                begins.append([position, judge.onset])
        found = judge_losses(losses)
        leading = worst(found)
        said = {
            "incidents": [[one.kind, one.form, one.onset, one.recovered] for one in found],
            "worst": None if leading is None else leading.onset,
            "begins": begins,
        }
        expected = dict(SAID[case["name"]])
        numbers = [[float(number) for number in row] for row in expected.pop("numbers")]
        assert said == expected, case["name"]
        for one, row in zip(found, numbers, strict=True):
            mine = [one.end, one.peak, one.before, one.high, one.after, one.size]
            assert mine == pytest.approx(row, rel=1e-8, nan_ok=True), case["name"]


def test_early_in_a_falling_loss_a_jump_by_five_begins_an_incident():
    """A cross-entropy that still falls: ×5 at step 60."""
    judge = Judge()
    reasons = []
    for step in range(90):
        loss = 2 + 3.5 * math.exp(-step / 40) + 0.05 * math.sin(7 * step)
        reasons.append(judge.add(5 * loss if step >= 60 else loss))
    assert [step for step, reason in enumerate(reasons) if reason] == [60]

"""What the Python judge says of every shared case, in the form of onsets.json; and its settings.

python3 judge_cases.py PYTHON_SRC CASES_JSON"""

import json
import math
import sys

sys.path.insert(0, sys.argv[1])

from clippy_diag import judge as clippy_judge  # noqa: E402
from clippy_diag.levels import NUMBERS  # noqa: E402

NAMES = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
said = {}


def told(number):
    """As JSON has it."""
    return number if math.isfinite(number) else "NaN" if math.isnan(number) else "Infinity"


with open(sys.argv[2]) as file:
    for case in json.load(file):
        losses = [NAMES[loss] if isinstance(loss, str) else loss for loss in case["losses"]]
        judge, begins = clippy_judge.Judge(), []
        for position, loss in enumerate(losses):
            if judge.add(loss) is not None:
                begins.append([position, judge.onset])
        found = clippy_judge.judge_losses(losses)
        incidents = [[one.kind, one.form, one.onset, one.recovered] for one in found]
        numbers = [[told(x) for x in (one.end, one.peak, one.before, one.high, one.after, one.size)] for one in found]
        worst = clippy_judge.worst(found)
        said[case["name"]] = {
            "incidents": incidents,
            "numbers": numbers,
            "worst": worst and worst.onset,
            "begins": begins,
        }
json.dump({"settings": NUMBERS, "said": said}, sys.stdout)

"""What the judge in Python says of many series: begins of captures while the losses come, and incidents of the whole.

python3 stream_series.py PYTHON_SRC SERIES

SERIES holds little-endian doubles: of each series its number of losses, and the losses."""

import array
import json
import sys

sys.path.insert(0, sys.argv[1])

from clippy_diag.judge import Judge, judge_losses  # noqa: E402

values = array.array("d")
with open(sys.argv[2], "rb") as file:
    values.frombytes(file.read())
if sys.byteorder == "big":
    values.byteswap()

said = []
start = 0
while start < len(values):
    stop = start + 1 + int(values[start])
    losses = list(values[start + 1 : stop])
    judge, begins = Judge(), []
    for position, loss in enumerate(losses):
        if judge.add(loss) is not None:
            begins.append([position, judge.onset])
    said.append([begins, [[one.kind, one.form, one.onset, one.recovered] for one in judge_losses(losses)]])
    start = stop
json.dump(said, sys.stdout)

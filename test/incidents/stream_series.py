"""What the stream in Python says of many series: begins of captures, and excesses of its levels.

python3 stream_series.py PYTHON_SRC SERIES

SERIES holds little-endian doubles: of each series its number of losses, and the losses."""

import array
import json
import sys

sys.path.insert(0, sys.argv[1])

from clippy_diag.judge import Judge  # noqa: E402

values = array.array("d")
with open(sys.argv[2], "rb") as file:
    values.frombytes(file.read())
if sys.byteorder == "big":
    values.byteswap()

said = []
start = 0
while start < len(values):
    stop = start + 1 + int(values[start])
    judge, begins, excesses = Judge(), [], []
    for position, loss in enumerate(values[start + 1 : stop]):
        if judge.add(loss) is not None:
            begins.append([position, judge.onset])
        # An excess that is over at once is none for whoever asks after each loss.
        excess = judge.levels.excess
        if excess is not None and excess.trigger == position:
            excesses.append([position, excess.onset])
    said.append([begins, excesses])
    start = stop
json.dump(said, sys.stdout)

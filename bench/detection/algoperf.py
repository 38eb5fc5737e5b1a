"""Draws logs out of the AlgoPerf leaderboards by what was evaluated, which no verdict has looked at.

    git clone https://github.com/mlcommons/submissions_algorithms
    python3 bench/detection/algoperf.py submissions_algorithms OUT

Writes the `measurements.csv` of trials into five folders of OUT, under names that tell their place:

- `healthy`: of algoperf_v06 those whose evaluated losses are finite and whose last training loss is within a tenth of its best,
  of four evaluations at least
- `steady`: of these those whose evaluated training loss never stood more than a quarter above the best before
- `healthy_v05`, `steady_v05`: the same of algoperf_v05, of which some 400 logs were looked at when rules were set
- `lost`: of algoperf_v05, with 20 losses and four evaluations at least, 40 drawn with seed 1 whose training loss (a step's, or the
  evaluated one) is not finite, or whose evaluated one ends above twice its best
"""

import csv
import math
import random
import shutil
import sys
from pathlib import Path

REPOSITORY, OUT = Path(sys.argv[1]), Path(sys.argv[2])
EVALUATED = ("loss", "ctc_loss")


def column(rows, *names):
    """The numbers of the first of some columns that has any."""
    for name in names:
        values = [float(row[name]) for row in rows if row.get(name)]
        if values:
            return values
    return []


def trials(version):
    folder = REPOSITORY / "previous_leaderboards" / version
    for path in sorted(folder.rglob("measurements.csv")):
        with path.open() as file:
            rows = list(csv.DictReader(file))
        train, valid = (column(rows, *(f"{split}/{name}" for name in EVALUATED)) for split in ("train", "validation"))
        yield path, path.relative_to(folder), train, valid, column(rows, "loss")


def place(kind, path, name):
    (OUT / kind).mkdir(parents=True, exist_ok=True)
    shutil.copy(path, OUT / kind / str(name).replace("/", "__"))


def is_healthy(train, valid):
    return len(train) >= 4 and all(map(math.isfinite, train + valid)) and train[-1] <= 1.1 * min(train)


def is_steady(train):
    return all(train[i] <= 1.25 * min(train[:i]) for i in range(1, len(train)))


for path, name, train, valid, _ in trials("algoperf_v06"):
    if is_healthy(train, valid):
        place("healthy", path, name)
        if is_steady(train):
            place("steady", path, name)
for path, name, train, valid, _ in trials("algoperf_v05"):
    if is_healthy(train, valid):
        place("healthy_v05", path, name)
        if is_steady(train):
            place("steady_v05", path, name)

lost = [
    (path, name)
    for path, name, train, _, loss in trials("algoperf_v05")
    if len(loss) >= 20 and len(train) >= 4
    and (not all(map(math.isfinite, train + loss)) or train[-1] > 2 * min(train))
]
random.seed(1)
for path, name in random.sample(lost, 40):
    place("lost", path, name)

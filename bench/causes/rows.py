"""How runs end without the rows that were named, in float64: next to the run as it was and to one that never had a bad row.

python rows.py FOLDER        reads run.json and named.json of every run, writes rows.json
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch

from families import run_of
from training import Batch, Run, end_of, fresh, train


def without(batch: Batch, rows: list[int], count: int) -> Batch:
    kept = torch.tensor([k for k in range(count) if k not in set(rows)], dtype=torch.int64)
    return {k: without(v, rows, count) if isinstance(v, dict) else v[kept] for k, v in batch.items()}


def rows_of(run: Run, named: dict[int, list[int]]) -> dict[str, Any]:
    def spoil(step: int) -> Batch:
        batch = run.spoil(step) if step in run.bad else run.stream.batch(step)
        return without(batch, named.get(step, []), run.stream.rows)

    last = min(run.steps - 1, run.start + 40)
    left_out = dataclasses.replace(run, spoil=spoil, bad=run.bad | set(named))
    clean = train(run, fresh(run), 0, last, fixed=True)[0]
    return {
        "rows": run.stream.rows,
        "bad": run.bad_rows,
        "clean": end_of(clean.reference),
        "asItWas": end_of(train(run, fresh(run), 0, last)[0].reference),
        "without": end_of(train(left_out, fresh(left_out), 0, last)[0].reference) if named else None,
    }


def main() -> None:
    torch.set_num_threads(1)
    for folder in sorted(p for p in Path(sys.argv[1]).iterdir() if (p / "named.json").exists()):
        told, named = (json.loads((folder / name).read_text()) for name in ("run.json", "named.json"))
        run = run_of(told["index"], told["draw"])
        found = rows_of(run, {one["step"]: one["rows"] for one in named["skipRows"]})
        # JSON has no NaN: the end of a run that is lost is null.
        whole = {name: None if value != value else value for name, value in found.items()}
        (folder / "rows.json").write_text(json.dumps(whole))


if __name__ == "__main__":
    main()

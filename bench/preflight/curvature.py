"""What the frozen limit of curvature says of the set-ups whose critical rate is in critical.jsonl. python curvature.py

The top eigenvalue over its limit, of a batch after 20 quiet steps at an eighth of the critical rate. One over it, at the critical
rate, is the predicted over the measured rate: 1 is exact, above 1 is too high. Net and data are those of a seed that no rerun had.
Appends to curvature.jsonl and leaves out what is there; then prints the table of docs/curvature.md.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from critical import BATCHES, data_of
from families import FAMILIES, OPTIMIZERS
from score import SEED, Net

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "python" / "src"))
from clippy_diag.torch import curvature  # noqa: E402

torch.set_num_threads(1)
QUIET, LOWER = 20, 8
FOUND = HERE / "curvature.jsonl"


def predicted(setup: tuple[str, str, int], critical: float) -> float | None:
    """The predicted over the critical rate; None where the optimizer has no limit, or λ is not above 0."""
    family = FAMILIES[setup[0]]
    batches = [{k: v[0] for k, v in b.items()} for b in data_of(family, setup[2], range(SEED, SEED + 1), QUIET + 1)]
    net = Net(family.weights(torch.Generator().manual_seed(SEED)))
    optimizer = OPTIMIZERS[setup[1]][1](list(net.parameters()), critical / LOWER)

    def loss_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return family.loss(dict(net.named_parameters()), batch)

    for batch in batches[:QUIET]:
        optimizer.zero_grad()
        loss_of(batch).backward()
        optimizer.step()
    optimizer.param_groups[0]["lr"] = critical
    # With momentum and Adam the limit depends on the step; the last form of it is that of a long run.
    entries = curvature(net, optimizer, lambda: loss_of(batches[QUIET]), step=QUIET, critical=False)
    ratios = [entry["stability"]["ratio"] for entry in entries if entry["stability"].get("ratio")]
    return 1 / max(ratios) if ratios and max(ratios) > 0 else None


def table(rows: list[dict[str, object]]) -> None:
    """Median and range by optimizer and batch."""
    print("| optimizer | small batch | large batch |\n|---|---|---|")
    for name in OPTIMIZERS:
        cells = []
        for large in (0, 1):
            own = [
                float(str(r["predicted"]))
                for r in rows
                if r["setup"][1] == name and r["predicted"] and r["setup"][2] == BATCHES[r["setup"][0]][large]  # type: ignore[index]
            ]
            cells.append(
                f"{np.median(own):.2g} ({min(own):.2g}–{max(own):.2g}, n {len(own)}),"
                f" {sum(0.5 <= v <= 2 for v in own)} within 2 ×"
                if own
                else "no limit"
            )
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else math.inf
    done = [json.loads(line) for line in FOUND.read_text().splitlines()] if FOUND.exists() else []
    there = {tuple(row["setup"]) for row in done}
    for line in (HERE / "critical.jsonl").read_text().splitlines():
        row = json.loads(line)
        setup = tuple(row["setup"])
        if setup in there or time.process_time() > limit:
            continue
        found = predicted(setup, row["critical"])
        done.append({"setup": list(setup), "predicted": None if found is None else float(f"{found:.4g}")})
        with FOUND.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    table(done)


if __name__ == "__main__":
    main()

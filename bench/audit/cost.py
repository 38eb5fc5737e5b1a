"""What an audit costs: records 20 steps of AdamW on drawn gradients, audits them, prints processor and wall time and peak memory.

cost.py OUT --parameters 293000 50000000       so many or more; about a quarter of them is one table, as an embedding is

Needs a built checkout (node build/build.js --fast).
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from clippy_diag.torch import Recorder

STEPS, SNAPSHOT_EVERY = 20, 5
PROGRAM = Path(__file__).parents[2] / "bin" / "run.js"


class Weights(torch.nn.Module):
    """One table and square matrices; gradients are drawn and no forward pass is needed."""

    def __init__(self, parameters: int) -> None:
        super().__init__()
        side = 256 if parameters < 5_000_000 else 2048
        self.table = torch.nn.Parameter(0.02 * torch.randn(max(1, parameters // 4 // side), side))
        matrices = max(1, math.ceil((parameters - self.table.numel()) / side**2))
        self.matrices = torch.nn.ParameterList(0.02 * torch.randn(side, side) for _ in range(matrices))


def record(folder: Path, parameters: int) -> int:
    """Writes a capture of `STEPS` steps; returns the number of parameters."""
    torch.manual_seed(0)
    model = Weights(parameters)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    recorder = Recorder(
        model,
        optimizer,
        folder,
        clipping="global-norm:1",
        snapshot_every_steps=SNAPSHOT_EVERY,
        steps_after=STEPS - 1,
        memory="8GB",
        ledger=False,
    )
    recorder.capture()
    for step in range(STEPS + 2):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        recorder.record(step, torch.tensor(1.0))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    recorder.close()
    return sum(p.numel() for p in model.parameters())


#: Run by an interpreter without torch: a child's peak memory counts what its parent held when it began.
WATCH = """
import json, os, subprocess, sys, time
begun = time.monotonic()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
told = child.stdout.read()
used = os.wait4(child.pid, 0)[2]
outcomes = {link["link"]: link["outcome"] for link in json.loads(told)["audit"]["links"]}
print(json.dumps([used.ru_utime + used.ru_stime, time.monotonic() - begun, used.ru_maxrss / 1024, outcomes]))
"""


def measured(folder: Path) -> tuple[float, float, float, dict[str, str]]:
    """Processor and wall time in s and peak resident memory in MB of an audit, and the outcome of each link."""
    call = [sys.executable, "-c", WATCH, "node", str(PROGRAM), "audit", str(folder), "--json"]
    busy, wall, megabytes, outcomes = json.loads(subprocess.run(call, stdout=subprocess.PIPE, check=True).stdout)
    return busy, wall, megabytes, outcomes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--parameters", type=int, nargs="+", default=[293_000])
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    for parameters in arguments.parameters:
        folder = arguments.out / str(parameters)
        held = folder.exists()
        count = sum(p.numel() for p in Weights(parameters).parameters()) if held else record(folder, parameters)
        busy, wall, megabytes, outcomes = measured(folder)
        told = f"{busy:.1f} s of processor time, {wall:.1f} s by the clock, {megabytes:.0f} MB"
        print(f"{count} parameters: {told}; optimizer {outcomes['optimizer']}")
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()

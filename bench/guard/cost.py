"""What a quiet check costs beside a training step (forward, backward, optimizer), in processor time, in one run.

    python bench/guard/cost.py [--steps 20] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))
from clippy_diag.torch import Guard  # noqa: E402

WIDTHS = {"0.3 M": 256, "2.4 M": 768, "10 M": 1600}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print("| parameters | batch | optimizer | step | check | share | one look-ahead |\n|---|---|---|---|---|---|---|")
    for label, width in WIDTHS.items():
        for batch in (256, 1024):
            for name in ("Adagrad", "Adam", "SGD"):
                torch.manual_seed(0)
                net = torch.nn.Sequential(
                    *(layer for _ in range(4) for layer in (torch.nn.Linear(width, width), torch.nn.ReLU())),
                    torch.nn.Linear(width, 1),
                )
                optimizer = getattr(torch.optim, name)(net.parameters(), lr=1e-4)
                data = (torch.randn(batch, width), torch.randn(batch))

                def loss_of(model: torch.nn.Module, given: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
                    return ((model(given[0])[:, 0] - given[1]) ** 2).mean()

                guard = Guard(net, optimizer, loss_of)
                steps, checks, looks = [], [], []
                for k in range(chosen.steps + 12):
                    begun = time.process_time()
                    optimizer.zero_grad()
                    loss = loss_of(net, data)
                    loss.backward()
                    middle = time.process_time()
                    advice = guard.check(k, data, loss)
                    checked = time.process_time()
                    optimizer.step()
                    end = time.process_time()
                    if k >= 12:
                        steps.append(end - begun - (checked - middle))
                        (looks if advice.ahead else checks).append(checked - middle)
                step, check = statistics.median(steps), statistics.median(checks)
                look = f"{1e3 * statistics.median(looks):.0f} ms" if looks else "none"
                print(
                    f"| {label} | {batch} | {name} | {1e3 * step:.1f} ms ({1e3 * min(steps):.1f}–{1e3 * max(steps):.1f}) |"
                    f" {1e3 * check:.1f} ms ({1e3 * min(checks):.1f}–{1e3 * max(checks):.1f}) | {100 * check / step:.0f} % | {look} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

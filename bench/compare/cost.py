"""Processor time of the ledger per step, beside the same loop without it: PYTHONPATH=python/src python bench/compare/cost.py

Loops without recorder, with a recorder and with recorder and ledger take turns in blocks of 128 steps (one period of N),
one thread; the median of the blocks is printed. The ledger's own calls are also made 128 times in a row on the gradients
that are there, between two readings of the clock: reading it takes longer than a call.
"""

import statistics
import sys
import tempfile
import time
import warnings

import torch

from clippy_diag.torch import Recorder

torch.set_num_threads(1)

SIZES = {"17k": (32, 112, 64, 12), "300k": (64, 500, 1024, 6), "5M": (512, 2000, 1024, 1), "10M": (512, 2900, 1024, 1)}


class Loop:
    def __init__(self, kind, inputs, width, batch, folder):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(inputs, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.data, self.step, self.batch = torch.randn(4 * batch, inputs), 0, batch
        self.recorder = None
        if kind != "without":
            self.recorder = Recorder(self.model, self.optimizer, f"{folder}/{kind}/capture", ledger=kind == "ledger")

    def block(self, steps):
        begun = time.process_time()
        for _ in range(steps):
            x = self.data[torch.randint(0, len(self.data), (self.batch,))]
            y = x[:, :10].argmax(1)
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.model(x), y)
            loss.backward()
            if self.recorder is not None:
                self.recorder.record(self.step, loss, batch=(x, y))
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
            self.last = x, y, loss.detach()
        return (time.process_time() - begun) / steps * 1e3

    def ledger_block(self, steps):
        """The same calls of the ledger without the training around them."""
        ledger, (x, y, loss) = self.recorder.ledger, self.last
        begun = time.process_time()
        for _ in range(steps):
            ledger.take(self.step, loss, (x, y), None, None, None)
            ledger.after()
            self.step += 1
        return (time.process_time() - begun) / steps * 1e3


def main():
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or SIZES:
        inputs, width, batch, blocks = SIZES[name]
        with tempfile.TemporaryDirectory() as folder:
            loops = {kind: Loop(kind, inputs, width, batch, folder) for kind in ("without", "recorder", "ledger")}
            count = sum(p.numel() for p in loops["ledger"].model.parameters())
            times = {kind: [] for kind in (*loops, "alone")}
            for loop in loops.values():
                loop.block(8 if name[-1] == "M" else 128)
            for _ in range(blocks):
                for kind, loop in loops.items():
                    times[kind].append(loop.block(128))
                times["alone"].append(loops["ledger"].ledger_block(128))
            middle = {kind: statistics.median(found) for kind, found in times.items()}
            inside = middle["alone"]
            print(
                f"{name}: {count} parameters, batch {batch}: without {middle['without']:.3f} ms, recorder {middle['recorder']:.3f},"
                f" with ledger {middle['ledger']:.3f}; the ledger's own calls {inside:.3f} ms"
                f" = {100 * inside / middle['without']:.1f} % of the step; N = {loops['ledger'].recorder.ledger.own.every}",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Processor time of the ledger in a step of PyTorch: PYTHONPATH=python/src python bench/compare/cost.py [SIZE …]

A loop without a recorder, one with a recorder and one with recorder and ledger take single steps in turn, in one process,
on one thread. The ledger's own calls are timed where they stand in the loop; what the recorder no longer does with a ledger
(its own look at the gradients) is taken off. Every EIGHT-th step has its tensors here, so
that many are seen; what such a step takes beyond an ordinary one is then divided by N, the steps from one to the next in
a training. Printed are medians and, in brackets, the middle half.
"""

import statistics
import sys
import tempfile
import time
import warnings

import torch

from clippy_diag.ledger import every_of
from clippy_diag.torch import Recorder
from clippy_diag.torch import recorder as recorders
from clippy_diag.torch.ledger import TorchLedger

torch.set_num_threads(1)

#: By name: inputs, width, rows of a batch, steps of each loop.
SIZES = {"17k": (32, 112, 64, 400), "300k": (64, 500, 1024, 160), "5M": (512, 2000, 1024, 24), "10M": (512, 2900, 1024, 24)}
EIGHT = 8


class Loop:
    """A training of three layers, and the processor time that its ledger takes."""

    def __init__(self, kind, inputs, width, batch, folder):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(inputs, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.data, self.step, self.batch = torch.randn(4 * batch, inputs), 0, batch
        self.recorder = None
        if kind != "without":
            self.recorder = Recorder(
                self.model, self.optimizer, f"{folder}/{kind}/capture", ledger=kind == "ledger", ledger_every=EIGHT
            )
        self.inside = 0
        if kind == "ledger":
            for name in ("look", "take", "about", "after"):
                self.clocked(TorchLedger, name)
        elif kind == "recorder":
            self.clocked(recorders, "gradients_of")

    def clocked(self, owner, name):
        """Has the time of a method counted."""
        call = getattr(owner, name)

        def timed(*arguments):
            begun = time.process_time_ns()
            found = call(*arguments)
            self.inside += time.process_time_ns() - begun
            return found

        setattr(owner, name, timed)

    def take(self):
        """One step: milliseconds of it all, and of the ledger's calls in it."""
        self.inside, begun = 0, time.process_time_ns()
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
        return (time.process_time_ns() - begun) / 1e6, self.inside / 1e6


def of(times):
    """Median and middle half."""
    low, middle, high = statistics.quantiles(times, n=4)
    return middle, f"{middle:.3f} ms ({low:.3f} to {high:.3f})"


def measure(name):
    """Prints a line of a size."""
    inputs, width, batch, steps = SIZES[name]
    with tempfile.TemporaryDirectory() as folder:
        loops = {kind: Loop(kind, inputs, width, batch, folder) for kind in ("without", "recorder", "ledger")}
        count = sum(p.numel() for p in loops["ledger"].model.parameters())
        times = {kind: [] for kind in loops}
        ordinary, taken, spared = [], [], []
        for step in range(EIGHT + steps):
            for kind, loop in loops.items():
                whole, inside = loop.take()
                if step < EIGHT:  # the first steps all have their tensors
                    continue
                times[kind].append(whole)
                if kind == "recorder":
                    spared.append(inside)
                if kind == "ledger" and 2 <= step % EIGHT:
                    ordinary.append(inside)
                elif kind == "ledger" and step % EIGHT == 0:
                    taken.append(inside)
                elif kind == "ledger":
                    taken[-1] += inside  # the checksums before the next step
        without, said = of(times["without"])
        each, each_said = of(ordinary)
        more, more_said = of([one - 2 * each for one in taken])
        less, less_said = of(spared)
        cost = each - less + more / every_of(count)
        print(
            f"{name}: {count} parameters, batch {batch}: a step without {said}, with a recorder {of(times['recorder'])[1]};"
            f" ledger: each step {each_said}, the recorder spares {less_said}, one with tensors {more_said} more, every {every_of(count)} steps:"
            f" {cost:.3f} ms = {100 * cost / without:.1f} % of a step",
            flush=True,
        )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for size in sys.argv[1:] or SIZES:
        measure(size)

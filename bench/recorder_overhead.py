"""What the PyTorch recorder costs a training step: time and memory, while the loss is quiet.

    python3 bench/recorder_overhead.py [--batch 1024]

A shared-bottom ranking net (256-512-256-128, four towers of 64) under Adagrad on one thread. Steps with and
without the recorder alternate in blocks of 20 in one process; printed are the medians of the CPU time a step
takes in a block (one thread, so that other load on the machine counts little) and their quartiles, and the
largest number of bytes that the recorder held. """

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "recorders" / folder) for folder in ("python", "pytorch")]
from clippy_recorder import ClippyRecorder  # noqa: E402


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [256, 512, 256, 128]
        layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())]
        self.shared = torch.nn.Sequential(*layers)
        self.towers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)) for _ in range(4)
        )

    def forward(self, x):
        h = self.shared(x)
        return torch.cat([tower(h) for tower in self.towers], dim=1)


def held(recorder):
    """Bytes of all arrays in the ring."""
    arrays = [
        array
        for record in recorder.buffer.ring
        for part in ("tensors", "parameters", "state")
        for array in (record.get(part) or {}).values()
    ]
    return sum(array.nbytes for array in {id(array): array for array in arrays}.values())


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{1000 * middle:.2f} ms ({1000 * low:.2f} to {1000 * high:.2f})"


def measure(batch_size, with_batches, blocks=10, length=20):
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.01)
    recorder = ClippyRecorder(model, optimizer, "/nonexistent", every=20)
    times, most, number = {False: [], True: []}, 0, 0
    for block in range(2 * blocks + 2):
        recording = block % 2 == 1
        start = time.process_time()
        for _ in range(length):
            x = torch.randn(batch_size, 256)
            y = torch.randn(batch_size, 4)
            loss = ((model(x) - y) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            if recording:
                recorder.record(number, loss, batch={"x": x, "y": y} if with_batches else None)
                number += 1
            optimizer.step()
        if block >= 2:  # the first of each is warm-up
            times[recording].append((time.process_time() - start) / length)
        most = max(most, held(recorder))
    assert recorder.disabled is None and recorder.buffer.captures == 0
    parameters = sum(p.numel() for p in model.parameters())
    share = statistics.median(b / a - 1 for a, b in zip(times[False], times[True]))
    print(f"batch {batch_size}, {parameters} parameters, batches recorded: {'yes' if with_batches else 'no'}")
    print(f"  without {quartiles(times[False])}, with {quartiles(times[True])}, {100 * share:+.1f} % (median of pairs)")
    print(f"  held at most {most / 2**20:.1f} MiB, {most / (4 * parameters):.1f} times the parameters")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1024)
    torch.set_num_threads(1)
    size = parser.parse_args().batch
    print(f"PyTorch {torch.__version__}, K = 20")
    measure(size, with_batches=False)
    measure(size, with_batches=True)

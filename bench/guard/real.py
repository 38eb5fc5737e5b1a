"""The guard on real data: census income, digits and a text, each destroyed in three ways, with the guard and without.

    python bench/guard/real.py census.csv TEXT [--seeds 3]

`census.csv` is what bench/study/prepare_census.py writes; the digits are scikit-learn's; TEXT is any text of 200 kB or more. The
table is for docs/guard.md: loss of held-out rows at the end.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))
from clippy_diag.torch import Guard  # noqa: E402
from families import Attention  # noqa: E402

STEPS, START = 400, 250
Batch = dict[str, torch.Tensor]


class Census(torch.nn.Module):
    """Embeddings of categories, a cross layer of DCN-v2 and two dense layers, for two labels."""

    def __init__(self, sizes: list[int], numbers: int) -> None:
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(size, 8) for size in sizes)
        wide = 8 * len(sizes) + numbers
        self.cross = torch.nn.Linear(wide, wide)
        self.deep = torch.nn.Sequential(
            torch.nn.Linear(wide, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        x = torch.cat([*(table(batch["ids"][:, k]) for k, table in enumerate(self.tables)), batch["x"]], dim=1)
        logits = self.deep(x * self.cross(x) + x)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["y"])


class Digits(torch.nn.Module):
    """Two convolutions with batch statistics and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(512, 10),
        )  # fmt: skip

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        return torch.nn.functional.cross_entropy(self.layers(batch["x"]), batch["y"])


def census(path: str) -> tuple[Callable[[], torch.nn.Module], Batch, str]:
    rows = list(csv.DictReader(open(path)))  # noqa: SIM115
    labels = ["income", "never_married"]
    columns = [c for c in rows[0] if c not in labels]
    numeric = [c for c in columns if all(r[c].replace(".", "", 1).isdigit() for r in rows) and len({r[c] for r in rows}) > 12]
    named = [c for c in columns if c not in numeric]
    numbers = np.array([[math.log1p(float(r[c])) for c in numeric] for r in rows], dtype=np.float32)
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    known = [{v: k for k, v in enumerate(sorted({r[c] for r in rows}))} for c in named]
    ids = np.array([[names[r[c]] for names, c in zip(known, named)] for r in rows])
    data = {
        "ids": torch.from_numpy(ids),
        "x": torch.from_numpy(numbers),
        "y": torch.tensor([[float(r[c]) for c in labels] for r in rows]),
    }
    return lambda: Census([len(names) for names in known], len(numeric)), data, "adagrad"


def digits() -> tuple[Callable[[], torch.nn.Module], Batch, str]:
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.tensor(found.images[:, None] / 16, dtype=torch.float32)
    return Digits, {"x": x, "y": torch.tensor(found.target)}, "momentum"


def text(path: str) -> tuple[Callable[[], torch.nn.Module], Batch, str]:
    letters = Path(path).read_text(errors="ignore")[:400_000]
    alphabet = {c: k for k, c in enumerate(sorted(set(letters)))}
    tokens = torch.tensor([alphabet[c] for c in letters])
    rows = len(tokens) // 65
    return lambda: Attention(len(alphabet), 64, 64), {"tokens": tokens[: rows * 65].view(rows, 65)}, "adamw"


RATES = {"adagrad": 0.05, "momentum": 0.02, "adamw": 0.002}


def optimizer_of(name: str, net: torch.nn.Module) -> torch.optim.Optimizer:
    p, rate = list(net.parameters()), RATES[name]
    if name == "adagrad":
        return torch.optim.Adagrad(p, lr=rate, initial_accumulator_value=0.1)
    return torch.optim.SGD(p, lr=rate, momentum=0.9) if name == "momentum" else torch.optim.AdamW(p, lr=rate, betas=(0.9, 0.95))


def spoilt(batch: Batch, generator: torch.Generator) -> Batch:
    """A batch whose features are fifty times as large, or whose letters are drawn at random; labels at random too."""
    if "tokens" in batch:
        order = torch.randperm(batch["tokens"].numel(), generator=generator)
        return {"tokens": batch["tokens"].flatten()[order].view_as(batch["tokens"])}
    order = torch.randperm(len(batch["y"]), generator=generator)
    return {**batch, "x": batch["x"] * 50, "y": batch["y"][order]}


def train(made: Any, trouble: str, seed: int, guarded: bool) -> tuple[float, int, int | None]:
    """Loss of held-out rows at the end, alarms before the trouble, and the first step that was not taken as it is."""
    make, data, name = made
    torch.manual_seed(seed)
    net = make()
    optimizer = optimizer_of(name, net)
    guard = Guard(net, optimizer, lambda model, batch: model(batch)) if guarded else None
    generator = torch.Generator().manual_seed(seed + 1)
    rows = len(next(iter(data.values())))
    held = rows - rows // 5
    early, first, lost = 0, None, False
    for step in range(STEPS):
        chosen = torch.randint(0, held, (32 if "tokens" in data else 128,), generator=generator)
        batch = {key: value[chosen] for key, value in data.items()}
        bad = START <= step < START + 30
        if bad and trouble == "bad data":
            batch = spoilt(batch, generator)
        for group in optimizer.param_groups:
            group["lr"] = RATES[name] * (60 if bad and trouble == "learning rate" else 1)
        optimizer.zero_grad()
        loss = net(batch)
        loss.backward()
        if bad and trouble == "precision":
            for p in net.parameters():
                p.grad = (p.grad * 2.0 ** (14 + (step - START))).half().float() / 2.0 ** (14 + (step - START))
        if guard is not None:
            advice = guard.check(step, batch, loss)
            if advice.action != "apply":
                early += step < START
                first = step if first is None and step >= START else first
            guard.apply(advice)
        optimizer.step()
        lost = lost or not math.isfinite(float(loss.detach()))
        if lost and guard is None:
            break
    net.eval()
    with torch.no_grad():
        end = float(net({key: value[held:][:2000] for key, value in data.items()}))
    return end, early, first


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("census")
    parser.add_argument("text")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| net and data | destroyed by | without the guard | with it | first step not taken as it is | alarms before |")
    print("|---|---|---|---|---|---|")
    nets = {
        "DCN on census income, Adagrad": census(chosen.census),
        "CNN on digits, SGD with momentum": digits(),
        "transformer on characters, AdamW": text(chosen.text),
    }
    for label, made in nets.items():
        for trouble in ("nothing", "learning rate", "bad data", "precision"):
            plain = [train(made, trouble, seed, False)[0] for seed in range(chosen.seeds)]
            held = [train(made, trouble, seed, True) for seed in range(chosen.seeds)]
            firsts = sorted({'–' if first is None else str(first) for _, _, first in held})
            print(
                f"| {label} | {trouble} | {shown(plain)} | {shown([end for end, _, _ in held])} |"
                f" {', '.join(firsts)} | {sum(early for _, early, _ in held)} |",
                flush=True,
            )


def shown(values: list[float]) -> str:
    finite = sorted(values, key=lambda v: math.inf if math.isnan(v) else v)
    text = ["NaN" if math.isnan(v) else f"{v:.3g}" for v in (statistics.median_low(finite), finite[0], finite[-1])]
    return f"{text[0]} ({text[1]}–{text[2]})"


if __name__ == "__main__":
    main()

"""What the ladder of `preflight` says of the set-ups whose critical rate is in critical.jsonl.

    python score.py run HALF SEED    appends to ladders.jsonl
    python score.py report           prints the figures of docs/preflight.md

Each set-up is asked at 0.25 to 2.83 times its critical rate. A row of rates √2 apart about it is trained side by side (torch.func.vmap)
from the weights and on the batches of a seed that no rerun had, with the warm-up of the reruns; the search of `preflighting.py` then asks
for the losses of the rates that it tries, and sees nothing of the others.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from critical import WARM_UP, data_of, half_of
from families import FAMILIES, OPTIMIZERS

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "python" / "src"))
from clippy_diag.preflighting import ROWS, STEPS, Climb, Clock, band_of, middle_of, verdict_of  # noqa: E402

torch.set_num_threads(1)
#: Powers of √2 times the critical rate: those that are trained, and those that are asked.
ROW, ASKED = range(-10, 7), (-4, -2, -1, 0, 1, 2, 3)
#: Rows of a batch that losses are compared on.
PART = 64


def trained(setup: tuple[str, str, int], critical: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses of the fixed batches before and after the steps of a ladder: batches × rates."""
    family = FAMILIES[setup[0]]
    rates = torch.tensor([critical * 2 ** (k / 2) for k in ROW])
    batches = data_of(family, setup[2], range(seed, seed + 1), STEPS)
    fixed = family.rows(np.random.default_rng([8, seed]), ROWS)
    parts = [{k: v[at : at + PART] for k, v in fixed.items()} for at in range(0, ROWS, PART)]
    start = family.weights(torch.Generator().manual_seed(seed))
    weights = {k: torch.stack([v] * len(rates)).requires_grad_() for k, v in start.items()}
    optimizer = OPTIMIZERS[setup[1]][1](list(weights.values()), 1.0)
    loss = torch.func.vmap(family.loss, in_dims=(0, None))

    def losses() -> np.ndarray:
        with torch.no_grad():
            return torch.stack([loss(weights, part) for part in parts]).numpy()

    before = losses()
    for t, batch in enumerate(batches):
        old = [p.detach().clone() for p in weights.values()]
        optimizer.zero_grad()
        loss(weights, {k: v[0] for k, v in batch.items()}).sum().backward()
        optimizer.step()
        # The step of every optimizer here is its rate times something: one step at rate 1 gives that of each rate.
        factors = rates * min(1.0, (t + 1) / WARM_UP)
        with torch.no_grad():
            for p, value in zip(weights.values(), old):
                p.copy_(value + factors.view(-1, *[1] * (p.dim() - 1)) * (p - value))
    return before, losses()


class Trained:
    """A `Trial` whose trainings have been run: rates in units of the critical one."""

    def __init__(self, before: np.ndarray, after: np.ndarray, asked: float) -> None:
        self.before, self.after, self.asked, self.gradients = before, after, asked, 0
        self.at: int | None = None

    def keep(self) -> None:
        """The start, the only state that there is."""

    def put(self, kept: None) -> None:
        self.at = None

    def train(self, rate: float, steps: int, first: int, how: object = None) -> bool:
        self.gradients += steps
        self.at = min(round(2 * math.log2(rate)), ROW[-1]) - ROW[0]
        return self.at < 0 or bool(np.isfinite(self.after[:, self.at]).all())

    def losses(self) -> list[float]:
        # A rate below the row has learnt nothing.
        return list(self.before[:, 0] if self.at is None or self.at < 0 else self.after[:, self.at])


def answers(before: np.ndarray, after: np.ndarray) -> list[dict[str, object]]:
    """What the search says at each asked rate, in units of the critical one."""
    found = []
    for k in ASKED:
        trial = Trained(before, after, 2 ** (k / 2))
        climb = Climb(trial, None, trial.losses(), 0, 0, Clock(math.inf))
        ladder = climb.search(trial.asked)
        found.append(
            {
                "times": round(trial.asked, 4),
                "learnt": climb.learnt,
                "held": ladder.held and round(ladder.held, 4),
                "failed": ladder.failed and round(ladder.failed, 4),
                "gradients": trial.gradients,
            }
        )
    return found


def run(half: str, seed: int) -> None:
    path = HERE / "ladders.jsonl"
    done = {(*row["setup"], row["seed"]) for row in map(json.loads, path.read_text().splitlines())}
    for row in map(json.loads, (HERE / "critical.jsonl").read_text().splitlines()):
        setup = tuple(row["setup"])
        if row["critical"] is None or half_of(setup) != half or (*setup, seed) in done:
            continue
        begun = time.process_time()
        entry = {"setup": setup, "half": half, "seed": seed, "answers": answers(*trained(setup, row["critical"], seed))}
        with path.open("a") as file:
            file.write(json.dumps({**entry, "cpu": round(time.process_time() - begun, 2)}) + "\n")
        print(setup, flush=True)


def interval(hits: int, count: int) -> str:
    """Wilson's 95 % interval of a share, in per cent."""
    if not count:
        return "none"
    z, share = 1.96, hits / count
    middle, half = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)
    return f"{hits} of {count} ({100 * low:.0f}–{100 * high:.0f} %)"


def report() -> None:
    """Figures by half: how close the middle of the band is, the cost, and the verdicts at multiples of the critical rate."""
    ladders = [json.loads(line) for line in (HERE / "ladders.jsonl").read_text().splitlines()]
    for half in ("tuned", "unseen", "fresh"):
        rows = [(row["setup"][1], answer) for row in ladders if row["half"] == half for answer in row["answers"]]
        found = [(name, a) for name, a in rows if a["learnt"] and a["held"] and a["failed"]]
        bands = [band_of(a["held"], a["failed"], [name]) for name, a in found]
        print(f"\n## {half}: {sum(row['half'] == half for row in ladders)} set-ups, {len(rows)} questions, answered {len(found)}")
        if not found:
            continue
        ratios = np.array([middle_of(band) for band in bands])
        for times in (2, 4):
            print(f"within {times} x", interval(int(((ratios >= 1 / times) & (ratios <= times)).sum()), len(found)))
        print("more than 2 x too high", interval(int((ratios > 2).sum()), len(found)))
        inside = sum(low <= 1 <= high for low, high in bands)
        print("critical rate inside of the band", interval(inside, len(found)))
        by = {name: [r for r, (own, _) in zip(ratios, found) if own == name] for name in OPTIMIZERS}
        print("median of the middle, by optimizer:", {name: round(float(np.median(v)), 2) for name, v in by.items() if v})
        gradients = [a["gradients"] for _, a in found]
        print("gradients, median and largest:", np.median(gradients), max(gradients))
        for k in ASKED:
            verdicts = [verdict(*row) for row in rows if row[1]["times"] == round(2 ** (k / 2), 4)]
            print(f"{2 ** (k / 2):.2f} x critical:", {v: verdicts.count(v) for v in ("well-within", "near", "above", "cannot-tell")})


def verdict(name: str, answer: dict[str, object]) -> str:
    """The verdict with the present band."""
    if not (answer["learnt"] and answer["held"]):
        return "cannot-tell"
    return verdict_of(answer["times"], band_of(answer["held"], answer["failed"], [name]))


if __name__ == "__main__":
    report() if sys.argv[1:2] == ["report"] else run(sys.argv[2], int(sys.argv[3]))

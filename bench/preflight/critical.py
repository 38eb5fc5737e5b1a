"""The critical rate of every set-up, by reruns: the rate at which half of six seeds fail. python critical.py [PART OF]

A run has 150 steps, with a linear warm-up over the first 20. It fails if its loss is not finite, if clean rows end at no less than
the best constant answer minus three errors, or if half of what it had learnt at its best is lost. The critical rate is where a
logistic curve through the shares of failed seeds, on a row of rates √2 apart, passes one half; its band is that of 200 bootstrap
draws of the seeds, 10 to 90 %. Appends to critical.jsonl and leaves out what is there.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from families import FAMILIES, OPTIMIZERS, Family

HERE = Path(__file__).parent
STEPS, WARM_UP, SEEDS, CLEAN = 150, 20, 6, 512
#: Small and large batches, and a middle one whose set-ups came last; a row of a sequence or a picture costs more than one of a table.
BATCHES = dict.fromkeys(("vae", "dcn", "mmoe"), (32, 256, 96)) | dict.fromkeys(("transformer", "cnn", "gru"), (16, 64, 32))
torch.set_num_threads(1)


def setups() -> list[tuple[str, str, int]]:
    """Family, optimizer, batch size, in an order in which neighbours differ."""
    return sorted(
        ((f, o, b) for f in FAMILIES for o in OPTIMIZERS for b in BATCHES[f]),
        key=lambda s: (half_of(s) == "fresh", hash_of("|".join(map(str, s)))),
    )


def hash_of(text: str) -> int:
    """FNV-1a: an order, and halves, that nobody chose."""
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value


def half_of(setup: tuple[str, str, int]) -> str:
    """Which part a set-up belongs to: tuned on, kept unseen, or fresh: made after every number and rule was chosen."""
    if setup[2] == BATCHES[setup[0]][2]:
        return "fresh"
    return "tuned" if hash_of("half|" + "|".join(map(str, setup))) // 8 % 2 else "unseen"


def data_of(family: Family, batch: int, seeds: range, steps: int) -> list[dict[str, torch.Tensor]]:
    """The batches of every step, with a first dimension of seeds."""
    pools = [family.rows(np.random.default_rng([7, seed]), batch * steps) for seed in seeds]
    whole = {key: torch.stack([pool[key] for pool in pools]) for key in pools[0]}
    return [{key: value[:, t * batch : (t + 1) * batch] for key, value in whole.items()} for t in range(steps)]


class Reruns:
    """Reruns of a set-up at any rate."""

    def __init__(self, name: str, optimizer: str, batch: int) -> None:
        family = FAMILIES[name]
        self.make = OPTIMIZERS[optimizer][1]
        self.start = [family.weights(torch.Generator().manual_seed(seed)) for seed in range(SEEDS)]
        self.batches = data_of(family, batch, range(SEEDS), STEPS)
        self.clean = family.rows(np.random.default_rng(99), CLEAN)
        self.loss = torch.func.vmap(family.loss)
        self.clean_loss = torch.func.vmap(family.loss, in_dims=(0, None))
        parts = [{k: v[i : i + 32] for k, v in self.clean.items()} for i in range(0, CLEAN, 32)]
        self.parts = parts
        self.chance = family.chance(self.clean)
        self.failed: dict[float, list[bool]] = {}

    def fail(self, rate: float) -> list[bool]:
        """Which seeds fail at a rate."""
        if rate not in self.failed:
            self.failed[rate] = self._fail(rate)
        return self.failed[rate]

    def _fail(self, rate: float) -> list[bool]:
        weights = {k: torch.stack([w[k] for w in self.start]).requires_grad_() for k in self.start[0]}
        optimizer = self.make(list(weights.values()), rate)
        levels = [self._level(weights)]
        for t, batch in enumerate(self.batches):
            optimizer.param_groups[0]["lr"] = rate * min(1.0, (t + 1) / WARM_UP)
            optimizer.zero_grad()
            self.loss(weights, batch).sum().backward()
            optimizer.step()
            if t % 15 == 14:
                levels.append(self._level(weights))
                if all(not math.isfinite(v) for v in levels[-1]):
                    break
        with torch.no_grad():
            parts = torch.stack([self.clean_loss(weights, part) for part in self.parts]).numpy()
        found = []
        for seed in range(SEEDS):
            own = [level[seed] for level in levels]
            end, error = own[-1], float(parts[:, seed].std(ddof=1)) / math.sqrt(len(self.parts))
            best, untrained = min((v for v in own if math.isfinite(v)), default=math.inf), own[0]
            found.append(
                not math.isfinite(end)
                or not end < min(self.chance, untrained) - 3 * error
                or end > best + 0.5 * (min(self.chance, untrained) - best)
            )
        return found

    def _level(self, weights: dict[str, torch.Tensor]) -> list[float]:
        with torch.no_grad():
            return self.clean_loss(weights, self.clean).tolist()


def fitted(failed: dict[float, list[bool]], draw: np.ndarray) -> float:
    """The logarithm of the rate at which a logistic curve passes one half; a weak prior keeps its slope finite."""
    rates = np.log(np.array(sorted(failed)))
    shares = np.array([np.mean(np.array(failed[rate])[draw]) for rate in sorted(failed)])
    best, at = math.inf, math.nan
    for center in np.arange(rates[0], rates[-1], 0.05):
        for slope in (1.0, 2.0, 4.0, 8.0, 16.0):
            p = 1 / (1 + np.exp(-slope * (rates - center)))
            p = np.clip(p, 1e-3, 1 - 1e-3)
            cost = -float(np.sum(shares * np.log(p) + (1 - shares) * np.log(1 - p))) * SEEDS
            if cost < best:
                best, at = cost, center
    return at


def critical(setup: tuple[str, str, int]) -> dict[str, object]:
    """Searches by factors of 4, then fills in a row of √2 about the change."""
    begun, cpu = time.time(), time.process_time()
    reruns = Reruns(*setup)
    rate = OPTIMIZERS[setup[1]][0]
    wrong = sum(reruns.fail(rate)) > SEEDS / 2
    for _ in range(8):
        if (sum(reruns.fail(rate)) > SEEDS / 2) != wrong:
            break
        rate = rate / 4 if wrong else rate * 4
    else:
        return {
            "setup": setup,
            "critical": None,
            "why": "fails at no rate, or at every one",
            "cpu": time.process_time() - cpu,
        }
    low, high = (rate, rate * 4) if wrong else (rate / 4, rate)
    for k in (1, 2, 3):
        reruns.fail(low * math.sqrt(2) ** k)
    top = high
    while sum(reruns.fail(top)) < SEEDS and top < 4 * high:
        top *= math.sqrt(2)
    bottom = low
    while sum(reruns.fail(bottom)) > 0 and bottom > low / 4:
        bottom /= math.sqrt(2)
    draws = np.random.default_rng(0).integers(0, SEEDS, (200, SEEDS))
    spread = np.quantile([fitted(reruns.failed, draw) for draw in draws[:60]], [0.1, 0.9])
    return {
        "setup": setup,
        "half": half_of(setup),
        "critical": float(f"{math.exp(fitted(reruns.failed, np.arange(SEEDS))):.4g}"),
        "band": [float(f"{math.exp(v):.4g}") for v in spread],
        "failed": {f"{r:.4g}": sum(v) for r, v in sorted(reruns.failed.items())},
        "cpu": round(time.process_time() - cpu, 2),
        "seconds": round(time.time() - begun, 1),
    }


def main() -> None:
    part, of = (int(v) for v in (sys.argv[1:3] or ["0", "1"]))
    path = HERE / "critical.jsonl"
    done = {tuple(json.loads(line)["setup"]) for line in path.read_text().splitlines()} if path.exists() else set()
    limit = float(sys.argv[3]) if len(sys.argv) > 3 else 1e9
    for k, setup in enumerate(setups()):
        if k % of == part and setup not in done and time.process_time() < limit:
            found = critical(setup)
            with path.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(found, flush=True)


if __name__ == "__main__":
    main()

"""What `preflight` says of the set-ups whose critical rate is in critical.jsonl. python score.py [run [SECONDS [HALF]]|report]

`run` asks for each set-up at the rate from which the reruns began, and at 0.25 to 3 times its critical rate, and appends the
ladders to ladders.jsonl, until so many seconds of processor time are used; `report` prints the figures of docs/preflight.md from both files. The net and the order of the data are
those of a seed that no rerun had.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from critical import data_of, half_of
from families import FAMILIES, OPTIMIZERS

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "python" / "src"))
from clippy_diag import preflight  # noqa: E402
from clippy_diag.preflighting import ADAPTS, BELOW  # noqa: E402

torch.set_num_threads(1)
TIMES = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
SEED = 100


class Net(torch.nn.Module):
    """The weights of a family as a module."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, value in weights.items():
            self.register_parameter(name, torch.nn.Parameter(value.clone()))


def asked(setup: tuple[str, str, int], rate: float) -> dict[str, object]:
    family = FAMILIES[setup[0]]
    batches = [{k: v[0] for k, v in b.items()} for b in data_of(family, setup[2], range(SEED, SEED + 1), 110)]
    net = Net(family.weights(torch.Generator().manual_seed(SEED)))
    optimizer = OPTIMIZERS[setup[1]][1](list(net.parameters()), rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = preflight(
            net, optimizer, batches, lambda m, b: family.loss(dict(m.named_parameters()), b), rules=(), audited=False
        )["preflight"]
    rungs = found["ladder"]
    held = [rung["rate"] for rung in rungs if rung["held"]]
    failed = [rung["rate"] for rung in rungs if not rung["held"]]
    return {
        "asked": rate,
        "verdict": found["verdict"],
        "held": max(held, default=None),
        "failed": min(failed, default=None),
        "limitedBy": found["limitedBy"]["kind"],
        "gradients": found["gradients"],
    }


def run(limit: float, half: str | None) -> None:
    path = HERE / "ladders.jsonl"
    done = {tuple(json.loads(line)["setup"]) for line in path.read_text().splitlines()} if path.exists() else set()
    for line in (HERE / "critical.jsonl").read_text().splitlines():
        row = json.loads(line)
        setup = tuple(row["setup"])
        if (
            row["critical"] is None
            or setup in done
            or half not in (None, half_of(setup))
            or time.process_time() > limit
        ):
            continue
        begun = time.process_time()
        answers = [asked(setup, OPTIMIZERS[setup[1]][0])]
        answers += [{"times": k, **asked(setup, k * row["critical"])} for k in TIMES]
        entry = {
            "setup": setup,
            "half": half_of(setup),
            "answers": answers,
            "cpu": round(time.process_time() - begun, 2),
        }
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(
            setup,
            row["critical"],
            [(a.get("times"), a["held"], a["failed"], a["verdict"]) for a in answers],
            flush=True,
        )


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
    critical = {tuple(r["setup"]): r for r in map(json.loads, (HERE / "critical.jsonl").read_text().splitlines())}
    ladders = [json.loads(line) for line in (HERE / "ladders.jsonl").read_text().splitlines()]
    none = sum(row["critical"] is None for row in critical.values())
    print(
        f"{len(critical)} set-ups, {none} without a critical rate, reruns {sum(r['cpu'] for r in critical.values()):.0f} s,"
    )
    print(
        f"ladders {sum(r['cpu'] for r in ladders):.0f} s of CPU time; the upper end is raised {ADAPTS} times where the state adapts"
    )
    for half in ("tuned", "unseen"):
        rows = [r for r in ladders if r["half"] == half]
        answers = [
            (a, critical[tuple(r["setup"])]["critical"], a.get("times"), r["setup"]) for r in rows for a in r["answers"]
        ]
        found = [(math.sqrt(a["held"] / BELOW * a["failed"] * raised(s)) / c, a["held"] / c, a["failed"] / c, s) for a, c, _, s in answers
                 if a["verdict"] != "cannot-tell" and a["held"] and a["failed"]]  # fmt: skip
        ratios = np.array([f[0] for f in found])
        print(f"\n## {half}: {len(rows)} set-ups, {len(answers)} questions, answered {len(ratios)}")
        if not len(ratios):
            continue
        for name, wanted in (("within 2 x", (0.5, 2.0)), ("within 4 x", (0.25, 4.0))):
            print(name, interval(int(((ratios >= wanted[0]) & (ratios <= wanted[1])).sum()), len(ratios)))
        print("more than 2 x too high", interval(int((ratios > 2).sum()), len(ratios)))
        inside = sum(h / BELOW <= 1 <= f * raised(s) for _, h, f, s in found)
        print("critical rate inside of the band", interval(inside, len(found)))
        print("quantiles 10, 50, 90 % of critical over held:", np.round(np.quantile([1 / f[1] for f in found], [0.1, 0.5, 0.9]), 2),
              "over failed:", np.round(np.quantile([1 / f[2] for f in found], [0.1, 0.5, 0.9]), 2))  # fmt: skip
        by = {
            o: np.round(np.median([f[0] for f in found if f[3][1] == o]), 2)
            for o in OPTIMIZERS
            if any(f[3][1] == o for f in found)
        }
        print("median of predicted over critical, by optimizer:", {k: float(v) for k, v in by.items()})
        print(
            "gradients, median and largest:",
            np.median([a["gradients"] for a, *_ in answers]),
            max(a["gradients"] for a, *_ in answers),
        )
        for k in TIMES:
            verdicts = [verdict_of(a, s) for a, _, times, s in answers if times == k]
            print(f"{k} x critical:", {v: verdicts.count(v) for v in ("well-within", "near", "above", "cannot-tell")})


def raised(setup: list[object]) -> float:
    """The factor on the upper end of the band."""
    return ADAPTS if setup[1] in ("adam", "adamw", "adagrad", "rmsprop") else 1.0


def verdict_of(answer: dict[str, object], setup: list[object]) -> str:
    """The verdict with the present band, from the bracket of the ladder."""
    held, failed = answer["held"], answer["failed"]
    if answer["verdict"] == "cannot-tell" or held is None:
        return "cannot-tell"
    if answer["asked"] < held / BELOW:
        return "well-within"
    if failed is None:
        return "cannot-tell"
    return "above" if answer["asked"] > failed * raised(setup) else "near"


def _chosen(words: list[str]) -> tuple[float, str | None]:
    return (float(words[0]) if words else 110.0), (words[1] if len(words) > 1 else None)


if __name__ == "__main__":
    report() if sys.argv[1:2] == ["report"] else run(*_chosen(sys.argv[2:]))

"""What bench/guard/runs.jsonl says: results.md, tuned and reported families apart.

    python bench/guard/score.py && npx biome check --write bench/guard
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from families import FRESH, LATER, REPORTED, STEPS, TUNED, UNSEEN
from run import ACTING, RUNS

HERE = Path(__file__).parent
RULES = (
    "guard", "guard without loss_fn", "loss / median", "gradient norm / median", "learning rate / median", "ZClip", "skip-step",
    "ratio on an old batch", "critical sharpness",
)  # fmt: skip
#: Steps before which nothing has a past to be compared with.
FIRST = 12


def score(run: dict[str, Any], rule: str) -> float | None:
    """The largest score of a rule: of a lost run up to the step after which it never comes back, of any other in all steps."""
    last = run["harm"] if run["lost"] else math.inf
    values = [row[rule] for row in run["rows"] if FIRST <= row["step"] <= max(last, run["start"]) and rule in row]
    return max(values) if values else None


def auc(lost: list[float], well: list[float]) -> float:
    """The share of pairs in which the lost run has the higher score."""
    return statistics.fmean((a > b) + 0.5 * (a == b) for a in lost for b in well)


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    lost = [run for run in runs if run["lost"]]
    well = [run for run in runs if not run["lost"] and not run["harmed"]]
    hurt = [run for run in runs if not run["lost"] and run["harmed"]]
    told: dict[str, Any] = {}
    for rule in RULES:
        bad = [s for s in (score(run, rule) for run in lost) if s is not None]
        good = [s for s in (score(run, rule) for run in well) if s is not None]
        if len(bad) < 5 or len(good) < 5:
            continue
        limit = float(np.quantile(good, 0.95))
        told[rule] = {
            "lost": len(bad), "well": len(good), "auc": round(auc(bad, good), 3),
            "recallAt5Percent": round(sum(s > limit for s in bad) / len(bad), 3),
        }  # fmt: skip
    costs = {
        rule: {
            "milliseconds": round(1e3 * statistics.median(taken), 2),
            "ofAStep": round(statistics.median(run["costs"][rule] / run["seconds"] for run in runs if rule in run["costs"]), 2),
        }
        for rule in RULES
        for taken in [[run["costs"][rule] for run in runs if rule in run["costs"]]]
        if taken
    }  # fmt: skip
    leads = []
    for run in lost:
        first = next((row["step"] for row in run["rows"] if row["step"] >= FIRST and row["action"] != "apply"), None)
        leads.append(None if first is None or first > max(run["harm"], run["start"]) else max(0, run["harm"] - first))
    held: dict[str, Any] = {}
    for name in (name for name in ACTING if all(name in run["acted"] for run in runs)):
        saved = sum(not run["acted"][name]["lost"] for run in lost)
        harm = sorted(run["acted"][name]["end"] / run["end"] - 1 for run in well)
        held[name] = {
            "saved": saved, "of": len(lost),
            "goOn": sum(run["acted"][name].get("goesOn", False) for run in lost if not run["acted"][name]["lost"]), "interval": [round(v, 3) for v in interval(saved, len(lost))] if lost else None,
            "wellLost": sum(run["acted"][name]["lost"] for run in well), "well": len(well),
            "harmMedian": round(statistics.median(harm), 4) if harm else None,
            "harmWorstTenth": round(harm[math.ceil(0.9 * (len(harm) - 1))], 4) if harm else None,
            "hurtStillHarmed": sum(run["acted"][name]["lost"] for run in hurt),
        }  # fmt: skip
    alarms = sum(row["action"] != "apply" for run in well for row in run["rows"] if row["step"] >= FIRST)
    steps = sum(row["step"] >= FIRST for run in well for row in run["rows"])
    seen = [lead for lead in leads if lead is not None]
    return {
        "runs": len(runs), "lost": len(lost), "harmed": len(hurt), "well": len(well),
        "alarmedBefore": len(seen), "leadMedian": statistics.median(seen) if seen else None,
        "alarmsInWell": alarms, "stepsOfWell": steps,
        "wellAlarmed": sum(any(row["action"] != "apply" for row in run["rows"]) for run in well),
        "rules": told, "acting": held, "costs": costs,
        "families": {
            family: {
                "runs": len(own), "lost": sum(r["lost"] for r in own),
                "saved": sum(r["lost"] and not r["acted"]["guard"]["lost"] for r in own),
                "harmed": sum(r["harmed"] and not r["lost"] for r in own),
            }
            for family in dict.fromkeys(run["family"] for run in runs)
            for own in [[run for run in runs if run["family"] == family]]
        },
    }  # fmt: skip


def ends(run: dict[str, Any]) -> bool:
    """Whether the trouble of a run is over before the run is."""
    return run["start"] + run["strength"].get("steps", STEPS) < STEPS


def obeyed_in(runs: list[dict[str, Any]]) -> str:
    """Of runs that the guard was obeyed in: who goes on learning where the trouble ends, and what it did in well runs."""
    saved = [run for run in runs if run["lost"] and not run["acted"]["guard"]["lost"]]
    over = [run for run in saved if ends(run)]
    well = [run["acted"]["guard"]["taken"] for run in runs if not run["lost"] and not run["harmed"]]
    changed = [sum(count for action, count in taken.items() if action != "apply") for taken in well]
    return (
        f" The trouble of {len(over)} of the saved runs ends before they do; {sum(r['acted']['guard']['goesOn'] for r in over)}"
        f" of these go on. Obeyed, the guard changed a step in {sum(count > 0 for count in changed)} of {len(well)} well runs."
    )


def told_of(found: dict[str, Any]) -> str:
    """What the advice alone was worth; nothing of runs that the guard was only obeyed in."""
    if not found["rules"]:
        return ""
    return (
        f" Alarmed before it was too late: {found['alarmedBefore']} of {found['lost']}, {found['leadMedian']} steps ahead in the"
        f" median. Alarms in well runs: {found['alarmsInWell']} of {found['stepsOfWell']} steps, in {found['wellAlarmed']} runs."
    )


def table(found: dict[str, Any]) -> str:
    lines = [
        "| known before the step | AUC | recall at 5 % of well runs alarmed | lost, well | one look, median | of a training step |",
        "|---|---|---|---|---|---|",
    ]
    for rule, f in sorted(found["rules"].items(), key=lambda item: -item[1]["auc"]):
        lines.append(
            f"| {rule} | {f['auc']:.2f} | {100 * f['recallAt5Percent']:.0f} % | {f['lost']}, {f['well']} |"
            f" {found['costs'][rule]['milliseconds']:.2f} ms | {100 * found['costs'][rule]['ofAStep']:.0f} % |"
        )
    lines += ["", "| obeyed | lost runs saved (95 %) | well runs lost | end of well runs: median, worst tenth |", "|---|---|---|---|"]
    for name, f in found["acting"].items():
        low, high = f["interval"] or (0, 0)
        lines.append(
            f"| {name} | {f['saved']} of {f['of']} ({100 * low:.0f}–{100 * high:.0f} %) | {f['wellLost']} of {f['well']} |"
            f" {100 * f['harmMedian']:+.1f} %, {100 * f['harmWorstTenth']:+.1f} % |"
        )
    lines += ["", "| family | runs | lost | of them saved | harmed for a while |", "|---|---|---|---|---|"]
    for family, f in found["families"].items():
        lines.append(f"| {family} | {f['runs']} | {f['lost']} | {f['saved']} | {f['harmed']} |")
    return "\n".join(lines)


def main() -> None:
    runs = [json.loads(line) for line in RUNS.open()]
    halves = {
        "later": figures([run for run in runs if run["family"] in LATER]),
        "unseen": figures([run for run in runs if run["family"] in UNSEEN]),
        "fresh": figures([run for run in runs if run["family"] in FRESH]),
        "reported": figures([run for run in runs if run["family"] in REPORTED]),
        "tuned": figures([run for run in runs if run["family"] in TUNED]),
    }
    text = ["# Results of bench/guard", "", "Written by `python bench/guard/score.py`; docs/guard.md says what the columns mean.", ""]
    for name, found in halves.items():
        if not found["runs"]:
            continue
        kept = {"later": LATER, "unseen": UNSEEN}.get(name, ())
        text += [
            f"## Families {name}",
            "",
            f"{found['runs']} runs: {found['lost']} lost, {found['harmed']} harmed for a while, {found['well']} well."
            + told_of(found)
            + f" Of {found['acting']['guard']['saved']} runs that the guard saved {found['acting']['guard']['goOn']} go on learning."
            + (obeyed_in([run for run in runs if run["family"] in kept]) if kept else ""),
            "",
            table(found),
            "",
        ]
    (HERE / "results.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()

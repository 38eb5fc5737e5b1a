"""The truth of every run, by training again in float64: without its cause, under each rule, and with each remedy that was named.

    python truth.py FOLDER        reads run.json and answers.json of every run, writes truth.json

What a remedy says is done from the capture's first state on, as its text says it. An arm that was trained once is kept
in arms.json: it depends on the run alone.
"""

import dataclasses
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from families import run_of
from rows import without
from training import Batch, Run, Trace, end_of, fresh, level_before, outcome_after_shift, outcome_of, raised_for_good, rate_of, train

#: A rate that is not that of all parameters.
OF_GROUP = re.compile("parameter group|these parameters|what is trained from")
#: What sets back what code wrote, by family.
SETS_BACK = {
    "decay-written": ("lower-weight-decay", "fix-code"), "momentum-written": ("fix-code",), "gradients-times": ("fix-code",),
    "weights-times": ("fix-code", "reload-weights"), "group-rate": ("lower-learning-rate",), "unfrozen": ("lower-learning-rate",),
}  # fmt: skip
RULES = ("global-norm:1", "layer-norm:0.1", "agc:0.01", "clippy:paper", "clippy:tfrs")


class Arms:
    """Trainings of a run from the first state of its capture on, each done once."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.file = run, folder / "arms.json"
        self.done: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        steps = json.loads((folder / "capture" / "capture.json").read_text())["steps"]
        self.first, self.last = steps[0]["step"], steps[-1]["step"]
        # As a recorder does, it goes on through losses that are no number.
        to_the_end = {"dtype": torch.float32, "keep": self.first, "record": lambda *_: None}
        self.recorded, self.state = train(run, fresh(run), 0, self.last, **to_the_end)
        self.lowest: Trace | None = None
        self._harm()

    def _harm(self) -> None:
        run, reference = self.run, self.recorded.reference
        gradual = run.start is None or run.family in ("lr-warmup", "lr-large")
        self.harm = raised_for_good(reference, max(run.start or 0, 8)) if gradual else run.start
        #: Null: fewer than eight states came before, or the loss never fell.
        self.level = None
        if self.harm is not None and self.harm >= 8:
            self.level = level_before(reference[max(0, self.harm - 19) : self.harm + 1])
            self.usual = float(np.median(self.recorded.update[max(0, self.harm - 20) : self.harm]))

    def train(self, **change: Any) -> Trace:
        return train(self.run, self.state, self.first, self.last, **change)[0]

    def train_without(self, rows: dict[int, list[int]]) -> Trace:
        run = self.run

        def spoil(step: int) -> Batch:
            batch = run.spoil(step) if step in run.bad else run.stream.batch(step)
            return without(batch, rows.get(step, []), run.stream.rows)

        left_out = dataclasses.replace(run, spoil=spoil, bad=run.bad | set(rows))
        return train(left_out, self.state, self.first, self.last)[0]

    def fixed(self) -> Trace:
        # The state that a resume lost is that of before the resume.
        _, state = train(self.run, fresh(self.run), 0, self.first, dtype=torch.float32, keep=self.first, fixed=True)
        return train(self.run, state, self.first, self.last, fixed=True)[0]

    def end(self, key: str, trained: Any) -> dict[str, Any]:
        """How an arm ends: {"outcome", "peak"}, the largest loss from the harm on."""
        if key not in self.done:
            trace = trained()
            after = trace.loss[max(0, self.harm - trace.first) :]
            finite = all(math.isfinite(v) for v in after)
            # Without the shift it is judged as any other.
            shifted = self.run.lasting is not None and key != "fixed"
            self.done[key] = {
                "outcome": outcome_after_shift(trace, self.level, self.best())
                if shifted
                else outcome_of(trace, self.level, self.usual, self.harm, self.run.bad if self.run.lasting is None else frozenset()),
                # None, too, where the harm comes after the last recorded step.
                "peak": max(after, default=None) if finite else None,
            }
        return self.done[key]

    def best(self) -> Trace:
        """Of the run as it is, under each rule and at lower rates, the training that ends lowest on changed rows."""
        if self.lowest is None:
            tried = [self.train(), *(self.train(rule=rule) for rule in RULES)]
            tried += [self.train(factor=lambda _step, _own, by=by: by) for by in (0.5, 0.1)]
            self.lowest = min((one for one in tried if math.isfinite(end_of(one.changed))), key=lambda one: end_of(one.changed))
        return self.lowest

    def save(self) -> None:
        self.file.write_text(json.dumps(self.done))


def remedy(arms: Arms, answer: dict[str, Any], one: dict[str, Any]) -> str | None:
    """How a run ends with a remedy; None where nobody can do what it says."""
    run, action, statement = arms.run, one["action"], one["statement"]
    if action in ("none-needed", "rewind"):
        return arms.end("as it is", arms.train)["outcome"]
    if action == "clip":
        rule = one["rule"]
        return arms.end(f"rule {rule}", lambda: arms.train(rule=rule))["outcome"]
    if action == "skip-batches" and one["skip"]:
        skip = frozenset(one["skip"])
        return arms.end(f"skip {sorted(skip)}", lambda: arms.train(skip=skip))["outcome"]
    if action == "skip-rows" and one.get("rows"):
        rows = {part["step"]: part["rows"] for part in one["rows"]}
        return arms.end(f"rows {sorted(rows.items())}", lambda: arms.train_without(rows))["outcome"]
    if action in ("fix-code", "reload-weights", "lower-weight-decay") or (action == "lower-learning-rate" and OF_GROUP.search(statement)):
        # What was written is set back: the code that wrote it is mended.
        right = action in SETS_BACK[run.family] if run.family in SETS_BACK else False
        return arms.end("fixed" if right else "as it is", arms.fixed if right else arms.train)["outcome"]
    if action == "lower-learning-rate":
        rate, factor = one["learningRate"], one["learningRateFactor"]
        if rate is None and factor is None and answer["changedAt"] is not None:
            # Only said from a log: the rate of before the step at which it rose.
            rate = rate_of(run, max(0, int(answer["changedAt"]) - 1), False)
        if rate is not None:
            return arms.end(
                f"rate {rate:.9g}", lambda: arms.train(factor=lambda _step, own: min(1.0, rate / own) if own else 1.0)
            )["outcome"]
        if factor is not None:
            return arms.end(f"rate times {factor}", lambda: arms.train(factor=lambda _step, _own: factor))["outcome"]
        return None
    if action == "restore-optimizer-state":
        if one["tried"] is None or one["from"] is None or run.start is None:
            return arms.end("fixed", arms.fixed)["outcome"] if run.cause == "optimizer-state" else None
        at, since = int(one["from"]), max(run.start, arms.first)
        if at <= run.start:  # the state is carried on
            return arms.end("fixed", arms.fixed)["outcome"]
        return arms.end(f"restore {since} {at}", lambda: arms.train(restore=(since, at)))["outcome"]
    if action == "raise-precision":
        return arms.end("full precision", lambda: arms.train(full_precision=True))["outcome"]
    if action == "fix-data":
        return arms.end("fixed" if run.cause == "data" else "as it is", arms.fixed if run.cause == "data" else arms.train)["outcome"]
    return None


def truth_of(run: Run, folder: Path, answers: dict[str, Any]) -> dict[str, Any]:
    arms = Arms(run, folder)
    nothing = {"triggers": [], "outcome": None, "remedies": {k: [None] for k in answers}, "prevents": {}}
    onsets = [a["onsetStep"] for a in answers.values()]
    if run.family.startswith("healthy"):
        # Whatever is found is a false alarm.
        return {**nothing, "triggers": ["none-found"], "outcome": "holds",
                "remedies": {k: ["holds" if a["remedies"][0]["action"] == "none-needed" else "not needed"] for k, a in answers.items()}}  # fmt: skip
    if arms.level is None:
        return {**nothing, "why": "the level before is not known"}
    base = arms.end("as it is", arms.train)["outcome"]
    fixed = arms.end("fixed", arms.fixed)["outcome"] if run.start is not None else "holds"
    if fixed != "holds":
        return {**nothing, "outcome": base, "why": "it does not hold without its cause"}
    if base == "holds" and all(onset is None for onset in onsets):
        triggers = ["none-found"]
    else:
        triggers = [run.cause] + (["sharpness"] if run.family == "lr-large" else [])
    before = arms.recorded.loss[max(0, arms.harm - 20) : arms.harm]
    high = max(before) + (max(before) - min(before)) / 2
    prevents = {}
    for rule in RULES:
        end = arms.end(f"rule {rule}", lambda rule=rule: arms.train(rule=rule))
        gone = end["peak"] is not None and end["peak"] <= high
        prevents[rule] = end["outcome"] == "holds" and (base != "holds" or gone)
    ends = {
        level: [remedy(arms, answer, one) for one in answer["remedies"][:1]] or [None]
        for level, answer in answers.items()
    }
    arms.save()
    return {"triggers": triggers, "outcome": base, "remedies": ends, "prevents": prevents,
            "ends": {k: v["outcome"] for k, v in arms.done.items()}}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    for folder in sorted(p for p in Path(sys.argv[1]).iterdir() if (p / "answers.json").exists()):
        told = json.loads((folder / "run.json").read_text())
        answers = json.loads((folder / "answers.json").read_text())
        truth = truth_of(run_of(told["index"], told["draw"]), folder, answers)
        (folder / "truth.json").write_text(json.dumps(truth))


if __name__ == "__main__":
    main()

"""The families of causes: a seed gives a run with one thing wrong with it, or with nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from training import RENAME, Batch, Run, Stream, fresh, outcome_of, raised_for_good, train
from wider import CAUSES, NETS, OPTIMIZERS, net_of, put_in

#: One turn of families; turns alternate between the half that is tuned on and the half that is reported.
TURN = (
    "data-scale", "lr-jump", "healthy", "data-labels", "opt-reset", "precision", "odd-batch",
    "data-stream", "lr-warmup", "sharpness", "data-scale", "lr-jump", "opt-stale", "data-labels",
    "lr-restart", "clip-removed", "data-poison", "opt-resume", "healthy", "lr-blip", "data-scale",
    "precision", "lr-large", "data-labels", "odd-batch", "opt-reset", "data-stream", "lr-jump",
)  # fmt: skip
#: Families that came later, in turns of their own: `--later` of bench.ts. Their indices begin where the others never get to.
LATER = ("data-lasting",) * 10
FIRST_LATER = 100_000
#: One to eight rows of a batch that are bad, the others as they are: rows.ts.
ROWS = ("data-rows",) * 10
FIRST_ROWS = 200_000
#: Nets and causes of wider.py: `--wider` of bench.ts.
FIRST_WIDER = 300_000
#: Data that change, permanently or for four to fourteen steps: `--shift` of bench.ts.
SHIFTS = ("labels", "feature", "scale", "mean", "stream")
SHIFT = tuple(f"{how}-{kind}" for kind in SHIFTS for how in ("lasting", "passing"))
FIRST_SHIFT = 400_000
RATES = {
    "sgd": (0.03, 0.1), "momentum": (0.005, 0.02), "nesterov": (0.005, 0.02), "adam": (0.003, 0.01),
    "adam-95": (0.003, 0.01), "adagrad": (0.05, 0.2), "rmsprop": (0.001, 0.004),
}  # fmt: skip
#: Draws of a strength until the run goes as its family wants it; three times as many for families that seldom do.
DRAWS = 10
EASY = frozenset(TURN) - {"sharpness", "lr-large", "opt-reset", "opt-resume", "opt-stale"}
#: Steps that a recorder writes after an incident.
AFTER = 34


def spec_of(rng: np.random.Generator) -> dict[str, Any]:
    kind = rng.choice(["mlp", "embedding", "two-tasks"])
    squared = {"name": "watch", "units": [8], "loss": "mean-squared-error", "weight": 1}
    click = {"name": "click", "units": [8], "loss": "sigmoid-cross-entropy", "weight": 1}
    tasks = [squared, click] if kind == "two-tasks" else [squared if rng.random() < 0.7 else click]
    tables = [{"name": "user", "type": "categorical", "vocabulary": 60, "dim": 4}] if kind == "embedding" else []
    width = int(rng.choice([16, 24, 32]))
    return {
        "kind": "ranking",
        "version": 1,
        "features": [*tables, {"name": "dense", "type": "dense", "size": int(rng.choice([6, 8, 12]))}],
        "shared": {
            "type": "shared-bottom",
            "units": [width] * int(rng.choice([1, 2])),
            "activation": str(rng.choice(["relu", "tanh", "swish"])),
            "layerNorm": False,
        },
        "tasks": tasks,
        "rename": RENAME,
    }


def draw(seed: int, family: str, rng: np.random.Generator, spec: dict[str, Any]) -> Run:
    """One run of a family, its strength drawn."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    stream = Stream(seed, spec, int(rng.choice([24, 32, 48])))
    allowed = {
        "opt-reset": ["adagrad", "adam"], "opt-stale": ["adam", "rmsprop", "adagrad"],
        "opt-resume": ["adagrad", "adam"], "data-poison": ["adagrad"],
        "sharpness": ["sgd", "momentum", "adam", "rmsprop", "adagrad"],
        "clip-removed": ["sgd", "momentum"],
        **OPTIMIZERS,
    }.get(family, list(RATES))  # fmt: skip
    optimizer = str(rng.choice(allowed))
    start = int(rng.integers(70, 150))
    run = Run(seed, family, spec, stream, optimizer, log_uniform(*RATES[optimizer]), start + 60, start, None)
    group = family.split("-")[0]
    if family in CAUSES:
        put_in(run, rng, start)
    elif family == "data-lasting":
        run.cause = "data"
        run.bad = frozenset(range(start, run.steps))
        kind, size = str(rng.choice(["features", "labels", "other"])), log_uniform(2, 30)
        shift = float(rng.uniform(1, 4))
        run.strength = {"times": size, "shift": shift, "kind": ["features", "labels", "other"].index(kind)}

        def changed(key: int, rows: int) -> Batch:
            if kind == "other":
                return stream.batch(key, teacher=1, shift=shift, rows=rows)
            batch = stream.batch(key, rows=rows)
            if kind == "features":
                batch["dense"] = batch["dense"] * size
            else:
                # A click has no size: its labels turn over.
                batch["label"] = {
                    name: 1 - y if stream.is_click(name) else y * -size for name, y in batch["label"].items()
                }
            return batch

        run.lasting = changed
        run.spoil = lambda step: changed(step, stream.rows)
        run.rate *= log_uniform(1, 6)
    elif family in SHIFT:
        draw_shift(run, rng, start)
    elif family == "data-rows":
        draw_rows(run, rng, start)
    elif group == "data" or family == "odd-batch":
        run.cause = "data"
        length = 1 if family in ("data-poison", "odd-batch") else int(rng.integers(1, 9))
        if family == "data-stream":
            length = int(rng.integers(6, 12))
        run.bad = frozenset(range(start, start + length))
        size = log_uniform(*{"data-poison": (30, 300), "odd-batch": (3, 10)}.get(family, (5, 40)))
        shift = float(rng.uniform(1, 4))
        run.strength = {"times": size, "batches": length, "shift": shift}
        regression = any(t["loss"] == "mean-squared-error" for t in spec["tasks"])

        def spoil(step: int) -> Batch:
            if family == "data-stream":
                return stream.batch(step, teacher=1, shift=shift)
            batch = stream.batch(step)
            if family == "data-labels" and regression:
                batch["label"]["watch"] = batch["label"]["watch"] * -size
            elif family == "data-labels":
                batch["label"] = {name: 1 - y for name, y in batch["label"].items()}
            else:
                batch["dense"] = batch["dense"] * size
            return batch

        run.spoil = spoil
        if family == "odd-batch" and rng.random() < 0.5:
            run.rule = "global-norm:1"
    elif group == "lr":
        run.cause = "learning-rate"
        size = log_uniform(8, 150)
        run.strength = {"times": size}
        if family == "lr-jump":
            length = int(rng.choice([3, 10, 1000]))
            run.strength["steps"] = length
            run.times = lambda step: size if start <= step < start + length else 1.0
        elif family == "lr-warmup":
            ramp = int(rng.integers(30, 90))
            run.strength["steps"] = ramp
            # The warm-up is healthy for a while: it begins at a tenth of the rate.
            run.start, run.steps = start - 50, start + ramp
            run.times = lambda step: 0.1 + size * min(1.0, max(0, step - (start - 50)) / ramp)
        elif family == "lr-restart":
            period = start
            run.times = lambda step: (
                size * 0.5 * (1 + math.cos(math.pi * (step - start) / period))
                if step >= start
                else 0.05 + 0.5 * (1 + math.cos(math.pi * step / period))
            )
        elif family == "lr-large":
            # Nothing changes: the rate is too large from the start, and the loss falls for a while all the same.
            run.start, run.steps, run.rate = None, 120, run.rate * log_uniform(2, 40)
        elif family == "lr-blip":
            run.times = lambda step: size if step == start else 1.0
    elif group == "opt":
        run.cause = "optimizer-state"
        run.rate *= log_uniform(2, 40)
        kept = log_uniform(1e-5, 1e-2)
        run.strength = {"rate": run.rate, "kept": kept}
        run.resumed = family == "opt-resume"

        def meddle(own: torch.optim.Optimizer) -> None:
            for state in own.state.values():
                for slot, value in state.items():
                    if slot in ("sum", "square_avg", "exp_avg_sq"):
                        # Stale: of a time when gradients were small. Lost: as at the beginning, the count of steps too.
                        value.mul_(kept) if family == "opt-stale" else value.fill_(0.1 if slot == "sum" else 0)
                    elif family != "opt-stale" and isinstance(value, torch.Tensor):
                        value.zero_()

        run.meddle = meddle
    elif family == "precision":
        run.cause = "precision"
        every = int(rng.integers(1, 4))
        run.scale = lambda step: 256.0 if step < start else 256.0 * 4.0 ** (1 + (step - start) // every)
    elif family == "sharpness":
        run.cause = "sharpness"
        run.start = None
        run.steps = 220
        run.rate *= log_uniform(1.5, 20)
        run.strength = {"rate": run.rate}
    elif family == "clip-removed":
        run.cause = "sharpness"
        run.rule, run.unclipped_from, run.resumed = "global-norm:1", start, True
        run.rate *= log_uniform(5, 60)
        run.strength = {"rate": run.rate}
    else:
        run.start = None
    return run


def draw_rows(run: Run, rng: np.random.Generator, start: int) -> None:
    """One to eight bad rows in all, in one to three batches of 64, 128 or 256 rows."""
    stream = run.stream
    stream.rows = int(rng.choice([64, 128, 256]))
    count = int(rng.integers(1, 9))
    steps = range(start, start + int(rng.integers(1, min(3, count) + 1)))
    places = {step: [] for step in steps}
    for k in range(count):
        step = steps[k % len(steps)]
        places[step].append(int(rng.choice(np.setdiff1d(np.arange(stream.rows), places[step]))))
    kinds = ["features", "one-feature", "sentinel", "labels"]
    # A click has no size.
    kind = str(rng.choice([k for k in kinds if k != "labels" or "watch" in {t["name"] for t in run.spec["tasks"]}]))
    size, column = float(np.exp(rng.uniform(np.log(100), np.log(10_000)))), int(rng.integers(stream.dense))
    run.cause, run.bad, run.bad_rows = "data", frozenset(steps), {step: sorted(rows) for step, rows in places.items()}
    run.strength = {"times": size, "kind": kinds.index(kind), "rows": stream.rows, "bad": count}

    def spoil(step: int) -> Batch:
        batch, rows = stream.batch(step), run.bad_rows[step]
        if kind == "features":
            batch["dense"][rows] *= size
        elif kind == "one-feature":
            batch["dense"][rows, column] *= size
        elif kind == "sentinel":
            batch["dense"][rows, column] = -size
        else:
            batch["label"]["watch"][rows] *= -size
        return batch

    run.spoil = spoil
    run.rate *= float(np.exp(rng.uniform(0, np.log(6))))


def draw_shift(run: Run, rng: np.random.Generator, start: int) -> None:
    """Labels, one feature, the scale or the mean of all, or the whole stream become others, permanently or for a while."""
    stream = run.stream
    how, kind = run.family.split("-")
    size, shift = float(np.exp(rng.uniform(np.log(2), np.log(30)))), float(rng.uniform(1, 4))
    column, length = int(rng.integers(stream.dense)), int(rng.integers(4, 15))
    run.cause = "data"
    run.bad = frozenset(range(start, run.steps if how == "lasting" else start + length))
    run.strength = {"times": size, "shift": shift, "steps": len(run.bad)}

    def changed(key: int, rows: int) -> Batch:
        if kind == "stream":
            return stream.batch(key, teacher=1, shift=shift, rows=rows)
        batch = stream.batch(key, rows=rows, shift=shift if kind == "mean" else 0.0)
        if kind == "scale":
            batch["dense"] = batch["dense"] * size
        elif kind == "feature":
            batch["dense"][:, column] = batch["dense"][:, column] * size
        elif kind == "labels":
            batch["label"] = {name: 1 - y if stream.is_click(name) else y * -size for name, y in batch["label"].items()}
        return batch

    if how == "lasting":
        run.lasting = changed
    run.spoil = lambda step: changed(step, stream.rows)
    run.rate *= float(np.exp(rng.uniform(0, np.log(6))))


#: What the judge of a run finds is not known here; these families are to end above the level, the others are to come back.
HARMED = frozenset((*TURN, *ROWS, *CAUSES)) - {"healthy", "odd-batch", "lr-blip"}


def goes_as_wanted(run: Run) -> bool:
    """Whether the cause harms the run, or not, as its family wants it, and the run without it is well."""
    if run.frozen and not run.spec["shared"]["units"]:
        return False  # Nothing is left to train.
    trace, _ = train(run, fresh(run), 0, run.steps - 1)
    if run.family.startswith("healthy"):
        return bool(np.isfinite(trace.reference).all())
    if run.start is None:  # nothing changes: healthy for a while, then not
        early = run.family == "lr-large"
        harm = raised_for_good(trace.reference, 10 if early else 40)
        if harm is None or harm + AFTER >= run.steps or not np.isfinite(trace.reference[: harm + 1]).all():
            return False
        level = float(np.median(trace.reference[harm - 19 : harm + 1]))
        if level > 0.9 * trace.reference[0] or raised_for_good(trace.reference[:harm], 8) is not None:
            return False
        cut = [trace.reference[k] for k in range(harm + AFTER - 9, harm + AFTER + 1)]
        return not np.median(cut) <= 1.45 * level
    begin = run.start
    if run.family == "lr-warmup":
        found = raised_for_good(trace.reference, begin)
        if found is None or found + AFTER >= run.steps:
            return False
        begin = found
    if not np.isfinite(trace.reference[: begin + 1]).all():
        return False
    level = float(np.median(trace.reference[max(0, begin - 19) : begin + 1]))
    usual = float(np.median(trace.update[max(0, begin - 20) : begin]))
    last = min(run.steps - 1, begin + AFTER + 2)
    without, _ = train(run, fresh(run), 0, last, fixed=True)
    if outcome_of(without, level, usual, begin, run.bad) != "holds":
        return False
    if run.lasting is not None or run.family in SHIFT:
        # Whether it is harmed is for the truth to say: it is to be seen in the losses.
        return max(trace.loss[begin : begin + 6]) > 2 * max(trace.loss[begin - 20 : begin])
    trace.reference, trace.update = trace.reference[: last + 1], trace.update[: last + 1]
    end = outcome_of(trace, level, usual, begin, run.bad)
    if run.family in HARMED:
        return end == "lost"
    # It is to be seen in the losses, and to come back.
    seen = max(trace.loss[begin : begin + 6]) > 2 * max(trace.loss[begin - 20 : begin])
    return seen and end == "holds"


def family_of(index: int) -> str:
    if index >= FIRST_SHIFT:
        return SHIFT[(index - FIRST_SHIFT) % len(SHIFT)]
    if index >= FIRST_WIDER:
        return CAUSES[(index - FIRST_WIDER) % len(CAUSES)]
    if index >= FIRST_ROWS:
        return ROWS[(index - FIRST_ROWS) % len(ROWS)]
    return TURN[index % len(TURN)] if index < FIRST_LATER else LATER[(index - FIRST_LATER) % len(LATER)]


def run_of(index: int, number: int) -> Run:
    """A draw of the run of an index."""
    seed = 20_000 + index
    rng = np.random.default_rng([seed, 3, number])
    is_wider = FIRST_WIDER <= index < FIRST_SHIFT
    return draw(seed, family_of(index), rng, net_of(net_name(index), rng) if is_wider else spec_of(rng))


def net_name(index: int) -> str:
    """Which net of wider.py a run of that set has."""
    turn, place = divmod(index - FIRST_WIDER, len(CAUSES))
    return list(NETS)[(turn + place) % len(NETS)]


def first_draw(index: int) -> int | None:
    """The first draw that goes as its family wants it; None where none does."""
    draws = DRAWS if family_of(index) in EASY.union(LATER, CAUSES, SHIFT) else 3 * DRAWS
    return next((number for number in range(draws) if goes_as_wanted(run_of(index, number))), None)


def half_of(index: int) -> str:
    if index >= FIRST_LATER:
        return "report"
    return "tune" if index // len(TURN) % 2 == 0 else "report"

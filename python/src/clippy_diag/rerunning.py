"""Runs the steps of a capture again inside the user's own launcher and sharding, once for each arm.

    import clippy_diag

    clippy_diag.rerun("capture", ["torchrun", "--nproc-per-node", "8", "train.py", "--resume", "checkpoints/300"])

The command is the training's own, with its own flag that resumes from a checkpoint from before the capture's first step. The
environment variable CLIPPY_DIAG_PLAN gives the recorder what to change, and where the run ends.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from .captures import MANIFEST, Capture, number, number_back, open_capture, write_json
from .judge import judge_losses, worst
from .loops import FIRST_STEPS, LEAST_AFTER, TOLERANCE, ClosedLoopMismatch, losses_before, onset_of, rates_of
from .messages import tell
from .rules import Rules, parse_rules

#: Names the file with the plan of the run.
VARIABLE = "CLIPPY_DIAG_PLAN"
SCHEMA = 1
#: Rules that a recorder can apply to gradients of any sharding.
RULES = ("global-norm", "value")


class LauncherError(RuntimeError):
    """The launcher ended in an error, or its training took none of the captured steps."""


class Plan(TypedDict):
    """What a recorder in a launched process obeys."""

    schemaVersion: int
    #: The first and the last step of the capture.
    first: int
    last: int
    #: Steps that the optimizer does not take.
    skip: list[int]
    #: What each group's learning rate is multiplied by, at the captured steps.
    rateFactors: dict[str, list[float]]
    #: Rule id and options, in order.
    clip: list[tuple[str, dict[str, float]]]
    #: Hash of the batch by step, one for each rank.
    batchHashes: dict[str, list[str]]
    #: The file that the first rank writes, and a folder for what the recorder would write.
    trace: str
    scratch: str


class Rerun(TypedDict):
    """One arm, as capture.json keeps it in `reruns`."""

    arm: dict[str, Any]
    steps: list[int]
    loss: list[Any]
    #: Whether the judge finds no incident in it, or one from which the loss comes back; None where too few steps came back to say.
    holds: bool | None
    why: str


class Reruns(TypedDict):
    """What `rerun` returns."""

    onset: int | None
    reruns: list[Rerun]
    #: The arms that hold, in the order in which they were run.
    holding: list[dict[str, Any]]


def rerun(
    capture: str | Path,
    command: Sequence[str],
    *,
    arms: str | Sequence[Mapping[str, Any]] = "all",
    rules: Sequence[str] = ("global-norm:1",),
    timeout_s: float | None = None,
) -> Reruns:
    """Launches the training once as it was and once for each arm, and stores the losses in capture.json's `reruns`.

    capture    the folder of a capture of the PyTorch recorder
    command    the launcher with the training and its flag to resume, as a list of arguments
    arms       "all", or mappings: {"kind": "learning-rate", "factor": 0.5}, {"kind": "skip-batches", "steps": [312]},
               {"kind": "rule", "rule": "global-norm:1"}
    rules      clipping rules that "all" tries: global-norm and value
    timeout_s  seconds after which one launch is ended; None: no limit

    The run as it was comes first: if its batches or its first losses are not the recorded ones, nothing else is run.
    Raises ClosedLoopMismatch there, LauncherError where a launch fails, ValueError for an arm that is not known.
    """
    opened = open_capture(capture)
    if not str(opened.manifest.get("framework", "")).startswith("pytorch"):
        raise ValueError(f"{opened.folder}: only trainings in PyTorch can be launched again")
    onset = onset_of(opened)
    if isinstance(arms, str) and arms != "all":
        raise ValueError(f'clippy-diag: arms="{arms}" is neither "all" nor a list of arms')
    chosen = plan_arms(opened, onset, rules) if isinstance(arms, str) else [_checked(arm) for arm in arms]
    found: list[Rerun] = []
    for arm in [{"kind": "as-recorded"}, *chosen]:
        tell(f"rerun {len(found) + 1} of {len(chosen) + 1}: {arm_text(arm)}")
        trace = _launched(opened, arm, command, timeout_s)
        if arm["kind"] == "as-recorded":
            _hold_against_recorded(opened, trace)
        found.append(_judged(opened, arm, trace))
    write_json(opened.folder / MANIFEST, {**opened.manifest, "reruns": found})
    return {"onset": onset, "reruns": found, "holding": [one["arm"] for one in found if one["holds"]]}


def plan_arms(capture: Capture, onset: int | None, rules: Sequence[str]) -> list[dict[str, Any]]:
    """The arms of an incident, each of which changes one thing; none where the capture shows no incident."""
    if onset is None:
        return []
    found: list[dict[str, Any]] = [{"kind": "rule", "rule": rule} for rule in rules]
    skipped = _jumped(capture, onset)
    if skipped:
        found.append({"kind": "skip-batches", "steps": skipped})
    first = rates_of(capture.steps[0])
    if any(now > 1.05 * then for entry in capture.steps for now, then in zip(rates_of(entry), first)):
        found.append({"kind": "learning-rate", "of": "before"})
    found += [{"kind": "learning-rate", "factor": factor} for factor in (0.5, 0.1)]
    return [_checked(arm) for arm in found]


def _jumped(capture: Capture, onset: int) -> list[int]:
    """The steps in a row, from the one before the onset, whose loss is above all before them; none where they last so long that
    what is left could not be judged."""
    before = losses_before(capture)
    before += [number_back(entry["loss"]) for entry in capture.steps if entry["step"] < onset - 1]
    highest = max((loss for loss in before if math.isfinite(loss)), default=math.inf)
    row = []
    for entry in capture.steps:
        loss = number_back(entry["loss"])
        if entry["step"] >= onset and loss <= highest:
            break
        if entry["step"] >= onset or (entry["step"] == onset - 1 and loss > highest):
            row.append(int(entry["step"]))
    left = sum(entry["step"] > max(row, default=onset) for entry in capture.steps)
    return row if left >= LEAST_AFTER else []


def _checked(arm: Mapping[str, Any]) -> dict[str, Any]:
    """An arm as given. Raises ValueError for one that is not known."""
    kind = arm.get("kind")
    if kind == "rule" and any(name not in RULES for name, _ in parse_rules(str(arm["rule"]))):
        raise ValueError(f'clippy-diag: inside a launcher only {" and ".join(RULES)} are applied, not "{arm["rule"]}"')
    if kind == "learning-rate" and not (arm.get("of") == "before" or 0 < float(arm.get("factor", 0)) < math.inf):
        raise ValueError('clippy-diag: a learning-rate arm has "factor", a positive number, or "of": "before"')
    if kind not in ("rule", "learning-rate", "skip-batches"):
        raise ValueError(f'clippy-diag: no arm "{kind}"; known are rule, learning-rate and skip-batches')
    return dict(arm)


def arm_text(arm: Mapping[str, Any]) -> str:
    """An arm for people."""
    if arm["kind"] == "rule":
        return f"clipping {arm['rule']}"
    if arm["kind"] == "skip-batches":
        return f"without the batches of steps {arm['steps'][0]} to {arm['steps'][-1]}"
    if arm["kind"] == "learning-rate":
        return "learning rate of before" if arm.get("of") == "before" else f"learning rate x {arm['factor']:g}"
    return "as recorded"


def _launched(capture: Capture, arm: Mapping[str, Any], command: Sequence[str], timeout_s: float | None) -> Trace:
    """What the recorder in a launched training wrote down."""
    with tempfile.TemporaryDirectory(prefix="clippy-diag-rerun-") as folder:
        plan = _plan_of(capture, arm, Path(folder))
        path = Path(folder) / "plan.json"
        write_json(path, plan, durable=False)
        errors = Path(folder) / "stderr"
        with open(errors, "wb") as stderr:
            try:
                code: int | str = subprocess.run(
                    list(command),
                    env={**os.environ, VARIABLE: str(path)},
                    stderr=stderr,
                    timeout=timeout_s,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = f"no end within {timeout_s:g} s"
            except OSError as error:
                raise LauncherError(f"{command[0]} cannot be launched: {error}") from error
        said = errors.read_text("utf8", errors="replace").strip().splitlines()
        try:
            trace: Trace = json.loads(Path(plan["trace"]).read_text("utf8"))
        except OSError:
            trace = {"steps": [], "loss": [], "mismatch": None, "done": False}
    if not trace["steps"] and trace["mismatch"] is None:
        raise LauncherError(
            f"the launched training took no step from {plan['first']} to {plan['last']} (exit code {code}): resume from a"
            f" checkpoint at or before step {plan['first']}, with the recorder in the loop. Last words: "
            + (" | ".join(said[-3:]) or "none")
        )
    return trace


class Trace(TypedDict):
    """What a launched training left."""

    steps: list[int]
    loss: list[Any]
    #: The first step whose batch was another than the recorded one, and on which rank; None where all were equal.
    mismatch: dict[str, int] | None
    #: Whether it came to the last step.
    done: bool


def _plan_of(capture: Capture, arm: Mapping[str, Any], folder: Path) -> Plan:
    steps = capture.steps
    clip: Rules = parse_rules(str(arm["rule"])) if arm["kind"] == "rule" else ()
    first = rates_of(steps[0])
    factors = {}
    for entry in steps if arm["kind"] == "learning-rate" else ():
        rates = rates_of(entry)
        of_before = [then / now if now else 1.0 for now, then in zip(rates, first)]
        factors[str(entry["step"])] = of_before if arm.get("of") == "before" else [float(arm["factor"])] * len(rates)
    return {
        "schemaVersion": SCHEMA,
        "first": int(steps[0]["step"]),
        "last": int(steps[-1]["step"]),
        "skip": [int(step) for step in arm.get("steps", [])],
        "rateFactors": factors,
        "clip": [(name, dict(options)) for name, options in clip],
        "batchHashes": {str(entry["step"]): _hashes(entry) for entry in steps if _hashes(entry)},
        "trace": str(folder / "trace.json"),
        "scratch": str(folder / "recorder"),
    }


def _hashes(entry: Mapping[str, Any]) -> list[str]:
    of_ranks = [one["batchHash"] for one in entry.get("ranks", []) if "batchHash" in one]
    return of_ranks or ([entry["batchHash"]] if "batchHash" in entry else [])


def _hold_against_recorded(capture: Capture, trace: Trace) -> None:
    """Raises ClosedLoopMismatch where the run as it was is another one than the recorded."""
    if trace["mismatch"] is not None:
        raise ClosedLoopMismatch(
            f"{capture.folder}: at step {trace['mismatch']['step']} rank {trace['mismatch']['rank']} was given another batch than"
            " the recorded one: the loader does not come back to its place after a resume. Nothing was stored."
        )
    recorded = {entry["step"]: number_back(entry["loss"]) for entry in capture.steps}
    for step, loss in list(zip(trace["steps"], map(number_back, trace["loss"])))[:FIRST_STEPS]:
        wanted = recorded.get(step, math.nan)
        if math.isfinite(wanted) and not abs(loss - wanted) <= TOLERANCE * abs(wanted):
            raise ClosedLoopMismatch(
                f"{capture.folder}: the loss of step {step} was {wanted:.6g} when it was recorded and is {loss:.6g} now"
                f" ({abs(loss - wanted) / max(abs(wanted), 1e-30):.2g} off; {TOLERANCE:g} is allowed): the checkpoint holds not"
                " all of the training's state (optimizer, schedule, random numbers), or is of another run. Nothing was stored."
            )


def _judged(capture: Capture, arm: Mapping[str, Any], trace: Trace) -> Rerun:
    """An arm with its verdict: the losses after those from before the capture, without steps that were left out."""
    before = losses_before(capture)
    left_out = set(arm.get("steps", []))
    losses = [number_back(loss) for step, loss in zip(trace["steps"], trace["loss"]) if step not in left_out]
    leading = worst([one for one in judge_losses(before + losses) if one.onset >= len(before)])
    onset = onset_of(capture)
    after = sum(onset is not None and step > onset and step not in left_out for step in trace["steps"])
    kept = [step for step in trace["steps"] if step not in left_out]
    holds: bool | None = leading is None or leading.recovered is not None
    if leading is not None and leading.recovered is not None:
        first, back = kept[leading.onset - len(before)], kept[leading.recovered - len(before)]
        why = f"the loss leaves its range at step {first} and is back at step {back}"
    elif leading is not None:
        why = f"the loss leaves its range at step {kept[leading.onset - len(before)]} and does not come back"
    elif after < LEAST_AFTER:
        holds, why = None, f"{after} clean steps after the onset were run and {LEAST_AFTER} are needed"
    else:
        why = f"no incident in {len(losses)} steps"
    return {
        "arm": dict(arm),
        "steps": trace["steps"],
        "loss": [number(x) for x in map(number_back, trace["loss"])],
        "holds": holds,
        "why": why,
    }


def report(found: Reruns) -> str:
    """What `rerun` found, a line for each arm."""
    marks = {True: "holds", False: "does not hold", None: "cannot tell"}
    lines = [f"{arm_text(one['arm'])}: {marks[one['holds']]} ({one['why']})" for one in found["reruns"]]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m clippy_diag.rerunning CAPTURE [options] -- LAUNCHER …`: 0 where an arm holds, 1 where none does, 3 where the
    launcher fails, 4 where the run does not come back, 2 for wrong arguments."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="clippy-diag rerun", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("capture")
    parser.add_argument("--rule", action="append", help="a clipping rule to try, such as global-norm:1")
    parser.add_argument("--timeout", type=float, help="seconds after which one launch is ended")
    parser.add_argument("--json", action="store_true")
    if "--" not in given:
        parser.error("give the launcher after --: -- torchrun --nproc-per-node 8 train.py --resume CHECKPOINT")
    at = given.index("--")
    options, command = parser.parse_args(given[:at]), given[at + 1 :]
    if not command:
        parser.error("no launcher follows --")
    try:
        found = rerun(options.capture, command, rules=options.rule or ("global-norm:1",), timeout_s=options.timeout)
    except LauncherError as error:
        tell(str(error))
        return 3
    except ClosedLoopMismatch as error:
        tell(str(error))
        return 4
    except (ValueError, OSError) as error:
        tell(str(error))
        return 2
    print(json.dumps(found, indent=1) if options.json else report(found))
    changed = [one for one in found["reruns"] if one["arm"]["kind"] != "as-recorded"]
    return 0 if any(one["holds"] for one in changed) else 1


if __name__ == "__main__":
    sys.exit(main())

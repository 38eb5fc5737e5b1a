"""Runs faults around recorders and says which trainings were taken down, changed or slowed, and what was left untrue.

    python bench/recorder-faults/run.py torch [--seed 1] [--part 1/4] [--only TEXT] [--json FILE]

Each fault runs in a copy of this process (fork), so frameworks are loaded once. A training is
down     if it ends in an exception, or not at all
changed  if its final weights are not those of the training without a recorder, bit for bit
slowed   if it takes more processor time than twice that of the recorder without a fault, plus half a second
untrue   if its loss exploded and nothing that is left says so: no capture with the step, no incident, stop or problem in
         status.json, and no line on a standard error that works; or if a capture that is left cannot be read
A training that is killed by the fault is fine if what it left is true. Wrong options have to be refused by the constructor,
with ValueError or TypeError.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "python" / "src"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

from faults import FAULTS, IN_LOOPS, IN_TORCH, MOUNTED, REFUSED, Case, can_mount, failing_calls  # noqa: E402
from trainings import BAD, MODULES, TRAININGS  # noqa: E402

#: The loss that the recorder is given never explodes there, or there is none.
CALM = (
    "loss is a vector",
    "loss is a number",
    "loss is the same at every step",
    "loss is negative and falling without end",
)


def in_copy(work: Callable[[], Any], errors: str, limit: int) -> tuple[str, Any]:
    """What `work` returns in a copy of this process: ("ok", result), ("down", why). Ended after `limit` seconds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(limit)
        os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            answer: tuple[str, Any] = ("ok", work())
        except BaseException as error:
            where = " < ".join(
                f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]
            )
            answer = ("down", f"{type(error).__name__} at {where}")
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    _, ended = os.waitpid(child, 0)
    return tuple(json.loads(text)) if text else ("down", f"ended by {ended}")  # type: ignore[return-value]


def timed(framework: str, case: Case, with_recorder: bool = True) -> list[Any]:
    """Final weights and seconds of processor time of a training."""
    begun = time.process_time()
    change = {} if case.change is None else {"change": case.change}
    weights = TRAININGS[framework](case.path if with_recorder else None, case.at, case.given, case.options, **change)
    return [weights, time.process_time() - begun]


def says_so(case: Case, errors: str) -> str | None:
    """Where what is left tells of the explosion, or None."""
    folder = Path(case.path)
    try:
        for capture in sorted(folder.parent.glob("capture*/capture.json")):
            try:
                manifest = json.loads(capture.read_text())
            except ValueError:
                continue
            if any(entry["step"] >= BAD for entry in manifest["steps"]):
                return "capture"
        status = json.loads((folder / "status.json").read_text())
        if status["incidents"] or status["stopped"] or status["problems"]:
            return "status.json"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    lines = Path(errors).read_text(errors="replace")
    return "standard error" if "recording stopped" in lines or "not captured" in lines or "cannot be" in lines else None


def unreadable(case: Case) -> str | None:
    """What cannot be read of the captures that are left, or None."""
    from clippy_diag.captures import INITIAL, open_capture, read_raw

    for path in sorted(Path(case.path).parent.glob("capture*/capture.json")):
        try:
            capture = open_capture(path)
            for name in (INITIAL, *(entry["file"] for entry in capture.steps)):
                read_raw(path.parent / name)
        except (OSError, ValueError, KeyError) as error:
            return f"{path.parent.name}: {type(error).__name__}"
    return None


def judge(name: str, case: Case, errors: str, state: str, found: Any, plain: Any, usual: float) -> tuple[str, str | None]:
    """The verdict on a fault, and where what is left tells of the explosion."""
    if name in REFUSED:
        refused = state == "down" and str(found).startswith(("ValueError", "TypeError"))
        return ("fine", "the constructor") if refused else ("untrue", None)
    killed = name.startswith("killed at step")
    if state == "down" and not killed:
        return "down", None
    if not killed:
        case.path = found[2]
    told = says_so(case, errors)
    # Where the fault itself takes files away, what is left of them is not the recorder's.
    takes_away = name.startswith(("junk in the folder", "folder is removed", "folder becomes"))
    if not takes_away and unreadable(case):
        return "untrue", unreadable(case)
    if killed:
        return ("fine" if told or int(name.split()[-1]) <= BAD else "untrue"), told
    if found[0] != plain:
        return "changed", told
    if found[1] > 2 * usual + 0.5:
        return "slowed", told
    return ("untrue" if told is None and name not in CALM and "stderr" not in name else "fine"), told


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("framework", choices=TRAININGS)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--part", default="1/1", help="which part of the faults: 2/4 is the second quarter")
    options.add_argument("--only", action="append", help="faults whose name holds this text; may be repeated")
    # A machine under load takes many times the processor time.
    options.add_argument("--limit", type=int, default=600, help="seconds after which a training counts as down")
    options.add_argument("--json", help="where the results go")
    given = options.parse_args()
    framework = given.framework
    modules = [importlib.import_module(name) for name in MODULES[framework]]
    faults = {**FAULTS, **REFUSED, **(IN_LOOPS if framework in ("torch", "jax") else {})}
    faults.update(IN_TORCH if framework == "torch" else {})
    of_framework = []
    if framework == "torch":
        tensor = modules[0].Tensor
        of_framework = [(tensor, name) for name in ("detach", "clone", "copy_", "numpy")] + [(modules[0], "from_numpy")]
    faults.update(failing_calls(given.seed, of_framework))
    scratch = tempfile.mkdtemp(prefix="recorder-faults-")
    if can_mount(f"{scratch}/mount"):
        faults.update(MOUNTED)
    else:
        print(f"left out, as nothing can be mounted here: {', '.join(MOUNTED)}")
    part, of = map(int, given.part.split("/"))
    names = [name for name in sorted(faults) if not given.only or any(text in name for text in given.only)][part - 1 :: of]
    if framework == "torch":
        # What it imports at its first step takes 2 s of processor time. JAX and TensorFlow start threads, which no copy has.
        timed(framework, Case(f"{scratch}/warm"), False)
    plain = in_copy(lambda: timed(framework, Case(f"{scratch}/plain"), False), f"{scratch}/plain.err", given.limit)
    usual = in_copy(lambda: timed(framework, Case(f"{scratch}/usual")), f"{scratch}/usual.err", given.limit)
    print(f"{framework}: without recorder {plain}, with {usual}; {len(names)} faults", flush=True)
    results = []
    for k, name in enumerate(names):
        case, errors = Case(f"{scratch}/{k}"), f"{scratch}/{k}.err"
        if name not in ("link to itself",):
            os.makedirs(case.folder, exist_ok=True)

        def work(fault: Any = faults[name], case: Case = case) -> list[Any]:
            fault(case)
            return [*timed(framework, case), case.path]

        state, found = in_copy(work, errors, given.limit)
        unrecorded = plain[1][0]
        if name in IN_TORCH:
            # The fault was made in the copy: what the loop changes has to be asked for here.
            same = Case(case.folder + "-plain")
            faults[name](same)
            if same.change is not None:
                unrecorded = in_copy(lambda same=same: timed(framework, same, False), errors + "-plain", given.limit)[1][0]
        verdict, told = judge(name, case, errors, state, found, unrecorded, usual[1][1])
        results.append({"fault": name, "verdict": verdict, "told": told, "found": found})
        if verdict != "fine":
            print(f"{verdict}: {name}: {found}\n    {Path(errors).read_text(errors='replace')[-300:]}", flush=True)
        subprocess.run(["umount", "-l", case.folder], capture_output=True)
    counts = {kind: sum(one["verdict"] == kind for one in results) for kind in ("fine", "down", "changed", "slowed", "untrue")}
    print(f"{framework}: {len(results)} faults: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    if given.json:
        Path(given.json).write_text(json.dumps({"framework": framework, "counts": counts, "results": results}, indent=1))
    return 0 if counts["fine"] == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())

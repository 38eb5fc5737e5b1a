"""Makes cases of the bench: python make.py FOLDER [--only TEXT] [--half open|hidden] [--secret-file FILE] [--jobs N] [--no-remedies]

Each case is made from its seed alone, on one thread with fixed kernels: the same files in every checkout of the same commit. What is
there already stays: made again, a folder gets what it lacks, cases and remedies. FOLDER/checksums.txt lists the SHA-256 of every file; cases.jsonl and croissant.json describe the folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

#: One thread, and kernels that every x86-64 processor has. `--kernels native` leaves them to the processor.
PINNED = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Prescott", "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip
HERE = Path(__file__).resolve().parent


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="clippy-bench make", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="cases whose name holds one of these texts, by commas")
    parser.add_argument("--half", choices=("open", "hidden"), help="open alone where there is no secret")
    parser.add_argument("--secret-file", type=Path, help="the secret of the hidden half")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-remedies", action="store_true", help="leave the reruns out; the same command without this adds them")
    parser.add_argument("--kernels", choices=("pinned", "native"), default="pinned")
    parser.add_argument("--list", action="store_true", help="name the cases and make none")
    return parser.parse_args()


SCRIPT = '''"""Trains the run of {id} again, from its seed, and prints its log as {trainer} does."""
import sys
sys.path.insert(0, sys.argv[1])  # the folder `make` of clippy-bench
from catalogue import all_cases, fault_of
from trainers import TRAINERS
from training import train
case = next(case for case in all_cases() if case.id == "{id}")
seed = {seed}
for record in train(case.setup, seed, fault_of(case, seed)).records:
    print(*TRAINERS["{trainer}"](record), sep="\\n")
'''


def make_case(name: str, folder: Path, secret: bytes | None, remedies: bool) -> None:
    """Makes what a case lacks: evidence, twin, truth and script, or the remedies of its truth. The truth is written last."""
    import random

    import numpy as np
    import torch
    from catalogue import all_cases, fault_of, seed_of
    from evidence import write_evidence
    from truth import HEALTHY_TRUTH, Reruns, cut_of

    # A capture holds the state of all three random generators.
    random.seed(0)
    np.random.seed(0)
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False
    torch.use_deterministic_algorithms(True)
    case = next(case for case in all_cases() if case.id == name)
    seed = seed_of(case, secret)
    fault = fault_of(case, seed)
    began, own = time.process_time(), folder / case.id
    drill = 150 if case.kind == "healthy" else max(30, fault.start + 4)
    if (own / "truth.json").exists():
        truth = _truth_of(case, Reruns(case.setup, seed, fault), remedies)
    elif case.kind == "healthy":
        write_evidence(own / "evidence", case.setup, seed, fault, case.trainer, drill, fault.resumed, None, None)
        truth = dict(HEALTHY_TRUTH)
    else:
        cut = cut_of(fault) if fault.start > 0 else None
        twin = write_evidence(own / "twin" / "evidence", case.setup, seed, None, case.trainer, drill, fault.resumed, cut, None)
        run = write_evidence(own / "evidence", case.setup, seed, fault, case.trainer, drill, fault.resumed, None, twin)
        truth = _truth_of(case, Reruns(case.setup, seed, fault, twin, run), remedies)
    family = {"model": case.setup.model, "optimizer": case.setup.optimizer, "fault": case.fault, "trainer": case.trainer}
    head = {"schemaVersion": 1, "id": case.id, "half": case.half, "kind": case.kind, "family": family}
    # Tools of this project are mended by the open half: none of its cases counts as unseen.
    open_half = case.half == "open"
    truth = {**head, "seed": seed if open_half else None, **truth, "chronicle": case.chronicle, "lookedAt": open_half}
    (own / "script.py").write_text(SCRIPT.format(id=case.id, trainer=case.trainer, seed=seed if open_half else "int(sys.argv[2])"))
    whole = own / "truth.json.part"
    whole.write_text(json.dumps(truth, indent=1) + "\n")
    whole.replace(own / "truth.json")
    print(f"{case.id} {truth['classes'][0]} {time.process_time() - began:.1f} s", flush=True)


def _truth_of(case: Any, reruns: Any, remedies: bool) -> dict[str, Any]:
    from trainers import SHOWS_EVALUATION, SHOWS_RATE
    from truth import truth_of

    return truth_of(reruns, case.trainer in SHOWS_RATE, case.trainer in SHOWS_EVALUATION, rerun=remedies)


def _lacks(own: Path, remedies: bool) -> bool:
    """Whether the folder of a case is not there, or lacks the remedies that are asked for."""
    path = own / "truth.json"
    if not path.exists():
        return True
    truth = json.loads(path.read_text())
    return remedies and truth["alarm"] and not truth["remedies"]


def checksums(folder: Path) -> None:
    """Lists the SHA-256 of every file of every case, and prints one of all truths of each half."""
    lines = []
    truths: dict[str, Any] = {}
    for path in sorted(p for p in folder.glob("*/**/*") if p.is_file()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
        if path.name == "truth.json":
            truths.setdefault(json.loads(path.read_text())["half"], hashlib.sha256()).update(digest.encode())
    (folder / "checksums.txt").write_text("".join(lines))
    for half, truth in sorted(truths.items()):
        print(f"truth of the {half} half {truth.hexdigest()}")


def wanted(options: argparse.Namespace) -> list[str]:
    """The names of the cases to make."""
    from catalogue import all_cases

    half = options.half or (None if options.secret_file else "open")
    parts = options.only.split(",")
    found = [c.id for c in all_cases() if (half is None or c.half == half) and any(part in c.id for part in parts)]
    # In an order that mixes the kinds: a part that was made is a sample of all.
    return sorted(found, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def _in_child(name: str, options: argparse.Namespace, secret: bytes | None) -> int:
    """Makes a case in a process of its own, so that one does not change another; torch is loaded already. Gives its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        make_case(name, options.folder, secret, not options.no_remedies)
        code = 0
    except Exception:  # noqa: BLE001 - said, counted by the parent, and the other cases go on
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def run_all(names: list[str], options: argparse.Namespace) -> int:
    """Makes the cases that are absent. Gives how many failed."""
    import gc

    # Loaded once, before the processes part; the last two are what a first step loads.
    import catalogue  # noqa: F401
    import evidence  # noqa: F401
    import torch._dynamo  # noqa: F401
    import torch.distributed.tensor  # noqa: F401

    gc.freeze()

    secret = options.secret_file.read_bytes().strip() if options.secret_file else None
    waiting = [name for name in names if _lacks(options.folder / name, not options.no_remedies)]
    running: set[int] = set()
    failed = 0
    while waiting or running:
        while waiting and len(running) < max(1, options.jobs):
            running.add(_in_child(waiting.pop(0), options, secret))
        child, status = os.wait()
        running.discard(child)
        failed += status != 0
    gc.unfreeze()
    return failed


def main() -> int:
    """Makes what the command line asks for."""
    options = parsed()
    if options.kernels == "pinned" and any(os.environ.get(k) != v for k, v in PINNED.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PINNED})
    sys.path.insert(0, str(HERE))
    import croissant
    import torch

    if not hasattr(torch, "compiler"):
        print(f"clippy-bench make: PyTorch 2.1 or newer is needed; this one is {torch.__version__}", file=sys.stderr)
        return 2
    names = wanted(options)
    if options.list:
        print("\n".join(names))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = run_all(names, options)
    checksums(options.folder)
    croissant.write(options.folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

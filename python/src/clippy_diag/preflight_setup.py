"""What a preflight needs around its ladder, in every framework: batches, checked options, random state, the audit of its quiet steps."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .auditing import audit
from .captures import write_json
from .messages import describe, tell, warn
from .preflighting import LEAST_BATCHES, MOST_BATCHES, ROWS, STEPS

#: Training batches that are read: the steps at a rate, with two batches each.
TRAINED = 2 * STEPS
#: Least training batches; where there are fewer than TRAINED they come again.
LEAST_TRAINED = 8
#: Steps from one snapshot of the audited capture to the next, so that it holds two.
AUDITED = 5


class Batches(NamedTuple):
    """What steps train on, and what losses are compared on."""

    training: list[Any]
    fixed: list[Any]


def read_batches(batches: Iterable[Any]) -> Batches:
    """Reads the batches that a preflight needs, in their order: at most 144. Raises ValueError where there are fewer than 16."""
    source = iter(batches)
    read = list(itertools.islice(source, LEAST_BATCHES + LEAST_TRAINED))
    if len(read) < LEAST_BATCHES + LEAST_TRAINED:
        raise ValueError(
            f"clippy-diag: batches gave {len(read)}, and at least {LEAST_BATCHES + LEAST_TRAINED} are needed: {LEAST_BATCHES} to"
            f" compare losses on and {LEAST_TRAINED} to train on; make them smaller, or give more data"
        )
    rows = max(1, rows_of(read[0]))
    fixed = max(LEAST_BATCHES, min(MOST_BATCHES, math.ceil(ROWS / rows)))
    read += itertools.islice(source, TRAINED + fixed - len(read))
    fixed = min(fixed, max(LEAST_BATCHES, len(read) // 2))
    return Batches(read[: len(read) - fixed], read[len(read) - fixed :])


def rows_of(batch: Any) -> int:
    """Rows of a batch: the first dimension of its first array; 1 where it has none."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 1
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (list, tuple)) else ()
    return next((rows_of(part) for part in parts if part is not None), 1)


def checked(asked: float, seconds: float, warmup: int) -> tuple[float, float]:
    """The asked rate and the seconds as floats. Raises ValueError where a ladder cannot be built on them."""
    if not (math.isfinite(asked) and asked > 0):
        raise ValueError(f"clippy-diag: the learning rate is {asked:g}; give the peak rate of the training with rate=")
    if not seconds > 0:
        raise ValueError(f"clippy-diag: seconds={seconds} must be above 0")
    if not (isinstance(warmup, int) and warmup >= 0):
        raise ValueError(f"clippy-diag: warmup={warmup} must be a count of steps, 0 or more")
    return float(asked), float(seconds)


@contextlib.contextmanager
def same_draws(batches: Any) -> Iterator[None]:
    """Random state of Python, of numpy and of a loader's own generators as before afterwards."""
    holders = (batches, getattr(batches, "sampler", None))
    generators: list[Any] = [g for g in (getattr(h, "generator", None) for h in holders) if hasattr(g, "set_state")]
    states: list[tuple[Any, Any]] = [(generator, generator.get_state()) for generator in generators]
    plain, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(of_numpy)
        for generator, state in states:
            generator.set_state(state)


def audit_of(record: Callable[[Path], None], command: Iterable[str] | None) -> dict[str, Any] | None:
    """What `clippy-diag audit` says of the capture that `record` writes into a folder; None where there is no command line."""
    folder = Path(tempfile.mkdtemp(prefix="clippy-diag-preflight-"))
    try:
        # The recorder reports its progress on standard error, and nobody asked for this capture.
        with contextlib.redirect_stderr(io.StringIO()):
            record(folder / "capture")
        return audit(folder / "capture", command=command)
    except FileNotFoundError:
        return None
    except Exception as error:
        return {"links": [], "checks": 0, "broken": 0, "problem": describe(error)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def with_audit(document: dict[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The document of a preflight with the audit of its quiet steps; the statement names the links that are broken."""
    document["preflight"]["audit"] = found
    if found is not None and found.get("broken"):
        broken = [
            link["statement"] for link in found["links"] if link["outcome"] == "broken" and link.get("follows") is None
        ]
        document["preflight"]["statement"] += " The audit of the quiet steps found a fault: " + " ".join(broken)
    return document


def report(answer: Mapping[str, Any], folder: str | Path) -> None:
    """What a callback does with an answer: the statement goes to standard error, the document to `<folder>-preflight.json`."""
    tell(f"preflight: {answer['preflight']['statement']}")
    path = Path(f"{folder}-preflight.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, answer)


def no_answer(error: Exception) -> None:
    """Says why there is no preflight. A callback never raises into the training."""
    warn(f"no preflight: {str(error).removeprefix('clippy-diag: ')}", stacklevel=4)

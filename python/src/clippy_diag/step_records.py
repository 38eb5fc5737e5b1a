"""What an audit reads of every step in addition to its gradients: options, modes, hashes of the batch and the random state, checksums.

Shared by the recorders of all frameworks; each says how its options, modes and tensors are read. Options, modes and hashes are taken at
every step. Checksums of weights and optimizer state are taken before and after a step while a capture is written, at every step of a
model of up to `SMALL` parameters, and at every `EVERY`-th step of a larger one: they cost some 6 ns an entry (docs/audit.md).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

from .captures import Array, text_of, words
from .entries import hash_of
from .recording import Step
from .sketch import checksum

#: Parameters up to which checksums are taken at every step, and steps between those of a larger model.
SMALL, EVERY = 5_000, 256
#: Batches of a run that are remembered by their hash, and those that status.json keeps for a resume.
REMEMBERED, KEPT = 100_000, 64
_MODULO = 1 << 64

#: Checksums at one moment: `weights` and `state`, each with its sum and those of its tensors.
Moment = dict[str, Any]


class StepRecords:
    """The records of one recorder's steps.

    status    its status.json, from which a resume knows the run before it
    expected  options of the optimizer that the training changes on purpose
    """

    def __init__(self, status: Path, expected: Iterable[str] = ()) -> None:
        self._expected = [expected] if isinstance(expected, str) else [str(name) for name in expected]
        earlier = _read(status)
        self._first_batches: list[list[Any]] = _pairs(earlier.get("batches"))[:KEPT]
        self._batches: dict[str, int] = {hash_: step for step, hash_ in self._first_batches}
        before = earlier.get("learningRates")
        #: The member `run` of capture.json, which joins a resume to the run before it.
        self.run: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "startedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **({"before": before} if isinstance(before, dict) else {}),
        }
        self._rates: dict[str, Any] = {}
        self._taken = 0
        #: Whether checksums were taken after the last step, so that those before the next are compared with them.
        self._pair = False

    # ---- at a step

    def entry(
        self,
        step: int,
        rates: Iterable[float],
        batch: Mapping[str, Array] | str | None,
        random: Mapping[str, Array] | None,
        *,
        options: Sequence[Mapping[str, Any]],
        modes: Mapping[str, bool] | None,
        outside: Mapping[str, float],
    ) -> dict[str, Any]:
        """Members of a step's entry in capture.json: `options` and `modes` whole (`changed_only` thins them), the rest unchanged.

        rates    learning rate of each group
        batch    its tensors, or their hash where it is known
        options  of each group, with its number under `group`
        modes    whether a module acts as in training, by path, the model's own under ""; None where that is not known
        outside  gradient norms of parameters that no group holds, by name
        """
        self._rates = {"step": step, "learningRates": [float(rate) for rate in rates]}
        self.run.setdefault("first", self._rates)
        members: dict[str, Any] = {"options": options, **({} if modes is None else {"modes": modes})}
        if batch:
            hash_ = batch if isinstance(batch, str) else hash_of(batch)
            members["batchHash"] = hash_
            if hash_ in self._batches:
                members["repeats"] = self._batches[hash_]
            elif len(self._batches) < REMEMBERED:
                self._batches[hash_] = step
                if len(self._first_batches) < KEPT:
                    self._first_batches.append([step, hash_])
        if random:
            members["rngHash"] = hash_of(random)
        if outside:
            members["outside"] = outside
        return members

    def used(self, taken: Step, rates: Sequence[float] | None, options: Sequence[Mapping[str, Any]]) -> None:
        """What a step used, seen right after it: its options, and its rates where they are not those of `entry`."""
        if "options" in taken.entry:
            taken.entry["options"] = options
        if rates is not None and self._rates.get("step") == taken.step:
            # In place: the first of a run is the same object.
            self._rates["learningRates"] = [float(rate) for rate in rates]

    def checksums_due(self, parameters: int, open_capture: bool) -> bool:
        """Whether this step has checksums; called once a step."""
        self._taken += 1
        return open_capture or parameters <= SMALL or self._taken % EVERY == 1

    def compares_next(self) -> bool:
        """Whether the step before has checksums after it, so that the next has some before it."""
        return self._pair

    def checksums_ahead(self, parameters: int, steps: int) -> bool:
        """Whether the step after so many more would have checksums, outside of an open capture."""
        return parameters <= SMALL or (self._taken + steps + 1) % EVERY == 1

    def before(self, moment: Callable[[], Moment], due: bool) -> dict[str, Any]:
        """Checksums before a step, where they are due or the step before has some after it."""
        pair, self._pair = self._pair, due
        return {"before": moment()} if due or pair else {}

    def after(self, taken: Step, moment: Callable[[], Moment]) -> None:
        """Checksums after a step whose entry has some before it."""
        if self._pair and "before" in taken.entry:
            taken.entry["after"] = moment()

    # ---- in the manifest and in status.json

    def described(
        self, parameters: Iterable[Mapping[str, Any]], mode_modules: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Members of capture.json.

        parameters    of the whole model: `name`, `group` (None where none holds it) and whether it `trains`
        mode_modules  classes of the modules that act differently in training, by path; None where they are not known
        """
        return {
            "version": 3,
            "run": self.run,
            "checksums": {"every": EVERY},
            "allParameters": list(parameters),
            **({"expectedChanges": self._expected} if self._expected else {}),
            **({} if mode_modules is None else {"modeModules": dict(mode_modules)}),
        }

    def status(self) -> dict[str, Any]:
        """Members of status.json, from which a resume knows this run."""
        return {"learningRates": self._rates or None, "batches": self._first_batches}


def moment_of(weights: Mapping[str, int], state: Mapping[str, Sequence[int]]) -> Moment:
    """Checksums at one moment, from those of each tensor; slots of one tensor, in order, count 1, 3, 5 … times."""
    slots = {
        name: sum((2 * k + 1) * one for k, one in enumerate(sums)) % _MODULO for name, sums in state.items() if sums
    }
    return {"weights": _summed(weights), "state": _summed(slots)}


def moment_of_arrays(tensors: Mapping[str, Array]) -> Moment:
    """The same of arrays that are named as in a snapshot: `param/<name>`, `state/<slot>/<name>`, `optimizer/<name>`."""
    weights: dict[str, int] = {}
    state: dict[str, list[int]] = {}
    for name in sorted(tensors):
        kind, _, rest = name.partition("/")
        values = words(tensors[name])[1]
        one = checksum(values if values.ndim else values.reshape(1))
        if kind == "param":
            weights[rest] = one
        elif kind == "state":
            state.setdefault(rest.partition("/")[2], []).append(one)
        elif kind == "optimizer":
            state.setdefault(rest, []).append(one)
    return moment_of(weights, state)


def _summed(sums: Mapping[str, int]) -> dict[str, Any]:
    return {
        "sum": f"{sum(sums.values()) % _MODULO:016x}",
        "tensors": {name: f"{one:016x}" for name, one in sums.items()},
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text_of(path))
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    return found if isinstance(found, dict) else {}


def _pairs(batches: Any) -> list[list[Any]]:
    """Steps and hashes of a status.json, which may hold anything."""
    return [
        list(one)
        for one in (batches if isinstance(batches, list) else [])
        if isinstance(one, list) and [type(part) for part in one] == [int, str]
    ]

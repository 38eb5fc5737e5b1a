"""What the ledgers of all frameworks share: which steps have their tensors summarised, when a step's line is written, and
sketches and checksums of arrays in main memory. Numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .ledger import Ledger, Summary, bits_of, guarded, hash_of, settings_now
from .options import bytes_of
from .sketch import Place, checksum, codes, seed_of, sketch

#: Entries of all tensors whose hash codes are kept in memory, two bytes each; those of larger models are made again.
CODES_UP_TO = 32_000_000
#: Bytes of a ledger where no budget is given.
BUDGET = 200_000_000
#: Parameters from which on recorders keep a ledger unasked: docs/compare.md says what it takes of a step there.
DEFAULT_FROM = 100_000
#: Entries of a vector that are squared and summed at a time: numpy's product stays on one thread, in one order of sums.
_PIECE = 8_192
_MASK = 0xFFFFFFFFFFFFFFFF

#: A tensor as it is in main memory; None: there is none, such as the gradient of a frozen one.
Tensors = Mapping[str, "np.ndarray | None"]
#: Optimizer state: by tensor, then by slot.
States = Mapping[str, Mapping[str, np.ndarray]]


def ledger_of(
    choice: bool | int | str | None, every: int | None, capture: Path, make: type[Ledger] = Ledger
) -> Ledger | None:
    """The ledger in the folder of a capture, or None.

    choice  True, a budget such as "200MB" or bytes; False or None: none
    every   steps from one whose tensors are summarised to the next; None: by the number of parameters
    make    what writes it

    Raises ValueError for a text that is no size, or `every` below 1.
    """
    if choice is False or choice is None:
        return None
    folder = "ledger" if capture.name == "capture" else f"{capture.name}-ledger"
    return make(capture.with_name(folder), BUDGET if choice is True else bytes_of(choice), every)


class LedgerSteps:
    """The steps of one training as its ledger takes them: `before`, then `take`, then `after` once weights have moved.

    ledger        where they go
    weights       sketches and checksums of all weights as they are now, see `Summaries.of`
    state         those of the optimizer's state, see `Summaries.of_state`; None where it cannot be seen now
    hears_updates whether `after` is called for every update: a step without it is one that the optimizer did not take
    """

    def __init__(
        self,
        ledger: Ledger,
        weights: Callable[[Summary | None], Summary],
        state: Callable[[Summary | None], Summary | None],
        hears_updates: bool,
    ) -> None:
        self.own = ledger
        self._weights, self._state, self._hears_updates = weights, state, hears_updates
        self._now: dict[str, Summary] = {}
        self._line: dict[str, Any] | None = None
        self._clipped: Any = None
        self._taken: dict[str, Summary] | None = None
        self._taken_at = 0
        self._seen = self._line_seen = True

    def before(self, step: int, seen: bool = True) -> None:
        """Weights have not moved yet for step `step`; the step before it is written now.

        seen  whether they can be seen now: a step without them has no tensors
        """
        wanted = seen and self.looks_before(step)
        self._now, self._seen = self._moment("") if wanted else {}, seen
        self.finish(self._now)

    def looks_before(self, step: int) -> bool:
        """Whether `before` of this step summarises weights and state: it is one with tensors, or comes after one."""
        return self.own.due(step) or self._taken is not None

    def take(
        self, step: int, loss: float, gradients: Callable[[], Summary], entry: Mapping[str, Any], ids: Any
    ) -> None:
        """The step that `before` was called for: its loss, its gradients before clipping, further members of its line
        (a member of None is left out), and the ids of its batch or None."""
        self._line, self._line_seen = {"step": step, "loss": bits_of(loss), **entry}, self._seen
        self._clipped = None
        if self._seen and self.own.due(step):
            self._taken, self._taken_at = {"gradient": gradients(), **self._now}, step
        self.own.ids(step, ids)

    def clipped(self, norm: Any) -> None:
        """The norm of the gradient that the optimizer is about to take, a number or a scalar tensor."""
        self._clipped = norm

    @property
    def looks_after(self) -> bool:
        """Whether `after` summarises weights and state: the step is one with tensors."""
        return self._line is not None and self._taken is not None and self._taken_at == self._line["step"]

    def after(self) -> None:
        """The optimizer has stepped."""
        if self._line is None:
            return
        if self._clipped is None:
            self._clipped = self._line.get("gradientNorm")
        if self._taken is not None and self.looks_after:
            self._taken.update(self._moment("After"))

    def finish(self, following: Mapping[str, Summary] | None) -> None:
        """Writes the step that waits; `following`: weights and state as they are before the next step."""
        if self._line is not None:
            line, self._line = self._line, None
            if self._clipped is not None:
                clipped = number_of(self._clipped)
                line["clippedNorm"] = clipped if clipped != line.get("gradientNorm") else None
            elif following is not None and self._hears_updates:
                line["skipped"] = True
            self.own.line(line, self._line_seen)
        if self._taken is None:
            return
        taken, self._taken = self._taken, None
        for role in ("weights", "state"):
            after, later = taken.get(f"{role}After"), (following or {}).get(role)
            # Equal ones are not written twice: the reader takes what is not there for equal.
            if later is not None and (after is None or (after.checksums != later.checksums).any()):
                taken[f"{role}Next"] = later
        self.own.tensors(self._taken_at, taken)

    def close(self) -> None:
        """Writes what waits. Never raises."""
        guarded(self.own, self.finish, None)
        guarded(self.own, self.own.close)

    def _moment(self, suffix: str) -> dict[str, Summary]:
        known = self._taken or {}
        found = {f"weights{suffix}": self._weights(known.get("weightsAfter"))}
        state = self._state(known.get("stateAfter"))
        return found if state is None else {**found, f"state{suffix}": state}


class ArrayLedger:
    """The ledger of a training whose tensors can be seen as numpy arrays, of any framework. Nothing in it raises into the
    training.

    described      members of a session's line: framework, tensors in forward order, device, world, …
    hears_updates  as of `LedgerSteps`
    """

    def __init__(self, ledger: Ledger, described: Callable[[], Mapping[str, Any]], hears_updates: bool = False) -> None:
        self.own = ledger
        self._described = described
        self._steps = LedgerSteps(ledger, self._summarised, self._summarised_state, hears_updates)
        self._summaries = Summaries()
        self._weights: Tensors = {}
        self._state: Callable[[], States | None] = dict
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._options: dict[str, Any] = {}
        self._changed: dict[str, Any] | None = None
        self._weight_norm = 0.0

    def before(
        self,
        step: int,
        weights: Tensors | None,
        state: Callable[[], States | None],
        options: Mapping[str, Any],
        like: Tensors | None = None,
        norm: float | None = None,
    ) -> None:
        """What there is before step `step`; `options` are those that the step will be taken with.

        weights  None where they are not seen at this step: then `like` has arrays of the same names, shapes and types
        norm     of all weights, where it is known
        """
        guarded(self.own, self._before, step, weights, state, options, like, norm)

    def take(
        self,
        step: int,
        loss: float,
        gradients: Tensors,
        *,
        batch: Mapping[str, np.ndarray] | None = None,
        rng: Mapping[str, np.ndarray] | None = None,
        batch_id: Any = None,
        skipped: bool = False,
        norms: tuple[float, float] | None = None,
    ) -> None:
        """The loss and the gradients of the step, before clipping and without a loss scale.

        batch, rng  tensors of the batch, and of the random state from before the forward pass, by name
        skipped     the optimizer does not take this step
        norms       of gradients and weights, where they are known
        """
        guarded(self.own, self._take, step, loss, gradients, batch, rng, batch_id, skipped, norms)

    def looks_before(self, step: int) -> bool:
        """Whether `before` of this step summarises weights and state."""
        return self._steps.looks_before(step)

    @property
    def looks_after(self) -> bool:
        """Whether `after` looks at the weights, so that they need not be fetched where it does not."""
        return self._steps.looks_after

    def after(self, weights: Tensors, state: Callable[[], States | None]) -> None:
        """What the step left; of a step without tensors it looks at neither."""
        guarded(self.own, self._after, weights, state)

    def close(self) -> None:
        """Writes what waits."""
        self._steps.close()

    def _before(
        self,
        step: int,
        weights: Tensors | None,
        state: Callable[[], States | None],
        options: Mapping[str, Any],
        like: Tensors | None,
        norm: float | None,
    ) -> None:
        known = weights if weights is not None else like or {}
        shapes = {name: np.shape(array) for name, array in known.items() if array is not None}
        self._weights, self._state = weights or {}, state
        if shapes != self._shapes:
            self._begin(known, shapes, options)
        self._steps.before(step, weights is not None)
        # Now: these may be views of memory that the step writes to.
        self._weight_norm = norm_of(self._weights.values()) if norm is None else float(norm)
        self._forget()
        self._changed = changed(self._options, options)
        self._options = dict(options)

    def _begin(self, weights: Tensors, shapes: dict[str, tuple[int, ...]], options: Mapping[str, Any]) -> None:
        if self._shapes:
            self._steps.finish(None)
        self._shapes, self._options = shapes, dict(options)
        parameters = sum(math.prod(shape) for shape in shapes.values())
        self._summaries.keep_codes(parameters)
        described, settings = dict(self._described()), settings_now()
        settings["versions"].update(described.pop("versions", {}))
        tensors = [[name, list(shape), str(getattr(weights[name], "dtype", ""))] for name, shape in shapes.items()]
        self.own.begin(
            {"parameters": parameters, "tensors": tensors, "options": self._options, **described, **settings}
        )

    def _take(
        self, step: int, loss: float, gradients: Tensors, batch: Any, rng: Any, batch_id: Any, skipped: bool, norms: Any
    ) -> None:
        gradient_norm, weight_norm = norms or (norm_of(gradients.values()), self._weight_norm)
        entry = {
            "batch": hash_of(batch) if batch else None,
            "rng": hash_of(rng) if rng else None,
            "options": self._changed,
            "gradientNorm": number_of(gradient_norm),
            "weightNorm": number_of(weight_norm),
            "skipped": True if skipped else None,
        }
        own = {name: gradients.get(name) for name in self._shapes}
        self._steps.take(step, loss, lambda: self._summaries.of(own), entry, batch_id)

    def _after(self, weights: Tensors, state: Callable[[], States | None]) -> None:
        self._weights, self._state = weights, state
        self._steps.after()
        self._forget()

    def _forget(self) -> None:
        # A view that is held keeps the framework from using its memory again, as donation does.
        self._weights, self._state = {}, dict

    def _summarised(self, known: Summary | None) -> Summary:
        return self._summaries.of(self._weights, known)

    def _summarised_state(self, known: Summary | None) -> Summary | None:
        state = self._state()
        return None if state is None else self._summaries.of_state(state, self._shapes, known)


class Summaries:
    """Sketches and checksums of arrays in main memory. Hash codes are kept from one time to the next.

    places  where an array lies in the whole tensor, by the tensor's name; without one it is the whole
    """

    def __init__(self, places: Mapping[str, Place] | None = None) -> None:
        self._places = {} if places is None else places
        self._codes: dict[str, np.ndarray] | None = {}

    def keep_codes(self, parameters: int) -> None:
        """Keeps them for a model of so many parameters, unless those are too many."""
        self._codes = {} if parameters <= CODES_UP_TO else None

    def of(self, arrays: Tensors, known: Summary | None = None) -> Summary:
        """One role of all tensors; zeros where there is none. `known` is a summary of the same tensors from before: where the
        checksum is still the same, so is the sketch."""
        found = Summary(np.zeros((len(arrays), 64)), np.zeros(len(arrays), np.uint64))
        for row, (name, array) in enumerate(arrays.items()):
            if array is not None:
                place = self._places.get(name, 0)
                found.checksums[row] = self.checksum_of(array, place)
                if known is not None and known.checksums[row] == found.checksums[row]:
                    found.sketches[row] = known.sketches[row]
                else:
                    found.sketches[row] = self.sketch_of(name, array, place)
        return found

    def of_state(self, states: States, shapes: Mapping[str, Sequence[int]], known: Summary | None = None) -> Summary:
        """The state of each tensor: the sum over its slots, each under a name of its own; what has another shape than the
        tensor, such as a counter, is in the checksum only. `known` as in `of`."""
        found = Summary(np.zeros((len(shapes), 64)), np.zeros(len(shapes), np.uint64))
        for row, (name, shape) in enumerate(shapes.items()):
            slots = states.get(name, {})
            place = self._places.get(name, 0)
            places = {slot: place if np.shape(array) == tuple(shape) else 0 for slot, array in slots.items()}
            total = sum(
                self.checksum_of(array, places[slot]) * (2 * seed_of(slot) + 1) for slot, array in slots.items()
            )
            found.checksums[row] = total & _MASK
            if known is not None and known.checksums[row] == found.checksums[row]:
                found.sketches[row] = known.sketches[row]
                continue
            for slot, array in slots.items():
                if np.shape(array) == tuple(shape):
                    found.sketches[row] += self.sketch_of(f"{name}/{slot}", array, place)
        return found

    def sketch_of(self, name: str, array: np.ndarray, place: Place = 0) -> np.ndarray:
        """Sketch of one array under a name."""
        array = np.asarray(array)
        values = array.astype(np.float32) if array.dtype.kind == "V" else array
        return sketch(values, name, place, self.codes_of(name, values, place))

    def checksum_of(self, array: np.ndarray, place: Place = 0) -> int:
        """Checksum of one array; bfloat16 and other types that numpy lacks by their words."""
        array = np.asarray(array)
        return checksum(array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array, place)

    def codes_of(self, name: str, array: np.ndarray, place: Place = 0) -> np.ndarray | None:
        """Hash codes of a tensor, kept; None where they are not."""
        if self._codes is None or array.dtype.kind == "c":
            return None
        kept = self._codes.get(name)
        if kept is None or len(kept) != array.size:
            kept = self._codes[name] = codes(name, array.shape, place)
        return kept


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Options that are others than before; None for one that is gone, and None where all are the same."""
    found = {key: value for key, value in now.items() if key not in before or before[key] != value}
    found.update((key, None) for key in before if key not in now)
    return found or None


def norm_of(arrays: Iterable[np.ndarray | None]) -> float:
    """Euclidean norm of all arrays together; it does not depend on the number of threads."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(sum(_squares_of(np.asarray(array)) for array in arrays if array is not None))


class Steady:
    """`norm_of` arrays of float32 that stay where they are, again and again: the pieces that are summed are cut once, as the first
    product of matrices in a step finds no code of it in the processor's caches."""

    def __init__(self, arrays: Iterable[np.ndarray]) -> None:
        self._arrays = list(arrays)
        flat = [array.reshape(-1) for array in self._arrays]
        self._pieces = [[one[begin : begin + _PIECE] for begin in range(0, one.size, _PIECE)] for one in flat]

    def norm(self) -> float:
        """The norm of what they hold now."""
        total = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for pieces in self._pieces:
                total += math.fsum([piece.dot(piece) for piece in pieces])
        return math.sqrt(total) if math.isfinite(total) else norm_of(self._arrays)


def squares_of(array: np.ndarray) -> float:
    """Sum of squares of an array of any real or complex type: products of float32 in pieces, which are summed in float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _squares_of(array)


def _squares_of(array: np.ndarray) -> float:
    flat = (array if array.flags.c_contiguous else np.ascontiguousarray(array)).reshape(-1)
    if flat.dtype != np.float32:
        flat = (flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat).astype(np.float64, copy=False)
    whole = flat.size // _PIECE * _PIECE
    rest = flat[whole:] if whole else flat
    products = [float(rest.dot(rest))]
    if whole:
        pieces = flat[:whole].reshape(-1, 1, _PIECE)
        products += np.matmul(pieces, pieces.reshape(-1, _PIECE, 1)).reshape(-1).tolist()
    try:
        total = math.fsum(products)
    except OverflowError:
        total = math.inf
    if not math.isfinite(total):  # squares above 1e38 overflow where the norm does not
        each = (flat[begin : begin + _PIECE] for begin in range(0, flat.size, _PIECE))
        total = sum(float(np.square(piece, dtype=np.float64).sum()) for piece in each)
    return total


def number_of(value: Any) -> float | str:
    """A number as JSON has it; one that is not finite as text."""
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"

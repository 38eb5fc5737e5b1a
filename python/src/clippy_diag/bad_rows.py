"""Rows of unlike batches whose own gradient is far above that of every earlier row: a few bad rows in a batch."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Protocol

import numpy as np

from .captures import Capture, read_raw
from .messages import describe, tell

#: Times the largest gradient norm of the rows before, above which a row is bad.
ABOVE = 2
#: Earlier batches that the rows are compared with.
EARLIER = 4
#: Rows that are looked at in all, each with a gradient of its own.
MOST_ROWS = 8192
#: Share of the rows of the unlike batches above which it is the batches that are bad.
MOST_SHARE = 0.08
#: Relative distance up to which the loss of a batch is the mean (or the sum) of its rows' losses.
SAME_LOSS = 1e-3
#: Seconds from which on a search says how long it takes.
LONG = 10.0

#: A step of capture.json with these two takes so many of the rows of its batch: their places, of how many.
KEPT, OF = "keptRows", "ofRows"


class NotSeparable(Exception):
    """Why the rows of a batch have no losses of their own, as a clause."""


class HasRows(Protocol):
    """The part of a trainer (loops.py) that the search needs."""

    def start(self) -> None:
        """The model as before the first recorded step."""

    def loss(self, entry: Mapping[str, Any]) -> float:
        """Loss of a step's batch at the parameters as they are; changes nothing."""

    def loss_and_size(self, entry: Mapping[str, Any]) -> tuple[float, float]:
        """Loss of a step's batch and norm of its gradient at the parameters as they are, in evaluation mode: there a row has
        the same loss alone as in its batch. Changes nothing."""


def with_rows(entry: Mapping[str, Any], kept: Sequence[int], count: int) -> dict[str, Any]:
    """A step that takes some rows of its batch.

    kept   their places
    count  rows of the whole batch
    """
    return {**entry, KEPT: list(kept), OF: count}


def without_rows(entry: Mapping[str, Any], left_out: Sequence[int], count: int) -> dict[str, Any]:
    """A step that takes all rows of its batch but some."""
    out = set(left_out)
    return with_rows(entry, [row for row in range(count) if row not in out], count)


def taken_rows(entry: Mapping[str, Any], leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a step's batch, of those that have a row in each entry of their first axis the rows that it takes."""
    if KEPT not in entry:
        return dict(leaves)
    kept = np.array(entry[KEPT], np.int64)
    return {name: leaf[kept] if _length(leaf.shape) == entry[OF] else leaf for name, leaf in leaves.items()}


def _length(shape: Sequence[int]) -> int:
    return int(shape[0]) if len(shape) else -1


def rows_of(capture: Capture, entry: Mapping[str, Any]) -> int:
    """Rows of a step's batch: as many as it has ids for rows, else the first axis that all of its tensors have.

    Raises NotSeparable where they have none in common, where the ids fit no tensor, and for batches of several ranks or
    micro-batches, of which one place names several rows.
    """
    if capture.manifest.get("world", {}).get("batches") == "by-rank":
        raise NotSeparable("the batches are those of several ranks")
    tree = entry.get("batch", capture.manifest.get("batch"))
    shapes = {name: words.shape for name, (_, words) in read_raw(capture.folder / entry["file"], "batch/").items()}
    if tree is not None and "list" in tree and len(tree["list"]) > 1:
        kinds = {tuple(sorted(shapes[f"batch/{name}"] for name in _leaves(part))) for part in tree["list"]}
        if len(kinds) == 1:
            raise NotSeparable("the batch is a list of parts that look alike, such as micro-batches")
    lengths = {_length(shape) for shape in shapes.values()} - {-1}
    ids = entry.get("batchId")
    if isinstance(ids, list):
        if len(ids) not in lengths:
            raise NotSeparable(f"{len(ids)} ids of rows were recorded, and no tensor of the batch has so many rows")
        return len(ids)
    if len(lengths) != 1:
        raise NotSeparable("the tensors of the batch have no first axis in common")
    return lengths.pop()


def _leaves(tree: Any) -> list[str]:
    """Names of the tensors of a batch's tree, or of a part of it."""
    (kind, value), *_ = tree.items()
    if kind == "tensor":
        return [str(value)]
    if kind == "dict":
        return [name for _, part in value for name in _leaves(part)]
    return [name for part in value for name in _leaves(part)] if kind in ("list", "tuple") else []


def find_bad_rows(
    capture: Capture,
    trainer: HasRows,
    unlike: Sequence[Mapping[str, Any]],
    earlier: Sequence[Mapping[str, Any]],
    is_usual: Callable[[float], bool],
) -> list[dict[str, Any]]:
    """Bad rows as `remedies[].skipRows` of a report has them: [{"step", "rows", "ids", "of"}], `of` the rows of its batch.

    All gradients are taken at the parameters from before the first recorded step. A row is bad if its gradient is not finite,
    or if its Euclidean norm is more than twice the largest of the rows of up to four earlier batches.

    unlike    Steps with batches that are unlike the earlier ones.
    earlier   The steps before.
    is_usual  Whether a loss at these parameters is as usual.

    The list is empty where no row stands out, where more than 8 % do, and where the rest of a batch with bad rows is unusual
    too. Where there are more than 8,192 rows, or a row has no loss of its own, it is empty too, and says why on standard error.
    """
    if not unlike or not earlier:
        return []
    try:
        return _found(capture, trainer, unlike, earlier[-EARLIER:], is_usual)
    except NotSeparable as why:
        tell(f"bad rows were not looked for: {why}")
        return []


def _found(
    capture: Capture,
    trainer: HasRows,
    unlike: Sequence[Mapping[str, Any]],
    earlier: Sequence[Mapping[str, Any]],
    is_usual: Callable[[float], bool],
) -> list[dict[str, Any]]:
    counts = {entry["step"]: rows_of(capture, entry) for entry in [*earlier, *unlike]}
    total = sum(counts.values())
    if total > MOST_ROWS:
        raise NotSeparable(f"they are {total} with those that they are compared with, more than {MOST_ROWS}")
    if min(counts.values()) < 2:
        return []
    trainer.start()
    search = _Search(trainer, total)
    usual = max(max(search.sizes(entry, counts[entry["step"]])) for entry in earlier)
    if not math.isfinite(usual):
        return []
    bad = []
    for entry in unlike:
        count = counts[entry["step"]]
        rows = [row for row, size in enumerate(search.sizes(entry, count)) if not size <= ABOVE * usual]
        if not rows:
            continue
        # Where what is left of a batch is unusual too, it is not the rows that make it so. Of an unlike batch without bad rows
        # the training without the others decides.
        rest = without_rows(entry, rows, count)
        if not rest[KEPT] or not is_usual(trainer.loss(rest)):
            return []
        ids = entry.get("batchId")
        named = [ids[row] for row in rows] if isinstance(ids, list) else None
        bad.append({"step": entry["step"], "rows": rows, "ids": named, "of": count})
    found = sum(len(one["rows"]) for one in bad)
    return bad if found <= MOST_SHARE * sum(counts[entry["step"]] for entry in unlike) else []


class _Search:
    """Gradients by row; says how far it is where it takes ten seconds or more."""

    def __init__(self, trainer: HasRows, total: int) -> None:
        self.trainer, self.total = trainer, total
        self.done, self.began = 0, time.monotonic()

    def sizes(self, entry: Mapping[str, Any], count: int) -> list[float]:
        """Gradient norm of each row. Raises NotSeparable where the loss of the batch is neither their mean nor their sum."""
        try:
            found = [self.trainer.loss_and_size(with_rows(entry, [row], count)) for row in range(count)]
            whole, _ = self.trainer.loss_and_size(entry)
        except Exception as error:
            raise NotSeparable(f"loss_fn takes no single row ({describe(error)})") from error
        losses = [loss for loss, _ in found]
        if math.isfinite(whole) and not any(_is_near(one, whole) for one in (statistics.fmean(losses), sum(losses))):
            raise NotSeparable("the loss of a batch is neither the mean nor the sum of the losses of its rows")
        before = self._left()
        self.done += count
        if before == math.inf and self._left() >= LONG:
            tell(f"looking for bad rows, about {self._left():.0f} s left")
        return [size for _, size in found]

    def _left(self) -> float:
        """Seconds that the rest takes; infinite before anything is done."""
        if self.done == 0:
            return math.inf
        return (time.monotonic() - self.began) / self.done * (self.total - self.done)


def _is_near(loss: float, whole: float) -> bool:
    return abs(loss - whole) <= SAME_LOSS * max(abs(whole), 1e-6)

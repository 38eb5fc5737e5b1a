"""Joins what the ranks of a distributed training recorded into one capture. Numpy only.

Every rank writes a capture of its own part: its shards, its batches, its random state. The parts lie in
`<capture>.parts/rank-R`. The first rank's writer puts each tensor together, one at a time, and removes the parts.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .captures import INITIAL, MANIFEST, Array, Source, read_raw, words, write_fetched
from .entries import hash_of

#: Seconds without news of another rank after which a capture is given up. Only the writer's thread waits for so long.
PATIENCE = 30.0


class Piece(NamedTuple):
    """Where a rank's array lies in the whole tensor of shape `shape`.

    offset  first index along each axis; or one index into the tensor as one row, where the shard is a range of that row
    adds    whether the arrays of the ranks are terms of a sum
    """

    shape: tuple[int, ...]
    offset: tuple[int, ...]
    flat: bool = False
    adds: bool = False

    def as_json(self) -> dict[str, Any]:
        """The piece as capture.json of a part has it."""
        return {"shape": list(self.shape), "offset": list(self.offset), "flat": self.flat, "adds": self.adds}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Piece:
        """The piece that `as_json` wrote."""
        return cls(tuple(value["shape"]), tuple(value["offset"]), bool(value["flat"]), bool(value["adds"]))


def part_folder(path: Path, rank: int) -> Path:
    """Where another rank than the first writes its part of the capture `path`."""
    return path.with_name(f"{path.name}.parts") / f"rank-{rank}" / "capture"


class _Part(NamedTuple):
    """The tensors of one rank, in memory or in a file."""

    tensors: Mapping[str, Array] | Path
    pieces: Mapping[str, Piece]

    def kinds(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of each tensor."""
        if not isinstance(self.tensors, Path):
            return {name: (words(array)[0], words(array)[1].shape) for name, array in self.tensors.items()}
        with open(self.tensors, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {
            name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items() if name != "__metadata__"
        }

    def piece(self, name: str) -> Piece | None:
        """Where the array lies in the whole, or None for what is no shard. Parameters keep their place over a step, and a
        gradient that was not seen before has the place of its parameter."""
        kind, _, rest = name.partition("/")
        found = self.pieces.get(name)
        if found is None and kind in ("param-after", "grad"):
            return self.pieces.get(f"param/{rest}")
        return found

    def words(self, name: str) -> np.ndarray:
        """The words of one tensor."""
        if isinstance(self.tensors, Path):
            return read_raw(self.tensors, name, exact=True)[name][1]
        return words(self.tensors[name])[1]


class Joining:
    """One capture of the first rank, which takes in the parts of the others. Its methods run in the writer's thread.

    parts     the folders of the other ranks' parts (`part_folder`), rank 1 first
    manifest  capture.json of the first rank, whose batches become those of all ranks
    pieces    the places of the first rank's shards; may grow
    same      whether the ranks work on the same batch, which is then kept once
    """

    def __init__(
        self, parts: Sequence[Path], manifest: dict[str, Any], pieces: Mapping[str, Piece], same: bool
    ) -> None:
        self._bases, self._manifest, self._pieces, self._same = list(parts), manifest, pieces, same
        self._found: list[Path] = []
        self._parts: list[dict[str, Any]] = []
        self._own_batch = manifest.get("batch")

    def initial(self, path: Path, tensors: Mapping[str, Array] | Path) -> int:
        """Writes the state before the first step, put together; returns its bytes. Raises OSError where a part is missing."""
        for rank, base in enumerate(self._bases, 1):
            self._found.append(self._await(rank, lambda base=base: self._folder_in(base)))
            self._parts.append(_manifest_in(self._found[-1]) or {})
        others = [_Part(found / INITIAL, _pieces_of(part)) for found, part in zip(self._found, self._parts)]
        size = _write_whole(path, [_Part(tensors, self._pieces), *others], lambda name: True)
        for found in self._found:
            (found / INITIAL).unlink()
        return size

    def step(self, path: Path, entry: dict[str, Any], tensors: Mapping[str, Array]) -> int:
        """Writes the file of a step, put together, and puts the ranks' losses and batches into its entry."""
        entries = [entry]
        for rank, found in enumerate(self._found, 1):
            part, theirs = self._await(rank, lambda found=found: _listed(found, entry["step"]))
            self._parts[rank - 1] = part
            entries.append(theirs)
        files = [found / theirs["file"] for found, theirs in zip(self._found, entries[1:])]
        data = self._data(entry, entries, [tensors, *({**read_raw(f, "batch/"), **read_raw(f, "rng/")} for f in files)])
        others = [_Part(file, _pieces_of(part)) for file, part in zip(files, self._parts)]
        if any(one.get("gradients") is False for one in entries):
            # A gradient that lacks the shards of one rank cannot be put together.
            entry["gradients"] = False
            size = _write_whole(path, [], _is_shard, data)
        else:
            size = _write_whole(path, [_Part(tensors, self._pieces), *others], _is_shard, data)
        for file in files:
            file.unlink()
        return size

    def end(self) -> None:
        """Removes what is left of the parts."""
        for found in self._found:
            shutil.rmtree(found, ignore_errors=True)
            for folder in (found.parent, found.parent.parent):
                with contextlib.suppress(OSError):  # another capture of the run, or what a rank has to say
                    folder.rmdir()

    def _data(
        self, entry: dict[str, Any], entries: Sequence[Mapping[str, Any]], tensors: Sequence[Mapping[str, Any]]
    ) -> dict[str, Array]:
        """Batches and random states of all ranks; the entry says how they nest, and each rank's loss."""
        entry["ranks"] = [
            {
                "rank": rank,
                **{key: one[key] for key in ("batchId", "batchHash") if key in one},
                **_weights_of(one, entry),
                "loss": one["ownLoss"],
            }
            for rank, one in enumerate(entries)
        ]
        entry.pop("ownLoss")
        batches = [{n: a for n, a in one.items() if n.startswith("batch/")} for one in tensors]
        states = [{n: a for n, a in one.items() if n.startswith("rng/")} for one in tensors]
        data: dict[str, Array] = dict(states[0])
        for rank, state in enumerate(states[1:], 1):
            data.update({f"rng/rank-{rank}/{name[len('rng/') :]}": array for name, array in state.items()})
        if not all(batches):
            return data
        if len(entries) == 1 or (self._same and len({one.get("batchHash") for one in entries}) == 1):
            data.update(batches[0])
            return data
        for rank, batch in enumerate(batches):
            data.update({f"batch/rank-{rank}/{name[len('batch/') :]}": array for name, array in batch.items()})
        trees = [
            _renamed(one.get("batch", tree), f"rank-{rank}/")
            for rank, (one, tree) in enumerate(
                zip(entries, [self._own_batch, *(part.get("batch") for part in self._parts)])
            )
        ]
        whole = {"list": trees}
        if not self._manifest["steps"]:
            self._manifest["batch"] = whole
        self._manifest["world"]["batches"] = "by-rank"
        entry.pop("batch", None)
        if whole != self._manifest["batch"]:
            entry["batch"] = whole
        entry["batchHash"] = hash_of({n: a for n, a in data.items() if n.startswith("batch/")})
        return data

    def _folder_in(self, base: Path) -> Path | None:
        """The part of this capture among those of a rank: the one that opened at the same step."""
        for folder in sorted(base.parent.glob(f"{base.name}*")):
            found = None if folder.suffix == ".partial" else _manifest_in(folder)
            if found is not None and found["flushed"]["step"] == self._manifest["flushed"]["step"]:
                return folder
        return None

    def _await(self, rank: int, look: Any) -> Any:
        end = time.monotonic() + PATIENCE
        while (found := look()) is None:
            if time.monotonic() > end:
                raise OSError(f"the part of rank {rank} did not arrive within {PATIENCE:.0f} s")
            time.sleep(0.02)
        return found


def _manifest_in(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf8"))
        return found
    except (OSError, ValueError):
        return None


def _listed(folder: Path, step: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The manifest of a part and its entry of a step, once it has one. Raises OSError where the part has ended before it."""
    part = _manifest_in(folder)
    if part is None:
        return None
    entry = next((one for one in part["steps"] if one["step"] == step), None)
    if entry is None and "ended" in part:
        raise OSError(f"{folder.parent.name} stopped writing: {part['ended']}")
    return None if entry is None else (part, entry)


def _weights_of(one: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """The checksum of a rank's weights before a step, and the tensors whose is another than on the first rank."""
    own, those = (step.get("before", {}).get("weights") for step in (one, first))
    if own is None or those is None:
        return {}
    apart = [name for name, sum in own["tensors"].items() if those["tensors"].get(name) != sum]
    return {"weights": own["sum"], **({"apart": apart} if apart else {})}


def _pieces_of(part: Mapping[str, Any]) -> dict[str, Piece]:
    return {name: Piece.of_json(value) for name, value in part.get("pieces", {}).items()}


def _renamed(tree: Any, prefix: str) -> Any:
    """The tree of a batch with a prefix to the names of its tensors."""
    if not isinstance(tree, Mapping):
        return tree
    (kind, value), *_ = tree.items()
    if kind == "tensor":
        return {"tensor": prefix + value}
    if kind == "dict":
        return {"dict": [[key, _renamed(part, prefix)] for key, part in value]}
    return {kind: [_renamed(part, prefix) for part in value]} if kind in ("list", "tuple") else tree


def _is_shard(name: str) -> bool:
    return not name.startswith(("batch/", "rng/"))


def _write_whole(path: Path, parts: Sequence[_Part], wanted: Any, data: Mapping[str, Array] | None = None) -> int:
    """Writes the tensors of all parts, each put together when its turn comes, and `data` unchanged."""
    sources: list[Source] = [_kept(name, array) for name, array in (data or {}).items()]
    kinds = [part.kinds() for part in parts]
    names = dict.fromkeys(name for kind in kinds for name in kind if wanted(name))
    for name in names:
        holders = [(part, kind[name]) for part, kind in zip(parts, kinds) if name in kind]
        sources.append(_joined(name, holders))
    return write_fetched(path, sources, (source.fetch(None) for source in sources))


def _kept(name: str, array: Array) -> Source:
    kind, values = words(array)
    return Source(name, kind, values.shape, lambda _: (kind, values))


def _joined(name: str, holders: Sequence[tuple[_Part, tuple[str, tuple[int, ...]]]]) -> Source:
    """A tensor of several ranks. What none of them holds a shard of is that of the first."""
    placed = [(part, kind[1], part.piece(name)) for part, kind in holders]
    shards = [(part, local, piece) for part, local, piece in placed if piece is not None]
    dtype = holders[0][1][0]
    if not shards:
        part = holders[0][0]
        return Source(name, dtype, holders[0][1][1], lambda _: (dtype, part.words(name)))
    shape = shards[0][2].shape
    boxes = {(piece.offset, local) for _, local, piece in shards}
    adds = any(piece.adds for _, _, piece in shards)
    covered = sum(math.prod(local) for _, local in boxes)
    if covered != math.prod(shape) or any(piece.shape != shape for _, _, piece in shards):
        raise OSError(f'the shards of "{name}" have {covered} entries and the whole has {math.prod(shape)}')

    def fetch(_: Any) -> Array:
        whole: np.ndarray | None = None
        for part, local, piece in shards:
            values = part.words(name)
            if whole is None:
                whole = np.zeros(math.prod(shape) if piece.flat else shape, values.dtype)
            place = tuple(slice(at, at + size) for at, size in zip(piece.offset, local))
            if adds:
                whole[place] = _sum(dtype, whole[place], values)
            else:
                whole[place] = values
        assert whole is not None
        return dtype, whole.reshape(shape)

    return Source(name, dtype, shape, fetch)


def _sum(dtype: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sum of two arrays of words."""
    if dtype != "BF16":
        return np.asarray(a + b)
    wide = [(words.view("<u2").astype("<u4") << 16).view("<f4") for words in (np.array(a), np.array(b))]
    bits = (wide[0] + wide[1]).view("<u4")
    # To the nearest, ties to the even word.
    return np.asarray((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").view(a.dtype)

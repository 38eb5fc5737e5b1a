"""The ledger: a few hundred bytes of every step, so that two runs can be compared from their first step on.

A folder next to the capture, which `clippy-diag compare` reads (docs/compare.md describes the files):

    steps.jsonl       one line a session (a process that trains) and one a step; steps-000001.jsonl … are older files.
    tensors/*.bin     every N-th step: sketch and checksum of gradient, weights and optimizer state of each tensor.
    ids/*.bin         batch ids of each step, where the loop gives them.

Every line and every record is written by one system call. A killed process can tear only its last line or record, which a
reader recognises. No failure here reaches the training loop.
"""

from __future__ import annotations

import functools
import json
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .captures import replace_file
from .sketch import SIZE

VERSION = 1
#: Up to so many parameters every step has its tensors.
EVERY_STEP_UP_TO = 5_000
#: Beyond that every so-manieth: its sketches and checksums take some 75 ns of a parameter, a dense step of batch 1,024
#: some 50 to 70 ns, and what is kept of every step takes 2 % of that.
EVERY = 256
#: The first steps of a session have their tensors however large the model is: most differences are there already.
FIRST_STEPS = 4
#: Bytes of steps.jsonl at which a new file begins.
ROTATE = 16_000_000
#: Records in a file of `tensors` or `ids`.
BLOCK = 64
#: Steps at the beginning and at the end whose records are all kept.
WINDOW = 1_000
MAGIC = b"CDL1"
#: Magic, checksum of the rest, session, step, bytes of the payload, kind.
HEAD = struct.Struct("<4sIIqII")
#: What a record of tensors holds, in this order, one bit each in its kind.
ROLES = ("gradient", "weights", "state", "weightsAfter", "stateAfter", "weightsNext", "stateNext")
#: Bytes of a tensor in a role: sketch and checksum.
ENTRY = 8 * SIZE + 8
#: Kinds of records of ids.
RANGES, ROWS, TEXT = 0, 1, 2
#: Windows would turn every line's end into two bytes.
_APPEND = os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
#: JSON without blanks.
_text_of = json.JSONEncoder(separators=(",", ":")).encode
_SECRET = ("key", "token", "secret", "password", "passwd", "credential", "auth")


class Summary(NamedTuple):
    """One role of all tensors: sketches of shape [tensors, 64] and checksums of shape [tensors]."""

    sketches: np.ndarray
    checksums: np.ndarray


def every_of(parameters: int) -> int:
    """N, the steps from one with tensors to the next, by the size of the model alone."""
    return 1 if parameters <= EVERY_STEP_UP_TO else EVERY


def bits_of(value: float) -> str:
    """The 16 hex digits of a float64."""
    return struct.pack(">d", value).hex()


#: Bytes of an array from which on `hash_of` leaves out its CRC-32, which takes longer than the rest.
SMALL = 4096
#: Words that it sums at a time.
_PIECE = 1 << 15
_MASK = 0xFFFFFFFFFFFFFFFF
_multipliers = np.zeros(0, np.uint64)


def _odd_numbers(count: int) -> np.ndarray:
    """The first odd numbers of the sequence splitmix64, made once for the largest batch."""
    global _multipliers
    if len(_multipliers) < count:
        z = np.arange(1, max(count, 1024) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        _multipliers = z ^ z >> np.uint64(31) | np.uint64(1)
    return _multipliers[:count]


def hash_of(arrays: Mapping[str, np.ndarray]) -> str:
    """64 bits of named arrays, their types and shapes, as 16 hex digits.

    The upper halves of two sums of 8-byte words times odd numbers; the words of the second begin 4 bytes later, since the upper
    half of a sum hardly depends on the highest bits of its words. Arrays below SMALL bytes have the CRC-32 in place of the
    second: there it is no slower.
    """
    crc, first, second = 0, 0, 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        data = array.reshape(-1).view(np.uint8)
        crc = zlib.crc32(_heading(name, array.dtype, array.shape), crc)
        whole = len(data) // 8 * 8
        words, odd = data[:whole].view(np.uint64), _odd_numbers(whole // 8)
        first, second = first * 31 & _MASK, second * 31 & _MASK
        if len(data) < SMALL:
            first += int(np.dot(words, odd))
            crc = zlib.crc32(data.data, crc)
            continue
        shifted = data[4 : whole - 4].view(np.uint64)
        # In pieces that are still in the cache for the second sum.
        for begin in range(0, len(words), _PIECE):
            piece = slice(begin, begin + _PIECE)
            first += _dot(words[piece], odd[piece])
            second += _dot(shifted[piece], odd[piece][: len(shifted) - begin])
        crc = zlib.crc32(data[whole - 4 :].data, zlib.crc32(data[:4].data, crc))
    return f"{crc ^ ((second & _MASK) >> 32):08x}{(first & _MASK) >> 32:08x}"


def _dot(words: np.ndarray, odd: np.ndarray) -> int:
    """The sum of products of whole numbers: `np.dot` has one loop for all strides, which takes twice as long."""
    return int(np.einsum("i,i", words, odd))


@functools.lru_cache(maxsize=256)
def _heading(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    return f"{name} {dtype.str} {shape}".encode()


class _Blocks:
    """Records in files of BLOCK each; older files are thinned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: int | None = None
        self._in_file = 0
        #: By file, the steps of its records; older first.
        self.steps: dict[Path, list[int]] = {}
        self.size = 0
        for path in sorted(folder.glob("*.bin")) if folder.exists() else []:
            self.steps[path] = [step for _, step, _ in _records(path.read_bytes())]
            self.size += path.stat().st_size
        self._number = int(next(reversed(self.steps)).stem) if self.steps else 0

    def append(self, session: int, step: int, kind: int, payload: bytes) -> bool:
        """Writes a record; returns whether a file became full."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._number += 1
            self._path = self.folder / f"{self._number:06d}.bin"
            self._file = os.open(self._path, os.O_WRONLY | os.O_EXCL | _APPEND, 0o644)
            self._in_file, self.steps[self._path] = 0, []
        data = record_of(session, step, kind, payload)
        os.write(self._file, data)
        self.size += len(data)
        self.steps[self._path].append(step)
        self._in_file += 1
        if self._in_file < BLOCK:
            return False
        self.close()
        return True

    def thin(self, keep: Any) -> None:
        """Rewrites the full files in which a step is not kept."""
        for path, steps in list(self.steps.items()):
            if (self._file is not None and path == self._path) or all(map(keep, steps)):
                continue
            before = path.read_bytes()
            kept = [(step, data) for data, step, _ in _records(before) if keep(step)]
            self.size -= len(before)
            if not kept:
                del self.steps[path]
                path.unlink()
                continue
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(b"".join(data for _, data in kept))
            replace_file(temporary, path)
            self.size += sum(len(data) for _, data in kept)
            self.steps[path] = [step for step, _ in kept]

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def record_of(session: int, step: int, kind: int, payload: bytes) -> bytes:
    """The bytes of a record."""
    rest = struct.pack("<IqII", session, step, len(payload), kind)
    return MAGIC + struct.pack("<I", zlib.crc32(payload, zlib.crc32(rest))) + rest + payload


def _records(data: bytes) -> list[tuple[bytes, int, int]]:
    """(bytes, step, kind) of the whole records of a file: it ends at the first that is not."""
    found, at = [], 0
    while at + HEAD.size <= len(data):
        magic, crc, _, step, size, kind = HEAD.unpack_from(data, at)
        end = at + HEAD.size + size
        if magic != MAGIC or end > len(data) or zlib.crc32(data[at + 8 : end]) != crc:
            break
        found.append((data[at:end], step, kind))
        at = end
    return found


class Ledger:
    """Writes the ledger of one training; used by the recorders of all frameworks.

    folder    where it goes; a later process that trains on adds its session to it
    budget    bytes of all its files; beyond it records of tensors are thinned further, which the ledger says
    every     N, the steps from one with tensors to the next; None: by the number of parameters
    """

    def __init__(self, folder: str | Path, budget: int = 200_000_000, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise ValueError(f"clippy-diag: ledger_every={every} must be at least 1")
        self.folder, self.budget, self.given_every = Path(folder), budget, every
        self.every = every or 1
        self.stopped: str | None = None
        self.session = int.from_bytes(os.urandom(4), "little")
        self._head = b""
        #: Steps after which a step's line is written at the latest: a killed process may lose so many.
        self.late_by = 1
        self._lines: int | None = None
        self._written = 0
        self._older = 0
        self._tensors = _Blocks(self.folder / "tensors")
        self._ids = _Blocks(self.folder / "ids")
        self._steps_taken = 0
        self._first: int | None = None
        self._window, self._between = WINDOW, 10
        self._full = False
        self._pid = os.getpid()

    # ---- what an integration calls

    def begin(self, described: Mapping[str, Any]) -> None:
        """A session's line: `parameters` (their number), `tensors` (name, shape, dtype in forward order), `options` by
        group, and what else of the settings is known."""
        self.every = self.every_for(int(described["parameters"]))
        self.session = int.from_bytes(os.urandom(4), "little")
        own = {"session": f"{self.session:08x}", "every": self.every, "lateBy": self.late_by}
        document = {"ledger": VERSION, **own, **described}
        self._head = (json.dumps(document, separators=(",", ":")) + "\n").encode()
        self._steps_taken = 0
        self._open()
        self._write(self._head)

    def every_for(self, parameters: int) -> int:
        """N of a model of so many parameters."""
        return self.given_every or every_of(parameters)

    def due(self, step: int) -> bool:
        """Whether this step is one with tensors."""
        return step % self.every == 0 or self._steps_taken < FIRST_STEPS

    def line(self, entry: Mapping[str, Any], seen: bool = True) -> None:
        """A step's line; `seen`: whether it counts as one of the first, whose tensors are wanted."""
        self._steps_taken += seen
        if self._first is None:
            self._first = int(entry["step"])
        text = _text_of({key: value for key, value in entry.items() if value is not None})
        self._write(text.encode() + b"\n")
        if self._written > ROTATE:
            self._rotate()

    def tensors(self, step: int, roles: Mapping[str, Summary]) -> None:
        """Sketches and checksums of a step, by role."""
        if self._full:
            return
        kind, parts = 0, []
        for bit, role in enumerate(ROLES):
            if role in roles:
                kind |= 1 << bit
                summary = roles[role]
                rows = np.empty((len(summary.checksums), SIZE + 1), "<f8")
                rows[:, :SIZE] = summary.sketches
                rows.view("<u8")[:, SIZE] = summary.checksums
                parts.append(rows.tobytes())
        if self._tensors.append(self.session, step, kind, b"".join(parts)):
            self._thin(step)

    def ids(self, step: int, batch_id: Any) -> None:
        """The id of a step's batch, or one for each of its rows."""
        if batch_id is None or self._full:
            return
        if self._ids.append(self.session, step, *_encoded(batch_id)):
            self._thin(step)

    def close(self) -> None:
        """Ends the session. Nothing is lost without it."""
        self._tensors.close()
        self._ids.close()
        if self._lines is not None:
            os.close(self._lines)
            self._lines = None

    # ---- files

    def _open(self) -> None:
        if self._lines is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "steps.jsonl"
        self._lines = os.open(path, os.O_RDWR | _APPEND, 0o644)
        self._written = os.fstat(self._lines).st_size
        self._older = sum(other.stat().st_size for other in self.folder.glob("steps-*.jsonl"))
        if self._written:
            os.lseek(self._lines, -1, os.SEEK_END)
            if os.read(self._lines, 1) != b"\n":
                self._write(b"\n")  # a killed process left half a line

    def _write(self, data: bytes) -> None:
        if os.getpid() != self._pid or self._lines is None:
            return
        os.write(self._lines, data)
        self._written += len(data)

    def _rotate(self) -> None:
        assert self._lines is not None
        numbers = [int(path.stem[6:]) for path in self.folder.glob("steps-*.jsonl") if path.stem[6:].isdigit()]
        os.close(self._lines)
        self._lines = None
        replace_file(self.folder / "steps.jsonl", self.folder / f"steps-{max(numbers, default=0) + 1:06d}.jsonl")
        self._open()
        self._write(self._head)

    def _size(self) -> int:
        return self._tensors.size + self._ids.size + self._written + self._older

    def _keeps(self, now: int) -> Any:
        first, window, between = self._first or 0, self._window, self._between

        def keep(step: int) -> bool:
            if step < first + window or step > now - window:
                return True
            return step % between == 0 and (step < 100_000 or step % (10 * between) == 0)

        return keep

    def _thin(self, now: int) -> None:
        """Keeps what the rule keeps, and less of it while that is more than the budget."""
        for blocks in (self._tensors, self._ids):
            blocks.thin(self._keeps(now))
        said = (self._window, self._between)
        while self._size() > self.budget and not self._full:
            if self._between < 1 << 40:
                self._between *= 4
            if self._window > BLOCK:
                self._window //= 2
            elif self._between >= 1 << 40:
                self._full = True
            for blocks in (self._tensors, self._ids):
                blocks.thin(self._keeps(now))
        if said != (self._window, self._between):
            thinned = {"step": now, "window": self._window, "between": self._between, "full": self._full}
            self._write((json.dumps({"thinned": thinned}, separators=(",", ":")) + "\n").encode())


def _encoded(batch_id: Any) -> tuple[int, bytes]:
    """Kind and payload of a batch's ids: ranges of numbers where they are shorter, numbers, or JSON."""
    plain = batch_id.tolist() if hasattr(batch_id, "tolist") else batch_id
    many = isinstance(plain, (list, tuple, range))
    rows = list(plain) if many else [plain]
    if many and rows and all(isinstance(row, int) and not isinstance(row, bool) for row in rows):
        numbers = np.array(rows, "<i8")
        starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 2) != 1)
        counts = np.diff(np.append(starts, len(numbers)))
        if 2 * len(starts) < len(numbers):
            return RANGES, np.stack([numbers[starts], counts], 1).astype("<i8").tobytes()
        return ROWS, numbers.tobytes()
    return TEXT, json.dumps(rows if many else rows[0], default=str).encode()


def settings_now() -> dict[str, Any]:
    """Command line without what may be a secret, and versions: what two runs may differ in."""
    import platform

    from . import __version__

    return {
        "command": _without_secrets(sys.argv),
        "versions": {"clippy-diag": __version__, "python": platform.python_version(), "numpy": np.__version__},
    }


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    shown, hide = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        secret = name.startswith("-") and any(word in name.lower() for word in _SECRET)
        shown.append("…" if hide else f"{name}=…" if secret and equals else argument)
        hide = secret and not equals
    return shown


def guarded(ledger: Ledger, do: Any, *arguments: Any) -> None:
    """Calls `do` unless the ledger has stopped; what is raised stops the ledger, with one warning, and not the training."""
    if ledger.stopped is not None:
        return
    try:
        do(*arguments)
    except Exception as error:
        ledger.stopped = f"{type(error).__name__}: {error}"
        warnings.warn(f"clippy-diag: the ledger stopped, training goes on: {ledger.stopped}", stacklevel=3)

"""The files of a capture: safetensors and capture.json, written whole, read back. Numpy only.

A capture is a folder: capture.json, initial.safetensors (what a training needs to go on from before the first
recorded step) and one safetensors file a step. docs/captures.md says what each holds.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Union

import numpy as np

MANIFEST = "capture.json"
INITIAL = "initial.safetensors"

#: A tensor in main memory: a numpy array, or (safetensors' name of the type, its words) where numpy lacks the type.
Array = Union[np.ndarray, tuple[str, np.ndarray]]

DTYPES = {
    "f8": "F64",
    "f4": "F32",
    "f2": "F16",
    "i8": "I64",
    "i4": "I32",
    "i2": "I16",
    "i1": "I8",
    "u8": "U64",
    "u4": "U32",
    "u2": "U16",
    "u1": "U8",
    "b1": "BOOL",
}
#: The same by numpy's types, as they were met.
_NAMES: dict[Any, str] = {}
_NUMPY = {name: kind for kind, name in DTYPES.items()}
#: Bytes of an entry, by safetensors' name of the type.
WIDTH = {**{name: int(kind[1]) for kind, name in DTYPES.items()}, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


class Source(NamedTuple):
    """A tensor that is still where the training has it, so that it can be written without a copy of its own.

    `fetch(buffer)` copies it into main memory: into `buffer`, an array that an earlier fetch of the same name gave
    and that is free again, or into a new one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    fetch: Callable[[np.ndarray | None], Array]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * WIDTH[self.dtype]


def words(array: Array) -> tuple[str, np.ndarray]:
    """The array with safetensors' name of its type. Raises TypeError for a type that safetensors has no name for."""
    if isinstance(array, tuple):
        return array
    name = _NAMES.get(array.dtype)
    if name is None:
        kind = array.dtype.str[1:]
        if kind not in DTYPES:
            raise TypeError(f"a capture holds numbers and flags, not {array.dtype}")
        name = _NAMES[array.dtype] = DTYPES[kind]
    return name, array


def size_of(arrays: Iterable[Array]) -> int:
    """Bytes of all arrays."""
    return sum(words(array)[1].nbytes for array in arrays)


def _header(entries: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """u64 length, then JSON padded with spaces to 8 bytes: where each (name, dtype, shape) lies."""
    header: dict[str, Any] = {}
    offset = 0
    for name, dtype, shape in entries:
        end = offset + math.prod(shape) * WIDTH[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _data(array: Array) -> memoryview:
    """The bytes of an array, row by row, little-endian."""
    kept = np.ascontiguousarray(words(array)[1])
    if kept.dtype.byteorder == ">":
        kept = kept.astype(kept.dtype.newbyteorder("<"))
    return kept.reshape(-1).view(np.uint8).data


def write_tensors(path: str | Path, tensors: Mapping[str, Array]) -> int:
    """Writes a safetensors file under a temporary name and renames it; returns its size in bytes."""
    named = [(name, *words(array)) for name, array in tensors.items()]
    head = _header((name, dtype, array.shape) for name, dtype, array in named)
    return _write(path, [head, *(_data((dtype, array)) for _, dtype, array in named)])


def write_fetched(path: str | Path, sources: list[Source], arrays: Iterable[Array]) -> int:
    """The same from arrays that come one by one, those of `sources` in order, so that not all are in memory at a time."""
    head = _header((source.name, source.dtype, source.shape) for source in sources)
    return _write(path, itertools.chain([head], map(_data, arrays)))


def _write(path: str | Path, parts: Iterable[Any]) -> int:
    """Writes and syncs a file before it gets its name: after a loss of power no manifest may name a file without its bytes."""
    size = 0
    with _temporary(path):
        with open(f"{path}.tmp", "wb") as file:
            for part in parts:
                size += file.write(part)
            file.flush()
            os.fsync(file.fileno())
        replace_file(f"{path}.tmp", path)
    return size


#: Bytes of a document that a recorder reads where it starts. Its own, with 500 losses, are a hundredth of that.
LONGEST = 4 << 20


def text_of(path: Path) -> str:
    """The text of a regular file of no more than `LONGEST` bytes. Raises OSError for anything else: who reads from a pipe may wait
    for ever, and of a long file as long as it takes."""
    if not path.is_file() or path.stat().st_size > LONGEST:
        raise OSError(errno.EINVAL, "no regular file, or a long one", str(path))
    return path.read_text("utf8")


def replace_file(source: str | Path, target: str | Path) -> None:
    """Puts a file in the place of another; raises OSError as `os.replace`.

    Windows refuses while somebody (a reader, a virus scanner) has one of them open: there it is tried again for 1.3 s.
    """
    for wait in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64) if os.name == "nt" else ():
        try:
            os.replace(source, target)
            return
        except PermissionError:
            time.sleep(wait)
    os.replace(source, target)


def sync_folder(path: str | Path) -> None:
    """Syncs the names in a folder, where the system can (Windows cannot). Never raises for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _temporary(path: str | Path) -> Iterator[None]:
    """Removes the temporary file of `path` where writing it fails: a full disk gets its bytes back."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError, ValueError):
            os.unlink(f"{path}.tmp")
        raise


def write_json(path: str | Path, document: Any, durable: bool = True, least: int = 0) -> None:
    """Writes a JSON document whole or not at all, `durable` also across a loss of power.

    Numbers that JSON lacks are written as text, as by `number`: an option that is NaN is what somebody looks for. A text shorter
    than `least` bytes is followed by blanks: room for `overwrite_json`.
    """
    with _temporary(path):
        with open(f"{path}.tmp", "w", encoding="utf8", newline="\n") as file:
            text = json.dumps(numbers_as_text(document), indent=1, allow_nan=False)
            file.write(text + " " * (least - len(text)))
            file.flush()
            if durable:
                os.fsync(file.fileno())
        replace_file(f"{path}.tmp", path)
    if durable:
        sync_folder(Path(path).parent)


def overwrite_json(path: str | Path, shorter: Callable[[], Mapping[str, Any] | None]) -> bool:
    """Writes a JSON document into the bytes that a file has already, for a disk that is full; returns whether it fits.

    shorter  returns a shorter document at each call, and None after the last. A kill during the write leaves a truncated file.
    Never raises.
    """
    try:
        room = os.stat(path).st_size
        while (document := shorter()) is not None:
            text = json.dumps(numbers_as_text(document), allow_nan=False).encode()
            if len(text) <= room:
                with open(path, "r+b") as file:
                    file.write(text)
                    file.truncate()
                return True
    except Exception:  # whatever the disk does: it is not written
        pass
    return False


def free_space(folder: str | Path) -> int | None:
    """Bytes that are free on the disk of a folder that may not exist yet; None where nobody can tell."""
    path = Path(folder)
    for place in (path, *path.parents):
        with contextlib.suppress(OSError, ValueError):
            return shutil.disk_usage(place).free
    return None


def read_raw(path: str | Path, prefix: str = "", exact: bool = False) -> dict[str, tuple[str, np.ndarray]]:
    """Tensors of a safetensors file whose name starts with `prefix`, or equals it where `exact`: safetensors' name of the
    type, and the words in the tensor's shape (bfloat16 as `<u2`, the 8-bit floats as bytes).

    Raises ValueError for a file that is cut short or has no valid header.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length)
        if len(text) < length:
            raise ValueError(f"{path}: the header of {length} bytes is cut short")
        start = file.tell()
        tensors = {}
        for name, entry in json.loads(text).items():
            if name == "__metadata__" or not name.startswith(prefix) or (exact and name != prefix):
                continue
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            data = file.read(end - begin)
            if len(data) < end - begin:
                raise ValueError(f'{path}: tensor "{name}" is cut short')
            dtype = entry["dtype"]
            kind = "u2" if dtype == "BF16" else _NUMPY.get(dtype, "u1")
            tensors[name] = dtype, np.frombuffer(data, "<" + kind).reshape(entry["shape"]).copy()
    return tensors


def read_tensors(path: str | Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The same as numbers: bfloat16 is widened to float32."""
    return {name: numbers_of(*raw) for name, raw in read_raw(path, prefix).items()}


def numbers_of(dtype: str, array: np.ndarray) -> np.ndarray:
    """An array of safetensors' type as numbers: bfloat16 is widened to float32."""
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array


def changing_options(steps: Sequence[Mapping[str, Any]]) -> dict[int, dict[int, dict[str, Any]]]:
    """By step, and of each group, the options that change within the record, with their values there, under the capture's names.

    steps  entries of capture.json, in order: they hold the options of a group where it begins and where they change
    """
    first: dict[int, Mapping[str, Any]] = {}
    varied: dict[int, set[str]] = {}
    for options in (one for entry in steps for one in entry.get("options", ())):
        begun = first.setdefault(options["group"], options)
        changed = {name for name in options if begun.get(name) != options[name]} - {"learningRate"}
        varied.setdefault(options["group"], set()).update(changed)
    now: dict[int, dict[str, Any]] = {}
    found = {}
    for entry in steps:
        for options in entry.get("options", ()):
            group = options["group"]
            now = {**now, group: {name: options[name] for name in varied[group] if name in options}}
        found[entry["step"]] = now
    return found


def options_of_step(
    written: Mapping[int, Mapping[int, Mapping[str, Any]]], entry: Mapping[str, Any]
) -> dict[int, dict[str, Any]]:
    """Of each group, the options that `changing_options` has of a step; where an arm gave the entry a `decayFactor`, the weight
    decay times it."""
    factor = entry.get("decayFactor", 1)
    return {
        group: {name: value * factor if name == "weightDecay" else value for name, value in options.items()}
        for group, options in written.get(entry["step"], {}).items()
    }


def number(value: float) -> float | str:
    """A number as JSON has it; those that are not finite are text."""
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def numbers_as_text(document: Any) -> Any:
    """A document of mappings, lists and plain values in which every float that JSON lacks is text, as by `number`."""
    if isinstance(document, float):
        return number(document)
    if isinstance(document, Mapping):
        return {key: numbers_as_text(value) for key, value in document.items()}
    if isinstance(document, (list, tuple)):
        return [numbers_as_text(value) for value in document]
    return document


def number_back(value: Any) -> float:
    """The number that `number` wrote; NaN for null."""
    return math.nan if value is None else float(value)


class Capture(NamedTuple):
    """A capture that was written: its folder and its manifest, as capture.json has it."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Entries of the recorded steps."""
        steps: list[dict[str, Any]] = self.manifest["steps"]
        return steps

    def initial(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Tensors from before the first step."""
        return read_tensors(self.folder / INITIAL, prefix)

    def tensors(self, entry: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
        """Tensors of a step's file."""
        return read_tensors(self.folder / entry["file"], prefix)

    def gradients(self, entry: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Recorded gradients of a step by parameter, rows of an embedding spread over its table; those that had none are left out."""
        found = self.tensors(entry, "grad/")
        dense: dict[str, np.ndarray] = {}
        for spec in self.manifest["parameters"]:
            full = f"grad/{spec['name']}"
            if full in found:
                dense[spec["name"]] = found[full]
            elif f"{full}/indices" in found:
                values = found[f"{full}/values"]
                table = dense[spec["name"]] = np.zeros(spec["shape"], values.dtype)
                np.add.at(table, found[f"{full}/indices"], values)
        return dense

    def kinds(self) -> dict[str, str]:
        """safetensors' name of the type of each parameter."""
        raw = read_raw(self.folder / INITIAL, "param/")
        return {name[len("param/") :]: dtype for name, (dtype, _) in raw.items()}


def open_capture(folder: str | Path) -> Capture:
    """Opens a capture by its folder or its capture.json. Raises FileNotFoundError, or ValueError for a version that
    is not known."""
    path = Path(folder)
    path = path if path.name == MANIFEST else path / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"clippy-diag: {path.parent} holds no capture: a recorder writes one when the loss leaves its usual range,"
            " and none while it stays in it; recorder.capture() records the next steps as a drill"
        )
    with open(path, encoding="utf8") as file:
        manifest = json.load(file)
    if manifest.get("version") not in (1, 2, 3):
        raise ValueError(f"{path}: version {manifest.get('version')} is not known; known are 1, 2 and 3")
    return Capture(path.parent, manifest)


def model_files(path: str | Path) -> dict[str, Any]:
    """Members of the manifest for a model description (`model`, and `copies`: its files by the name that they get). The model that
    an objective names comes with it."""
    path = Path(path)
    described: dict[str, Any] = {"model": path.name, "copies": {path.name: str(path)}}
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf8"))
        if isinstance(content, dict) and content.get("kind") == "layers":
            named = path.parent / content["model"]
            described["copies"][named.name] = str(named)
    return described


def flatten(batch: Any, is_tensor: Callable[[Any], bool]) -> tuple[dict[str, Any], Any]:
    """A batch as named tensors, nested names joined by slashes, and the tree that puts it together again.

    Mappings, lists and tuples may nest. Numbers, text and None stay in the tree; anything else is named there by its
    type, and `unflatten` refuses it.
    """
    leaves: dict[str, Any] = {}

    def walk(value: Any, name: str) -> Any:
        if is_tensor(value):
            unique, n = name or "value", 2
            while unique in leaves:
                unique, n = f"{name}.{n}", n + 1
            leaves[unique] = value
            return {"tensor": unique}
        inside = f"{name}/" if name else ""
        if isinstance(value, (list, tuple)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [walk(part, f"{inside}{k}") for k, part in enumerate(value)]}
        # To ask `Mapping` takes ten times as long.
        if isinstance(value, (dict, Mapping)):
            return {"dict": [[key, walk(part, f"{inside}{key}")] for key, part in value.items()]}
        if value is None or isinstance(value, (bool, int, str)):
            return {"value": value}
        if isinstance(value, float):
            return {"number": number(value)}
        return {"lost": type(value).__name__}

    tree = walk(batch, "")
    return leaves, tree


def unflatten(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """The batch that `flatten` took apart. Raises ValueError for a part that a capture cannot hold."""
    (kind, value), *_ = tree.items()
    if kind == "tensor":
        return leaves[value]
    if kind == "dict":
        return {key: unflatten(part, leaves) for key, part in value}
    if kind in ("list", "tuple"):
        parts = [unflatten(part, leaves) for part in value]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "lost":
        raise ValueError(f"the batch held a {value}, which a capture does not keep")
    return number_back(value) if kind == "number" else value

"""Options of the recorders and callbacks of every framework, checked in the constructor."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypedDict, Union

from .messages import warn

#: "2GB", "512 MiB", or bytes.
Budget = Union[str, int]

_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "B": 1}


def bytes_of(budget: str | int | float) -> int:
    """Bytes of a budget such as `"2GB"`, `"512 MiB"` or a number. Raises ValueError for any other text or a negative number."""
    if isinstance(budget, (int, float)) and not isinstance(budget, bool):
        if not 0 <= budget < float("inf"):
            raise ValueError(f"clippy-diag: {budget} is no size in bytes")
        return int(budget)
    text = str(budget).strip().upper()
    for unit, factor in sorted(_UNITS.items(), key=lambda item: -len(item[0])):
        if text.endswith(unit):
            try:
                return bytes_of(float(text[: -len(unit)]) * factor)
            except ValueError:
                break
    raise ValueError(f'clippy-diag: "{budget}" is no size; write "2GB", "500MB" or bytes')


class Options(TypedDict):
    """Options that all recorders have, with values that were checked."""

    #: K: parameters and state are copied every K steps, so a capture holds K to 2K steps before the incident.
    every: int
    #: Steps recorded after the incident.
    after: int
    memory: int
    disk: int
    #: Incidents that are written in one process.
    max_captures: int


class OldNames(NamedTuple):
    """Names of 0.2 for what has another name now; they work for one version and say so."""

    folder: str | Path | None = None
    every: int | None = None
    after: int | None = None


def deprecated(old: str, new: str, stacklevel: int = 3) -> None:
    """Says that a name is the old one of another. Never raises."""
    warn(f"{old} is the old name of {new}, and goes in the next version", stacklevel, DeprecationWarning)


def path_of(path: str | Path, old: OldNames) -> Path:
    """Where captures go. Raises TypeError for what is no path."""
    if old.folder is not None:
        deprecated("folder=", "path=", 4)
        path = old.folder
    if not isinstance(path, (str, Path)):
        raise TypeError(f"clippy-diag: path is a {type(path).__name__}, not the path of a folder")
    return Path(path)


def options_of(
    snapshot_every_steps: int,
    steps_after: int,
    memory: Budget,
    disk: Budget,
    max_captures: int,
    old: OldNames,
) -> Options:
    """The options of a recorder. Raises ValueError for a value out of its range, and TypeError for one of another type."""
    if old.every is not None:
        deprecated("every=", "snapshot_every_steps=", 4)
        snapshot_every_steps = old.every
    if old.after is not None:
        deprecated("after=", "steps_after=", 4)
        steps_after = old.after
    return {
        "every": _count("snapshot_every_steps", snapshot_every_steps, 1),
        "after": _count("steps_after", steps_after, 0),
        "memory": bytes_of(memory),
        "disk": bytes_of(disk),
        "max_captures": _count("max_captures", max_captures, 0),
    }


def _count(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"clippy-diag: {name}={value!r} is no whole number")
    if value < least:
        raise ValueError(f"clippy-diag: {name}={value} must be at least {least}")
    return value

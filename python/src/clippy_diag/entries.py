"""Members of a step's entry in capture.json: hashes of arrays, and what changed since the step before. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .captures import Array, words
from .ledger import hash_of as hash_of_words


def changed_only(entry: Mapping[str, Any], last: Mapping[str, Any] | None) -> dict[str, Any]:
    """An entry without the options and modes that are as at the step written before; the first has all."""
    kept = dict(entry)
    for member in ("options", "modes"):
        if member not in kept or last is None or member not in last:
            continue
        if kept[member] == last[member]:
            del kept[member]
        elif member == "options":
            known = {one["group"]: one for one in last[member]}
            kept[member] = [one for one in kept[member] if known.get(one["group"]) != one]
    return kept


def hash_of(arrays: Mapping[str, Array]) -> str:
    """64 bits of a hash of named arrays, with their types and shapes, as 16 hexadecimal digits: that of the ledger."""
    typed = {name: words(array) for name, array in arrays.items()}
    return hash_of_words({f"{name} {kind}": values for name, (kind, values) in typed.items()})

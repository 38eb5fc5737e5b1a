"""Methods of a trainer's own objects, replaced while a callback listens there."""

from __future__ import annotations

from typing import Any


class Wrapped:
    """Puts methods on objects, where they hide those of their class, and takes them off again."""

    def __init__(self) -> None:
        self._placed: list[tuple[Any, str]] = []

    def put(self, owner: Any, name: str, method: Any) -> None:
        """Replaces a method of this object alone."""
        # Keras and torch track what is set on a model or an optimizer; these are no part of either.
        object.__setattr__(owner, name, method)
        self._placed.append((owner, name))

    def restore(self) -> bool:
        """Everything as before; returns whether there was something to put back."""
        for owner, name in self._placed:
            owner.__dict__.pop(name, None)
        found, self._placed = bool(self._placed), []
        return found

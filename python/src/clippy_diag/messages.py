"""What the package says to people: on standard error, or as a Python warning. Saying it never raises.

A training must not end because of a message. Warnings may be errors (`python -W error`), standard error may be closed
or its reader gone, and names may hold characters that no encoding has.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

PREFIX = "clippy-diag: "


def tell(text: str) -> bool:
    """Writes one line to standard error; returns whether it could be written. Never raises."""
    line = PREFIX + text.replace("\0", "\\0") + "\n"
    try:
        stream = sys.stderr
        if stream is None:
            return False
        try:
            stream.write(line)
        except UnicodeError:
            stream.write(line.encode("ascii", "backslashreplace").decode("ascii"))
        stream.flush()
    except Exception:  # a closed stream, a broken pipe, a full disk, a replaced stream that raises what it likes
        return False
    return True


def warn(text: str, stacklevel: int = 2, category: type[Warning] = UserWarning) -> bool:
    """Gives a warning, or, where warnings are errors or cannot be shown, the line of `tell`; returns whether the
    text was given out. Never raises.

    stacklevel  as of `warnings.warn`, counted from the caller
    """
    try:
        warnings.warn(PREFIX + text, category, stacklevel=stacklevel + 1)
    except Exception:  # the filter "error" raises the warning itself; showing it may raise anything
        return tell(text)
    return True


def describe(error: BaseException) -> str:
    """An exception as text: its type and what it says. Never raises, whatever its `__str__` does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def warnings_are_no_errors() -> contextlib.AbstractContextManager[object]:
    """Inside, warnings of the libraries that are called are shown, not raised, where filters would make errors of them."""
    # Entering that context forgets which warnings were shown, so it is entered only where it is needed.
    return _shown() if warnings_are_errors() else contextlib.nullcontext()


def warnings_are_errors() -> bool:
    """Whether filters make errors of some warnings."""
    return "error" in [one[0] for one in warnings.filters]


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield

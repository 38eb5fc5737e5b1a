"""The recorder for optax loops, closed loops through the user's own loss and chain, the preflight of a learning rate, and a guard."""

from ..loops import ClosedLoopMismatch
from .closed_loop import closed_loop
from .flight import capture, flight
from .guard import guard, guard_report
from .preflight import preflight
from .recorder import Recorder

ClippyRecorder = Recorder

__all__ = [
    "ClippyRecorder",
    "ClosedLoopMismatch",
    "Recorder",
    "capture",
    "closed_loop",
    "flight",
    "guard",
    "guard_report",
    "preflight",
]

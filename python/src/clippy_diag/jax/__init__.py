"""The recorder for optax loops, and closed loops through the user's own loss and chain."""

from ..loops import ClosedLoopMismatch
from .closed_loop import closed_loop
from .flight import flight
from .recorder import Recorder

ClippyRecorder = Recorder

__all__ = ["ClippyRecorder", "ClosedLoopMismatch", "Recorder", "closed_loop", "flight"]

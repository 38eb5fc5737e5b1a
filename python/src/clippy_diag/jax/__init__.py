"""The recorder for optax loops, closed loops through the user's own loss and chain, and the preflight of a learning rate."""

from ..loops import ClosedLoopMismatch
from .closed_loop import closed_loop
from .flight import flight
from .preflight import preflight
from .recorder import Recorder

ClippyRecorder = Recorder

__all__ = ["ClippyRecorder", "ClosedLoopMismatch", "Recorder", "closed_loop", "flight", "preflight"]

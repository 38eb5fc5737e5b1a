"""The recorder for PyTorch, closed loops and curvature in the user's own model."""

from .closed_loop import ClosedLoopMismatch, LossFunctionError, closed_loop
from .curvature import curvature
from .guard import Guard
from .preflight import preflight
from .recorder import Recorder
from .tracker import Tracker

ClippyRecorder = Recorder

__all__ = [
    "ClippyRecorder",
    "ClosedLoopMismatch",
    "Guard",
    "LossFunctionError",
    "Recorder",
    "Tracker",
    "closed_loop",
    "curvature",
    "preflight",
]

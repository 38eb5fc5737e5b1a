"""The recorder and the callback for Keras 3, on any backend that they name; closed loops in the user's own model."""

from ..loops import ClosedLoopMismatch
from .callback import ClippyCallback
from .closed_loop import closed_loop
from .curvature import curvature
from .guard import Guard
from .preflight import preflight
from .recorder import Recorder

ClippyRecorder = Recorder

__all__ = [
    "ClippyCallback",
    "ClippyRecorder",
    "ClosedLoopMismatch",
    "Guard",
    "Recorder",
    "closed_loop",
    "curvature",
    "preflight",
]

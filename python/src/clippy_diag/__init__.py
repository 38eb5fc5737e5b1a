"""Records training incidents in any Python training loop, for `clippy-diag`. Needs numpy; frameworks where used.

`clippy_diag.torch`, `.huggingface`, `.lightning`, `.accelerate`, `.keras` and `.jax` have the recorders.
`audit` and `assert_clean` check that every recorded step did what its code declares.
`preflight` says before a run which learning rate is too high.
`rerun` runs the steps of a capture again inside the training's own launcher, once for each remedy.
"""

from typing import TYPE_CHECKING, Any

from .auditing import AuditFailed, assert_clean, audit
from .frameworks import preflight

if TYPE_CHECKING:
    from .rerunning import rerun

__version__ = "0.3.0"
__all__ = ["AuditFailed", "__version__", "assert_clean", "audit", "preflight", "rerun"]


def __getattr__(name: str) -> Any:
    """`rerun` is loaded where it is used: the command line of the package works without numpy."""
    if name == "rerun":
        from .rerunning import rerun

        return rerun
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

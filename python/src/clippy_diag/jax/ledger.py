"""What the ledger keeps of a JAX step: the trees of `record` as arrays by name, state by the parameter that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..ledger import Ledger
from ..ledger_steps import ArrayLedger, States

#: Under this name of a slot is what belongs to no parameter, such as the count of updates.
SHARED = "shared"


def array_ledger(ledger: Ledger | None, optimizer: str, hears_updates: bool = False) -> ArrayLedger | None:
    """The ledger of a JAX training, or None; process 0 of several writes it."""
    if ledger is None or jax.process_index() != 0:
        return None
    return ArrayLedger(ledger, lambda: described(optimizer), hears_updates)


def described(optimizer: str) -> dict[str, Any]:
    """What a session's line says of JAX."""
    config: Any = jax.config
    return {
        "framework": f"jax {jax.__version__}",
        "optimizers": [optimizer],
        "device": jax.default_backend(),
        "matmulPrecision": str(config.jax_default_matmul_precision or "default"),
        "x64": bool(config.jax_enable_x64),
        "world": jax.process_count(),
        "versions": {"jax": jax.__version__},
    }


def states_of(leaves: Mapping[str, Any], parameters: Mapping[str, Any]) -> States:
    """Leaves of an optimizer's state by parameter and slot. A leaf belongs to the parameter whose path ends its own; what
    belongs to none is one small array of all parameters."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in parameters}
    for path, leaf in leaves.items():
        parts = path.split("/")
        ends = ("/".join(parts[k:]) for k in range(len(parts)))
        owner = next((end for end in ends if end in found), None)
        if owner is None and len(found) == 1:
            (owner,), path = found, f"{path}/{next(iter(found))}"
        slot = path if owner is None else path[: -len(owner)].rstrip("/") or "state"
        for name in found if owner is None else (owner,):
            found[name][f"{SHARED}/{slot}" if owner is None else slot] = np.asarray(leaf)
    return found

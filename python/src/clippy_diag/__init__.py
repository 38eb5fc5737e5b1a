"""Records training incidents in any Python training loop, for `clippy-diag`. Needs numpy; frameworks where used.

`clippy_diag.torch`, `.huggingface`, `.lightning`, `.accelerate`, `.keras` and `.jax` have the recorders.
"""

__version__ = "0.2.0"

"""Memory for the gradients of a step, or its batch: one piece for all tensors, filled by one call, and used again once nobody
needs it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..captures import Array
from ..ledger_steps import Steady
from . import words as names

#: Bytes at whose multiples tensors begin, as those of torch do: sums of equal tensors are then equal to the bit.
_ALIGNED = 64


class Block:
    """Tensors of one step; `arrays` has them under their names in a capture. Its kind: names, shapes, types."""

    def __init__(self, named: Sequence[tuple[str, torch.Tensor]], kind: Any) -> None:
        self.kind = kind
        sizes = [names.bytes_of(tensor) for _, tensor in named]
        begins = [0]
        for size in sizes:
            begins.append(begins[-1] + -(-size // _ALIGNED) * _ALIGNED)
        memory = torch.empty(begins[-1], dtype=torch.uint8)
        flat: list[np.ndarray] = []
        self.arrays: dict[str, Array] = {}
        #: The same as tensors.
        self.views: dict[str, torch.Tensor] = {}
        for (name, tensor), begin, size in zip(named, begins, sizes):
            kind, numpy_kind = names.DTYPES[tensor.dtype]
            part = memory[begin : begin + size]
            self.views[name] = part.view(tensor.dtype).view(tensor.shape)
            words = part.numpy().view(numpy_kind).reshape(tuple(tensor.shape))
            self.arrays[name] = (kind, words) if names.is_words(tensor.dtype) else words
            flat.append(words.reshape(-1))
        self._views = list(self.views.values())
        self._sums = Steady(flat) if all(tensor.dtype is torch.float32 for _, tensor in named) else None

    def fill(self, tensors: list[torch.Tensor]) -> None:
        """Copies tensors of the types and shapes that it was made for."""
        if hasattr(torch, "_foreach_copy_"):
            torch._foreach_copy_(self._views, tensors)
            return
        for view, tensor in zip(self._views, tensors):
            view.copy_(tensor)

    def norm(self) -> float:
        """Euclidean norm of all that it holds; NaN where that is not all of float32."""
        return math.nan if self._sums is None else self._sums.norm()


class Blocks:
    """Blocks of one kind: as long as the same parameters train, those of earlier steps are filled again."""

    def __init__(self) -> None:
        self._kind: Any = None
        self._free: list[Block] = []

    def filled(self, named: Sequence[tuple[str, torch.Tensor]]) -> Block:
        """A block that holds a copy of these tensors."""
        tensors = [tensor for _, tensor in named]
        kind = [name for name, _ in named], [t.shape for t in tensors], [t.dtype for t in tensors]
        if kind != self._kind:
            self._kind, self._free = kind, []
        block = self._free.pop() if self._free else Block(named, self._kind)
        block.fill(tensors)
        return block

    def release(self, block: Block) -> None:
        """Nobody needs what it holds any more."""
        if block.kind is self._kind:
            self._free.append(block)

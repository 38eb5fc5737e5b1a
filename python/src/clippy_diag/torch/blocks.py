"""Memory for the gradients of a step, or its batch: one piece for all tensors, filled by one call, and used again once nobody
needs it."""

from __future__ import annotations

import itertools
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
#: Bytes that are asked for at a time, unless one block is larger. Numpy has the system put arrays from 4 MB on into large pages, of which
#: a processor remembers where they are: the ring is written and read faster.
_AT_ONCE = 32_000_000


class Block:
    """Tensors of one step; `arrays` has them under their names in a capture. Its kind: names, shapes, types.

    memory  bytes for all of them, each from a multiple of _ALIGNED on
    """

    def __init__(self, named: Sequence[tuple[str, torch.Tensor]], kind: Any, memory: torch.Tensor) -> None:
        self.kind = kind
        sizes = [names.bytes_of(tensor) for _, tensor in named]
        begins = [0, *itertools.accumulate(map(_aligned, sizes))]
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
        #: Memory for blocks that are not made yet, and how many have memory.
        self._memory: list[torch.Tensor] = []
        self._made = 0

    def filled(self, named: Sequence[tuple[str, torch.Tensor]]) -> Block:
        """A block that holds a copy of these tensors."""
        kind = [(name, tensor.shape, tensor.dtype) for name, tensor in named]
        if kind != self._kind:
            self._kind, self._free, self._memory, self._made = kind, [], [], 0
        block = self._free.pop() if self._free else self._new(named)
        block.fill([tensor for _, tensor in named])
        return block

    def release(self, block: Block) -> None:
        """Nobody needs what it holds any more."""
        if block.kind is self._kind:
            self._free.append(block)

    def _new(self, named: Sequence[tuple[str, torch.Tensor]]) -> Block:
        if not self._memory:
            # As many as there are: batches of which each has another shape have one each.
            size = max(_ALIGNED, sum(_aligned(names.bytes_of(tensor)) for _, tensor in named))
            count = max(1, min(self._made, _AT_ONCE // size))
            self._memory, self._made = _memory(size, count), self._made + count
        return Block(named, self._kind, self._memory.pop())


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _memory(size: int, count: int) -> list[torch.Tensor]:
    """Pieces of one size of one array."""
    whole = np.empty(size * count + _ALIGNED, np.uint8)
    begin = -whole.ctypes.data % _ALIGNED
    return list(torch.from_numpy(whole[begin : begin + size * count]).split(size))

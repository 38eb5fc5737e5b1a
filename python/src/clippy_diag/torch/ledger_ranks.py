"""One ledger of a training whose ranks each hold a shard of every tensor: norms, sketches and checksums of shards add up.

What a step's line needs goes with the numbers that the ranks exchange at every step anyway (`News`). Sketches and checksums
of a step with tensors are gathered once, at the step after it, when every rank has said that it holds its own: no rank waits
for one that has stopped. The first rank writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..ledger import ROLES, Ledger, Summary
from ..ledger_steps import number_of
from ..sketch import SIZE, Box, Place
from .ranks import News, Ranks, piece_of

_MASK = 0xFFFFFFFFFFFFFFFF


class Shards:
    """Where the parts of the tensors lie that this rank holds, and which of them it adds: of equal copies on several ranks
    the first alone.

    Raises ValueError for FullyShardedDataParallel with copies of shards, whose ranks do not say which is the first.
    """

    def __init__(self, ranks: Ranks, model: torch.nn.Module) -> None:
        self._ranks = ranks
        for module in model.modules():
            strategy = getattr(getattr(module, "_handle", None), "_sharding_strategy", None)
            if strategy is not None and strategy.name not in ("FULL_SHARD", "SHARD_GRAD_OP"):
                raise ValueError(f"no ledger of FullyShardedDataParallel with {strategy.name} is written")

    def shape(self, parameter: torch.Tensor) -> list[int]:
        """Shape of the whole tensor."""
        return self._ranks.shape_of(parameter)

    def place(self, parameter: torch.Tensor) -> Place:
        """Where this rank's part of a parameter lies."""
        if hasattr(parameter, "to_local"):
            piece = piece_of(parameter)
            return Box(piece.shape, piece.offset)
        flat = self._ranks.flat_piece(parameter)
        return 0 if flat is None else flat.offset[0]

    def held(self, tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor | None:
        """The part of a tensor of a parameter's shape that this rank adds; None where another rank adds the same.

        Raises ValueError for a DTensor whose parts are terms of a sum, as they have no checksum of the whole.
        """
        if not hasattr(tensor, "to_local"):
            alone = self._ranks.flat_piece(parameter) is None and self._ranks.rank > 0
            return None if alone else tensor
        if any(placement.is_partial() for placement in tensor.placements):
            raise ValueError("a tensor is held as terms of a sum, one on each rank")
        at = tensor.device_mesh.get_coordinate()
        copies = [place for place, placement in zip(at or [], tensor.placements) if placement.is_replicate()]
        part: torch.Tensor = tensor.to_local()
        return None if at is None or any(copies) else part

    def held_state(self, slots: Mapping[str, torch.Tensor], parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        """What this rank adds to the state of a parameter: its part of what has the parameter's shape, and what every rank
        has, such as a count of steps, where it holds the first entry."""
        mine = self.held(parameter, parameter)
        if mine is None or not mine.numel():
            return {}
        place = self.place(parameter)
        first = not any(place.start) if isinstance(place, Box) else place == 0
        found = {slot: self.held(value, parameter) for slot, value in slots.items() if value.shape == parameter.shape}
        found.update((slot, value) for slot, value in slots.items() if first and value.shape != parameter.shape)
        return {slot: value for slot in slots if (value := found.get(slot)) is not None}


class RanksLedger(Ledger):
    """A ledger that every rank keeps and the first writes. At each step `ready`, then the ranks meet, then `join`."""

    ranks: Ranks

    @staticmethod
    def of(ranks: Ranks) -> type[RanksLedger]:
        """The class for these ranks, made as `Ledger` is."""
        return type("RanksLedger", (RanksLedger,), {"ranks": ranks})

    #: Norms of gradient and weights, and the hash of the batches, of all ranks together.
    joined_norms: tuple[float, float] = (0.0, 0.0)
    joined_batch: str | None = None
    _held_line: dict[str, Any] | None = None
    _held_roles: tuple[int, dict[str, Summary]] | None = None
    _sent: torch.Tensor | None = None
    _whole = _mine = 0

    def count(self, whole: int, mine: int) -> None:
        """Entries of the model, and those of them that this rank adds."""
        self._whole, self._mine = whole, mine

    def line(self, entry: Mapping[str, Any], seen: bool = True) -> None:
        """Keeps a step's line until the ranks have met."""
        self._held_line = dict(entry)

    def tensors(self, step: int, roles: Mapping[str, Summary]) -> None:
        """Keeps this rank's sketches and checksums until the ranks have met."""
        self._held_roles = step, dict(roles)

    def ids(self, step: int, batch_id: Any) -> None:
        """Batch ids of the first rank."""
        if self.ranks.rank == 0:
            super().ids(step, batch_id)

    def news(self, news: News, norms: tuple[float, float], batch: str | None) -> News:
        """What this rank sends the others: squares of its norms, of the step before's clipped one, and of its batch."""
        line = self._held_line or {}
        clipped = float(line["clippedNorm"] if line.get("clippedNorm") is not None else line.get("gradientNorm", 0.0))
        number = 0 if batch is None else int(batch, 16)
        self._sent = None if self._held_roles is None else _packed(self._held_roles[1])
        return news._replace(
            ledger=1,
            counted=self._mine,
            gradient_squares=norms[0] ** 2,
            weight_squares=norms[1] ** 2,
            clipped_squares=clipped**2,
            batch_high=number >> 32,
            batch_low=number & 0xFFFFFFFF,
            tensors=0 if self._sent is None else self._sent.numel(),
        )

    def join(self) -> None:
        """Takes up what the ranks said of the step: writes the one before it, and has the sums of this one.

        Raises ValueError where the shards are not the whole, or a rank keeps no ledger: all ranks stop then.
        """
        everyone = self.ranks.news
        silent = next((rank for rank, one in enumerate(everyone) if not one.ledger), None)
        if silent is not None:
            raise ValueError(f"rank {silent} of {self.ranks.size} keeps none")
        counted = sum(int(one.counted) for one in everyone)
        if counted != self._whole:
            raise ValueError(f"the ranks hold {counted} of {self._whole} parameters, or some twice")
        self._write_line(everyone)
        self._write_tensors(everyone)
        self.joined_norms = (
            _norm([one.gradient_squares for one in everyone]),
            _norm([one.weight_squares for one in everyone]),
        )
        hashes = [int(one.batch_high) << 32 | int(one.batch_low) for one in everyone]
        self.joined_batch = None if 0 in hashes else f"{_one_hash(hashes):016x}"

    def _write_line(self, everyone: list[News]) -> None:
        line, self._held_line = self._held_line, None
        if line is None:
            return
        if "gradientNorm" in line and line.get("skipped") is None:
            clipped = number_of(_norm([one.clipped_squares for one in everyone]))
            # Where no rank clips, the squares are those of this line's own norm.
            line["clippedNorm"] = None if clipped == line["gradientNorm"] else clipped
        super().line(line)

    def _write_tensors(self, everyone: list[News]) -> None:
        held, self._held_roles = self._held_roles, None
        sizes = {int(one.tensors) for one in everyone}
        if len(sizes) != 1 or held is None or self._sent is None:
            return
        mine, self._sent = self._sent, None
        gathered = [torch.empty_like(mine) for _ in everyone]
        torch.distributed.all_gather(gathered, mine)
        if self.ranks.rank == 0:
            roles = _summed([_unpacked(one.cpu().numpy()) for one in gathered])
            super().tensors(held[0], roles)

    def close(self) -> None:
        """Writes the line that waits, without the norms: only the other ranks know how the step was clipped, and a line with a
        norm and no clipped one says that it was not."""
        line, self._held_line = self._held_line, None
        if line is not None:
            super().line({key: value for key, value in line.items() if key not in ("gradientNorm", "clippedNorm")})
        super().close()

    def _open(self) -> None:
        if self.ranks.rank == 0:
            super()._open()


def _norm(squares: list[float]) -> float:
    return math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else sum(squares)


def _one_hash(hashes: list[int]) -> int:
    """That of the ranks' batches: their own where all have one batch, else one in which the ranks' order counts."""
    if len(set(hashes)) == 1:
        return hashes[0]
    total = 0
    for one in hashes:
        total = (total * 0x9E3779B97F4A7C15 + one) & _MASK
    return total


def _packed(roles: Mapping[str, Summary]) -> torch.Tensor:
    """Sketches and checksums of all roles as 64-bit words, as ranks exchange them; a flag each for those that are there."""
    tensors = len(next(iter(roles.values())).checksums)
    words = np.zeros((len(ROLES), tensors + 1, SIZE + 1), np.uint64)
    for role, own in zip(ROLES, words):
        if role in roles:
            own[0, 0] = 1
            own[1:, :SIZE] = np.ascontiguousarray(roles[role].sketches, np.float64).view(np.uint64)
            own[1:, SIZE] = roles[role].checksums
    return torch.from_numpy(words.view(np.int64))


def _unpacked(words: np.ndarray) -> dict[str, Summary]:
    return {
        role: Summary(np.ascontiguousarray(own[1:, :SIZE]).view(np.float64), own[1:, SIZE])
        for role, own in zip(ROLES, words.view(np.uint64))
        if own[0, 0]
    }


def _summed(ranks: list[dict[str, Summary]]) -> dict[str, Summary]:
    """The roles of the whole. A rank leaves out what was before the next step where that is what was after this one."""
    found: dict[str, Summary] = {}
    for role in ROLES:
        if not any(role in one for one in ranks):
            continue
        parts = [one.get(role) or one.get(role.replace("Next", "After")) for one in ranks]
        if all(part is not None for part in parts):
            there = [part for part in parts if part is not None]
            with np.errstate(over="ignore", invalid="ignore"):
                found[role] = Summary(
                    np.sum([part.sketches for part in there], axis=0),
                    np.asarray(np.sum([part.checksums for part in there], axis=0, dtype=np.uint64)),
                )
    return found

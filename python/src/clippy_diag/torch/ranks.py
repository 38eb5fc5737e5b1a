"""The ranks of a distributed training that record together: what they tell each other, and which shards each of them holds.

One small all-gather a step carries each rank's loss, requests, alarms and sizes, so that all ranks open a capture at the same
step. Each rank keeps its own shards, batches and random state; the first joins them when it writes (joining.py).
"""

from __future__ import annotations

import math
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from ..joining import Piece
from ..recording import Sizes

Kind = Literal["ddp", "fsdp1", "fsdp2", "tp"]
#: What is not finite on a rank, as a number that ranks exchange.
_ALARMS = ("", "gradients", "weights", "optimizer state", "an alarm of the guard")


class News(NamedTuple):
    """What one rank sends the others at a step; all are numbers, so that one tensor holds them."""

    loss: float
    stopped: float = 0
    requested: float = 0
    #: Index into `_ALARMS`.
    alarm: float = 0
    #: Whether a loss scaler will skip the step.
    skips: float = 0
    has_batch: float = 0
    #: A checksum of the names of the parameters that are trained.
    names: float = 0
    gradients: float = 0
    beside: float = 0
    batch: float = 0
    snapshot: float = 0
    #: Of the ledger of shards, see `RanksLedger`: whether the rank keeps one, and what its line and its tensors need.
    ledger: float = 0
    counted: float = 0
    gradient_squares: float = 0
    weight_squares: float = 0
    clipped_squares: float = 0
    batch_high: float = 0
    batch_low: float = 0
    tensors: float = 0


class Ranks:
    """The ranks of one recorder, by torch.distributed's default group.

    kind  how the model is distributed
    """

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self.rank = int(torch.distributed.get_rank())
        self.size = int(torch.distributed.get_world_size())
        #: Places of this rank's shards by the name of the tensor.
        self.pieces: dict[str, Piece] = {}
        self._of_flat: dict[int, Piece] = {}
        self.met = False
        #: What all ranks said of the step, this one too.
        self.news: list[News] = []

    @property
    def sharded(self) -> bool:
        """Whether a rank holds a part of each tensor only."""
        return self.kind != "ddp"

    # ---- what ranks tell each other

    def meet(self, own: News, device: torch.device) -> None:
        """Exchanges what each rank knows of a step: each rank waits here for the others. Raises what torch.distributed raises."""
        if str(torch.distributed.get_backend()).startswith("nccl"):
            device = torch.device("cuda", torch.cuda.current_device())
        mine = torch.tensor(own, dtype=torch.float64, device=device)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        torch.distributed.all_gather(everyone, mine)
        self.news = [News(*row.tolist()) for row in everyone]

    def share(self, value: Any) -> Any:
        """The first rank's value, on every rank."""
        held = [value]
        torch.distributed.broadcast_object_list(held, src=0)
        self.met = True
        return held[0]

    def mean_loss(self) -> float:
        """The mean of the ranks' losses, the same number on each."""
        return math.fsum(one.loss for one in self.news) / self.size if self._finite() else self._sum() / self.size

    def _finite(self) -> bool:
        return all(math.isfinite(one.loss) for one in self.news)

    def _sum(self) -> float:
        return sum(one.loss for one in self.news)

    def sizes(self) -> Sizes:
        """The largest sizes of any rank, so that all keep the same steps."""
        largest = [int(max(getattr(one, name) for one in self.news)) for name in Sizes._fields]
        return Sizes(*largest)

    def first_with(self, member: str) -> int | None:
        """The first rank whose news has this member set."""
        return next((rank for rank, one in enumerate(self.news) if getattr(one, member)), None)

    def alarm(self) -> str | None:
        """The alarm of a rank, for people."""
        rank = self.first_with("alarm")
        if rank is None:
            return None
        what = _ALARMS[int(self.news[rank].alarm)]
        return f"{what} on rank {rank}" + ("" if what.startswith("an alarm") else " are not finite")

    def disagreement(self) -> str | None:
        """Why these ranks cannot record together, or None."""
        stopped = self.first_with("stopped")
        if stopped is not None:
            return f"rank {stopped} of {self.size} records no more, so no rank does"
        if len({one.names for one in self.news}) > 1:
            return "the ranks train different parameters, as in a pipeline, which one capture does not hold"
        return None

    # ---- shards

    def pieces_json(self) -> dict[str, Any]:
        """Pieces as capture.json of a part has them."""
        return {name: piece.as_json() for name, piece in self.pieces.items()}

    def know(self, model: torch.nn.Module) -> str | None:
        """Looks where the flat shards of FullyShardedDataParallel lie; those of a DTensor say it themselves. Returns why they
        cannot be known, or None."""
        for module in model.modules():
            handle = getattr(module, "_handle", None)
            flat = getattr(handle, "flat_param", None)
            if flat is None or getattr(flat, "_params", None) is None:
                continue
            if not hasattr(flat, "_shard_param_infos"):
                return f"where the shards of FullyShardedDataParallel lie is not known in torch {torch.__version__}: use 2.1"
            for parameter, info, shape in zip(flat._params, flat._shard_param_infos, flat._shapes):
                whole = tuple(shape)
                if info.in_shard and tuple(parameter.shape) == whole and math.prod(whole) == info.numel_in_shard:
                    start = 0
                else:
                    start = int(info.intra_param_start_idx) if info.in_shard else 0
                self._of_flat[id(parameter)] = Piece(whole, (start,), flat=True)
        return None

    def shape_of(self, parameter: torch.Tensor) -> list[int]:
        """The shape of a whole parameter."""
        piece = self._of_flat.get(id(parameter))
        return list(parameter.shape if piece is None else piece.shape)

    def flat_piece(self, parameter: torch.Tensor) -> Piece | None:
        """Where this rank's range of a parameter of FullyShardedDataParallel lies; None for any other."""
        return self._of_flat.get(id(parameter))

    def part_of(self, name: str, tensor: torch.Tensor, parameter: torch.Tensor | None = None) -> torch.Tensor:
        """The array of this rank under `name`, whose place in the whole is noted.

        parameter  the parameter that the tensor has the shard of, where it has its shape
        """
        if hasattr(tensor, "to_local"):
            local: torch.Tensor = tensor.to_local()
            self.pieces[name] = piece_of(tensor)
            return local
        flat = None if parameter is None else self._of_flat.get(id(parameter))
        if flat is not None and parameter is not None and tensor.shape == parameter.shape:
            self.pieces[name] = flat
            return tensor.reshape(-1)
        return tensor


def piece_of(tensor: Any) -> Piece:
    """Where the local part of a DTensor lies. A rank after the first along an axis of the mesh that only copies holds the same."""
    try:
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
    except ImportError:  # torch 2.4 and older
        from torch.distributed._tensor._utils import compute_local_shape_and_global_offset

    adds = any(placement.is_partial() for placement in tensor.placements)
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Piece(tuple(tensor.shape), tuple(int(at) for at in offset), adds=adds)


def kind_of(model: torch.nn.Module, wrapped: Any, parameters: Sequence[torch.Tensor]) -> Kind | None:
    """How a training is distributed, as far as its model shows; None for one rank, and for ranks that nothing here joins."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return None
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return "fsdp1"
    sharded = [p for p in parameters if hasattr(p, "to_local")]
    if sharded:
        data_parallel = any(type(module).__name__.startswith("FSDP") for module in model.modules())
        return "fsdp2" if data_parallel else "tp"
    several = distributed.get_world_size() > 1
    return "ddp" if several and type(wrapped).__name__ == "DistributedDataParallel" else None


def names_checksum(names: Sequence[str]) -> float:
    """A checksum of names that a float64 holds exactly."""
    return float(zlib.crc32("\n".join(names).encode()))


def alarm_number(reason: str | None) -> int:
    """The index in `_ALARMS` of the reason that a recording gave for an alarm."""
    if reason is None:
        return 0
    return next((k for k, what in enumerate(_ALARMS) if k and reason.startswith(what)), len(_ALARMS) - 1)


def emptied(folder: Path) -> Path:
    """The folder of a part, without what an earlier run left there."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    return folder

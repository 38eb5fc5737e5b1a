"""Which rows of a batch pull the step away, and the gradient of the others: a few bad rows need not cost the whole batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..bad_rows import ABOVE
from .ahead import LookAhead
from .curvature import undisturbed
from .words import parameters_of

#: The largest share of bad rows.
MOST_SHARE = 0.5
#: Rows of a batch above which nothing is looked for, as each has a gradient of its own, and rows of an earlier batch that are compared.
MOST_ROWS, COMPARED = 512, 64
#: The gradient that is there is that of this batch where it differs by no more than this share of its norm. Dropout draws anew.
SAME_GRADIENT = 0.3


class Ranks(NamedTuple):
    """The processes that train a model together: which this is, of how many, and the sum and the largest of a tensor over all."""

    rank: int
    world: int
    total: Callable[[torch.Tensor], torch.Tensor]
    most: Callable[[torch.Tensor], torch.Tensor]


ONE_RANK = Ranks(0, 1, lambda value: value, lambda value: value)


class Others(NamedTuple):
    """A batch without its bad rows."""

    #: Places of the bad rows, and how many rows the batch has, with those of all ranks.
    bad: list[int]
    of: int
    #: This rank's batch of the others, and their gradient by parameter.
    batch: Any
    gradients: list[torch.Tensor | None]


def count_of(batch: Any) -> int:
    """Rows of a batch: the length of the first axis that all its tensors have; 0 where they have none in common."""
    lengths = {tensor.shape[0] if tensor.dim() else 0 for tensor in _tensors(batch)}
    return lengths.pop() if len(lengths) == 1 else 0


def _tensors(batch: Any) -> list[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        return [batch]
    parts = batch.values() if isinstance(batch, Mapping) else batch if type(batch) in (list, tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def taken(batch: Any, rows: torch.Tensor) -> Any:
    """Some rows of a batch, in the nesting that it has."""
    if isinstance(batch, torch.Tensor):
        return batch[rows.to(batch.device)]
    if isinstance(batch, Mapping):
        return {key: taken(part, rows) for key, part in batch.items()}
    return type(batch)(taken(part, rows) for part in batch) if type(batch) in (list, tuple) else batch


def gradients_without_bad_rows(
    ahead: LookAhead, batch: Any, references: Sequence[Any], ranks: Ranks = ONE_RANK
) -> Others | None:
    """The batch without the rows whose own gradient is far above that of every row of the reference batches, at the weights as
    they are. None where there are none such, too many of them, or where the gradient that is there is not the mean of the
    batch's rows (accumulated batches, a loss over pairs of rows). The training is as before.

    With several ranks all call it, and all get the same places and gradients, or None: rows are counted in the order of the ranks."""
    count = count_of(batch)
    counts = ranks.total(_marked(ranks.world, [ranks.rank], count)).long().tolist()
    if not all(2 <= one <= MOST_ROWS for one in counts):
        return None
    parameters = parameters_of(ahead.optimizers)
    with ahead.copies(parameters), undisturbed(ahead.model):
        usual, norms = _norms_of_all(ahead, parameters, batch, references)
        limit = ABOVE * float(ranks.most(torch.tensor([usual], dtype=torch.float64)))
        own = [k for k, norm in enumerate(norms) if not norm <= limit]
        places = _marked(sum(counts), [sum(counts[: ranks.rank]) + k for k in own])
        bad = ranks.total(places).nonzero().flatten().tolist()
        if not bad or len(bad) > MOST_SHARE * len(places):
            return None
        kept = [k for k in range(count) if k not in set(own)]
        parts = _parts(ahead, parameters, batch, [kept, own])
        if float(ranks.most(torch.tensor([0.0 if parts else 1.0], dtype=torch.float64))):
            return None
        good, left_out = (_over_ranks(ranks, parameters, part, len(rows)) for part, rows in zip(parts, (kept, own)))
        is_mean = _is_mean([p.grad for p in parameters], good, left_out, len(bad) / len(places))
    return Others(bad, len(places), taken(batch, torch.tensor(kept)), good) if is_mean else None


def _marked(length: int, places: list[int], value: float = 1.0) -> torch.Tensor:
    """Zeros, with a value at some places."""
    values = torch.zeros(length, dtype=torch.float64)
    values[torch.tensor(places, dtype=torch.long)] = value
    return values


def _norms_of_all(
    ahead: LookAhead, parameters: list[torch.nn.Parameter], batch: Any, references: Sequence[Any]
) -> tuple[float, list[float]]:
    """The largest gradient norm of a row of the reference batches, and that of each row of the batch; infinite and none where the
    loss takes no batch of one row. Nothing is raised: other ranks wait."""
    try:
        usual = [norm for one in references for norm in _norms(ahead, parameters, one, COMPARED)]
        return max(usual, default=math.inf), _norms(ahead, parameters, batch, count_of(batch))
    except Exception:
        return math.inf, []


def _parts(
    ahead: LookAhead, parameters: list[torch.nn.Parameter], batch: Any, parts: Sequence[list[int]]
) -> list[list[torch.Tensor | None]]:
    """The gradients of some rows and of some others, nothing for no rows; an empty list where there are no first ones, or
    where they cannot be computed. Nothing is raised: other ranks wait."""
    if not parts[0]:
        return []
    try:
        return [_gradients(ahead, parameters, taken(batch, torch.tensor(rows))) if rows else [] for rows in parts]
    except Exception:
        return []


def _over_ranks(
    ranks: Ranks, parameters: list[torch.nn.Parameter], gradients: list[torch.Tensor | None], rows: int
) -> list[torch.Tensor | None]:
    """The mean over the rows of all ranks, of gradients that are the mean over this one's; sparse where the gradient that is there
    is, since some optimizers take no other."""
    if ranks.world == 1:
        return gradients
    share = rows / float(ranks.total(torch.tensor([float(rows)], dtype=torch.float64)))
    found: list[torch.Tensor | None] = []
    for k, parameter in enumerate(parameters):
        own = gradients[k] if gradients else None
        dense = torch.zeros_like(parameter) if own is None else own.to_dense() if own.is_sparse else own
        mean, there = ranks.total(dense * share), parameter.grad
        found.append(None if there is None else mean.to_sparse(there.sparse_dim()) if there.is_sparse else mean)
    return found


def _gradients(ahead: LookAhead, parameters: list[torch.nn.Parameter], batch: Any) -> list[torch.Tensor | None]:
    wanted = [p for p in parameters if p.requires_grad]
    found = iter(torch.autograd.grad(ahead.loss_fn(ahead.model, batch), wanted, allow_unused=True))
    return [next(found) if p.requires_grad else None for p in parameters]


def _norms(ahead: LookAhead, parameters: list[torch.nn.Parameter], batch: Any, most: int) -> list[float]:
    """The gradient norm of each of the first rows alone, in evaluation mode: there a row has the same loss alone as in its batch."""
    modes = [(module, module.training) for module in ahead.model.modules()]
    try:
        ahead.model.eval()
        return [
            math.sqrt(
                sum(
                    float(torch.linalg.vector_norm(g.coalesce().values() if g.is_sparse else g)) ** 2
                    for g in _gradients(ahead, parameters, taken(batch, torch.tensor([k])))
                    if g is not None
                )
            )
            for k in range(min(most, count_of(batch)))
        ]
    finally:
        for module, training in modes:
            module.training = training


def _is_mean(
    there: Sequence[torch.Tensor | None],
    good: Sequence[torch.Tensor | None],
    bad: Sequence[torch.Tensor | None],
    share: float,
) -> bool:
    """Whether the gradient that is there is the mean over good and bad rows."""
    apart, whole = 0.0, 0.0
    for present, one, other in zip(there, good, bad):
        if present is None:
            continue
        dense = [g.to_dense() if g is not None and g.is_sparse else g for g in (present, one, other)]
        mean = sum(
            (part * weight for part, weight in zip(dense[1:], (1 - share, share)) if part is not None),
            start=torch.zeros_like(dense[0]),
        )
        apart += float(torch.linalg.vector_norm(dense[0] - mean)) ** 2
        whole += float(torch.linalg.vector_norm(dense[0])) ** 2
    return math.sqrt(apart) <= SAME_GRADIENT * math.sqrt(whole)

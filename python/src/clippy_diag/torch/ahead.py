"""What the next step would do: taken on copies, with the loss of its own batch and of batches kept from before."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from ..guarding import STEPS, Ahead
from ..rules import Rules
from . import words as names
from .closed_loop import clip_gradients, clip_updates
from .curvature import twin_of, undisturbed

LossFn = Callable[[torch.nn.Module, Any], torch.Tensor]


class LookAhead:
    """Takes steps of the optimizers on copies of parameters and state. Parameters, gradients, state, buffers, modes and random
    state are bitwise as before afterwards.

    rules  the clipping that the loop does, in the order in which it acts
    mean   the mean of a tensor over all ranks, in place
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        loss_fn: LossFn,
        rules: Rules = (),
        mean: Callable[[torch.Tensor], torch.Tensor] = lambda value: value,
    ) -> None:
        self.model, self.optimizers, self.loss_fn = model, optimizers, loss_fn
        self.rules, self.mean = [rule for rule in rules if rule[0] != "none"], mean

    def run(
        self,
        batch: Any,
        references: Sequence[Any],
        scale: float = 1.0,
        rate: float = 1.0,
        steps: int = STEPS,
        first: Sequence[torch.Tensor | None] | None = None,
    ) -> Ahead:
        """`steps` steps on `batch`, the first with the gradients that are there, or with those in `first`, each with every
        gradient multiplied by `scale` and every learning rate by `rate`; losses before, after the first and after the last. Stops
        where the loss is not finite."""
        parameters = names.parameters_of(self.optimizers)
        own: list[float] = []
        kept: list[list[float]] = [[] for _ in references]
        with self.copies(parameters), undisturbed(self.model):
            draws = draws_of(parameters)

            def look() -> None:
                values = [self.loss_of(data, draws) for data in (batch, *references)]
                means = self.mean(torch.tensor(values, dtype=torch.float64)).tolist()
                own.append(means[0])
                for losses, value in zip(kept, means[1:]):
                    losses.append(value)

            look()
            twins = [twin_of(optimizer) for optimizer in self.optimizers]
            for twin in twins if rate != 1 else ():
                for group in twin.param_groups:
                    group["lr"] = group["lr"] * rate
            for k in range(steps):
                if k:
                    self.differentiate(parameters, batch, draws)
                elif first is not None:
                    for p, gradient in zip(parameters, first):
                        p.grad = gradient
                self.step(parameters, twins, scale)
                if k in (0, steps - 1):
                    look()
                    if not math.isfinite(own[-1]):
                        break
        return Ahead(own, kept)

    def step(self, parameters: list[torch.nn.Parameter], twins: list[torch.optim.Optimizer], scale: float) -> None:
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p.grad = p.grad * scale if scale != 1 else p.grad.clone()
            specs = self._specs(parameters) if self.rules else []
            for rule, options in self.rules:
                if rule != "clippy":
                    clip_gradients(rule, options, specs)
            bounded = [options for rule, options in self.rules if rule == "clippy"]
            before = [p.detach().clone() for _, p in specs] if bounded else []
            for twin in twins:
                type(twin).step(twin)
            for options in bounded:
                clip_updates(options, specs, before, [1.0] * len(specs))

    def _specs(self, parameters: list[torch.nn.Parameter]) -> list[tuple[dict[str, Any], torch.nn.Parameter]]:
        named = {id(p): name for name, p in self.model.named_parameters()}
        kinds = names.layouts_of(self.model, list(named.values()), {})
        return [
            (
                {
                    "name": named.get(id(p), ""),
                    **kinds.get(named.get(id(p), ""), {"layout": "none", "embedding": False}),
                },
                p,
            )
            for p in parameters
        ]

    def loss_of(self, batch: Any, draws: dict[Any, torch.Tensor]) -> float:
        draw_again(draws)
        with torch.no_grad():
            return float(self.loss_fn(self.model, batch))

    def differentiate(self, parameters: list[torch.nn.Parameter], batch: Any, draws: dict[Any, torch.Tensor]) -> None:
        draw_again(draws)
        for p in parameters:
            p.grad = None
        wanted = [p for p in parameters if p.requires_grad]
        for p, gradient in zip(wanted, torch.autograd.grad(self.loss_fn(self.model, batch), wanted, allow_unused=True)):
            p.grad = None if gradient is None else self.mean(gradient)

    @contextlib.contextmanager
    def copies(self, parameters: list[torch.nn.Parameter]) -> Iterator[None]:
        """Parameters hold copies of their values for a while: their own memory is not written to."""
        values = [(p, p.data, p.grad) for p in parameters]
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            for p, data, _ in values:
                p.data = data.clone()
            yield
        finally:
            for p, data, gradient in values:
                p.data, p.grad = data, gradient
            for module, training in modes:
                module.training = training


def draws_of(parameters: list[torch.nn.Parameter]) -> dict[Any, torch.Tensor]:
    """The states of the random generators, so that every loss is computed under the same dropout."""
    devices = {p.device for p in parameters if p.is_cuda}
    return {None: torch.get_rng_state(), **{device: torch.cuda.get_rng_state(device) for device in devices}}


def draw_again(draws: dict[Any, torch.Tensor]) -> None:
    for device, state in draws.items():
        if device is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)

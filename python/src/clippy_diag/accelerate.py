"""A callback for loops written with Accelerate.

    from clippy_diag.accelerate import ClippyCallback

    callback = ClippyCallback("capture")
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    callback.attach(accelerator)
    for batch in loader:
        with accelerator.accumulate(model):
            loss = compute_loss(model, batch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    callback.close()

While it is attached the accelerator's `backward`, `clip_grad_norm_` and `clip_grad_value_` and the optimizers' `step` are
wrapped: losses, gradients before clipping, and the clipping itself are heard there. `close` puts all back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .torch import words as names
from .torch.attached import AttachedCallback, autocast_of

_REFUSED = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "XLA")


class ClippyCallback(AttachedCallback):
    """Records the steps around an incident; what it promises is in docs/recorders.md.

    path          the folder of the capture; `status.json` in it says how the recording fares
    snapshot_every_steps, steps_after  a capture holds `snapshot_every_steps` to twice as many steps before the incident, and
                  `steps_after` steps after it
    batches       whether batches are kept (they may hold personal data): call `callback.batch(batch)` before each forward pass.
                  Without them no closed loop is possible
    guard         whether a `Guard` checks every step and its advice is followed; loss_fn= and pulse= are the guard's
    memory, disk, max_captures, curvature, layouts, model_file, ledger, ledger_every  as of `clippy_diag.torch.Recorder`

    Steps count from 0, one for each time that the optimizer steps. Several optimizers that step after one backward pass take one
    step together; with a backward pass for each, each one's step is a step of its own.
    """

    TRAINER = "accelerate"
    _step = 0
    #: Whether a step was taken since `attach`.
    _heard_steps = False
    #: The clipping that was heard since the last step (a new list at each), and the optimizers that are listened to.
    _clips: list[dict[str, Any]] = []
    _optimizers: Sequence[Any] = ()

    def attach(
        self, accelerator: Any, model: Any = None, optimizers: Any = None, batches: Any = None
    ) -> ClippyCallback:
        """Listens from here on. `model` and `optimizers` default to those that the accelerator prepared; say which where there
        are several models. `batches`, for a preflight: a loader that was not prepared, since a prepared one counts what is read,
        with a loss_fn that moves them to the device. Returns itself."""
        self.close()
        model = model if model is not None else (accelerator._models[-1] if accelerator._models else None)
        optimizers = optimizers if optimizers is not None else list(accelerator._optimizers)
        optimizers = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
        if model is None or not optimizers:
            raise ValueError("clippy-diag: attach after accelerator.prepare(model, optimizer, ...)")
        kind = getattr(accelerator.distributed_type, "name", "")
        if kind in _REFUSED:
            self._own.refuse(model, optimizers, f"Accelerate under {kind} runs steps of its own")
            return self
        self._heard_steps, self._optimizers = False, optimizers
        self._own.try_rates(
            model, optimizers, batches, self._own.loss_fn, {"rule": "none"}, ranks=accelerator.num_processes
        )
        self._own.begin(
            model, optimizers, {"rule": "none"}, ranks=accelerator.num_processes, autocast=autocast_of(accelerator)
        )
        if self._own.with_guard and not any(one is self for one in accelerator._custom_objects):
            accelerator.register_for_checkpointing(self)
        backward = accelerator.backward
        clips = {"clip_grad_norm_": ("global-norm", "maxNorm"), "clip_grad_value_": ("value", "clipValue")}

        def heard_backward(loss: Any, *arguments: Any, **keywords: Any) -> Any:
            result = backward(loss, *arguments, **keywords)
            self._own.after_loss(loss / accelerator.gradient_accumulation_steps)
            return result

        self._wrapped.put(accelerator, "backward", heard_backward)
        for name, (rule, option) in clips.items():
            self._wrapped.put(
                accelerator, name, self._heard_clip(accelerator, getattr(accelerator, name), rule, option)
            )
        for optimizer in optimizers:
            self._wrapped.put(optimizer, "step", self._heard_step(accelerator, optimizer))
        return self

    def state_dict(self) -> dict[str, Any]:
        """What `accelerator.save_state` keeps of the callback: the guard's state."""
        found = self._own.guard_state()
        return {} if found is None else {"guard": found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """`accelerator.load_state` calls it; attach the callback before."""
        self._own.load_guard_state(state_dict.get("guard"))

    def batch(self, batch: Any) -> Any:
        """Announces the batch that is about to go through the model; returns it."""
        self._own.before_forward(batch)
        return batch

    def close(self) -> None:
        """Everything as before; waits until all is written."""
        self._wrapped.restore()
        self._end_of_step()
        self._own.end()

    def _heard_clip(self, accelerator: Any, clip: Any, rule: str, option: str) -> Any:
        def heard(parameters: Any, limit: Any, *arguments: Any, **keywords: Any) -> Any:
            if not accelerator.sync_gradients:
                self._own.note(
                    "gradients are clipped before they are whole, which no capture holds: replays will differ"
                )
                return clip(parameters, limit, *arguments, **keywords)
            parameters = [parameters] if hasattr(parameters, "grad") else list(parameters)
            if self._own.waiting:
                self._end_of_step()
            if float(limit) != float("inf"):
                self._clips = [*self._clips, {"rule": rule, option: float(limit)}]
                self._own.clipped(self._clips, whole=False)
            self._take(accelerator, self._owner(parameters))
            return clip(parameters, limit, *arguments, **keywords)

        return heard

    def _heard_step(self, accelerator: Any, optimizer: Any) -> Any:
        step = optimizer.step

        def heard(*arguments: Any, **keywords: Any) -> Any:
            if accelerator.sync_gradients:
                if self._own.waiting:
                    self._end_of_step()
                self._take(accelerator, optimizer)
            return step(*arguments, **keywords)

        return heard

    def _owner(self, parameters: list[Any]) -> Any:
        """The one optimizer that trains these parameters; None where it is several, which step together."""
        wanted = {id(p) for p in parameters}
        found = [
            optimizer
            for optimizer in self._optimizers
            if any(id(p) in wanted for group in optimizer.param_groups for p in group["params"])
        ]
        return found[0] if len(found) == 1 else None

    def _end_of_step(self) -> None:
        """Another step begins, or none any more: the clipping of the last one is whole."""
        if self._heard_steps:
            self._own.clipped(self._clips, whole=True)
        self._clips = []

    def _take(self, accelerator: Any, optimizer: Any) -> None:
        """A step of `optimizer`, None for all; of one that shares the loss of the last with another."""
        only = names.unwrapped(optimizer) if optimizer is not None and len(self._optimizers) > 1 else None
        waited = self._own.waiting
        self._own.step(self._step, scaler=accelerator.scaler, only=only)
        if waited:
            self._step += 1
            self._heard_steps = True

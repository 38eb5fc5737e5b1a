"""A callback for Lightning's Trainer.

from clippy_diag.lightning import ClippyCallback

trainer = Trainer(callbacks=[ClippyCallback("capture")], gradient_clip_val=1.0)
trainer.fit(model, loader)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    from pytorch_lightning.callbacks import Callback

from .torch import words as names
from .torch.attached import AttachedCallback


class ClippyCallback(AttachedCallback, Callback):  # type: ignore[misc]
    """Records the steps around an incident; what it promises is in docs/recorders.md.

    path          the folder of the capture; `status.json` in it says how the recording fares
    snapshot_every_steps, steps_after  a capture holds `snapshot_every_steps` to twice as many steps before the incident, and
                  `steps_after` steps after it
    batches       whether batches are kept (they may hold personal data); without them no closed loop is possible. A captured
                  batch is what `training_step` gets, or the list of them under accumulation
    guard         whether a `Guard` checks every step and its advice is followed; loss_fn= and pulse= are the guard's
    memory, disk, max_captures, curvature, layouts, model_file, ledger, ledger_every  as of `clippy_diag.torch.Recorder`
    clipping      where your own code clips, but not by `self.clip_gradients`

    Steps count as `trainer.global_step`, from 0. `gradient_clip_val` is recorded as the clipping, and so is what
    `self.clip_gradients` does in manual optimization. Optimizers that step after one backward pass take one step together. With
    a backward pass for each, each optimizer's step is a step of its own, with the gradients of its parameters; its loss is the
    sum of the newest loss of each, which are its tasks.
    """

    TRAINER = "lightning"

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Makes the recorder."""
        strategy = type(trainer.strategy).__name__
        optimizers = list(trainer.optimizers)
        if "DeepSpeed" in strategy or "FSDP" in strategy or "ModelParallel" in strategy:
            self._own.refuse(pl_module, optimizers, f"{strategy} shards parameters or runs steps of its own")
            return
        clipping = _clipping(trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
        dtype = {"16-mixed": "float16", "bf16-mixed": "bfloat16"}.get(str(trainer.precision))
        autocast = None if dtype is None else {"device": pl_module.device.type, "dtype": dtype}
        self._wrapped.restore()
        self._own.trainer = "lightning" if pl_module.automatic_optimization else "lightning-manual"
        self._own.try_rates(
            pl_module, optimizers, _batches(trainer), self._own.loss_fn, clipping, ranks=trainer.world_size
        )
        self._own.begin(pl_module, optimizers, clipping, ranks=trainer.world_size, autocast=autocast)
        if not pl_module.automatic_optimization:
            clip = self._heard_clip(trainer, pl_module, pl_module.clip_gradients)
            self._wrapped.put(pl_module, "clip_gradients", clip)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The batch, and the random state from before it goes through the model."""
        self._own.before_forward(batch)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """The loss of a micro-batch: divided by their number, and multiplied by the loss scale."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = scaler.get_scale() if scaler is not None and scaler.is_enabled() else 1.0
        self._own.after_loss(loss.detach() / scale)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Gradients before clipping, without the loss scale."""
        self._take(trainer, optimizer)

    def _take(self, trainer: Any, optimizer: Any) -> None:
        only = names.unwrapped(optimizer) if len(trainer.optimizers) > 1 else None
        self._own.step(trainer.global_step, scaler=getattr(trainer.precision_plugin, "scaler", None), only=only)

    def _heard_clip(self, trainer: Any, pl_module: Any, clip: Any) -> Any:
        """`clip_gradients` of a module whose own code clips, before the step that it takes then."""

        def heard(
            optimizer: Any,
            gradient_clip_val: float | None = None,
            gradient_clip_algorithm: str | None = None,
        ) -> Any:
            if self._own.shares(names.unwrapped(optimizer)):
                self._own.note(
                    "optimizers that step on one loss are clipped one by one: a capture holds that of the first, for all"
                )
            else:
                self._own.clipped([_clipping(gradient_clip_val, gradient_clip_algorithm)], whole=True)
            self._take(trainer, optimizer)
            return clip(optimizer, gradient_clip_val, gradient_clip_algorithm)

        return heard

    def state_dict(self) -> dict[str, Any]:
        """What Lightning keeps of the callback in its checkpoints: the guard's state."""
        found = self._own.guard_state()
        return {} if found is None else {"guard": found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning calls it before the training goes on from a checkpoint."""
        self._own.load_guard_state(state_dict.get("guard"))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Everything as before; waits until all is written."""
        self._wrapped.restore()
        self._own.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The same where the training ends by an error."""
        self.on_train_end(trainer, pl_module)


def _batches(trainer: Any) -> Any:
    """The trainer's batches on its device, from an iterator of their own; None for several loaders at once."""
    loader = trainer.train_dataloader
    return _OnDevice(loader, trainer.strategy.batch_to_device) if hasattr(loader, "batch_sampler") else None


class _OnDevice:
    """A loader whose batches are moved to a device as they are read."""

    def __init__(self, loader: Any, move: Callable[[Any], Any]) -> None:
        self._loader, self._move = loader, move
        #: A preflight puts their random generators back.
        self.sampler, self.generator = loader.sampler, getattr(loader, "generator", None)

    def __iter__(self) -> Iterator[Any]:
        return (self._move(batch) for batch in self._loader)


def _clipping(limit: float | None, algorithm: Any) -> dict[str, Any]:
    """Lightning's clipping in the words of a capture."""
    if not limit or limit <= 0:
        return {"rule": "none"}
    by_value = str(getattr(algorithm, "value", algorithm)) == "value"
    return (
        {"rule": "value", "clipValue": float(limit)} if by_value else {"rule": "global-norm", "maxNorm": float(limit)}
    )

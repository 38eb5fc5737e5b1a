"""A callback for Lightning's Trainer.

from clippy_diag.lightning import ClippyCallback

trainer = Trainer(callbacks=[ClippyCallback("capture")], gradient_clip_val=1.0)
trainer.fit(model, loader)
"""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    from pytorch_lightning.callbacks import Callback

from .torch.attached import AttachedCallback


class ClippyCallback(AttachedCallback, Callback):  # type: ignore[misc]
    """Records the steps around an incident; what it promises is in docs/recorders.md.

    folder        where captures go; `status.json` in it says how the recording fares
    every, after  a capture holds `every` to twice as many steps before the incident, and `after` steps after it
    batches       whether batches are kept (they may hold personal data); without them no closed loop is possible. A captured
                  batch is what `training_step` gets, or the list of them under accumulation
    guard         whether a `Guard` checks every step and its advice is followed; loss_fn= and pulse= are the guard's
    options       memory=, disk=, max_captures=, curvature=, layouts=, model_file= of `clippy_diag.torch.Recorder`

    Steps count as `trainer.global_step`, from 0. `gradient_clip_val` is recorded as the clipping. With several optimizers
    (manual optimization) each optimizer's step is a step of its own, with the gradients of its parameters.
    """

    TRAINER = "lightning"

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Makes the recorder."""
        strategy = type(trainer.strategy).__name__
        optimizers = list(trainer.optimizers)
        if "DeepSpeed" in strategy or "FSDP" in strategy or "ModelParallel" in strategy:
            self._own.refuse(pl_module, optimizers, f"{strategy} shards parameters or runs steps of its own")
            return
        limit = trainer.gradient_clip_val or 0
        by_value = str(getattr(trainer.gradient_clip_algorithm, "value", trainer.gradient_clip_algorithm)) == "value"
        rule, option = ("value", "clipValue") if by_value else ("global-norm", "maxNorm")
        clipping = {"rule": rule, option: float(limit)} if limit > 0 else {"rule": "none"}
        dtype = {"16-mixed": "float16", "bf16-mixed": "bfloat16"}.get(str(trainer.precision))
        autocast = None if dtype is None else {"device": pl_module.device.type, "dtype": dtype}
        self._own.begin(pl_module, optimizers, clipping, ranks=trainer.world_size, autocast=autocast)

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
        several = len(trainer.optimizers) > 1
        self._own.step(
            trainer.global_step,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
            only=optimizer if several else None,
        )

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Waits until all is written."""
        self._own.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The same where the training ends by an error."""
        self._own.end()

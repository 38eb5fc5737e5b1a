"""A callback for the Trainer of transformers.

    from clippy_diag.huggingface import ClippyCallback

    trainer = Trainer(model, args, train_dataset=data, callbacks=[ClippyCallback("capture")])
    trainer.train()

The Trainer clips before it calls its callbacks, and gives them neither loss nor gradients. So while it trains, three methods
of its own objects are wrapped: the accelerator's `backward` (loss of each micro-batch) and `clip_grad_norm_` (gradients before
clipping), and the trainer's `compute_loss` (the batch). They are as before in `on_train_end`.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from .messages import warn
from .torch.attached import AttachedCallback, autocast_of

#: The guard's state in a checkpoint of the Trainer.
GUARD_FILE = "clippy-guard.pt"
_REFUSED = {
    "DEEPSPEED": "DeepSpeed keeps gradients and clipping to itself",
    "FSDP": "parameters are sharded (FSDP); a recorder of shards does not exist yet",
    "MEGATRON_LM": "Megatron-LM runs steps of its own",
    "XLA": "XLA's lazy tensors are not followed",
}


class ClippyCallback(AttachedCallback, TrainerCallback):  # type: ignore[misc]
    """Records the steps around an incident; what it promises is in docs/recorders.md.

    path          the folder of the capture; `status.json` in it says how the recording fares
    snapshot_every_steps, steps_after  a capture holds `snapshot_every_steps` to twice as many steps before the incident, and
                  `steps_after` steps after it
    batches       whether batches are kept (they may hold personal data); without them no closed loop is possible. A captured
                  batch is what `compute_loss` gets, or the list of them under gradient accumulation; `loss_fn` computes its loss
    guard         whether a `Guard` checks every step and its advice is followed; loss_fn= and pulse= are the guard's
    memory, disk, max_captures, curvature, layouts, model_file, ledger, ledger_every  as of `clippy_diag.torch.Recorder`

    Steps count as the Trainer logs them, from 1. `max_grad_norm` is recorded as the clipping.
    """

    TRAINER = "transformers"
    _step = 0

    # ---- the Trainer's events

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **_: Any
    ) -> None:
        """Makes the recorder and wraps what it listens to."""
        self._wrapped.restore()
        trainer = self._trainer()
        refusal = _refusal(trainer, args)
        if refusal is not None:
            self._own.refuse(model, optimizer, refusal)
            return
        clip = args.max_grad_norm or 0
        clipping = {"rule": "global-norm", "maxNorm": float(clip)} if clip > 0 else {"rule": "none"}
        accelerator = trainer.accelerator
        self._own.loss_fn = self._own.loss_fn or loss_fn
        self._try_rates(trainer, model, optimizer, clipping)
        self._load_guard(args, state)
        self._own.begin(model, optimizer, clipping, ranks=accelerator.num_processes, autocast=autocast_of(accelerator))
        tracker = self.recorder.tracker if self.recorder is not None else None
        if tracker is not None and tracker.loss_fn is None:
            tracker.loss_fn = loss_fn
        backward, clip_grad_norm, compute_loss = accelerator.backward, accelerator.clip_grad_norm_, trainer.compute_loss

        def heard_backward(loss: Any, *arguments: Any, **options: Any) -> Any:
            result = backward(loss, *arguments, **options)
            self._own.after_loss(loss / accelerator.gradient_accumulation_steps)
            return result

        def heard_clip(parameters: Any, *arguments: Any, **options: Any) -> Any:
            self._own.step(self._step, scaler=accelerator.scaler)
            return clip_grad_norm(parameters, *arguments, **options)

        def heard_compute_loss(model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
            if model.training:
                self._own.before_forward({"inputs": dict(inputs), **_items(options)})
            return compute_loss(model, inputs, *arguments, **options)

        self._wrapped.put(accelerator, "backward", heard_backward)
        self._wrapped.put(accelerator, "clip_grad_norm_", heard_clip)
        self._wrapped.put(trainer, "compute_loss", heard_compute_loss)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The step that the Trainer will log."""
        self._step = state.global_step + 1

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step that was not clipped by the accelerator was not seen."""
        if self._own.active and self._own.waiting and self._own.recorder is not None:
            self._own.recorder.stop("the Trainer clips on a path of its own (not Accelerator.clip_grad_norm_)")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Puts the guard's state into the checkpoint that was just written."""
        found = self._own.guard_state()
        folder = _checkpoint(args, state)
        if found is None or not state.is_world_process_zero or not folder.is_dir():
            return
        try:
            torch.save(found, folder / "clippy-guard.tmp")
            os.replace(folder / "clippy-guard.tmp", folder / GUARD_FILE)
        except Exception as error:
            self._own.note(f"the guard's state was not saved with the checkpoint: {error}")

    def _try_rates(self, trainer: Any, model: Any, optimizer: Any, clipping: dict[str, Any]) -> None:
        """The preflight, on a loader of its own: the Trainer's would count these batches as its own."""
        if not self._own.with_preflight:
            return
        compute_loss = trainer.compute_loss

        def loss_of(model: torch.nn.Module, batch: Any) -> torch.Tensor:
            with trainer.compute_loss_context_manager():
                loss: torch.Tensor = compute_loss(model, trainer._prepare_inputs(dict(batch)))
            return loss

        self._own.try_rates(
            model,
            optimizer,
            _batches(trainer),
            loss_of,
            clipping,
            ranks=trainer.accelerator.num_processes,
            warmup=_warm_up(trainer),
        )

    def _load_guard(self, args: Any, state: Any) -> None:
        """The guard's state of the checkpoint that the training goes on from, where it has one."""
        if not self._own.with_guard or not state.global_step:
            return
        given = getattr(args, "resume_from_checkpoint", None)
        folders = [Path(given)] if isinstance(given, str) else []
        for folder in [*folders, _checkpoint(args, state)]:
            if (folder / GUARD_FILE).is_file():
                try:
                    self._own.load_guard_state(torch.load(folder / GUARD_FILE, map_location="cpu", weights_only=True))
                except Exception as error:
                    warn(f"the guard's state in {folder} was not loaded: {error}")
                return

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Adds what the tracker measured last to the Trainer's log."""
        tracker = self._own.recorder.tracker if self._own.recorder is not None else None
        if logs is not None and tracker is not None and tracker.last is not None and "loss" in logs:
            logs.update(tracker.columns())
            if state.log_history and state.log_history[-1].get("step") == state.global_step:
                state.log_history[-1].update(tracker.columns())

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Everything as before; waits until all is written."""
        self._wrapped.restore()
        self._own.end()

    # ---- the Trainer itself, which callbacks are not given

    def _trainer(self) -> Any:
        for thing in gc.get_objects():
            if any(kind.__name__ == "Trainer" for kind in type(thing).__mro__):
                handler = getattr(thing, "callback_handler", None)
                if handler is not None and any(callback is self for callback in handler.callbacks):
                    return thing
        return None


def _warm_up(trainer: Any) -> int:
    """Steps of the warm-up that the Trainer's arguments ask for; 0 where its schedule has none."""
    if trainer.args.lr_scheduler_type == "constant":
        return 0
    return int(trainer.args.get_warmup_steps(trainer.state.max_steps))


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _batches(trainer: Any) -> Any:
    """The Trainer's data in random order, in batches of its size; None where they can be read only once."""
    data = trainer.train_dataset
    if data is None or isinstance(data, torch.utils.data.IterableDataset):
        return None
    if hasattr(data, "column_names"):
        data = trainer._remove_unused_columns(data, description="training")
    return torch.utils.data.DataLoader(
        data,
        batch_size=trainer._train_batch_size,
        shuffle=True,
        collate_fn=trainer.data_collator,
        generator=torch.Generator().manual_seed(0),
    )


def _items(options: dict[str, Any]) -> dict[str, Any]:
    items = options.get("num_items_in_batch")
    return {} if items is None else {"num_items_in_batch": items}


def _refusal(trainer: Any, args: Any) -> str | None:
    if trainer is None or not hasattr(trainer, "accelerator"):
        return "the Trainer that this callback belongs to was not found"
    kind = getattr(trainer.accelerator.distributed_type, "name", "")
    if kind in _REFUSED:
        return _REFUSED[kind]
    if getattr(trainer, "use_apex", False):
        return "Apex scales and clips on a path of its own"
    if str(getattr(args, "optim", "")).lower().endswith("lomo"):
        return "LOMO takes its step inside of backward, before gradients can be recorded"
    return None


def loss_fn(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    """The loss of a captured batch as the Trainer computes it for a model that returns one: for
    `clippy_diag.torch.closed_loop(folder, model, loss_fn)`.

    Under gradient accumulation it is the sum over the micro-batches where the model was given `num_items_in_batch`, else
    their mean. A Trainer with a `compute_loss` of its own needs a function of its own.
    """
    parts = batch if isinstance(batch, list) else [batch]
    losses = []
    for part in parts:
        extra = {}
        if part.get("num_items_in_batch") is not None and _takes_items(model):
            extra["num_items_in_batch"] = part["num_items_in_batch"]
        out = model(**part["inputs"], **extra)
        losses.append((out["loss"] if isinstance(out, dict) else out.loss) / (1 if extra else len(parts)))
    return torch.stack(losses).sum()


def _takes_items(model: torch.nn.Module) -> bool:
    accepts = getattr(model, "accepts_loss_kwargs", None)
    if accepts is not None:
        return bool(accepts)
    import inspect

    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(model.forward).parameters.values())

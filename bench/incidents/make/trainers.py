"""How trainers print a training: each takes the records of a run and gives the lines of its log."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]
#: The steps of an epoch, where a trainer counts in epochs.
EPOCH = 44


def _python(value: float) -> str:
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf") if math.isinf(value) else repr(value)


def _fixed(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}f}"


def _tasks(record: Record) -> dict[str, float]:
    return {k: v for k, v in record.items() if k.endswith("_loss") and k != "eval_loss"}


def _stamp(step: int) -> str:
    seconds = 10 * 3600 + step * 2
    return f"2026-03-02 {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def transformers(record: Record) -> list[str]:
    """The dictionaries of the Trainer of transformers."""
    shown = {"loss": round(record["loss"], 4), "grad_norm": record["grad_norm"], "learning_rate": record["learning_rate"]}
    shown |= {k: round(v, 4) for k, v in _tasks(record).items()}
    shown["epoch"] = round(record["step"] / EPOCH, 2)
    lines = ["{" + ", ".join(f"'{k}': {_python(v)}" for k, v in shown.items()) + "}"]
    if "eval_loss" in record:
        lines.append("{" + f"'eval_loss': {_python(round(record['eval_loss'], 4))}, 'eval_runtime': 0.2, 'epoch': {shown['epoch']}" + "}")
    return lines


def nanogpt(record: Record) -> list[str]:
    """The lines of nanoGPT: no rate, no norm."""
    lines = [f"iter {record['step']}: loss {_fixed(record['loss'])}, time {200 + record['step'] % 7:.2f}ms, mfu 12.30%"]
    if "eval_loss" in record:
        lines.append(f"step {record['step']}: train loss {_fixed(record['loss'])}, val loss {_fixed(record['eval_loss'])}")
    return lines


def megatron(record: Record) -> list[str]:
    """The lines of Megatron-LM."""
    return [
        f" [{_stamp(record['step'])}] iteration {record['step']:8d}/{220:8d} | consumed samples: {32 * (record['step'] + 1):12d} | "
        f"elapsed time per iteration (ms): 201.3 | learning rate: {record['learning_rate']:.6E} | global batch size:    32 | "
        f"lm loss: {record['loss']:.6E} | loss scale: 1.0 | grad norm: {record['grad_norm']:.3f} | "
        f"number of skipped iterations:   0 | number of nan iterations:   0 |"
    ]


def torchtitan(record: Record) -> list[str]:
    """The lines of torchtitan."""
    return [
        f"[rank0]:[titan] {_stamp(record['step'])},{record['step'] % 1000:03d} - root - INFO - step: {record['step']:2d}  "
        f"loss: {record['loss']:8.5f}  grad_norm: {record['grad_norm']:8.4f}  memory:  1.90GiB(2.40%)  tps: 7,220"
    ]


def keras(record: Record) -> list[str]:
    """A progress bar of Keras without its colours, one line a batch."""
    epoch, place = record["step"] // EPOCH, record["step"] % EPOCH
    tasks = "".join(f" - {k}: {_fixed(v)}" for k, v in _tasks(record).items())
    head = [f"Epoch {epoch + 1}/5"] if place == 0 else []
    evaluation = f" - val_loss: {_fixed(record['eval_loss'])}" if "eval_loss" in record and place == EPOCH - 1 else ""
    return [*head, f"{place + 1}/{EPOCH} - 0s 4ms/step - loss: {_fixed(record['loss'])}{tasks}{evaluation}"]


def plain(record: Record) -> list[str]:
    """A loop that prints what it has."""
    tasks = "".join(f" {k}={_fixed(v)}" for k, v in _tasks(record).items())
    lines = [f"step={record['step']} loss={_fixed(record['loss'], 5)}{tasks} lr={record['learning_rate']:.3e} gnorm={_fixed(record['grad_norm'], 3)}"]
    if "eval_loss" in record:
        lines.append(f"eval step={record['step']} eval_loss={_fixed(record['eval_loss'], 5)}")
    return lines


def estimator(record: Record) -> list[str]:
    """TensorFlow's Estimator."""
    tasks = "".join(f", {k} = {v:.6g}" for k, v in _tasks(record).items())
    return [f"INFO:tensorflow:loss = {record['loss']:.7g}, step = {record['step']}{tasks} (0.201 sec)"]


def fairseq(record: Record) -> list[str]:
    """The JSON lines of fairseq and metaseq."""
    body = f'"epoch": 1, "num_updates": "{record["step"]}", "loss": "{record["loss"]:.4g}", "gnorm": "{record["grad_norm"]:.3g}", "lr": "{record["learning_rate"]:.6g}", "loss_scale": "4"'
    return [f"{_stamp(record['step'])} | INFO | train_inner | {{{body}}}"]


TRAINERS: dict[str, Callable[[Record], list[str]]] = {
    "transformers": transformers,
    "nanogpt": nanogpt,
    "megatron": megatron,
    "torchtitan": torchtitan,
    "keras": keras,
    "plain": plain,
    "estimator": estimator,
    "fairseq": fairseq,
}
#: Trainers whose lines show the rate.
SHOWS_RATE = frozenset({"transformers", "megatron", "plain", "fairseq"})
SHOWS_EVALUATION = frozenset({"transformers", "nanogpt", "keras", "plain"})

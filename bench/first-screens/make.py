"""Makes runs of small networks that go wrong in ways drawn by a seed, and healthy ones that look alike.

    python make.py SEED FOLDER [--small]

FOLDER/NAME holds what a user has: a log in one of four layouts, for half of the runs that go wrong a capture beside it.
FOLDER/truth.json says of each run what happened, why, and what to do. The page is judged against it (README.md).
--small makes 40 runs instead of 60: 15 logs and 15 captures with each fault once at least, 10 healthy runs.
Needs PyTorch and the package under python/src.
"""

from __future__ import annotations

import csv
import json
import math
import random
import sys
from pathlib import Path
from typing import Any, Callable

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))
from clippy_diag.torch import Recorder, closed_loop  # noqa: E402

CLASSES, FEATURES = 10, 20
Batch = dict[str, torch.Tensor]


class Training:
    """One training with what is drawn of it, and what a fault may change."""

    def __init__(self, draw: random.Random, seed: int) -> None:
        torch.manual_seed(seed)
        self.draw = draw
        self.steps = draw.choice([400, 500, 600])
        self.onset = int(self.steps * draw.uniform(0.4, 0.7))
        self.rows = draw.choice([64, 128, 256])
        self.rate = draw.choice([1e-3, 2e-3, 3e-3])
        self.optimizer = "adam"
        self.weight_decay = 0.0
        self.norm = False
        self.centers = torch.randn(CLASSES, FEATURES) * draw.uniform(0.8, 1.2)
        self.every = 1
        self.columns = ["lr", "grad_norm"]
        self.seconds = draw.uniform(0.05, 2.0)
        self.schedule: Callable[[int], float] = lambda step: self.rate
        self.spoil: Callable[[int, Batch], Batch] = lambda step, batch: batch
        self.before: Callable[[int], None] = lambda step: None
        self.scale: Callable[[int], float] = lambda step: 1.0
        self.pause: Callable[[int], float] = lambda step: self.seconds * self.draw.uniform(0.9, 1.1)
        self.evaluate: Callable[[], Batch] | None = None
        self.data: Callable[[int], Batch] = self.batch
        self.resumes: int | None = None
        self.ending: list[str] = []
        self.needs_clock = False
        self.stop: int | None = None
        self.prepare: Callable[[], None] = lambda: None

    def batch(self, step: int, rows: int | None = None) -> Batch:
        random_rows = torch.Generator().manual_seed(step * 7919 + 13)
        y = torch.randint(0, CLASSES, (rows or self.rows,), generator=random_rows)
        x = self.centers[y] + torch.randn(len(y), FEATURES, generator=random_rows)
        wrong = torch.rand(len(y), generator=random_rows) < 0.05
        return {"x": x, "y": torch.where(wrong, torch.randint(0, CLASSES, (len(y),), generator=random_rows), y)}

    def build(self) -> None:
        layers: list[torch.nn.Module] = []
        width = FEATURES
        for _ in range(2):
            layers += [torch.nn.Linear(width, 48)]
            layers += [torch.nn.BatchNorm1d(48)] if self.norm else []
            layers += [torch.nn.ReLU()]
            width = 48
        self.model = torch.nn.Sequential(*layers, torch.nn.Linear(width, CLASSES))
        self.new_optimizer()
        self.prepare()

    def new_optimizer(self) -> None:
        kind = torch.optim.SGD if self.optimizer == "sgd" else torch.optim.AdamW
        self.opt = kind(self.model.parameters(), lr=self.rate, weight_decay=self.weight_decay)

    def loss_of(self, batch: Batch) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.model(batch["x"]), batch["y"])

    def train(self, folder: Path, capture: bool) -> None:
        self.build()
        recorder = Recorder(self.model, self.opt, str(folder / "capture")) if capture else None
        records: list[dict[str, Any]] = []
        clock, saved, again = 1.77e9, None, False
        step = 0
        while step < (self.stop or self.steps):
            if self.resumes == step and not again and saved is not None:
                again, step = True, saved[0]
                clock += 5400
                self.model.load_state_dict(saved[1])
                self.new_optimizer()
            if step % 50 == 0 and not again and self.resumes is not None and step < self.resumes - 10:
                saved = (step, {name: value.clone() for name, value in self.model.state_dict().items()})
            clock += self.pause(step)
            self.before(step)
            for group in self.opt.param_groups:
                group["lr"] = self.schedule(step)
            batch = self.spoil(step, self.data(step))
            self.opt.zero_grad()
            loss = self.loss_of(batch)
            (loss * self.scale(step)).backward()
            norm = math.sqrt(sum(float((p.grad**2).sum()) for p in self.model.parameters() if p.grad is not None))
            if recorder is not None:
                recorder.record(step, loss, batch=batch)
            self.opt.step()
            if step % self.every == 0:
                record = {"step": step, "loss": loss.item(), "time": round(clock, 2)}
                record |= {"lr": self.schedule(step)} if "lr" in self.columns else {}
                record |= {"grad_norm": norm} if "grad_norm" in self.columns else {}
                records.append(record)
            if self.evaluate is not None and step % (self.steps // 20) == 0 and step > 0:
                self.model.eval()
                with torch.no_grad():
                    records.append({"step": step, "eval_loss": self.loss_of(self.evaluate()).item()})
                self.model.train()
            step += 1
        if recorder is not None:
            recorder.close()
        self.write(folder, records)
        if capture and (folder / "capture" / "capture.json").exists():
            try:
                closed_loop(str(folder / "capture"), self.model, lambda model, batch: self.loss_of(batch))
            except Exception as error:  # noqa: BLE001
                print(folder.name, "no closed loop:", type(error).__name__, str(error)[:120])

    def write(self, folder: Path, records: list[dict[str, Any]]) -> None:
        layout = self.draw.choice(["jsonl", "csv", "printed", "dictionary"])
        if self.evaluate is not None or self.ending:
            layout = "printed" if self.ending else "jsonl"
        if self.needs_clock:
            layout = self.draw.choice(["jsonl", "csv"])
        if layout == "csv":
            with open(folder / "metrics.csv", "w", newline="") as file:
                table = csv.DictWriter(file, fieldnames=list(records[0]))
                table.writeheader()
                table.writerows(records)
            return
        lines = []
        for one in records:
            if layout == "jsonl":
                lines.append(json.dumps(one))
            elif layout == "dictionary":
                lines.append(str({k: v for k, v in one.items() if k != "time"}))
            else:
                rest = "".join(f" | {name} {one[name]:.4g}" for name in ("lr", "grad_norm") if name in one)
                lines.append(f"step {one['step']} | loss {one['loss']:.5f}{rest}")
        name = {"jsonl": "metrics.jsonl", "dictionary": "trainer.log", "printed": "train.log"}[layout]
        (folder / name).write_text("\n".join(lines + self.ending) + "\n")


Truth = dict[str, Any]
Fault = Callable[[Training], tuple[str, str, str]]


def first_layer(t: Training) -> torch.nn.Linear:
    layer = t.model[0]
    assert isinstance(layer, torch.nn.Linear)
    return layer


def nan_batch(t: Training) -> tuple[str, str, str]:
    t.spoil = lambda s, b: {**b, "x": b["x"].index_fill(0, torch.tensor([3]), math.nan)} if s == t.onset else b
    return f"NaN from step {t.onset}", "one row of that batch is NaN", "check or leave out that batch"


def rate_jump(t: Training) -> tuple[str, str, str]:
    times, base = t.draw.choice([30, 100, 300]), t.rate
    t.schedule = lambda s: base * (times if s >= t.onset else 1)
    return f"loss jumps at step {t.onset}", f"the learning rate rose {times}-fold", "put the rate back"


def dead_units(t: Training) -> tuple[str, str, str]:
    def fill() -> None:
        first_layer(t).bias.data.fill_(-20.0)

    t.prepare = fill
    t.optimizer = "sgd"
    return "nothing is learnt from the start", "all units of a layer are dead", "other initial weights"


def hot_start(t: Training) -> tuple[str, str, str]:
    t.rate = t.draw.choice([0.3, 1.0])
    return "nothing is learnt from the start", f"rate {t.rate} is too high for Adam", "a far lower rate"


def over_fit(t: Training) -> tuple[str, str, str]:
    rows = t.batch(99, 150)

    def data(s: int) -> Batch:
        drawn = torch.randint(0, 150, (32,))
        return {k: v[drawn] for k, v in rows.items()}

    t.data = data
    t.evaluate = lambda: t.batch(10**6, 500)
    return "the evaluation rises while the training falls", "over-fitting", "the checkpoint of the best evaluation"


def evaluation_mode(t: Training) -> tuple[str, str, str]:
    t.norm = True
    t.spoil = lambda s, b: {**b, "x": 4 * b["x"] + 3}
    t.evaluate = lambda: t.spoil(0, t.batch(10**6, 500))

    def freeze() -> None:
        for layer in t.model:
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.momentum = 1e-6

    t.prepare = freeze
    return "the evaluation alone is bad, from the start", "batch-norm statistics", "look at evaluation mode"


def slow_down(t: Training) -> tuple[str, str, str]:
    t.needs_clock = True
    usual, times = t.seconds, t.draw.choice([3, 5])
    t.pause = lambda s: usual * t.draw.uniform(0.9, 1.1) * (times if s >= t.onset else 1)
    return f"{times} times slower from step {t.onset}", "not in the log (loader or device)", "time a step without the loader"


def stood_still(t: Training) -> tuple[str, str, str]:
    t.needs_clock = True
    usual = t.seconds
    t.pause = lambda s: usual + (9000 if s == t.onset else 0)
    return f"2.5 h without a record at step {t.onset}", "not in the log", "logs of scheduler and storage"


def lost_state(t: Training) -> tuple[str, str, str]:
    t.resumes = t.onset
    t.rate = 0.02
    t.schedule = lambda s: t.rate
    return f"resumed before step {t.onset}, steps trained twice", "optimizer state was not restored", "restore the state"


def drift(t: Training) -> tuple[str, str, str]:
    t.spoil = lambda s, b: {
        **b,
        "x": b["x"] + torch.randn_like(b["x"]) * 3 * max(0.0, (s - t.onset) / (t.steps - t.onset)),
    }
    return f"rises slowly from about step {t.onset}", "the data get noisier (a log cannot tell)", "compare data and weights"


def scaler(t: Training) -> tuple[str, str, str]:
    t.schedule = lambda s: 1e-3 if s < t.onset else 0.0
    level = [65536.0]
    t.columns = ["grad_norm"]
    original = t.write

    def write(folder: Path, records: list[dict[str, Any]]) -> None:
        for one in records:
            level[0] = level[0] / 2 if one["step"] >= t.onset else level[0]
            one["loss_scale"] = max(level[0], 1e-8)
            one["grad_norm"] = math.inf if one["step"] >= t.onset else one["grad_norm"]
        original(folder, records)

    t.write = write  # type: ignore[method-assign]
    return f"no update since step {t.onset}", "the loss scaler skips every step", "bfloat16, or find the overflow"


def accumulation(t: Training) -> tuple[str, str, str]:
    times = t.draw.choice([8, 16])
    t.scale = lambda s: float(times) if s >= t.onset else 1.0
    return f"gradient norm {times} times as large from step {t.onset}", "gradients summed, not averaged", "the reduction"


def shuffled_labels(t: Training) -> tuple[str, str, str]:
    t.spoil = lambda s, b: {**b, "y": b["y"][torch.randperm(len(b["y"]))]} if s >= t.onset else b
    return f"loss jumps at step {t.onset} and stays", "labels do not belong to their rows", "the data from there on"


def leak(t: Training) -> tuple[str, str, str]:
    def spoil(s: int, b: Batch) -> Batch:
        if s < t.onset:
            return b
        return {"x": 3 * t.centers[b["y"]], "y": b["y"]}

    t.spoil = spoil
    return f"loss falls abruptly at step {t.onset}", "the input holds the answer", "look at the data from there on"


def sorted_rows(t: Training) -> tuple[str, str, str]:
    def data(s: int) -> Batch:
        rows = t.batch(s, 4 * t.rows)
        if s < t.onset:
            return {k: v[: t.rows] for k, v in rows.items()}
        kept = (rows["y"] == (s // 25) % CLASSES).nonzero().flatten()[: t.rows]
        return {k: v[kept] for k, v in rows.items()}

    t.data = data
    return f"saw-tooth from step {t.onset}", "rows are sorted by class", "shuffle again"


def out_of_memory(t: Training) -> tuple[str, str, str]:
    t.stop = t.onset
    t.ending = [
        "Traceback (most recent call last):",
        '  File "/app/train.py", line 88, in <module>',
        "    main()",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.44 GiB. GPU 0 has a total capacity of 79.15 GiB",
    ]
    return f"crashed after step {t.onset - 1}", "CUDA out of memory", "a smaller batch"


def time_limit(t: Training) -> tuple[str, str, str]:
    t.stop = t.onset
    t.ending = ["slurmstepd: error: *** JOB 88123 ON node7 CANCELLED AT 2026-05-02T11:00:12 DUE TO TIME LIMIT ***"]
    return f"killed after step {t.onset - 1}", "the time limit of Slurm", "start again from a checkpoint"


def key_error(t: Training) -> tuple[str, str, str]:
    t.stop = t.onset
    t.ending = [
        "Traceback (most recent call last):",
        '  File "/app/data.py", line 31, in __getitem__',
        "    return self.vocabulary[word]",
        "KeyError: 'straße'",
    ]
    return f"crashed after step {t.onset - 1}", "an exception in the data loader", "mend what the line names"


def rate_zero(t: Training) -> tuple[str, str, str]:
    t.schedule = lambda s: 0.0
    return "nothing is learnt from the start", "the learning rate is 0", "look at the schedule"


def bad_batches(t: Training) -> tuple[str, str, str]:
    times, last = t.draw.choice([100, 1000]), t.onset + t.draw.choice([2, 6])
    t.spoil = lambda s, b: {**b, "x": b["x"] * times} if t.onset <= s <= last else b
    return f"loss explodes at step {t.onset}", f"features {times} times too large in batches to {last}", "leave them out"


def large_decay(t: Training) -> tuple[str, str, str]:
    def before(s: int) -> None:
        for group in t.opt.param_groups:
            group["weight_decay"] = 200.0 if s >= t.onset else 0.0

    t.before = before
    return f"what was learnt is lost from step {t.onset}", "weight decay became 200", "put the weight decay back"


def frozen_mode(t: Training) -> tuple[str, str, str]:
    t.norm = True
    t.spoil = lambda s, b: {**b, "x": 4 * b["x"] + 3}

    def before(s: int) -> None:
        if s == t.onset:
            for layer in t.model:
                if isinstance(layer, torch.nn.BatchNorm1d):
                    layer.running_mean.zero_()
                    layer.running_var.fill_(1.0)
            t.model.eval()

    t.before = before
    return f"loss jumps at step {t.onset}", "the model trains in evaluation mode", "model.train()"


def optimizer_replaced(t: Training) -> tuple[str, str, str]:
    def before(s: int) -> None:
        if s == t.onset:
            t.opt.state.clear()

    # At a lower rate the first steps without a state leave no trace in the loss.
    t.rate = 0.03
    t.before = before
    return f"loss may rise at step {t.onset}", "the optimizer state was cleared", "load the state"


LOG_FAULTS: tuple[Fault, ...] = (
    nan_batch,
    rate_jump,
    dead_units,
    hot_start,
    over_fit,
    evaluation_mode,
    slow_down,
    stood_still,
    lost_state,
    drift,
    scaler,
    accumulation,
    shuffled_labels,
    leak,
    sorted_rows,
    out_of_memory,
    time_limit,
    key_error,
    rate_zero,
    bad_batches,
)
CAPTURE_FAULTS: tuple[Fault, ...] = (
    bad_batches,
    rate_jump,
    shuffled_labels,
    nan_batch,
    large_decay,
    optimizer_replaced,
    frozen_mode,
    accumulation,
    sorted_rows,
    drift,
)


def plain(t: Training) -> None:
    t.columns = []


def warm_restarts(t: Training) -> None:
    period = t.steps // 3
    t.schedule = lambda s: 1e-5 + t.rate * 0.5 * (1 + math.cos(math.pi * (s % period) / period))


def step_decay(t: Training) -> None:
    t.schedule = lambda s: t.rate * (1.0 if s < t.onset else 0.1)


def warm_up(t: Training) -> None:
    t.schedule = lambda s: t.rate * min(1.0, (s + 1) / 100) * (1 - s / (t.steps + 1))


def one_hard_batch(t: Training) -> None:
    t.spoil = lambda s, b: {**b, "x": 0 * b["x"]} if s == t.onset else b


def evaluated(t: Training) -> None:
    t.evaluate = lambda: t.batch(10**6, 500)


def pauses(t: Training) -> None:
    t.needs_clock = True
    usual = t.seconds
    t.pause = lambda s: usual + (300 if s % 100 == 0 else 0)


def clean_resume(t: Training) -> None:
    t.optimizer, t.rate, t.resumes = "sgd", 0.05, t.onset


def sparse(t: Training) -> None:
    t.every = 10


def small_batches(t: Training) -> None:
    t.rows = 8


HEALTHY = (plain, warm_restarts, step_decay, warm_up, one_hard_batch, evaluated, pauses, clean_resume, sparse, small_batches)


Plan = tuple[str, Callable[[Training], Any], bool]


def plans_of(draw: random.Random, small: bool) -> list[Plan]:
    if not small:
        times, logs, captures = 2, list(LOG_FAULTS), [f for f in CAPTURE_FAULTS for _ in range(2)]
    else:
        shared = [f for f in LOG_FAULTS if f in CAPTURE_FAULTS]
        logs = [f for f in LOG_FAULTS if f not in CAPTURE_FAULTS]
        logs += draw.sample(shared, 15 - len(logs))
        times, captures = 1, [*CAPTURE_FAULTS, *draw.sample(CAPTURE_FAULTS, 5)]
    plans: list[Plan] = [(f.__name__, f, False) for f in logs]
    plans += [(f.__name__, f, True) for f in captures]
    return plans + [(f.__name__, f, False) for f in HEALTHY for _ in range(times)]


def main(seed: int, folder: Path, small: bool) -> None:
    draw = random.Random(seed)
    plans = plans_of(draw, small)
    numbers = list(range(len(plans)))
    draw.shuffle(numbers)
    truths: list[Truth] = []
    # Captures take longest: they come last, under numbers that do not say what a run is.
    for number, (name, change, capture) in sorted(zip(numbers, plans), key=lambda one: one[1][2]):
        run = folder / f"run-{number:02d}"
        run.mkdir(parents=True, exist_ok=True)
        training = Training(random.Random(draw.random()), draw.randrange(2**31))
        said = change(training)
        what, why, to_do = said if isinstance(said, tuple) else ("healthy", name, "nothing")
        training.train(run, capture)
        truths.append(
            {"run": run.name, "kind": name, "capture": capture, "what": what, "why": why, "do": to_do}
        )
        (folder / "truth.json").write_text(json.dumps(truths, indent=1) + "\n")
        print(run.name, name, "with a capture" if capture else "")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), Path(sys.argv[2]), "--small" in sys.argv)

"""Incidents that one to eight bad rows made, in PyTorch, JAX or Keras, each with the closed loops of its own framework.

    python loops.py make FRAMEWORK FOLDER INDEX     FOLDER/<index>/{run.json, train.jsonl, capture/}
    python loops.py truth FRAMEWORK FOLDER          reads run.json and named.json of every run, writes rows.json

The truth is a training in the same framework without the rows that were named, on rows that no step trains on.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))

#: Steps that a recorder writes after an incident, and draws of a strength until a run is harmed.
AFTER, DRAWS = 34, 10
RATES = {"sgd": (0.03, 0.1), "momentum": (0.005, 0.02), "adam": (0.003, 0.01), "adagrad": (0.05, 0.2)}
ACTIVATIONS = ("relu", "tanh", "swish")

Batch = dict[str, np.ndarray]


class Run:
    """What is drawn: a teacher, a net of one task, an optimizer, and one to eight bad rows in one to three batches."""

    def __init__(self, index: int, number: int) -> None:
        rng = np.random.default_rng([500_000 + index, number])

        def log_uniform(low: float, high: float) -> float:
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))

        self.seed = 500_000 + index
        self.dense, self.rows = int(rng.choice([6, 8, 12])), int(rng.choice([64, 128, 256]))
        self.units = [self.dense, *[int(rng.choice([16, 24, 32]))] * int(rng.choice([1, 2])), 8, 1]
        self.activation, self.click = str(rng.choice(ACTIVATIONS)), bool(rng.random() < 0.3)
        self.optimizer = str(rng.choice(list(RATES)))
        self.rate = log_uniform(*RATES[self.optimizer]) * log_uniform(1, 6)
        self.start = int(rng.integers(70, 150))
        self.last = self.start + 40
        self.first, self.out = rng.normal(0, self.dense**-0.5, (self.dense, 6)), rng.normal(0, 6**-0.5, 6) * 1.5
        count = int(rng.integers(1, 9))
        steps = range(self.start, self.start + int(rng.integers(1, min(3, count) + 1)))
        self.bad: dict[int, list[int]] = {step: [] for step in steps}
        for k in range(count):
            own = self.bad[steps[k % len(steps)]]
            own.append(int(rng.choice(np.setdiff1d(np.arange(self.rows), own))))
        # A click has no size.
        self.kind = str(rng.choice(["features", "one-feature", "sentinel", *([] if self.click else ["labels"])]))
        self.size, self.column = log_uniform(100, 10_000), int(rng.integers(self.dense))
        self.has_ids = index % 2 == 0

    def clean(self, key: int, rows: int | None = None) -> Batch:
        """Rows of the teacher: the same however often and in which order they are asked for."""
        rng = np.random.default_rng([self.seed, 2, key])
        rows = rows or self.rows
        x = rng.normal(0, 1, (rows, self.dense))
        score = np.tanh(x @ self.first) @ self.out
        y = rng.random(rows) < 1 / (1 + np.exp(-3 * score)) if self.click else score + rng.normal(0, 0.3, rows)
        return {"x": x.astype(np.float32), "y": y.astype(np.float32)}

    def spoilt(self, step: int) -> Batch:
        """The batch of a step as it was trained on."""
        batch, rows = self.clean(step), sorted(self.bad.get(step, []))
        if self.kind == "features":
            batch["x"][rows] *= self.size
        elif self.kind == "one-feature":
            batch["x"][rows, self.column] *= self.size
        elif self.kind == "sentinel":
            batch["x"][rows, self.column] = -self.size
        else:
            batch["y"][rows] *= -self.size
        return batch

    def weights(self) -> list[np.ndarray]:
        """A kernel and a bias for each layer."""
        rng = np.random.default_rng([self.seed, 4])
        found = []
        for a, b in zip(self.units, self.units[1:]):
            found += [rng.uniform(-1, 1, (a, b)) * (6 / (a + b)) ** 0.5, np.zeros(b)]
        return [one.astype(np.float32) for one in found]


def of_torch(run: Run, folder: Path | None) -> Any:
    """A training in PyTorch: (step, loss, loops), see `train`."""
    import torch
    from clippy_diag.torch import Recorder, closed_loop

    torch.set_num_threads(1)
    act = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "swish": torch.nn.SiLU}[run.activation]

    def build() -> torch.nn.Sequential:
        layers: list[torch.nn.Module] = []
        for a, b in zip(run.units, run.units[1:]):
            layers += [torch.nn.Linear(a, b), act()]
        net, values = torch.nn.Sequential(*layers[:-1]), run.weights()
        with torch.no_grad():
            for p, value in zip(net.parameters(), values):
                p.copy_(torch.from_numpy(value.T))
        return net

    def loss_fn(net: Any, batch: Mapping[str, Any]) -> Any:
        z, y = net(batch["x"])[:, 0], batch["y"]
        return (torch.nn.functional.softplus(z) - y * z).mean() if run.click else ((z - y) ** 2).mean()

    def tensors(batch: Batch) -> dict[str, Any]:
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    net, o = build(), torch.optim
    p = list(net.parameters())
    optimizer = {
        "sgd": lambda: o.SGD(p, lr=run.rate),
        "momentum": lambda: o.SGD(p, lr=run.rate, momentum=0.9),
        "adam": lambda: o.Adam(p, lr=run.rate),
        "adagrad": lambda: o.Adagrad(p, lr=run.rate, initial_accumulator_value=0.1),
    }[run.optimizer]()
    recorder = None if folder is None else Recorder(net, optimizer, folder, max_captures=1)

    def step(number: int, given: Batch, names: list[str] | None) -> float:
        batch = tensors(given)
        optimizer.zero_grad()
        loss = loss_fn(net, batch)
        loss.backward()
        if recorder is not None:
            recorder.record(number, loss, batch=batch, batch_id=names)
        optimizer.step()
        return float(loss)

    def value(batch: Batch) -> float:
        with torch.no_grad():
            return float(loss_fn(net, tensors(batch)))

    return step, value, recorder, lambda: closed_loop(folder, build(), loss_fn, rules=["none"])


def of_jax(run: Run, folder: Path | None) -> Any:
    """A training in JAX with optax, as of_torch."""
    import jax
    import optax
    from clippy_diag.jax import Recorder, closed_loop

    jnp = jax.numpy
    act = {"relu": jax.nn.relu, "tanh": jnp.tanh, "swish": jax.nn.silu}[run.activation]
    params = [jnp.asarray(value) for value in run.weights()]

    def loss_fn(tree: list[Any], batch: Mapping[str, Any]) -> Any:
        h = batch["x"]
        for k in range(0, len(tree), 2):
            h = h @ tree[k] + tree[k + 1]
            h = act(h) if k + 2 < len(tree) else h
        z, y = h[:, 0], batch["y"]
        return (jax.nn.softplus(z) - y * z).mean() if run.click else ((z - y) ** 2).mean()

    words = {"name": run.optimizer.replace("momentum", "sgd"), "learningRate": run.rate}
    chain = {
        "sgd": lambda: optax.sgd(run.rate),
        "momentum": lambda: optax.sgd(run.rate, 0.9),
        "adam": lambda: optax.adam(run.rate),
        "adagrad": lambda: optax.adagrad(run.rate),
    }[run.optimizer]()
    if run.optimizer == "momentum":
        words["momentum"] = 0.9
    now = {"params": params, "state": chain.init(params)}
    slope, value_of = jax.jit(jax.value_and_grad(loss_fn)), jax.jit(loss_fn)
    update = jax.jit(chain.update)
    recorder = None if folder is None else Recorder(folder, words, max_captures=1)

    def step(number: int, given: Batch, names: list[str] | None) -> float:
        batch = {name: jnp.asarray(value) for name, value in given.items()}
        loss, gradients = slope(now["params"], batch)
        if recorder is not None:
            recorder.record(number, loss, gradients, now["params"], now["state"], batch=batch, batch_id=names)
        updates, now["state"] = update(gradients, now["state"], now["params"])
        now["params"] = optax.apply_updates(now["params"], updates)
        return float(loss)

    def value(batch: Batch) -> float:
        return float(value_of(now["params"], batch))

    return step, value, recorder, lambda: closed_loop(folder, loss_fn, params, rules=["none"])


def of_keras(run: Run, folder: Path | None) -> Any:
    """A training in Keras on TensorFlow, as of_torch."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf
    from clippy_diag.keras import Recorder, closed_loop

    def build() -> Any:
        layers = [keras.layers.Dense(b, activation=run.activation) for b in run.units[1:-1]]
        net = keras.Sequential([keras.Input((run.dense,)), *layers, keras.layers.Dense(1)])
        net.set_weights(run.weights())
        return net

    def loss_fn(net: Any, batch: Mapping[str, Any]) -> Any:
        z, y = net(batch["x"], training=True)[:, 0], batch["y"]
        ops = keras.ops
        return ops.mean(ops.softplus(z) - y * z) if run.click else ops.mean((z - y) ** 2)

    net, o = build(), keras.optimizers
    optimizer = {
        "sgd": lambda: o.SGD(run.rate),
        "momentum": lambda: o.SGD(run.rate, momentum=0.9),
        "adam": lambda: o.Adam(run.rate),
        "adagrad": lambda: o.Adagrad(run.rate, initial_accumulator_value=0.1),
    }[run.optimizer]()
    optimizer.build(net.trainable_variables)
    recorder = None if folder is None else Recorder(net, optimizer, folder, max_captures=1)

    @tf.function(reduce_retracing=True)
    def slopes(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_fn(net, batch)
        return loss, tape.gradient(loss, [v.value for v in net.trainable_variables])

    value_of = tf.function(lambda batch: loss_fn(net, batch), reduce_retracing=True)

    def step(number: int, given: Batch, names: list[str] | None) -> float:
        batch = {name: tf.convert_to_tensor(value) for name, value in given.items()}
        loss, gradients = slopes(batch)
        if recorder is not None:
            recorder.record(number, loss, gradients, batch=batch, batch_id=names)
        optimizer.apply(gradients, net.trainable_variables)
        return float(loss)

    def value(batch: Batch) -> float:
        return float(value_of({name: tf.convert_to_tensor(one) for name, one in batch.items()}))

    return step, value, recorder, lambda: closed_loop(folder, build(), loss_fn, rules=["none"])


FRAMEWORKS: dict[str, Callable[[Run, Path | None], Any]] = {"torch": of_torch, "jax": of_jax, "keras": of_keras}


def train(framework: str, run: Run, batch_of: Callable[[int], Batch], folder: Path | None = None) -> list[float]:
    """Losses on clean rows before each step. With a folder it is recorded, and its closed loops are run."""
    step, value, recorder, loops = FRAMEWORKS[framework](run, None if folder is None else folder / "capture")
    clean, found, lines = run.clean(10**6, 256), [], []
    for number in range(run.last + 1):
        found.append(value(clean))
        batch = batch_of(number)
        names = [f"{number}/{row}" for row in range(len(batch["y"]))] if run.has_ids else None
        if folder is not None and number == run.last - AFTER and not (folder / "capture" / "capture.json").exists():
            recorder.capture()
        lines.append({"step": number, "loss": step(number, batch, names), "lr": run.rate})
    if folder is not None:
        recorder.close()
        end = json.loads((folder / "capture" / "capture.json").read_text())["steps"][-1]["step"]
        text = "".join(json.dumps(line) + "\n" for line in lines if line["step"] <= end)
        (folder / "train.jsonl").write_text(text)
        loops()
    return found


def end_of(values: list[float]) -> float | None:
    """Median of the last ten; None where one of them is no number."""
    return float(np.median(values[-10:])) if np.isfinite(values[-10:]).all() else None


def is_harmed(framework: str, run: Run) -> bool:
    """Whether the bad rows alone bring the run out of its level, 1.45 times, and it is well without them."""
    clean = train(framework, run, run.clean)
    if not np.isfinite(clean).all():
        return False
    level = float(np.median(clean[run.start - 19 : run.start + 1]))
    if not end_of(clean) <= 1.25 * level:
        return False
    end = end_of(train(framework, run, run.spoilt))
    return end is None or end > 1.45 * level


def make(framework: str, folder: Path, index: int) -> None:
    own = folder / str(index)
    if (own / "run.json").exists():
        return
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    number = next((k for k in range(DRAWS) if is_harmed(framework, Run(index, k))), None)
    if number is not None:
        run = Run(index, number)
        train(framework, run, run.spoilt, own)
        print(index, run.optimizer, run.kind, f"{run.size:.3g}", run.rows, run.bad, flush=True)
    (own / "run.json").write_text(json.dumps({"index": index, "made": number is not None, "draw": number}))


def without(batch: Batch, rows: list[int]) -> Batch:
    return {name: np.delete(value, rows, axis=0) for name, value in batch.items()}


def truth(framework: str, folder: Path) -> None:
    for own in sorted(path.parent for path in folder.glob("*/named.json") if not (path.parent / "rows.json").exists()):
        told, named = (json.loads((own / name).read_text()) for name in ("run.json", "named.json"))
        run = Run(told["index"], told["draw"])
        out = {one["step"]: one["rows"] for one in named["skipRows"]}
        left = train(framework, run, lambda step: without(run.spoilt(step), out.get(step, []))) if out else []
        found = {
            "rows": run.rows,
            "bad": run.bad,
            "clean": end_of(train(framework, run, run.clean)),
            "asItWas": end_of(train(framework, run, run.spoilt)),
            "without": end_of(left) if out else None,
        }
        (own / "rows.json").write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        truth(sys.argv[2], Path(sys.argv[3]))

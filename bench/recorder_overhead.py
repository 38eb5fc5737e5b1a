"""What a recorder costs a training step while the loss is quiet, and what it holds.

    python3 bench/recorder_overhead.py [--framework torch|keras|jax] [--parameters 1e7] [--batch 256] [--batches]

A net of equal dense layers under Adam, on one thread where the framework can. Steps with and without the recorder alternate in
blocks in one process; printed are the medians and quartiles of the CPU time of a step in a block (all threads of the process, so
that other load counts little), the median of the pairs' ratios, the longest that one `record` took, and what was held. With
--flush a capture is asked for at the end: printed is how long the loop waited for it in all, and what it takes of disk.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python" / "src"))
parser = argparse.ArgumentParser()
parser.add_argument("--framework", choices=["torch", "keras", "jax"], default="torch")
parser.add_argument("--parameters", type=float, default=1e7)
parser.add_argument("--batch", type=int, default=256)
parser.add_argument("--batches", action="store_true", help="record batches too")
parser.add_argument("--blocks", type=int, default=8)
parser.add_argument("--length", type=int, default=20, help="steps in a block")
# Until the ring is full every copy goes to memory that the process has not touched yet.
parser.add_argument("--warm-up", type=int, default=65, help="recorded steps before the first block")
parser.add_argument("--memory", default="2GB")
parser.add_argument("--disk", default="20GB")
parser.add_argument("--flush", action="store_true")
options = parser.parse_args()
LAYERS = 4
WIDTH = int((options.parameters / LAYERS) ** 0.5)
folder = Path(tempfile.mkdtemp()) / "capture"
budgets = {"memory": options.memory, "disk": options.disk}
random = np.random.default_rng(0)


def batch():
    return random.normal(size=(options.batch, WIDTH)).astype(np.float32)


def torch_loop():
    import torch

    from clippy_diag.torch import Recorder

    torch.set_num_threads(1)
    layers = [layer for _ in range(LAYERS) for layer in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh())]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    recorder = Recorder(model, optimizer, folder, **budgets)

    def step(number, recorded):
        x = torch.from_numpy(batch())
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        start = time.perf_counter()
        if recorded:
            recorder.record(number, loss, batch={"x": x} if options.batches else None)
        spent = time.perf_counter() - start
        optimizer.step()
        return spent

    return recorder, recorder._own, step


def keras_loop():
    import keras
    import tensorflow as tf

    from clippy_diag.keras import Recorder

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = keras.Sequential([keras.Input((WIDTH,)), *(keras.layers.Dense(WIDTH, "tanh") for _ in range(LAYERS))])
    optimizer = keras.optimizers.Adam(1e-5)
    recorder = Recorder(model, optimizer, folder, **budgets)

    @tf.function
    def gradients_of(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x) ** 2)
        return loss, tape.gradient(loss, [v.value for v in model.trainable_variables])

    def step(number, recorded):
        x = tf.constant(batch())
        loss, gradients = gradients_of(x)
        start = time.perf_counter()
        if recorded:
            recorder.record(number, loss, gradients, batch={"x": x} if options.batches else None)
        spent = time.perf_counter() - start
        optimizer.apply(gradients, model.trainable_variables)
        return spent

    return recorder, recorder._steps.own, step


def jax_loop():
    import jax
    import jax.numpy as jnp
    import optax

    from clippy_diag.jax import Recorder

    keys = jax.random.split(jax.random.PRNGKey(0), LAYERS)
    params = {f"layer{k}": {"kernel": jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5} for k, key in enumerate(keys)}
    transform = optax.adam(1e-5)
    held = {"params": params, "state": transform.init(params)}
    recorder = Recorder(folder, {"name": "adam", "learningRate": 1e-5}, **budgets)

    def loss_of(params, x):
        for layer in params.values():
            x = jnp.tanh(x @ layer["kernel"])
        return (x**2).mean()

    grads_of = jax.jit(jax.value_and_grad(loss_of))

    def update(grads, state, params):
        updates, state = transform.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    update = jax.jit(update, donate_argnums=(0, 1, 2))

    def step(number, recorded):
        x = jnp.asarray(batch())
        loss, grads = jax.block_until_ready(grads_of(held["params"], x))
        start = time.perf_counter()
        if recorded:
            recorder.record(number, loss, grads, held["params"], held["state"], batch={"x": x} if options.batches else None)
        spent = time.perf_counter() - start
        held["params"], held["state"] = jax.block_until_ready(update(grads, held["state"], held["params"]))
        return spent

    return recorder, recorder._own, step


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{1000 * middle:.1f} ms ({1000 * low:.1f} to {1000 * high:.1f})"


recorder, own, step = {"torch": torch_loop, "keras": keras_loop, "jax": jax_loop}[options.framework]()
times, longest, number = {False: [], True: []}, 0.0, options.warm_up
for early in range(options.warm_up):
    step(early, True)
for block in range(2 * options.blocks):
    recorded = block % 2 == 1
    start = time.process_time()
    for _ in range(options.length):
        spent = step(number, recorded)
        number += recorded
        longest = max(longest, spent)
    times[recorded].append((time.process_time() - start) / options.length)
assert own.stopped is None and own.captures == [], own.stopped
print(f"{options.framework}, {LAYERS * WIDTH * WIDTH:,} parameters, Adam, batch {options.batch}")
print(f"without {quartiles(times[False])}")
print(f"with    {quartiles(times[True])}")
print(f"{100 * (statistics.median(b / a for a, b in zip(times[False], times[True])) - 1):+.1f} % (median of pairs)")
print(f"longest record {1000 * longest:.0f} ms; held {own.most_held / 1e6:.0f} MB")
if options.flush:
    recorder.flush()
    waited = [step(number + k, True) for k in range(own.after + 1)]
    print("waited in steps: " + ", ".join(f"{seconds:.2f}" for seconds in waited))
    begun = time.perf_counter()
    recorder.close()
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(
        f"capture: the loop waited {sum(waited):.1f} s in {len(waited)} steps, {max(waited):.2f} s at most in one;"
        f" {time.perf_counter() - begun:.1f} s more at the end; {size / 1e6:.0f} MB"
    )

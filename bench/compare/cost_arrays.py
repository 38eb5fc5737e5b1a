"""Processor time of the ledger in a step of Keras's fit and of a jitted optax step:

    KERAS_BACKEND=tensorflow PYTHONPATH=python/src python bench/compare/cost_arrays.py keras
    PYTHONPATH=python/src python bench/compare/cost_arrays.py optax

Blocks of steps without a recorder, with one, and with recorder and ledger take turns, in one process. A step is the processor time
of all threads of the process. The ledger's own calls are timed where they stand, in their thread. Printed are medians and, in
brackets, the middle half; the first four steps of a ledger have tensors, as one in 256 has later, and are printed apart.
"""

import os
import statistics
import sys
import tempfile
import time
import warnings

import numpy as np

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

INPUTS, WIDTH, ROWS = 64, 500, 1024
#: Steps of a block and rounds of the three blocks.
BLOCK, ROUNDS = 12, 5


def clocked(owner, names, spent):
    """Has the processor time of methods counted; those within others count once."""
    depth = [0]
    for name in names:
        call = getattr(owner, name)

        def timed(*arguments, call=call, **options):
            depth[0] += 1
            begun = time.thread_time_ns()
            try:
                return call(*arguments, **options)
            finally:
                depth[0] -= 1
                if not depth[0]:
                    spent.append((time.thread_time_ns() - begun) / 1e6)

        setattr(owner, name, timed)


def keras_loop(kind, folder, spent):
    """Returns what takes so many steps of a `fit`."""
    import keras

    from clippy_diag.keras import ClippyCallback, ledger

    if kind == "ledger":
        clocked(ledger.FitLedger, ("before", "after"), spent)
        clocked(ledger.JaxFitLedger, ("hear",), spent)
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((INPUTS,)), *layers])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(BLOCK * ROWS, INPUTS)).astype("f4"), random.normal(size=(BLOCK * ROWS, 10)).astype("f4")
    callback = ClippyCallback(f"{folder}/{kind}/capture", ledger=kind == "ledger")
    times = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.begun = time.process_time_ns()

        def on_epoch_end(self, epoch, logs=None):
            times.append((time.process_time_ns() - self.begun) / 1e6 / BLOCK)

    callbacks = [Clock()] if kind == "without" else [callback, Clock()]
    # An epoch is a block; the first traces and compiles.
    model.fit(x, y, batch_size=ROWS, epochs=1 + ROUNDS, shuffle=False, verbose=0, callbacks=callbacks)
    return times[1:]


def optax_loop(kind, folder, spent):
    """The same of a jitted step under `flight`."""
    import jax
    import jax.numpy as jnp
    import optax

    from clippy_diag.jax import flight
    from clippy_diag.jax.recorder import Recorder

    if kind == "ledger":
        clocked(Recorder, ("to_ledger",), spent)
    random = np.random.default_rng(0)
    sizes = [INPUTS, WIDTH, WIDTH, 10]
    params = {
        f"layer{k}": {"kernel": jnp.asarray(random.normal(size=pair).astype("f4") / 10), "bias": jnp.zeros(pair[1])}
        for k, pair in enumerate(zip(sizes, sizes[1:]))
    }
    tx = optax.adam(1e-3)
    if kind != "without":
        tx = flight(tx, f"{folder}/{kind}/capture", ledger=kind == "ledger")

    def loss_of(params, x, y):
        for k in range(3):
            x = x @ params[f"layer{k}"]["kernel"] + params[f"layer{k}"]["bias"]
            x = jax.nn.relu(x) if k < 2 else x
        return jnp.mean((x - y) ** 2)

    @jax.jit
    def step(params, state, x, y):
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        given = {} if kind == "without" else {"value": loss, "batch": {"x": x, "y": y}}
        updates, state = tx.update(grads, state, params, **given)
        return optax.apply_updates(params, updates), state

    state, times = tx.init(params), []
    batches = [(random.normal(size=(ROWS, INPUTS)).astype("f4"), random.normal(size=(ROWS, 10)).astype("f4")) for _ in range(BLOCK)]
    for _ in range(1 + ROUNDS):
        begun = time.process_time_ns()
        for x, y in batches:
            params, state = step(params, state, x, y)
        jax.block_until_ready(params)
        jax.effects_barrier()
        times.append((time.process_time_ns() - begun) / 1e6 / BLOCK)
    if kind != "without":
        tx.close()
    return times[1:]


def middle(values):
    """Median and middle half."""
    low, median, high = statistics.quantiles(values, n=4)
    return f"{median:.2f} ms ({low:.2f} to {high:.2f})"


def main():
    warnings.simplefilter("ignore")
    loop = {"keras": keras_loop, "optax": optax_loop}[sys.argv[1]]
    folder = tempfile.mkdtemp(prefix="ledger-cost-")
    for kind in ("without", "recorder", "ledger"):
        spent = []
        print(kind, middle(loop(kind, folder, spent)), flush=True)
    # `before` and `after` of a fit are calls of their own.
    calls = round(len(spent) / (BLOCK * (1 + ROUNDS)))
    steps = [sum(spent[k : k + calls]) for k in range(0, len(spent) - calls + 1, calls)]
    print("ledger in a step", middle(steps[8:]), "; steps with tensors", ", ".join(f"{one:.1f} ms" for one in steps[:4]))


if __name__ == "__main__":
    main()

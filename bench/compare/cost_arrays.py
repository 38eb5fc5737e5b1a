"""Processor time of the ledger in a step of Keras's fit and of a jitted optax step:

    KERAS_BACKEND=tensorflow PYTHONPATH=python/src python bench/compare/cost_arrays.py keras
    PYTHONPATH=python/src python bench/compare/cost_arrays.py optax
    DONATE=1 PYTHONPATH=python/src python bench/compare/cost_arrays.py optax      # parameters and state are donated to each step

A process without a recorder, one with a recorder, and one with recorder and ledger take blocks of steps in turn, one at a time: a
machine that is slower for a minute is so for all three. A step is the processor time of all threads of its process. The ledger's own
calls are timed where they stand, in their thread, and added up over a block: it may take several steps at once. Printed are medians and, in brackets, the middle half, and what a kind adds to the
block without one of its own round. The first rounds fill the ring and are left out; the first four steps of a ledger have tensors, as
one in 256 has later, so the first block is printed apart.
"""

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

INPUTS, WIDTH, ROWS = 64, 500, 1024
#: Steps of a block; rounds of the three blocks, and those before them, in which steps are compiled and the ring is filled.
BLOCK, ROUNDS, WARM_UP = 12, int(os.environ.get("ROUNDS", "12")), 4
KINDS = ("without", "recorder", "ledger")


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


#: Called when a turn begins.
begun = []


def turn():
    """Waits until it is this process's turn."""
    sys.stdin.readline()
    for call in begun:
        call()
    return time.process_time_ns()


def done(since):
    """The turn is over: tells the processor time of one of its steps."""
    print("block", (time.process_time_ns() - since) / 1e6 / BLOCK, flush=True)


def keras_loop(kind, folder, spent):
    """Takes blocks of steps of a `fit`, each in its turn."""
    import keras

    from clippy_diag.keras import ClippyCallback, ledger

    if kind == "ledger":
        clocked(ledger.FitLedger, ("before", "after", "late"), spent)
        clocked(ledger.JaxFitLedger, ("hear",), spent)
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((INPUTS,)), *layers])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(BLOCK * ROWS, INPUTS)).astype("f4"), random.normal(size=(BLOCK * ROWS, 10)).astype("f4")
    callback = ClippyCallback(f"{folder}/{kind}/capture", ledger=kind == "ledger")

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.since = turn()

        def on_epoch_end(self, epoch, logs=None):
            if keras.backend.backend() == "jax":
                import jax

                jax.effects_barrier()
            done(self.since)

    callbacks = [Clock()] if kind == "without" else [callback, Clock()]
    # An epoch is a block.
    model.fit(x, y, batch_size=ROWS, epochs=WARM_UP + ROUNDS, shuffle=False, verbose=0, callbacks=callbacks)


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

    @functools.partial(jax.jit, donate_argnums=(0, 1) if os.environ.get("DONATE") else ())
    def step(params, state, x, y):
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        given = {} if kind == "without" else {"value": loss, "batch": {"x": x, "y": y}}
        updates, state = tx.update(grads, state, params, **given)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    batches = [(random.normal(size=(ROWS, INPUTS)).astype("f4"), random.normal(size=(ROWS, 10)).astype("f4")) for _ in range(BLOCK)]
    for _ in range(WARM_UP + ROUNDS):
        since = turn()
        for x, y in batches:
            params, state = step(params, state, x, y)
        jax.block_until_ready((params, state))
        jax.effects_barrier()
        done(since)
    if kind != "without":
        tx.close()


def middle(values, unit="ms"):
    """Median and middle half."""
    low, median, high = statistics.quantiles(values, n=4)
    return f"{median:.2f} {unit} ({low:.2f} to {high:.2f})"


def work(name, kind):
    """The process of one kind."""
    warnings.simplefilter("ignore")
    spent, blocks = [], []
    begun.append(lambda: blocks.append(len(spent)))
    {"keras": keras_loop, "optax": optax_loop}[name](kind, tempfile.mkdtemp(prefix="ledger-cost-"), spent)
    if spent:
        steps = [sum(spent[a:b]) / BLOCK for a, b in zip(blocks, [*blocks[1:], len(spent)])]
        print("ledger in a step", middle(steps[WARM_UP:]), f"; the first, mean of {BLOCK}: {steps[0]:.1f} ms", flush=True)


def next_line(process, start):
    """What follows `start` in the next line of a process that begins with it."""
    for line in process.stdout:
        if line.startswith(start):
            return line[len(start) :].strip()
    raise SystemExit(f"a process ended early: {process.args}")


def main():
    name = sys.argv[1]
    if len(sys.argv) > 2:
        work(name, sys.argv[2])
        return
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    processes = {kind: subprocess.Popen([sys.executable, __file__, name, kind], **options) for kind in KINDS}
    times = {kind: [] for kind in KINDS}
    for _ in range(WARM_UP + ROUNDS):
        for kind, process in processes.items():
            process.stdin.write("\n")
            times[kind].append(float(next_line(process, "block ")))
    for kind in KINDS:
        measured, without = times[kind][WARM_UP:], times["without"][WARM_UP:]
        added = middle([100 * (one / other - 1) for one, other in zip(measured, without)], "%")
        print(kind, middle(measured), "" if kind == "without" else f"; added {added}, {len(measured)} rounds")
    print("ledger in a step", next_line(processes["ledger"], "ledger in a step"))
    for process in processes.values():
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main()

"""What a recorder costs a training step while the loss is quiet, and what it holds.

    python3 bench/recorder_overhead.py [--framework torch|keras|jax|hf|lightning|accelerate|keras-fit]
        [--parameters 1e7] [--batch 256] [--batches] [--ledger yes|no]

A net of equal dense layers under Adam, on one thread where the framework can. Steps with and without the recorder alternate in
blocks in one process; printed are the medians and quartiles of the CPU time of a step in a block (all threads of the process, so
that other load counts little), the median of the pairs' ratios, the longest that one `record` took, and what was held. With
--flush a capture is asked for at the end: printed is how long the loop waited for it in all, and what it takes of disk.

Printed for PyTorch too is the CPU time that passes inside of the recorder's own calls (`record`, hooks of the model and the
optimizer): what other load does to the training is not in it, nor what the recorder does to the training's caches. Blocks of
a multiple of 20 steps have their share of snapshots. --ledger yes or no; without it the size of the model decides.

In a trainer the callback is attached for the whole training, and its recorder is taken out in every other block; Keras's `fit`
compiles what it wraps, so there fits with and without the callback alternate, of which the last steps are measured.
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
parser.add_argument(
    "--framework", choices=["torch", "keras", "jax", "hf", "lightning", "accelerate", "keras-fit"], default="torch"
)
parser.add_argument("--parameters", type=float, default=1e7)
parser.add_argument("--batch", type=int, default=256)
parser.add_argument("--batches", action="store_true", help="record batches too")
parser.add_argument("--ledger", choices=["yes", "no"], help="of PyTorch's recorder")
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


class OwnTime:
    """Milliseconds that pass inside of calls, those of each step together."""

    def __init__(self):
        self.now, self.steps = 0.0, []

    def of(self, call):
        def timed(*arguments, **named):
            begun = time.thread_time_ns()
            try:
                return call(*arguments, **named)
            finally:
                self.now += (time.thread_time_ns() - begun) / 1e6

        return timed

    def step(self):
        self.steps.append(self.now)
        self.now = 0.0


def torch_model():
    import torch

    torch.set_num_threads(1)
    layers = [layer for _ in range(LAYERS) for layer in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh())]
    return torch.nn.Sequential(*layers)


def torch_loop():
    import torch

    from clippy_diag.torch import Recorder

    kept = {"yes": True, "no": False, None: None}[options.ledger]
    loops = {}
    for recorded in (False, True):
        model = torch_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
        loops[recorded] = model, optimizer
    recorder = Recorder(model, optimizer, folder, ledger=kept, **budgets)
    record = own_time.of(recorder.record)
    for hooks in (
        model._forward_pre_hooks,
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
    ):
        hooks.update({key: own_time.of(hook) for key, hook in hooks.items()})

    def step(number, recorded):
        model, optimizer = loops[recorded]
        x = torch.from_numpy(batch())
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        start = time.perf_counter()
        if recorded:
            record(number, loss, batch={"x": x} if options.batches else None)
        spent = time.perf_counter() - start
        optimizer.step()
        if recorded:
            own_time.step()
        return spent

    return recorder, recorder._own, step


def keras_model():
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return keras.Sequential([keras.Input((WIDTH,)), *(keras.layers.Dense(WIDTH, "tanh") for _ in range(LAYERS))])


def keras_loop():
    import keras
    import tensorflow as tf

    from clippy_diag.keras import Recorder

    model = keras_model()
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
    params = {
        f"layer{k}": {"kernel": jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5} for k, key in enumerate(keys)
    }
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
            recorder.record(
                number, loss, grads, held["params"], held["state"], batch={"x": x} if options.batches else None
            )
        spent = time.perf_counter() - start
        held["params"], held["state"] = jax.block_until_ready(update(grads, held["state"], held["params"]))
        return spent

    return recorder, recorder._own, step


class Blocks:
    """Told of each step of a trainer before it begins; takes the recorder out in every other block and keeps the times."""

    total = options.warm_up + 2 * options.blocks * options.length + 1

    def __init__(self, callback):
        self.attached, self.recorder, self.steps, self.begun = callback._own, None, 0, 0.0

    def __call__(self):
        self.recorder = self.recorder or self.attached.recorder
        block, place = divmod(self.steps - options.warm_up, options.length)
        self.steps += 1
        if block < 0 or place != 0:
            return
        now = time.process_time()
        if block > 0:
            times[block % 2 == 0].append((now - self.begun) / options.length)
        self.attached.recorder = self.recorder if block % 2 == 1 or block == 2 * options.blocks else None
        self.begun = now


def rows():
    import torch

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return Blocks.total * options.batch

        def __getitem__(self, index):
            return {"x": torch.randn(WIDTH)}

    return Rows()


def hf_trainer():
    import torch
    import transformers

    from clippy_diag.huggingface import ClippyCallback

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch_model()

        def forward(self, x):
            return {"loss": (self.net(x) ** 2).mean()}

    class Told(transformers.TrainerCallback):
        def on_step_begin(self, *_, **__):
            blocks()

    callback = ClippyCallback(folder, batches=options.batches, **budgets)
    blocks, model = Blocks(callback), Net()
    args = transformers.TrainingArguments(
        str(folder.parent / "out"),
        max_steps=Blocks.total,
        per_device_train_batch_size=options.batch,
        max_grad_norm=0.0,
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    adam = torch.optim.Adam(model.parameters(), lr=1e-5)
    trainer = transformers.Trainer(
        model, args, train_dataset=rows(), callbacks=[callback, Told()], optimizers=(adam, None)
    )
    trainer.train()
    return blocks.recorder._own


def lightning_trainer():
    import lightning
    import torch

    from clippy_diag.lightning import ClippyCallback

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch_model()

        def training_step(self, batch, index):
            return (self.net(batch["x"]) ** 2).mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-5)

    class Told(lightning.Callback):
        def on_train_batch_start(self, *_, **__):
            blocks()

    callback = ClippyCallback(folder, batches=options.batches, **budgets)
    blocks = Blocks(callback)
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = lightning.Trainer(max_steps=Blocks.total, callbacks=[Told(), callback], accelerator="cpu", **quiet)
    trainer.fit(Net(), torch.utils.data.DataLoader(rows(), batch_size=options.batch))
    return blocks.recorder._own


def accelerate_loop():
    import accelerate
    import torch

    from clippy_diag.accelerate import ClippyCallback

    accelerator, model = accelerate.Accelerator(cpu=True), torch_model()
    loader = torch.utils.data.DataLoader(rows(), batch_size=options.batch)
    adam = torch.optim.Adam(model.parameters(), lr=1e-5)
    model, optimizer, loader = accelerator.prepare(model, adam, loader)
    callback = ClippyCallback(folder, batches=options.batches, **budgets).attach(accelerator)
    blocks = Blocks(callback)
    for batch in loader:
        blocks()
        callback.batch(batch)
        accelerator.backward((model(batch["x"]) ** 2).mean())
        optimizer.step()
        optimizer.zero_grad()
    callback.close()
    return blocks.recorder._own


def keras_fit():
    import keras

    from clippy_diag.keras import ClippyCallback

    model = keras_model()
    model.compile(optimizer=keras.optimizers.Adam(1e-5), loss="mse")

    class Timed(keras.callbacks.Callback):
        def __init__(self, steps):
            super().__init__()
            self.steps, self.begun = steps, 0.0

        def on_train_batch_begin(self, batch, logs=None):
            if batch == self.steps - options.length:
                self.begun = time.process_time()

        def on_train_batch_end(self, batch, logs=None):
            if batch == self.steps - 1:
                self.spent = (time.process_time() - self.begun) / options.length
                # At the end of the fit the callback lets go of its recorder.
                self.own = callbacks[0]._steps.own if recorded else None

    for block in range(2 * options.blocks):
        recorded = block % 2 == 1
        steps = (options.warm_up if recorded else 5) + options.length
        timed, callbacks = Timed(steps), []
        if recorded:
            callbacks = [ClippyCallback(folder, batches=options.batches, **budgets)]
        x = np.concatenate([batch() for _ in range(8)])
        # Few rows, many times: an iterator that gives them costs the same with and without.
        pieces = (x[options.batch * (k % 8) :][: options.batch] for k in range(steps))
        model.fit(((piece, piece) for piece in pieces), steps_per_epoch=steps, verbose=0, callbacks=[*callbacks, timed])
        times[recorded].append(timed.spent)
    return timed.own


def quartiles(values):
    low, middle, high = (f"{1000 * value:.3g}" for value in statistics.quantiles(values, n=4))
    return f"{middle} ms ({low} to {high})"


own_time = OwnTime()
times, longest, number = {False: [], True: []}, 0.0, options.warm_up
trainers = {"hf": hf_trainer, "lightning": lightning_trainer, "accelerate": accelerate_loop, "keras-fit": keras_fit}
if options.framework in trainers:
    own = trainers[options.framework]()
else:
    recorder, own, step = {"torch": torch_loop, "keras": keras_loop, "jax": jax_loop}[options.framework]()
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
print(f"added   {quartiles([b - a for a, b in zip(times[False], times[True])])}, {len(times[True])} pairs")
if own_time.steps:
    spent = [value / 1000 for value in own_time.steps[options.warm_up :]]
    mean, step_time = statistics.mean(spent), statistics.median(times[False])
    print(
        f"its own calls: a mean of {1000 * mean:.3g} ms a step = {100 * mean / step_time:.1f} %, median {quartiles(spent)},"
        f" {len(spent)} steps"
    )
if longest:
    print(f"longest record {1000 * longest:.0f} ms")
print(f"held {own.most_held / 1e6:.0f} MB")
if options.flush:
    recorder.capture()
    waited = [step(number + k, True) for k in range(own.after + 1)]
    print("waited in steps: " + ", ".join(f"{seconds:.2f}" for seconds in waited))
    begun = time.perf_counter()
    recorder.close()
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(
        f"capture: the loop waited {sum(waited):.1f} s in {len(waited)} steps, {max(waited):.2f} s at most in one;"
        f" {time.perf_counter() - begun:.1f} s more at the end; {size / 1e6:.0f} MB"
    )

"""What the Keras recorder costs a training step, while the loss is quiet.

    python3 bench/recorder_overhead_keras.py

A net of 256-512-256-128-4 under Adagrad, batch 1024, gradients from a tf.function, one thread. Blocks of 20 steps with and without
the recorder alternate; printed are median and quartiles of the CPU time a step takes, and the median of the pairs' ratios.
"""
import statistics
import sys
import time
from pathlib import Path

import tensorflow as tf

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "recorders" / folder) for folder in ("python", "keras")]
from clippy_recorder import ClippyRecorder  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
layers = [tf.keras.layers.Dense(units, "relu") for units in (512, 256, 128)]
model = tf.keras.Sequential([tf.keras.Input((256,)), *layers, tf.keras.layers.Dense(4)])
optimizer = tf.keras.optimizers.Adagrad(0.01)
recorder = ClippyRecorder(model, optimizer, "/nonexistent", every=20)


@tf.function
def gradients_of(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(x) - y) ** 2)
    return loss, tape.gradient(loss, model.trainable_variables)


times, step = {False: [], True: []}, 0
for block in range(22):
    recording = block % 2 == 1
    start = time.process_time()
    for _ in range(20):
        loss, gradients = gradients_of(tf.random.normal((1024, 256)), tf.random.normal((1024, 4)))
        if recording:
            recorder.record(step, loss, gradients)
            step += 1
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    if block >= 2:  # the first of each is warm-up
        times[recording].append(1000 * (time.process_time() - start) / 20)
assert recorder.disabled is None and recorder.buffer.captures == 0
for recording, name in ((False, "without"), (True, "with")):
    low, middle, high = statistics.quantiles(times[recording], n=4)
    print(f"{name} {middle:.1f} ms ({low:.1f} to {high:.1f})")
print(f"{100 * (statistics.median(b / a for a, b in zip(times[False], times[True])) - 1):+.1f} % (median of pairs)")

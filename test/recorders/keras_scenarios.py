"""Trains a small Keras model with the recorder attached and writes what really happened, for keras.long.test.ts to
compare.

python3 keras_scenarios.py RECORDERS OUT
"""

import json
import os
import sys

import numpy as np
import tensorflow as tf

sys.path[:0] = [os.path.join(sys.argv[1], folder) for folder in ("python", "keras")]
from clippy_recorder import ClippyRecorder  # noqa: E402

OUT = sys.argv[2]
keras = tf.keras


def train(name, optimizer, steps, jump_at=None, flush_at=None, **options):
    keras.utils.set_random_seed(0)
    ids, dense = keras.Input((1,), dtype="int32"), keras.Input((3,))
    table = keras.layers.Embedding(5, 2, name="user")
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(table(ids)), dense])
    outputs = keras.layers.Dense(1, name="out")(keras.layers.Dense(4, activation="tanh", name="hidden")(hidden))
    model = keras.Model([ids, dense], outputs)
    variables = model.trainable_variables
    recorder = ClippyRecorder(model, optimizer, os.path.join(OUT, name), **options)
    truth = {}
    random = np.random.default_rng(0)
    for step in range(steps):
        x = random.integers(0, 5, (8, 1)).astype(np.int32), random.normal(size=(8, 3)).astype(np.float32)
        y = (random.normal(size=8) * 0.1 + (50 if step == jump_at else 1)).astype(np.float32)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(list(x))[:, 0] - y) ** 2)
        gradients = tape.gradient(loss, variables)
        truth[step] = {
            "loss": float(loss),
            "gradients": [tf.convert_to_tensor(g).numpy().reshape(-1).tolist() for g in gradients],
            "parameters": [v.numpy().reshape(-1).tolist() for v in variables],
        }
        if step == flush_at:
            recorder.flush()
        recorder.record(step, loss, gradients, tasks={"only": loss}, batch={"ids": x[0], "dense": x[1], "label/y": y})
        optimizer.apply_gradients(zip(gradients, variables))
    return {"truth": truth, "disabled": recorder.disabled}


def refusal(optimizer):
    try:
        ClippyRecorder(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), optimizer, OUT)
    except ValueError as error:
        return str(error)
    return None


schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.99)
result = {
    "adagrad": train("adagrad", keras.optimizers.Adagrad(0.1, global_clipnorm=1.0), 70, 57, every=10, after=6),
    "adam": train("adam", keras.optimizers.Adam(schedule), 70, flush_at=57, every=10, after=6),
    "refusals": [
        refusal(keras.optimizers.Ftrl()),
        refusal(keras.optimizers.SGD(0.1, weight_decay=0.1)),
        refusal(keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.1))),
    ],
}
with open(os.path.join(OUT, "result.json"), "w") as file:
    json.dump(result, file)

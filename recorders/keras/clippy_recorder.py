"""Records the gradient steps of a Keras model around a divergence, so that `clippy-diag` can replay them under
other clipping rules.

    from clippy_recorder import ClippyRecorder
    recorder = ClippyRecorder(model, optimizer, "capture")
    for step, (x, y) in enumerate(batches):
        with tf.GradientTape() as tape:
            loss = compute_loss(model(x, training=True), y)
        gradients = tape.gradient(loss, model.trainable_variables)
        recorder.record(step, loss, gradients)      # before apply_gradients
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

The loop itself runs eagerly; loss and gradients may come from a tf.function. Gradients of the last K to 2K
steps stay in memory and are written when the loss jumps, or after `flush()`; clippy_capture.py, which lies
beside this file, says how. For Keras 3 on TensorFlow and for tf.keras 2.11 to 2.15. Apache-2.0. """

import warnings

import numpy as np
import tensorflow as tf

from clippy_capture import CaptureBuffer

# Keras's lists of optimizer variables and the capture's slots; its options and the capture's, with what Keras always does
SLOTS = {
    "Adagrad": {"_accumulators": "accumulator"},
    "SGD": {"momentums": "momentum"},
    "Adam": {"_momentums": "m", "_velocities": "v", "_velocity_hats": "v_max"},
    "RMSprop": {"_velocities": "v", "_average_gradients": "m", "_momentums": "momentum"},
}
OPTIONS = {
    "Adagrad": (
        {"initial_accumulator_value": "initialAccumulatorValue", "epsilon": "epsilon"},
        {"epsilonInside": True, "accumulator": "standard"},
    ),
    "SGD": ({"momentum": "momentum", "nesterov": "nesterov"}, {"learningRateInside": True}),
    "Adam": ({"beta_1": "beta1", "beta_2": "beta2", "epsilon": "epsilon", "amsgrad": "amsgrad"}, {"epsilonHat": True}),
    "RMSprop": (
        {"rho": "rho", "epsilon": "epsilon", "momentum": "momentum", "centered": "centered"},
        {"epsilonInside": True, "learningRateInside": True},
    ),
}
SLOTS["AdamW"], OPTIONS["AdamW"] = SLOTS["Adam"], OPTIONS["Adam"]
CLIPPING = {
    "clipnorm": ("layer-norm", "maxNorm"),
    "global_clipnorm": ("global-norm", "maxNorm"),
    "clipvalue": ("value", "clipValue"),
}


class ClippyRecorder:
    """One `record` call a step; see the top of this file.

    model         a built Keras model; its trainable_variables, in order, are what `record` gets gradients of
    optimizer     Adagrad, SGD, Adam, AdamW or RMSprop; its clipnorm, global_clipnorm or clipvalue is recorded as the active clipping
    folder        where the capture goes; a second incident goes to `<folder>-2`, up to `max_captures`
    every         K: variables and state are copied every K steps, so a capture holds K to 2K steps before the incident
    after         steps recorded after the jump
    clipping      clipping that you do yourself, e.g. {"rule": "global-norm", "maxNorm": 1.0}; pass the gradients from before it
    model_file    the capture's model description (see docs/recorders.md), copied into the folder
    """

    def __init__(
        self, model, optimizer, folder="capture", every=20, after=34, clipping=None, model_file=None, max_captures=3
    ):
        self.kind = type(optimizer).__name__
        if self.kind not in SLOTS:
            advice = "; pass its inner optimizer, and gradients without the scale" if "LossScale" in self.kind else ""
            raise ValueError(f"clippy-recorder: {self.kind} cannot be replayed; known are {', '.join(SLOTS)}{advice}")
        if not hasattr(optimizer, "build"):
            raise ValueError("clippy-recorder: legacy optimizers hide their state; use the one without `legacy`")
        for option in ("use_ema", "gradient_accumulation_steps", "loss_scale_factor"):
            if getattr(optimizer, option, None):
                raise ValueError(f"clippy-recorder: steps with {option} cannot be replayed")
        if getattr(optimizer, "weight_decay", None) and self.kind != "AdamW":
            raise ValueError(
                f"clippy-recorder: Keras decouples the weight decay of {self.kind}; only that of AdamW can be replayed"
            )
        self.optimizer, self.variables = optimizer, list(model.trainable_variables)
        if not optimizer.built if hasattr(optimizer, "built") else not getattr(optimizer, "_index_dict", None):
            optimizer.build(self.variables)
        self.names = [getattr(v, "path", v.name).split(":")[0] for v in self.variables]
        if len(set(self.names)) < len(self.names):
            raise ValueError(
                f"clippy-recorder: two variables are named {next(n for n in self.names if self.names.count(n) > 1)}"
            )
        active = [
            {"rule": rule, option: getattr(optimizer, key)}
            for key, (rule, option) in CLIPPING.items()
            if getattr(optimizer, key, None)
        ]
        self.clipping = clipping or (active or [{"rule": "none"}])[0]
        self.buffer = CaptureBuffer(folder, every, after, max_captures, model_file, self._describe)
        self.disabled = None
        # tf.keras sums repeated rows before it squares them, and so does the global clipping of Keras 3.
        sums = hasattr(optimizer, "_deduplicate_sparse_grad") or getattr(optimizer, "global_clipnorm", None)
        self.squares_parts = self.kind != "SGD" and not sums

    def record(self, step, loss, gradients, tasks=None, batch=None):
        """Takes one step. It never stops the training: what it cannot do is a warning, and it records no more.

        gradients  of model.trainable_variables, in order, before any clipping
        tasks      losses of the tasks, by name
        batch      tensors of the batch for closed-loop replay: {"dense": x, "label/click": y}
        """
        if self.disabled:
            return
        try:
            tensors = {f"batch/{name}": np.array(value) for name, value in (batch or {}).items()}
            if len(gradients) != len(self.names):
                raise ValueError(f"{len(gradients)} gradients for {len(self.names)} variables")
            for name, gradient in zip(self.names, gradients):
                if gradient is None:
                    raise ValueError(f"{name} has no gradient")
                if isinstance(gradient, tf.IndexedSlices):
                    rows, place = np.unique(gradient.indices.numpy().astype(np.int64), return_inverse=True)
                    values = np.zeros((len(rows), *gradient.values.shape[1:]), gradient.values.numpy().dtype)
                    np.add.at(values, place, gradient.values.numpy())
                    if len(rows) < len(place) and self.squares_parts:
                        self.squares_parts = False
                        warnings.warn(
                            f"clippy-recorder: Keras 3's {self.kind} squares the parts of a repeated row of {name} one by one,"
                            " not their sum, which no replay does; apply tf.convert_to_tensor(gradient) instead"
                        )
                    tensors[f"grad/{name}/indices"], tensors[f"grad/{name}/values"] = rows, values
                else:
                    tensors[f"grad/{name}"] = np.array(gradient)
            parameters = state = None
            if self.buffer.snapshot_due():
                parameters = {f"param/{name}": np.array(v.numpy()) for name, v in zip(self.names, self.variables)}
                state = self._state() if self.buffer.manifest is None else None
            losses = {name: float(value) for name, value in (tasks or {}).items()}
            self.buffer.add(step, float(loss), [self._rate()], losses, tensors, parameters, state)
        except Exception as error:
            self.disabled = f"{type(error).__name__}: {error}"
            warnings.warn(f"clippy-recorder: stopped, training goes on: {self.disabled}")

    def flush(self, reason="requested"):
        """Writes a capture at the next `record`, jump or not, and records on for `after` steps."""
        self.buffer.wanted = reason

    def _rate(self):
        rate = self.optimizer._learning_rate  # the schedule itself: the property lags a step behind in tf.keras
        return float(rate(self.optimizer.iterations) if callable(rate) else rate)

    def _state(self):
        optimizer, slots = self.optimizer, {}
        for name, v in zip(self.names, self.variables):
            index = (
                optimizer._get_variable_index(v)
                if hasattr(optimizer, "_get_variable_index")
                else optimizer._index_dict[optimizer._var_key(v)]
            )
            for theirs, ours in SLOTS[self.kind].items():
                values = getattr(optimizer, theirs, None)
                if values and index < len(values) and values[index] is not None:
                    slots[f"state/{ours}/{name}"] = np.array(values[index].numpy())
            slots[f"state/step/{name}"] = np.array(optimizer.iterations.numpy(), np.float32)
        return slots

    def _describe(self, step, rates):
        names, always = OPTIONS[self.kind]
        options = {ours: getattr(self.optimizer, theirs) for theirs, ours in names.items()}
        return {
            "framework": f"keras {getattr(tf.keras, '__version__', tf.__version__)} on tensorflow {tf.__version__}",
            "optimizer": {
                "name": self.kind.lower(),
                "learningRate": rates[0],
                "weightDecay": getattr(self.optimizer, "weight_decay", None) or 0,
                **options,
                **always,
            },
            "clipping": self.clipping,
            "parameters": [
                {"name": name, "shape": list(v.shape), **_kind(name.split("/")[-1], len(v.shape))}
                for name, v in zip(self.names, self.variables)
            ],
        }


def _kind(last, rank):
    """Layout of a variable from Keras's own last name: kernels are [in, out] or [height, width, in, out]."""
    layout = {("kernel", 2): "IO", ("recurrent_kernel", 2): "IO", ("kernel", 4): "HWIO"}.get((last, rank), "none")
    return {"layout": layout, "embedding": last == "embeddings"}

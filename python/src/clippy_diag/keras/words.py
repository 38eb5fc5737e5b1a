"""Keras's names and the capture's: optimizer state, options, layouts; which optimizers have a formula. For every backend."""

from __future__ import annotations

import contextlib
import platform
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from .. import __version__
from ..captures import Array, Source, words

#: Keras's lists of optimizer variables and the capture's slots, of the optimizers that the CLI replays by formula.
SLOTS: dict[str, dict[str, str]] = {
    "Adagrad": {"_accumulators": "accumulator"},
    "SGD": {"momentums": "momentum"},
    "Adam": {"_momentums": "m", "_velocities": "v", "_velocity_hats": "v_max"},
    "RMSprop": {"_velocities": "v", "_average_gradients": "m", "_momentums": "momentum"},
}
SLOTS["AdamW"] = SLOTS["Adam"]
#: Options and the capture's names, and what Keras always does.
OPTIONS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
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
OPTIONS["AdamW"] = OPTIONS["Adam"]
#: Given as a buffer to a source's `fetch`: no copy is needed, as the array is read at once.
NO_COPY = np.empty(0)
CLIPPING = {
    "clipnorm": ("layer-norm", "maxNorm"),
    "global_clipnorm": ("global-norm", "maxNorm"),
    "clipvalue": ("value", "clipValue"),
}


def inner(optimizer: Any) -> Any:
    """The optimizer inside a LossScaleOptimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def has_formula(optimizer: Any) -> bool:
    """Whether the CLI can compute the optimizer's steps: an Adagrad, SGD, Adam, AdamW or RMSprop of Keras itself, without what
    Keras adds to any optimizer: variables that decay leaves out, averages that overwrite the weights."""
    decays = bool(getattr(optimizer, "weight_decay", None))
    excluded = getattr(optimizer, "_exclude_from_weight_decay", None) or getattr(
        optimizer, "_exclude_from_weight_decay_pattern", None
    )
    overwrites = bool(getattr(optimizer, "use_ema", False) and getattr(optimizer, "ema_overwrite_frequency", None))
    return has_plain_formula(optimizer) and not (decays and excluded) and not overwrites


def has_plain_formula(optimizer: Any) -> bool:
    """Whether the optimizer's update has a formula here, apart from what Keras does with the weights after it."""
    kind = type(optimizer)
    return kind.__name__ in SLOTS and kind.__module__.split(".")[0] == "keras"


def squares_parts(optimizer: Any) -> bool:
    """Whether a row that a batch looks up twice is squared part by part, not as the sum, which no replay does."""
    return type(optimizer).__name__ != "SGD" and not getattr(optimizer, "global_clipnorm", None)


def options_of(optimizer: Any, rate: float, formula: bool) -> dict[str, Any]:
    """The optimizer under the capture's names; of one without a formula its class and plain options."""
    kind = type(optimizer).__name__
    if not formula:
        plain = {
            key: value
            for key, value in config_of(optimizer).items()
            if key not in ("name", "learning_rate") and value is not None
        }
        return {"name": kind, "formula": False, "learningRate": rate, **plain}
    theirs, always = OPTIONS[kind]
    return {
        "name": kind.lower(),
        "learningRate": rate,
        "weightDecay": getattr(optimizer, "weight_decay", None) or 0,
        # Keras takes the decay of every optimizer off the weights.
        **({"decoupledWeightDecay": True} if getattr(optimizer, "weight_decay", None) and kind != "AdamW" else {}),
        **{ours: getattr(optimizer, name) for name, ours in theirs.items()},
        **always,
    }


def use_options(optimizer: Any, options: Mapping[str, Any]) -> None:
    """The reverse of `options_of`: gives the optimizer options of a step of a capture. What it has no attribute for is left out, and
    so is its own clipping, which a loop does by itself."""
    known, _ = OPTIONS.get(type(optimizer).__name__, ({}, {})) if has_plain_formula(optimizer) else ({}, {})
    theirs = {"weightDecay": "weight_decay", **{ours: name for name, ours in known.items()}}
    for name, value in options.items():
        if hasattr(optimizer, theirs.get(name, name)) and name not in CLIPPING:
            setattr(optimizer, theirs.get(name, name), value)


def config_of(optimizer: Any) -> dict[str, Any]:
    """Plain options of an optimizer by Keras's names."""
    if _given.rate is None:
        found = optimizer.get_config()
    else:
        found = {key: getattr(optimizer, key, None) for key in _given.keys if key != "learning_rate"}
    return {key: value for key, value in found.items() if value is None or isinstance(value, (bool, int, float, str))}


def clipping_of(optimizer: Any) -> dict[str, Any]:
    """The clipping that the optimizer does by itself."""
    for key, (rule, option) in CLIPPING.items():
        if getattr(optimizer, key, None):
            return {"rule": rule, option: float(getattr(optimizer, key))}
    return {"rule": "none"}


class _Given(threading.local):
    """What variables and the optimizer are for this thread, see `given`."""

    def __init__(self) -> None:
        self.values: Mapping[int, Any] = {}
        self.rate: float | None = None
        self.keys: Sequence[str] = ()


_given = _Given()


@contextlib.contextmanager
def given(values: Mapping[int, Any], rate: float | None = None, keys: Sequence[str] = ()) -> Iterator[None]:
    """Inside, in this thread, variables have these values: while `fit` runs on the backend of JAX they hold none of their own.

    values  by the id of the variable
    rate    learning rate of the step; None: it can be read
    keys    names of the optimizer's options, which its `get_config` cannot be asked for
    """
    before = _given.values, _given.rate, _given.keys
    _given.values, _given.rate, _given.keys = values, rate, keys
    try:
        yield
    finally:
        _given.values, _given.rate, _given.keys = before


def rate_of(optimizer: Any) -> float:
    """The learning rate of the step that comes next."""
    if _given.rate is not None:
        return _given.rate
    return float(np.asarray(array_of(optimizer.learning_rate)))


def array_of(value: Any) -> np.ndarray:
    """A tensor or variable of any backend as a numpy array of its own; repeated rows of sparse gradients are added."""
    return np.array(view_of(value))


def view_of(value: Any) -> np.ndarray:
    """The same without a copy where the backend allows that: it may change with the value."""
    if isinstance(value, np.ndarray):
        return value
    if id(value) in _given.values:
        return np.asarray(_given.values[id(value)])
    if type(value).__name__ == "IndexedSlices":
        rows, places = np.unique(np.asarray(value.indices).astype(np.int64), return_inverse=True)
        parts = np.asarray(value.values)
        out = np.zeros((int(value.dense_shape[0]), *parts.shape[1:]), parts.dtype)
        sums = np.zeros((len(rows), *parts.shape[1:]), parts.dtype)
        np.add.at(sums, places.reshape(-1), parts)
        out[rows] = sums
        return out
    inside = getattr(value, "value", value)
    inside = value if callable(inside) else inside
    if type(inside).__name__ == "ResourceVariable":  # its own `read_value` takes several times as long
        import tensorflow

        inside = tensorflow.raw_ops.ReadVariableOp(resource=inside.handle, dtype=inside.dtype)
    elif hasattr(inside, "read_value"):  # a variable of TensorFlow on several devices
        inside = inside.read_value()
    if hasattr(inside, "detach"):
        inside = inside.detach().cpu()
    # By the buffer protocol: TensorFlow's own `numpy` copies.
    return np.asarray(inside)


def plain(array: np.ndarray) -> Array:
    """The array as a capture holds it: bfloat16 by its words."""
    if array.dtype.name == "bfloat16":
        return "BF16", array.view("<i2")
    words(array)
    return array


def names_of(variables: Sequence[Any]) -> list[str]:
    """Names of variables as their paths; a path that occurs again gets a number."""
    found: dict[str, None] = {}
    for variable in variables:
        name = str(getattr(variable, "path", variable.name)).split(":")[0]
        unique, n = name, 2
        while unique in found:
            unique, n = f"{name}.{n}", n + 1
        found[unique] = None
    return list(found)


def others_of(model: Any) -> list[Any]:
    """Variables of a model that are not trained: BatchNorm's means, seeds, frozen ones."""
    trained = {id(variable) for variable in model.trainable_variables}
    return [v for v in model.variables if id(v) not in trained and "string" not in str(v.dtype)]


def compute_types(model: Any) -> list[str]:
    """The types that the layers of a model compute in, such as float16 under a mixed policy."""
    return sorted({str(layer.compute_dtype) for layer in model._flatten_layers(include_self=False)} - {"None"})


def matched(recorded: Sequence[tuple[str, Sequence[int]]], variables: Sequence[Any]) -> dict[str, Any] | None:
    """Variables by the names under which they were recorded, each with its shape: by name where all are there. A model that
    is built again in a process gets other numbers in its names (`dense_2/kernel`): then by place, where names without
    these numbers, and shapes, are the same one by one. None where neither holds."""
    named = dict(zip(names_of(variables), variables))
    if all(name in named and tuple(named[name].shape) == tuple(shape) for name, shape in recorded):
        return {name: named[name] for name, _ in recorded}
    here = [(_unnumbered(name), tuple(variable.shape)) for name, variable in named.items()]
    if here != [(_unnumbered(name), tuple(shape)) for name, shape in recorded]:
        return None
    return {name: variable for (name, _), variable in zip(recorded, variables)}


def _unnumbered(name: str) -> str:
    return re.sub(r"_\d+(?=/|$)", "", name)


def layout_of(name: str, rank: int) -> dict[str, Any]:
    """Layout from Keras's own last name: kernels are [in, out] or [height, width, in, out]."""
    last = name.split("/")[-1].split(".")[0]
    layout = {("kernel", 2): "IO", ("recurrent_kernel", 2): "IO", ("kernel", 4): "HWIO"}.get((last, rank), "none")
    return {"layout": layout, "embedding": last == "embeddings"}


def source_of(name: str, variable: Any) -> Source:
    """A variable of a snapshot, not copied yet."""
    kind = str(variable.dtype).replace("<dtype: '", "").rstrip("'>").split(".")[-1]
    dtype = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16"}.get(kind)
    dtype = dtype or {"int64": "I64", "int32": "I32", "uint32": "U32", "bool": "BOOL", "uint8": "U8"}[kind]
    # A source may be fetched later, in another thread.
    source = _given.values.get(id(variable), variable)
    return Source(name, dtype, tuple(variable.shape), lambda buffer: plain(into(buffer, view_of(source))))


def into(buffer: np.ndarray | None, view: np.ndarray) -> np.ndarray:
    """A copy, in `buffer` where one of its type and shape is given; the view itself under NO_COPY."""
    if buffer is NO_COPY:
        return view
    if buffer is None or buffer.dtype != view.dtype or buffer.shape != view.shape:
        return np.array(view)
    np.copyto(buffer, view)
    return buffer


def index_of(optimizer: Any, variable: Any) -> int:
    """Place of a variable in the optimizer's lists."""
    return int(optimizer._get_variable_index(variable))


def state_sources(optimizer: Any, named: Mapping[str, Any], formula: bool) -> list[Source]:
    """State of an optimizer: `state/<slot>/<name>` with a formula, all its variables as `optimizer/<k>` without."""
    if not formula:
        return [source_of(f"optimizer/{k}", variable) for k, variable in enumerate(optimizer.variables)]
    steps = np.asarray(array_of(optimizer.iterations), np.float32).reshape(())
    sources = []
    for name, variable in named.items():
        index = index_of(optimizer, variable)
        for theirs, ours in SLOTS[type(optimizer).__name__].items():
            values = getattr(optimizer, theirs, None)
            if values and index < len(values) and values[index] is not None:
                sources.append(source_of(f"state/{ours}/{name}", values[index]))
        sources.append(Source(f"state/step/{name}", "F32", (), lambda buffer: steps))
    return sources


def random_state() -> dict[str, Array]:
    """Random state that Keras does not hold in variables: the backend of torch draws dropout from torch's own generator."""
    if keras.backend.backend() != "torch":
        return {}
    import torch

    return {"rng/cpu": torch.get_rng_state().numpy().copy()}


def put_back(kept: Sequence[tuple[Any, np.ndarray]], random: Mapping[str, Array]) -> None:
    """Variables as they were, and the `random_state`. A graph that torch keeps may not find its inputs written to, even with what
    they were: a variable that has its value is left alone."""
    for variable, value in kept:
        if not np.array_equal(view_of(variable), value, equal_nan=value.dtype.kind == "f"):
            variable.assign(value)
    if random:
        import torch

        torch.set_rng_state(torch.from_numpy(random["rng/cpu"]))


def framework() -> str:
    """Keras with its backend, such as `keras 3.15.1 on tensorflow 2.21.0`."""
    backend = keras.backend.backend()
    module = __import__(backend)
    return f"keras {keras.__version__} on {backend} {module.__version__}"


def versions() -> dict[str, str]:
    """What a rerun may depend on."""
    return {
        "clippy-diag": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "keras": keras.__version__,
        "backend": framework(),
    }


@contextlib.contextmanager
def gradients_on() -> Iterator[None]:
    """Gradients can be computed inside, also where they are disabled in torch."""
    if keras.backend.backend() == "torch":
        import torch

        with torch.enable_grad():
            yield
    else:
        yield

"""Trains on from a capture of an optax loop, under clipping rules and with one thing changed.

    from clippy_diag.jax import closed_loop

    closed_loop("capture", loss_fn, params)      # loss_fn(params, batch) -> loss

`clippy-diag analyze` and `clippy-diag replay capture` show the traces as `recorded`, with verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from ..auditing import remeasured_too
from ..bad_rows import taken_rows
from ..captures import (
    INITIAL,
    Capture,
    changing_options,
    open_capture,
    options_of_step,
    read_raw,
    read_tensors,
    unflatten,
)
from ..clipping import clip_gradients, clip_updates, movement
from ..loops import ClosedLoops, Taken, called_loss, least, run_loops
from ..rules import Rules
from .recorder import FORMULAS, leaf_name, named_leaves

LossFn = Callable[[Any, Any], Any]


def closed_loop(
    folder: str | Path,
    loss_fn: LossFn,
    params: Any,
    rules: None | Sequence[str] | Mapping[str, Mapping[str, float]] = None,
    arms: str | None | Sequence[str] = "all",
    optimizer: Callable[[float], Any] | None = None,
) -> ClosedLoops:
    """Runs closed loops from the capture's first state, and stores their traces in capture.json's `replay`.

    folder     a capture with batches
    loss_fn    (params, batch) -> loss, a scalar, with the batch as it was given to `record`; random keys that it needs have to be
               in the batch, as arrays
    params     a tree of the structure and types of the trained parameters; its values are not looked at
    rules, arms   as of `clippy_diag.torch.closed_loop`
    optimizer  makes the chain from a learning rate, without its clipping, such as `lambda rate: optax.lion(rate)`. Needed where
               the optimizer was recorded without a formula; else optax's own with the recorded options

    Returns and raises as `clippy_diag.torch.closed_loop`. A capture has parameters and optimizer state only. A training whose
    steps change anything else (`batch_stats` of Flax) is not reproduced, and ClosedLoopMismatch says so.
    """
    capture = open_capture(folder)
    found = run_loops(capture, _OptaxTrainer(capture, loss_fn, params, optimizer), rules, arms)
    remeasured_too(folder, params, loss_fn)
    return found


class _OptaxTrainer:
    """A `Trainer` (loops.py) over a loss and a chain of optax."""

    def __init__(self, capture: Capture, loss_fn: LossFn, params: Any, make: Callable[[float], Any] | None) -> None:
        self.capture, self.specs = capture, capture.manifest["parameters"]
        leaves, self.structure = jax.tree_util.tree_flatten(params)
        self.dtypes = {name: leaf.dtype for name, leaf in zip(named_leaves(params), leaves)}
        odd = sorted(set(self.dtypes) ^ {spec["name"] for spec in self.specs})
        if odd:
            raise ValueError(f'{capture.folder}: "{odd[0]}" is in params or in the capture alone')
        chain_of = _chain_of(capture) if make is None else None
        #: The chain of a learning rate and of options that change while the run is recorded.
        self.make = chain_of or (lambda rate, _: make(rate))  # type: ignore[misc]
        self.written = changing_options(capture.steps) if make is None else {}
        self.initial = read_tensors(capture.folder / INITIAL)
        self.value = jax.jit(loss_fn)
        self.value_and_gradient = jax.jit(jax.value_and_grad(loss_fn))
        self._jitted = jax.jit(lambda rate, written, *of_step: self.make(rate, written).update(*of_step))
        self._compiled = True
        self.arrays: dict[str, Any] = {}
        self.state: Any = None
        self._gradients: dict[str, Any] = {}

    def start(self) -> None:
        """Parameters and optimizer as before the first recorded step."""
        self.arrays = {name: self.initial[f"param/{name}"] for name in self.dtypes}
        self.restore_optimizer()

    def watch(self) -> bool:
        """There is no guard for closed loops here."""
        return False

    def advice(self) -> dict[str, Any] | None:
        """Nothing, as nothing watches."""
        return None

    def restore_optimizer(self) -> None:
        """The optimizer's state as before the first recorded step."""
        first = self.capture.steps[0]
        state = self.make(self._rate(first), self._options(first)).init(self._tree(self.arrays))
        leaves, structure = jax.tree_util.tree_flatten_with_path(state)
        values = [self._of_state(tuple(leaf_name(part) for part in path), leaf) for path, leaf in leaves]
        self.state = jax.tree_util.tree_unflatten(structure, values)

    def _of_state(self, path: tuple[str, ...], leaf: Any) -> Any:
        """What the capture holds of a leaf of the state; a leaf that it does not hold stays as it begins."""
        name = self.capture.manifest["optimizer"]["name"]
        _, slots = FORMULAS.get(name, ({}, {}))
        candidates = [f"optimizer/{'/'.join(path)}"]
        # A capture of version 3 has RMSprop's momentum as what is taken off the weights; optax adds it.
        added = name == "rmsprop" and "trace" in path and self.capture.manifest["version"] >= 3
        for k, field in enumerate(path):
            if field in slots:
                candidates.append("/".join(["state", slots[field], *path[k + 1 :]]))
        if path and path[-1] == "count":
            candidates.append(f"state/step/{next(iter(self.dtypes))}")
        for candidate in candidates:
            if candidate in self.initial:
                value = jax.numpy.asarray(self.initial[candidate], leaf.dtype).reshape(leaf.shape)
                return -value if added and candidate.startswith("state/") else value
        return leaf

    def _tree(self, arrays: Mapping[str, Any]) -> Any:
        leaves = [jax.numpy.asarray(arrays[name], dtype) for name, dtype in self.dtypes.items()]
        return jax.tree_util.tree_unflatten(self.structure, leaves)

    def _batch(self, entry: Mapping[str, Any]) -> Any:
        found = self.capture.tensors(entry, "batch/")
        stored = {name[len("batch/") :]: value for name, value in found.items()}
        leaves = {name: jax.numpy.asarray(value) for name, value in taken_rows(entry, stored).items()}
        tree = entry.get("batch", self.capture.manifest.get("batch"))
        return leaves if tree is None else unflatten(tree, leaves)

    @staticmethod
    def _rate(entry: Mapping[str, Any]) -> float:
        return float(entry["learningRate"])

    def _options(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """Options of the step that change while the run is recorded, a momentum of `inject_hyperparams` say."""
        return options_of_step(self.written, entry).get(0, {})

    def loss(self, entry: Mapping[str, Any]) -> float:
        """Loss of a step's batch at the parameters as they are."""
        batch = self._batch(entry)
        return float(called_loss(self.value, (self._tree(self.arrays), batch), entry["step"], batch))

    def loss_and_size(self, entry: Mapping[str, Any]) -> tuple[float, float]:
        """Loss of a step's batch and norm of its gradient; a function of parameters and batch has no modes."""
        loss, slopes = self.value_and_gradient(self._tree(self.arrays), self._batch(entry))
        values = [_numbers(leaf).astype(np.float64) for leaf in jax.tree_util.tree_leaves(slopes)]
        return float(loss), math.sqrt(sum(float((value**2).sum()) for value in values))

    def suspects(self, entry: Mapping[str, Any]) -> list[str]:
        """Parameters of another type."""
        words = {"float64": "F64", "float32": "F32", "bfloat16": "BF16", "float16": "F16"}
        recorded = {name: dtype for name, (dtype, _) in read_raw(self.capture.folder / INITIAL, "param/").items()}
        for name, dtype in self.dtypes.items():
            if recorded[f"param/{name}"] != words.get(str(dtype)):
                return [f"{name} was {recorded[f'param/{name}']} and is {dtype} in these params"]
        return []

    def noise(self, entry: Mapping[str, Any]) -> float:
        """None: a function of parameters and batch draws nothing."""
        return 0.0

    def _loss_and_slopes(self, params: Any, entry: Mapping[str, Any]) -> tuple[Any, Any]:
        """The loss on a step's batch, and its gradient as a tree like the parameters."""
        batch = self._batch(entry)
        slopes: Any = None

        def value_of(tree: Any, of_step: Any) -> Any:
            nonlocal slopes
            loss, slopes = self.value_and_gradient(tree, of_step)
            return loss

        loss = called_loss(value_of, (params, batch), entry["step"], batch)
        return loss, slopes

    def step(self, entry: Mapping[str, Any], rules: Rules, rate_factor: Sequence[float] | None) -> Taken:
        """One step of the training on a step's batch."""
        params = self._tree(self.arrays)
        loss, slopes = self._loss_and_slopes(params, entry)
        arrays = {name: _numbers(leaf) for name, leaf in named_leaves(slopes).items()}
        self._gradients = {f"grad/{name}": np.array(leaf) for name, leaf in arrays.items()}
        before = {name: _numbers(leaf) for name, leaf in named_leaves(params).items()}
        found = clip_gradients(rules, self.specs, arrays, before)
        rate = self._rate(entry) * (rate_factor[0] if rate_factor is not None else 1.0)
        written = self._options(entry)
        updates, self.state = self._update(rate, written, self._tree(arrays), params)
        after = {name: _numbers(leaf) for name, leaf in named_leaves(optax.apply_updates(params, updates)).items()}
        options = {**self.capture.manifest["optimizer"], **written}
        decay = options.get("weightDecay", 0) if options["name"] == "adamw" else 0
        found += clip_updates(rules, self.specs, before, after, 1 - rate * decay)
        self.arrays = after
        return Taken(float(loss), *least(found), movement(before, after))

    def _update(self, rate: float, written: Mapping[str, Any], gradients: Any, params: Any) -> tuple[Any, Any]:
        """The chain's update, compiled once for all steps where its maker takes traced numbers."""
        if self._compiled:
            try:
                return self._jitted(rate, written, gradients, self.state, params)  # type: ignore[no-any-return]
            except (jax.errors.JAXTypeError, TypeError, ValueError):
                self._compiled = False  # a maker that looks at the number
        return self.make(rate, written).update(gradients, self.state, params)  # type: ignore[no-any-return]

    def gradients(self) -> dict[str, Any]:
        """Gradients of the last step, before clipping."""
        return self._gradients


def _numbers(leaf: Any) -> np.ndarray:
    """A leaf as numpy has it; bfloat16, which numpy lacks, as float32."""
    array = np.array(leaf)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _chain_of(capture: Capture) -> Callable[[float, Mapping[str, Any]], Any]:
    """optax's own chain of the recorded options, those of a step in their place. Raises ValueError where none was recorded."""
    recorded = capture.manifest["optimizer"]
    name, momentum = recorded["name"], recorded.get("momentum")
    makers: dict[str, Callable[[float, Mapping[str, Any]], Any]] = {
        "adam": lambda rate, o: optax.adam(rate, o["beta1"], o["beta2"], o["epsilon"]),
        "adamw": lambda rate, o: optax.adamw(
            rate, o["beta1"], o["beta2"], o["epsilon"], weight_decay=o.get("weightDecay", 0)
        ),
        "sgd": lambda rate, o: optax.sgd(rate, o["momentum"] if momentum else None, bool(o["nesterov"])),
        "adagrad": lambda rate, o: optax.adagrad(rate, o["initialAccumulatorValue"], o["epsilon"]),
        "rmsprop": lambda rate, o: optax.rmsprop(
            rate, o["rho"], o["epsilon"], centered=bool(o["centered"]), momentum=o["momentum"] if momentum else None
        ),
    }
    decays = recorded.get("weightDecay", 0) or any(
        "weightDecay" in one.get(0, {}) for one in changing_options(capture.steps).values()
    )
    decoupled = decays and recorded.get("decoupledWeightDecay") is True
    if recorded.get("formula") is False or name not in makers or (decoupled and name == "rmsprop" and momentum):
        raise ValueError(
            f"{capture.folder}: how {name} steps was not recorded; give optimizer=lambda rate: optax.{name}(rate)"
        )

    def chain(rate: float, written: Mapping[str, Any]) -> Any:
        options = {**recorded, **written}
        inner, decay = makers[name](rate, options), options.get("weightDecay", 0)
        if decoupled:
            return optax.chain(inner, optax.add_decayed_weights(-rate * decay))
        return optax.chain(optax.add_decayed_weights(decay), inner) if decays and name != "adamw" else inner

    return chain

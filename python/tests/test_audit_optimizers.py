"""Every optimizer of torch.optim, keras.optimizers and optax, and the options of those with a formula: twelve recorded steps of drawn
gradients are audited by formula, where there is one, else by running the class. Healthy ones hold, steps twice as large are found."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clippy_diag.auditing import _merged, _stepped

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")
WARM_UP, STEPS, SIDE = 4, 12, 12
#: Faults of a name are in a folder of that name and this ending.
DOUBLED = "-doubled"


def _gradients() -> list[list[np.ndarray]]:
    """Those of a matrix and a vector, for every step; what is drawn comes on top of a mean, as in a training."""
    draw = np.random.default_rng(0)
    mean = [draw.normal(size=shape) for shape in ((SIDE, SIDE), (SIDE,))]
    return [
        [(0.05 * (m + draw.normal(size=m.shape))).astype(np.float32) for m in mean] for _ in range(WARM_UP + STEPS + 2)
    ]


def _audits(folder: Path, makes: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    """By name: whether a formula told of the optimizer, and "broken" where a link of the step is, else what became of the optimizer's.
    `makes` are the classes to run where no formula told."""
    call = [NODE or "node", str(ROOT / "bin" / "run.js"), "audit", str(folder), "--json"]
    told = json.loads(subprocess.run(call, capture_output=True, text=True, encoding="utf8", check=False).stdout)
    found = {}
    for one in told["audits"]:
        name = Path(one["path"]).name
        links = {link["link"]: link for link in one["audit"]["links"]}
        # A gradient k times as large, in SGD the same as a rate, breaks an earlier link.
        formula = "optimizer" not in links or links["optimizer"]["outcome"] != "cannot-tell"
        if not formula:
            again = _merged(one["audit"], _stepped(folder / name, makes[name.removesuffix(DOUBLED)]))
            links = {link["link"]: link for link in again["links"]}
        own = [links[link] for link in ("accumulation", "clip", "optimizer") if link in links]
        broken = any(link["outcome"] == "broken" for link in own)
        found[name] = formula, "broken" if broken else links["optimizer"]["outcome"]
    return found


def _judge(folder: Path, makes: dict[str, Any], formulas: set[str], untold: set[str]) -> None:
    """@param formulas names of which a formula tells  @param untold of which nothing does"""
    found = _audits(folder, makes)
    assert {name for name in makes if found[name][0]} == formulas
    assert {name: found[name][1] for name in makes} == {n: "cannot-tell" if n in untold else "holds" for n in makes}
    doubled = {name: found[name + DOUBLED][1] for name in makes if name not in untold}
    assert doubled == dict.fromkeys(doubled, "broken")


# --- PyTorch

#: Options of the classes with a formula, beside those that are usual.
TORCH_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD all": ("SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    "SGD nesterov": ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "SGD maximize": ("SGD", {"momentum": 0.9, "maximize": True}),
    "Adam all": ("Adam", {"betas": (0.8, 0.95), "eps": 1e-3, "amsgrad": True, "weight_decay": 0.1}),
    "Adam decoupled": ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    "Adam maximize": ("Adam", {"maximize": True}),
    "AdamW all": ("AdamW", {"betas": (0.8, 0.95), "eps": 1e-3, "amsgrad": True, "foreach": True}),
    "AdamW fused": ("AdamW", {"fused": True, "weight_decay": 0.1}),
    "Adagrad all": (
        "Adagrad",
        {"lr_decay": 0.01, "initial_accumulator_value": 0.1, "eps": 1e-3, "weight_decay": 0.1, "foreach": True},
    ),
    "Adagrad maximize": ("Adagrad", {"maximize": True}),
    "RMSprop all": (
        "RMSprop",
        {"alpha": 0.9, "eps": 1e-3, "momentum": 0.9, "centered": True, "weight_decay": 0.1, "foreach": True},
    ),
    "RMSprop maximize": ("RMSprop", {"maximize": True}),
}


def _torch(torch: Any, folder: Path, kind: str, options: dict[str, Any], times: float) -> None:
    from clippy_diag.torch import Recorder

    torch.manual_seed(0)
    model = torch.nn.Module()
    model.matrix = torch.nn.Parameter(torch.randn(SIDE, SIDE))
    if kind not in ("Muon", "SparseAdam"):
        model.vector = torch.nn.Parameter(torch.randn(SIDE))
    parameters = list(model.parameters())
    optimizer = getattr(torch.optim, kind)(parameters, lr=1e-2, **options)
    recorder = Recorder(model, optimizer, folder, snapshot_every_steps=4, steps_after=STEPS)
    for step, gradients in enumerate(_gradients()):
        if step == WARM_UP:
            recorder.capture()
        for p, gradient in zip(parameters, gradients):
            p.grad = torch.from_numpy(gradient.copy())
            if kind == "SparseAdam":
                p.grad[step % 5 :: 5] = 0
                p.grad = p.grad.to_sparse(1)
        recorder.record(step, torch.tensor(1.0))
        before = [p.detach().clone() for p in parameters]
        optimizer.step(*([lambda: torch.tensor(1.0)] if kind == "LBFGS" else []))
        with torch.no_grad():
            for p, old in zip(parameters, before):
                p.copy_(old + times * (p - old) if times != 1 else p)
    recorder.close()


def test_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="no torch in this environment")
    every = inspect.getmembers(torch.optim, inspect.isclass)
    kinds = {name: (name, {}) for name, kind in every if kind is not torch.optim.Optimizer}
    known = inspect.signature(torch.optim.Adam).parameters
    kinds |= {n: o for n, o in TORCH_OPTIONS.items() if set(o[1]) <= {*known} or "decoupled" not in n}
    for name, (kind, options) in kinds.items():
        for times in (1.0, 2.0):
            _torch(torch, tmp_path / (name + DOUBLED * (times == 2)), kind, options, times)
    makes = {name: getattr(torch.optim, kind) for name, (kind, _) in kinds.items()}
    formulas = {n for n, (kind, _) in kinds.items() if kind in ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop")}
    formulas -= {n for n in kinds if n.endswith("maximize")}
    _judge(tmp_path, makes, formulas, {"LBFGS"})


# --- Keras

KERAS_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD all": ("SGD", {"momentum": 0.9, "weight_decay": 0.1, "clipnorm": 0.2}),
    "SGD nesterov": ("SGD", {"momentum": 0.9, "nesterov": True, "global_clipnorm": 0.3}),
    "Adam all": ("Adam", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3, "amsgrad": True, "weight_decay": 0.1}),
    "Adam value": ("Adam", {"clipvalue": 0.03}),
    "Adam averaged": ("Adam", {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 4}),
    "AdamW all": ("AdamW", {"beta_1": 0.8, "amsgrad": True, "weight_decay": 0.1}),
    "Adagrad all": ("Adagrad", {"initial_accumulator_value": 0.2, "epsilon": 1e-3, "weight_decay": 0.1}),
    "RMSprop all": ("RMSprop", {"rho": 0.8, "momentum": 0.9, "epsilon": 1e-3, "centered": True, "weight_decay": 0.1}),
}
#: No optimizers of their own: bases and those that hold others.
KERAS_OTHERS = {"Optimizer", "OptimizerMap", "MultiOptimizer", "LossScaleOptimizer"}


def _keras(keras: Any, folder: Path, kind: str, options: dict[str, Any], times: float) -> None:
    from clippy_diag.keras import Recorder

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((SIDE,)), keras.layers.Dense(SIDE, name="one")])
    optimizer = getattr(keras.optimizers, kind)(learning_rate=1e-2, **options)
    variables = model.trainable_variables
    optimizer.build(variables)
    recorder = Recorder(model, optimizer, folder, snapshot_every_steps=4, steps_after=STEPS)
    for step, gradients in enumerate(_gradients()):
        if step == WARM_UP:
            recorder.capture()
        given = [keras.ops.convert_to_tensor(gradient) for gradient in gradients]
        recorder.record(step, 1.0, given)
        before = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
        optimizer.apply(given, variables)
        for variable, old in zip(variables, before):
            now = np.asarray(keras.ops.convert_to_numpy(variable))
            if times != 1:
                variable.assign(old + np.float32(times) * (now - old))
    recorder.close()


def test_keras(tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keras = pytest.importorskip("keras", reason="no Keras in this environment")
    if keras.backend.backend() != "torch":
        pytest.skip("the optimizers are the same on every backend, and quickest on this one")
    every = inspect.getmembers(keras.optimizers, inspect.isclass)
    kinds = {name: (name, {}) for name, _ in every if name not in KERAS_OTHERS} | KERAS_OPTIONS
    for name, (kind, options) in kinds.items():
        for times in (1.0, 2.0):
            _keras(keras, tmp_path / (name + DOUBLED * (times == 2)), kind, options, times)
    makes = {name: getattr(keras.optimizers, kind) for name, (kind, _) in kinds.items()}
    formulas = {n for n, (kind, _) in kinds.items() if kind in ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop")}
    _judge(tmp_path, makes, formulas - {"Adam averaged"}, set())


# --- optax


def _optax(optax: Any, folder: Path, transform: Any, update: Any, said: dict[str, Any], times: float) -> None:
    jax = pytest.importorskip("jax")
    from clippy_diag.jax import Recorder

    draw = np.random.default_rng(1)
    names = ("matrix", "vector")
    params = {
        name: jax.numpy.asarray(draw.normal(size=shape), "float32")
        for name, shape in zip(names, ((SIDE, SIDE), (SIDE,)))
    }
    state = transform.init(params)
    recorder = Recorder(folder, said, snapshot_every_steps=4, steps_after=STEPS)
    for step, gradients in enumerate(_gradients()):
        if step == WARM_UP:
            recorder.capture()
        given = {name: jax.numpy.asarray(gradient) for name, gradient in zip(names, gradients)}
        recorder.record(step, 1.0, given, params, state)
        updates, state = update(given, state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda u: times * u, updates))
    recorder.close()


OPTAX_OPTIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sgd all": ("sgd", {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
    "adam all": ("adam", {"b1": 0.8, "b2": 0.95, "eps": 1e-3}, {"b1": 0.8, "b2": 0.95, "eps": 1e-3}),
    "adamw all": ("adamw", {"b1": 0.8, "weight_decay": 0.1}, {"b1": 0.8, "weight_decay": 0.1}),
    "adagrad all": (
        "adagrad",
        {"initial_accumulator_value": 0.2, "eps": 1e-3},
        {"initial_accumulator_value": 0.2, "eps": 1e-3},
    ),
    "rmsprop all": (
        "rmsprop",
        {"decay": 0.8, "centered": True, "momentum": 0.9, "eps": 1e-3},
        {"rho": 0.8, "centered": True, "momentum": 0.9, "eps": 1e-3},
    ),
}


def test_optax(tmp_path: Path) -> None:
    optax = pytest.importorskip("optax", reason="no optax in this environment")
    made: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {}
    for name, of in inspect.getmembers(optax, inspect.isfunction):
        # LBFGS calls the loss in its step.
        if "learning_rate" not in inspect.signature(of).parameters or name.startswith(("_", "scale_by_", "lbfgs")):
            continue
        made[name] = of, {}, {}
    made |= {name: (getattr(optax, kind), options, said) for name, (kind, options, said) in OPTAX_OPTIONS.items()}
    makes = {}
    for name, (of, options, said) in made.items():
        makes[name] = lambda rate, of=of, options=options: of(learning_rate=rate, **options)
        transform = makes[name](1e-2)
        update = pytest.importorskip("jax").jit(transform.update)
        for times in (1.0, 2.0):
            words = {"name": of.__name__, "learning_rate": 1e-2, **said}
            _optax(optax, tmp_path / (name + DOUBLED * (times == 2)), transform, update, words, times)
    _judge(tmp_path, makes, {"sgd", "adam", "adamw", "adagrad", "rmsprop", *OPTAX_OPTIONS}, set())

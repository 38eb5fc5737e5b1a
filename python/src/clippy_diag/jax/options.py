"""What a transformation of optax is made of, read from the functions that it consists of.

optax keeps no description of a chain: its options are variables of nested functions. They are found there by the names
that optax gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Union

Rate = Union[float, Callable[[Any], Any]]

#: Functions of optax that pass on what others do.
_WRAPPERS = {"chain", "named_chain", "with_extra_args_support", "identity"}
#: What an optimizer with a formula consists of, before the learning rate: its transformation, and the options' names.
_CORES: dict[str, tuple[str, dict[str, str]]] = {
    "scale_by_adam": ("adam", {"b1": "beta1", "b2": "beta2", "eps": "epsilon"}),
    "scale_by_rss": ("adagrad", {"initial_accumulator_value": "initialAccumulatorValue", "eps": "epsilon"}),
    "trace": ("sgd", {"decay": "momentum", "nesterov": "nesterov"}),
    "scale_by_rms": ("rmsprop", {"decay": "rho", "eps": "epsilon", "eps_in_sqrt": "epsilonInside"}),
}
#: Options that change a core beyond what the formulas know, by their usual values.
_USUAL = {"eps_root": 0.0, "mu_dtype": None, "accumulator_dtype": None, "bias_correction": False}
_CLIPPING = {
    "clip_by_global_norm": ("global-norm", "max_norm", "maxNorm"),
    "clip": ("value", "max_delta", "clipValue"),
    "adaptive_grad_clip": ("agc", "clipping", "clipping"),
}


class Part(NamedTuple):
    """One transformation of a chain: its function of optax, and the variables of that."""

    name: str
    options: dict[str, Any]


class Chain(NamedTuple):
    """What was read of a transformation."""

    #: The optimizer in the words of capture.json, or `{"name": …, "formula": False}`.
    optimizer: dict[str, Any]
    clipping: list[dict[str, Any]]
    #: None where none was found.
    learning_rate: Rate | None


def read_chain(transformation: Any) -> Chain:
    """Optimizer, clipping and learning rate of a transformation of optax. What is not recognised has no formula."""
    parts = [part for part in _parts(transformation.update) if part.name != "identity"]
    clipping = []
    while parts and parts[0].name in _CLIPPING:
        rule, theirs, ours = _CLIPPING[parts[0].name]
        limit = parts[0].options.get(theirs)
        if not isinstance(limit, (int, float)):
            break
        clipping.append({"rule": rule, ours: float(limit)})
        parts = parts[1:]
    momentum = _momentum_of(parts)
    if momentum:
        parts = parts[:-1]
    rate, negative = _rate_of(parts[-1]) if parts else (None, True)
    name = "+".join(part.name for part in (*parts, *([Part("trace", {})] if momentum else []))) or "identity"
    found = _formula(parts[:-1]) if rate is not None and negative else None
    if found is None:
        # Gradients that a part of the chain changes before an unknown one are those from before it all.
        return Chain({"name": name, "formula": False}, clipping, rate)
    if momentum and found["name"] != "rmsprop":
        return Chain({"name": name, "formula": False}, clipping, rate)
    return Chain({**found, **momentum}, clipping, rate)


def _momentum_of(parts: list[Part]) -> dict[str, Any]:
    """RMSprop's momentum, which optax puts behind the learning rate; empty where the chain ends in another part."""
    last = parts[-1] if len(parts) > 1 else None
    if last is None or last.name != "trace" or last.options.get("nesterov") or _rate_of(parts[-2])[0] is None:
        return {}
    return {"momentum": last.options["decay"]}


def _formula(parts: list[Part]) -> dict[str, Any] | None:
    decay = 0.0
    if len(parts) > 1 and parts[-1].name == "add_decayed_weights":
        given = parts[-1].options
        if given.get("mask") is not None or not isinstance(given.get("weight_decay"), (int, float)):
            return None
        decay, parts = float(given["weight_decay"]), parts[:-1]
    if len(parts) > 1:
        return None
    if not parts:
        return {"name": "sgd", **({"weightDecay": decay} if decay else {})}
    core = parts[0]
    if core.name not in _CORES or any(core.options.get(key, usual) != usual for key, usual in _USUAL.items()):
        return None
    name, words = _CORES[core.name]
    options = {ours: core.options[theirs] for theirs, ours in words.items() if theirs in core.options}
    if name == "adam" and core.options.get("nesterov"):
        return None
    if decay and name == "adam":
        return {"name": "adamw", **options, "weightDecay": decay}
    return {"name": name, **options, **({"weightDecay": decay, "decoupledWeightDecay": True} if decay else {})}


def _rate_of(part: Part) -> tuple[Rate | None, bool]:
    """The learning rate of the last part of a chain, and whether it is subtracted, as gradients are."""
    if part.name == "scale":
        size = part.options.get("step_size")
        if isinstance(size, (int, float)):
            return abs(float(size)), size < 0
    if part.name == "scale_by_schedule" and callable(part.options.get("step_size_fn")):
        inside = dict(_variables(part.options["step_size_fn"]))
        if callable(inside.get("learning_rate")):
            return inside["learning_rate"], inside.get("m", -1) == -1
    return None, True


def _parts(function: Any) -> Iterator[Part]:
    """The transformations that an update function calls, in order."""
    name = getattr(function, "__qualname__", type(function).__name__).split(".<locals>")[0]
    variables = dict(_variables(function))
    if name == "chain" and "update_fns" in variables:
        for inside in variables["update_fns"]:
            yield from _parts(inside)
    elif name in _WRAPPERS and "tx" in variables:
        yield from _with_init(variables["tx"])
    else:
        yield Part(name, variables)


def _with_init(transformation: Any) -> Iterator[Part]:
    """The parts of a transformation; only its init function has some of the options."""
    parts = list(_parts(transformation.update))
    if len(parts) == 1:
        return iter([Part(parts[0].name, {**dict(_variables(transformation.init)), **parts[0].options})])
    return iter(parts)


def _variables(function: Any) -> Iterator[tuple[str, Any]]:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    for name, cell in zip(code.co_freevars if code is not None else (), cells or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # a variable that was never set


def as_words(chain: Chain) -> Mapping[str, Any]:
    """The optimizer as `Recorder(optimizer=…)` takes it."""
    rate = {} if chain.learning_rate is None else {"learningRate": chain.learning_rate}
    return {**chain.optimizer, **rate}

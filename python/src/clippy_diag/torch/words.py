"""PyTorch's names and the capture's: optimizer state, options, layouts; which optimizers have a formula."""

from __future__ import annotations

import fnmatch
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

import numpy as np
import torch

from ..captures import Array, Source, flatten

#: State of torch.optim's classes that the CLI replays by formula, and the capture's slots.
SLOTS: dict[str, dict[str, str]] = {
    "Adagrad": {"sum": "accumulator", "step": "step"},
    "SGD": {"momentum_buffer": "momentum"},
    "Adam": {"exp_avg": "m", "exp_avg_sq": "v", "max_exp_avg_sq": "v_max", "step": "step"},
    "RMSprop": {"square_avg": "v", "grad_avg": "m", "momentum_buffer": "momentum", "step": "step"},
}
SLOTS["AdamW"] = SLOTS["Adam"]
#: Options of a parameter group and the capture's names.
OPTIONS: dict[str, dict[str, str]] = {
    "Adagrad": {
        "initial_accumulator_value": "initialAccumulatorValue",
        "eps": "epsilon",
        "lr_decay": "learningRateDecay",
    },
    "SGD": {"momentum": "momentum", "dampening": "dampening", "nesterov": "nesterov"},
    "Adam": {"eps": "epsilon", "amsgrad": "amsgrad"},
    "RMSprop": {"alpha": "rho", "eps": "epsilon", "momentum": "momentum", "centered": "centered"},
}
OPTIONS["AdamW"] = OPTIONS["Adam"]


def class_path(thing: Any) -> str:
    """Module and name of an object's class, such as `torch.optim.adamw.AdamW`."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def has_formula(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the CLI can compute the optimizer's steps: an Adagrad, SGD, Adam, AdamW or RMSprop of torch.optim
    itself. A subclass may do anything."""
    kind = type(optimizer)
    return (
        kind.__name__ in SLOTS
        and kind.__module__.startswith("torch.optim")
        and not any(group.get("maximize") for group in optimizer.param_groups)
    )


def parameters_of(optimizers: Sequence[torch.optim.Optimizer]) -> list[torch.nn.Parameter]:
    """The parameters of all groups, in the order of the optimizers."""
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]


def steps_taken(optimizer: torch.optim.Optimizer) -> int:
    """Steps that were taken, of the parameter that took most."""
    return max((int(state.get("step", 0)) for state in optimizer.state.values()), default=0)


def options_of(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """A parameter group under the capture's names; of an optimizer without a formula its class and plain options."""
    kind = type(optimizer).__name__
    if not has_formula(optimizer):
        plain = {
            key: value
            for key, value in group.items()
            if key not in ("params", "lr", "name") and isinstance(value, (bool, int, float, str))
        }
        return {"name": kind, "formula": False, "learningRate": rate, **{k: v for k, v in plain.items() if _finite(v)}}
    name = "adamw" if group.get("decoupled_weight_decay") else kind.lower()
    options: dict[str, Any] = {"name": name, "learningRate": rate, "weightDecay": _plain(group.get("weight_decay", 0))}
    options.update((ours, _plain(group.get(theirs, 0))) for theirs, ours in OPTIONS[kind].items())
    if "betas" in group:
        options["beta1"], options["beta2"] = (_plain(beta) for beta in group["betas"])
    if kind == "Adagrad":
        options.update(epsilonInside=False, accumulator="standard")
    return options


def group_options(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The reverse of `options_of`: those of the capture's options that the CLI knows, under PyTorch's names.

    group  the group that they are for, whose other beta stays
    """
    if not has_formula(optimizer):
        # What else an optimizer keeps in its group may be a count of its own.
        return {name: value for name, value in options.items() if name == "weight_decay" and name in group}
    theirs = {"weightDecay": "weight_decay"}
    theirs.update((ours, name) for name, ours in OPTIONS[type(optimizer).__name__].items())
    found = {theirs[name]: value for name, value in options.items() if name in theirs}
    if "beta1" in options or "beta2" in options:
        found["betas"] = tuple(options.get(name, group["betas"][k]) for k, name in enumerate(("beta1", "beta2")))
    return found


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def json_of(value: Any) -> Any:
    """A value as JSON; `{"lost": type}` for what JSON cannot hold. A tensor of one number is a number with its type, as an
    optimizer may need a tensor there."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        number = json_of(value.item())
        return number if isinstance(number, dict) else {"scalar": number, "dtype": str(value.dtype).split(".")[-1]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"lost": f"float {value}"}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [json_of(part) for part in value]
    return {"lost": type(value).__name__}


DTYPES = {
    torch.float64: ("F64", "<f8"),
    torch.float32: ("F32", "<f4"),
    torch.float16: ("F16", "<f2"),
    torch.bfloat16: ("BF16", "<i2"),
    torch.int64: ("I64", "<i8"),
    torch.int32: ("I32", "<i4"),
    torch.int16: ("I16", "<i2"),
    torch.int8: ("I8", "|i1"),
    torch.uint8: ("U8", "|u1"),
    torch.bool: ("BOOL", "|b1"),
}
for _name, _kind in (("float8_e4m3fn", "F8_E4M3"), ("float8_e5m2", "F8_E5M2")):
    if hasattr(torch, _name):
        DTYPES[getattr(torch, _name)] = (_kind, "|u1")


def bytes_of(tensor: torch.Tensor) -> int:
    """Bytes that a tensor takes in a capture."""
    if tensor.is_sparse:
        return bytes_of(tensor._values()) + bytes_of(tensor._indices())
    return int(tensor.numel() * tensor.element_size())


def is_words(dtype: torch.dtype) -> bool:
    """Whether numpy lacks a type, so that a capture has its words."""
    return DTYPES[dtype][0] in ("BF16", "F8_E4M3", "F8_E5M2")


def view_of(tensor: torch.Tensor) -> np.ndarray:
    """The numbers of a tensor in main memory themselves. `Tensor.numpy` forbids from then on to give its memory another size."""
    tensor = tensor.detach()
    try:
        view: np.ndarray = np.from_dlpack(tensor)
    except (AttributeError, BufferError, RuntimeError, TypeError):  # an older numpy, which lacks it or some types
        view = tensor.numpy()
    return view


def array_of(tensor: torch.Tensor, buffer: np.ndarray | None = None, scale: float = 1.0) -> Array:
    """A copy in main memory, divided by `scale`, in `buffer` where one of its type and shape is given.

    Raises TypeError for a type that a capture has no name for, such as complex numbers.
    """
    tensor = tensor.detach()
    if tensor.dtype not in DTYPES:
        raise TypeError(f"a capture does not hold tensors of {tensor.dtype}")
    dtype, kind = DTYPES[tensor.dtype]
    if buffer is None and scale == 1 and tensor.is_cpu and not is_words(tensor.dtype) and not tensor.is_neg():
        copied: np.ndarray = view_of(tensor).copy()
        return copied
    out = buffer if buffer is not None else np.empty(tuple(tensor.shape), kind)
    view = torch.from_numpy(out)
    if view.dtype != tensor.dtype:
        view = view.view(tensor.dtype)
    if scale == 1:
        view.copy_(tensor)
    else:
        view.copy_(tensor / scale)
    return (dtype, out) if is_words(tensor.dtype) else out


def buffer_kind(tensor: torch.Tensor) -> str:
    """Numpy's name of the type of array that `array_of` fills."""
    return DTYPES[tensor.dtype][1]


def source_of(name: str, tensor: torch.Tensor) -> Source:
    """A tensor of a snapshot, not copied yet. Raises TypeError as `array_of`."""
    if tensor.dtype not in DTYPES:
        raise TypeError(f"a capture does not hold tensors of {tensor.dtype}")
    kept = tensor.detach()
    return Source(name, DTYPES[tensor.dtype][0], tuple(tensor.shape), lambda buffer: array_of(kept, buffer))


def unwrapped(optimizer: Any) -> torch.optim.Optimizer:
    """The torch optimizer inside the wrappers of Accelerate and Lightning. Raises TypeError for anything else."""
    seen = optimizer
    for _ in range(8):
        inner = getattr(seen, "optimizer", None)
        if not isinstance(inner, torch.optim.Optimizer):
            break
        seen = inner
    if not hasattr(seen, "param_groups") or not hasattr(seen, "state"):
        raise TypeError(f"clippy-diag: {type(optimizer).__name__} is no optimizer of PyTorch: it has no param_groups")
    return seen


def autocast_now(device: str) -> dict[str, str] | None:
    """The autocast that is on for a type of device ("cpu", "cuda"), as a capture names it; None where it is off."""
    if hasattr(torch, "get_autocast_dtype"):
        if not torch.is_autocast_enabled(device):
            return None
        on, dtype = True, torch.get_autocast_dtype(device)
    elif device == "cpu":
        on, dtype = torch.is_autocast_cpu_enabled(), torch.get_autocast_cpu_dtype()
    else:
        on, dtype = torch.is_autocast_enabled(), torch.get_autocast_gpu_dtype()
    return {"device": device, "dtype": str(dtype).split(".")[-1]} if on else None


def scaler_stage(scaler: Any, optimizer: torch.optim.Optimizer) -> str:
    """How far a GradScaler is with an optimizer in this step: READY, UNSCALED or STEPPED."""
    states = getattr(scaler, "_per_optimizer_states", {})
    stage = states[id(optimizer)].get("stage") if id(optimizer) in states else None
    return str(getattr(stage, "name", "READY"))


def plain_model(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside DistributedDataParallel, DataParallel and torch.compile."""
    for _ in range(8):
        if type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            break
    return model


def plain_name(name: str) -> str:
    """The name of a module or parameter without what FullyShardedDataParallel puts into it."""
    return name.replace("_fsdp_wrapped_module.", "")


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The shard of a tensor that this rank holds; the tensor itself where it is not sharded."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether it runs as compiled code: by `torch.compile(model)`, or by `model.compile()`."""
    return hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None


def layouts_of(model: torch.nn.Module, names: Iterable[str], given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Layout of every kernel and which parameters are embeddings, from the modules that own them; `given` wins."""
    kinds: dict[str, dict[str, Any]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix=plain_name(prefix), recurse=False):
            if isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
                kinds[name] = {"layout": "none", "embedding": True}
            elif isinstance(module, torch.nn.Linear) and name.endswith("weight") or name.endswith("in_proj_weight"):
                kinds[name] = {"layout": "OI", "embedding": False}
            elif isinstance(module, torch.nn.Conv2d) and name.endswith("weight"):
                kinds[name] = {"layout": "OIHW", "embedding": False}
            # transformers' GPT-2 keeps kernels as [in, out].
            elif type(module).__name__ == "Conv1D" and parameter.dim() == 2:
                kinds[name] = {"layout": "IO", "embedding": False}
    for pattern, layout in given.items():
        kinds.update((name, {"layout": layout, "embedding": False}) for name in fnmatch.filter(names, pattern))
    return kinds


#: The array of this rank under a name, of a tensor that belongs to a parameter.
PartOf = Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor]


def whole(name: str, tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """The `PartOf` of a training on one rank."""
    return tensor


def state_sources(
    optimizer: torch.optim.Optimizer, named: list[tuple[str, torch.nn.Parameter]], part_of: PartOf = whole
) -> tuple[list[Source], dict[str, dict[str, Any]]]:
    """State of an optimizer: tensors `state/<slot>/<name>` with a formula, `optimizer/<key>/<name>` without; and its other
    values, by parameter and key. The slot `step` of a parameter that has no state yet is 0: else a state that is empty
    would look like one that was not recorded."""
    sources: list[Source] = []
    other: dict[str, dict[str, Any]] = {}
    slots = SLOTS[type(optimizer).__name__] if has_formula(optimizer) else None
    # SGD keeps state for its momentum only.
    keeps = slots is not None and ("step" in slots or any(group.get("momentum") for group in optimizer.param_groups))
    for name, parameter in named:
        state = optimizer.state.get(parameter, {})
        # A rank whose shard is empty leaves it to the others to say how many steps were taken.
        if keeps and not state and parameter.numel():
            sources.append(source_of(f"state/step/{name}", torch.zeros(())))
        for key, value in state.items():
            slot = None if slots is None else slots.get(key)
            if slot == "step":
                value = torch.as_tensor(value, dtype=torch.float32)
            if slots is not None and slot is None:
                continue
            prefix = f"optimizer/{key}" if slot is None else f"state/{slot}"
            if isinstance(value, torch.Tensor):
                value = value.to_dense() if value.is_sparse else value
                sources.append(source_of(f"{prefix}/{name}", part_of(f"{prefix}/{name}", value, parameter)))
            elif isinstance(value, (list, tuple, Mapping)):
                # Lists and mappings of tensors, as Shampoo and SOAP keep them.
                leaves, tree = flatten(value, lambda part: isinstance(part, torch.Tensor) and part.dtype in DTYPES)
                for leaf, tensor in leaves.items():
                    full = f"{prefix}/{leaf}/{name}"
                    sources.append(source_of(full, part_of(full, tensor, parameter)))
                other.setdefault(name, {})[key] = {"nested": tree}
            else:
                other.setdefault(name, {})[key] = json_of(value)
    return sources, other


def option_of(value: Any, device: torch.device) -> Any:
    """An option or a part of the state that `json_of` wrote."""
    if isinstance(value, Mapping) and "scalar" in value:
        return torch.tensor(value["scalar"], dtype=getattr(torch, value["dtype"]), device=device)
    return tuple(option_of(part, device) for part in value) if isinstance(value, list) else value


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step calls the loss by itself, as LBFGS's does."""
    try:
        parameters = inspect.signature(type(optimizer).step).parameters
    except (TypeError, ValueError):
        return False
    closure = parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty

"""Records the gradient steps around a divergence, so that `clippy-diag` can replay them under other clipping rules.

    from clippy_recorder import ClippyRecorder
    recorder = ClippyRecorder(model, optimizer, "capture")
    for step, batch in enumerate(batches):
        loss = compute_loss(batch)
        optimizer.zero_grad(); loss.backward()
        recorder.record(step, loss)            # after backward(), before clipping and optimizer.step()
        optimizer.step()

Then: clippy-diag replay capture --rule none --rule global-norm:1 --rule clippy

The recorder keeps the gradients of the last K to 2K steps in memory. When the loss jumps (or on `flush()`) it writes them with the
parameters and optimizer state before the oldest, and adds each of the next `after` steps as it comes. Every file appears whole or
not at all, so a job that dies leaves a capture with fewer steps. Needs torch >= 1.13 and numpy. Apache-2.0.
"""
import collections
import fnmatch
import gc
import json
import math
import os
import shutil
import warnings

import numpy as np
import torch

SLOTS = {  # PyTorch's names of optimizer state and the capture's
    "Adagrad": {"sum": "accumulator", "step": "step"},
    "SGD": {"momentum_buffer": "momentum"},
    "Adam": {"exp_avg": "m", "exp_avg_sq": "v", "max_exp_avg_sq": "v_max", "step": "step"},
    "RMSprop": {"square_avg": "v", "grad_avg": "m", "momentum_buffer": "momentum", "step": "step"},
}
SLOTS["AdamW"] = SLOTS["Adam"]
OPTIONS = {  # options of a parameter group and the capture's names
    "Adagrad": {"initial_accumulator_value": "initialAccumulatorValue", "eps": "epsilon", "lr_decay": "learningRateDecay"},
    "SGD": {"momentum": "momentum", "dampening": "dampening", "nesterov": "nesterov"},
    "Adam": {"eps": "epsilon", "amsgrad": "amsgrad"},
    "RMSprop": {"alpha": "rho", "eps": "epsilon", "momentum": "momentum", "centered": "centered"},
}
OPTIONS["AdamW"] = OPTIONS["Adam"]


class ClippyRecorder:
    """One `record` call a step; see the top of this file.

    model          torch.nn.Module, or an iterable of (name, parameter)
    optimizers     a torch.optim Adagrad, SGD, Adam, AdamW or RMSprop, or a list of them
    folder         where the capture goes; a second incident goes to `<folder>-2`, up to `max_captures`
    every          K: parameters and state are copied every K steps, so a capture holds K to 2K steps before the incident
    after          steps recorded after the jump
    clipping       the clipping that is active, e.g. {"rule": "global-norm", "maxNorm": 1.0}; gradients are recorded before it
    model_file     the capture's model description (see docs/recorders.md), copied into the folder
    layouts        layouts of kernels that no torch.nn module explains, e.g. {"shared/*/kernel": "IO"}
    curvature      a function of no arguments that computes the loss of the current batch again (no dropout): on a jump the top
                   Hessian eigenvalue is stored, plain and preconditioned. It costs about 60 gradients, once an incident.
    """

    def __init__(self, model, optimizers, folder="capture", every=20, after=34, clipping=None, model_file=None,
                 layouts=None, curvature=None, max_captures=3):
        self.optimizers = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
        self.groups = [(o, g) for o in self.optimizers for g in o.param_groups]
        for optimizer, group in self.groups:
            if type(optimizer).__name__ not in SLOTS or group.get("maximize"):
                raise ValueError(f"clippy-recorder: {type(optimizer).__name__}{' with maximize' if group.get('maximize') else ''}"
                                 f" cannot be replayed; known are {', '.join(SLOTS)}")
        group_of = {id(p): i for i, (_, g) in enumerate(self.groups) for p in g["params"]}
        named = list(model.named_parameters() if isinstance(model, torch.nn.Module) else model)
        self.parameters = {name: p for name, p in named if id(p) in group_of}
        if len(self.parameters) < len(group_of):
            raise ValueError(f"clippy-recorder: {len(group_of) - len(self.parameters)} parameters of the optimizer are not in the model")
        self.group = {name: group_of[id(p)] for name, p in self.parameters.items()}
        self.kinds = _kinds(model, [name for name, _ in named], layouts or {})
        self.folder, self.every, self.after, self.max_captures = folder, every, after, max_captures
        self.clipping, self.model_file, self.curvature = clipping or {"rule": "none"}, model_file, curvature
        self.ring = collections.deque()  # records since the older of the two snapshots
        self.losses = collections.deque(maxlen=500 + 2 * every)
        self.since = self.captures = 0
        self.wanted = self.jumped = self.manifest = self.disabled = None

    def record(self, step, loss, tasks=None, batch=None, scaler=None):
        """Takes one step. It never stops the training: what it cannot do is a warning, and it records no more.

        tasks   losses of the tasks, by name
        batch   tensors of the batch for closed-loop replay: {"dense": x, "label/click": y}
        scaler  the GradScaler, if there is one: gradients are recorded unscaled; a step that it will skip is not recorded
        """
        if self.disabled:
            return
        try:
            self._record(step, loss, tasks or {}, batch or {}, scaler)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            self._disable(f"{type(error).__name__}: {error}")

    def flush(self, reason="requested"):
        """Writes a capture at the next `record`, jump or not, and records on for `after` steps."""
        self.wanted = reason

    def _record(self, step, loss, tasks, batch, scaler):
        if self.since == 0 and scaler is None and any(_is_scaler(o) and o.is_enabled() for o in gc.get_objects()):
            return self._disable("a GradScaler is active: pass it as record(..., scaler=scaler), or its scale would be taken for gradient")
        scale = _scale(scaler, self.optimizers)
        gradients = {name: _cpu(p.grad if scale == 1 else p.grad / scale) for name, p in self.parameters.items() if p.grad is not None}
        missing = [name for name in self.parameters if name not in gradients]
        if any(not _zero_is_nothing(*self.groups[self.group[name]]) for name in missing):
            return self._disable(f"{missing[0]} has no gradient at step {step}, and its optimizer would not take a zero for that")
        gradients.update((name, torch.zeros(self.parameters[name].shape)) for name in missing)
        if scaler is not None and not all(torch.isfinite(g.values() if g.is_sparse else g).all() for g in gradients.values()):
            return  # the scaler skips this step
        loss = float(loss)
        record = {"step": step, "loss": loss, "rates": [float(g["lr"]) for _, g in self.groups], "gradients": gradients,
                  "tasks": {name: float(value) for name, value in tasks.items()},
                  "batch": {name: _cpu(value) for name, value in batch.items()}}
        if self.since % self.every == 0:
            record["parameters"] = {name: _cpu(p) for name, p in self.parameters.items()}
            if self.manifest is None:
                record["state"] = self._state()
                snapshots = [i for i, r in enumerate(self.ring) if "state" in r]
                for _ in range(snapshots[-1] if len(snapshots) > 1 else 0):
                    self.ring.popleft()
        self.since += 1
        if self.manifest is None:
            self.ring.append(record)
        else:
            self._append(record)
        jumped = jump(loss, [value for _, value in self.losses][-50:])
        if self.manifest is None and (self.wanted or jumped and not self.jumped and self.captures < self.max_captures):
            self._open(step, self.wanted or jumped)
        self.jumped = jumped
        self.losses.append((step, loss))

    def _state(self):
        slots = {}
        for name, p in self.parameters.items():
            optimizer = self.groups[self.group[name]][0]
            for theirs, ours in SLOTS[type(optimizer).__name__].items():
                value = optimizer.state.get(p, {}).get(theirs)
                if value is not None:
                    slots[f"state/{ours}/{name}"] = _cpu(torch.as_tensor(value, dtype=torch.float32) if ours == "step" else value)
        return slots

    def _open(self, step, reason):
        """Writes what is in memory; the folder appears under its name when it is whole."""
        self.captures, self.wanted, first = self.captures + 1, None, self.ring[0]
        n, target = 1, self.folder
        while os.path.exists(target):
            n, target = n + 1, f"{self.folder}-{n + 1}"
        partial = f"{target}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        os.makedirs(partial)
        history = [(s, l) for s, l in self.losses if s < first["step"]][-500:]
        options = [_options(o, g, rate) for (o, g), rate in zip(self.groups, first["rates"])]
        self.manifest = {
            "version": 1, "framework": f"pytorch {torch.__version__}", "optimizer": options[0], "clipping": self.clipping,
            **({"groups": options[1:]} if len(options) > 1 else {}),
            "parameters": [{"name": name, "shape": list(p.shape), **self.kinds.get(name, {"layout": "none", "embedding": False}),
                            **({"group": self.group[name] - 1} if self.group[name] else {})}
                           for name, p in self.parameters.items()],
            **({"model": os.path.basename(self.model_file)} if self.model_file else {}),
            "flushed": {"step": step, "reason": reason}, "steps": [],
            "history": {"steps": [s for s, _ in history], "loss": [number(l) for _, l in history]},
        }
        if self.model_file:
            shutil.copy(self.model_file, partial)
        if self.curvature:
            from clippy_curvature import curvature_entries
            try:
                self.manifest["curvature"] = curvature_entries(self.groups, list(self.parameters.values()), self.curvature, step)
            except RuntimeError as error:
                warnings.warn(f"clippy-recorder: no curvature: {error}")
        state = {f"param/{name}": value for name, value in first.pop("parameters").items()}
        write_safetensors(os.path.join(partial, "initial.safetensors"), {**state, **first["state"]})
        self.path, self.left = partial, self.after + 1
        for record in self.ring:
            self._append(record, last=record is self.ring[-1])
        os.rename(partial, target)
        self.path = target
        self.ring.clear()

    def _append(self, record, last=True):
        """Adds a step to the open capture: its file first, then the manifest that names it."""
        tensors = {f"batch/{name}": value for name, value in record["batch"].items()}
        tensors.update({f"param/{name}": value for name, value in record.get("parameters", {}).items()})  # a check for the replay
        for name, g in record["gradients"].items():
            if g.is_sparse:
                tensors[f"grad/{name}/indices"], tensors[f"grad/{name}/values"] = g.indices()[0], g.values()
            else:
                tensors[f"grad/{name}"] = g
        entry = {"step": record["step"], "file": f"step-{record['step']:08d}.safetensors", "learningRate": record["rates"][0],
                 "loss": number(record["loss"])}
        if record["tasks"]:
            entry["tasks"] = {name: number(value) for name, value in record["tasks"].items()}
        if len(record["rates"]) > 1:
            entry["groupLearningRates"] = record["rates"][1:]
        write_safetensors(os.path.join(self.path, entry["file"]), tensors)
        self.manifest["steps"].append(entry)
        if not last:
            return
        write_atomically(os.path.join(self.path, "capture.json"), json.dumps(self.manifest, indent=1, allow_nan=False).encode())
        self.left -= 1
        if self.left == 0:
            self.manifest, self.since = None, 0

    def _disable(self, why):
        self.disabled = why
        warnings.warn(f"clippy-recorder: stopped, training goes on: {why}")


def jump(loss, before):
    """Why this loss ends the healthy stretch `before` it, or None: non-finite, or above the median of the last 50 by 8 robust
    scales (1.4826 MAD) of the log and by 25 %. Losses that can be negative are taken as they are."""
    before = np.array([value for value in before if math.isfinite(value)])
    if not math.isfinite(loss):
        return f"loss is {loss}"
    if len(before) < 20:
        return None
    form = np.log if loss > 0 and before.min() > 0 else np.asarray
    median = np.median(before)
    scale = 1.4826 * np.median(np.abs(form(before) - form(median)))
    if form(loss) - form(median) > 8 * scale and loss - median > 0.25 * abs(median):
        return f"loss {loss:.6g} after a median of {median:.6g}"
    return None


def write_safetensors(path, tensors):
    """u64 length of the header, JSON header padded with spaces to 8 bytes, the tensors row by row, little-endian."""
    types = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
             torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}
    header, blobs, offset = {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.contiguous()
        blob = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy().tobytes()
        header[name] = {"dtype": types[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_atomically(path, len(text).to_bytes(8, "little"), text, *blobs)


def write_atomically(path, *parts):
    """Bytes to a temporary file beside the path, synced, renamed."""
    with open(f"{path}.tmp", "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.tmp", path)


def _cpu(tensor):
    tensor = torch.as_tensor(tensor).detach()
    return tensor.coalesce().cpu() if tensor.is_sparse and tensor.sparse_dim() == 1 else tensor.to_dense().cpu() if tensor.is_sparse \
        else tensor.to("cpu", copy=True)


def number(value):
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _options(optimizer, group, rate):
    """The options of a parameter group under the capture's names."""
    kind = type(optimizer).__name__
    name = "adamw" if group.get("decoupled_weight_decay") else kind.lower()
    options = {"name": name, "learningRate": rate, "weightDecay": group.get("weight_decay", 0)}
    options.update((ours, group.get(theirs, 0)) for theirs, ours in OPTIONS[kind].items())
    if "betas" in group:
        options["beta1"], options["beta2"] = group["betas"]
    if kind == "Adagrad":
        options.update(epsilonInside=False, accumulator="standard")
    return options


def _zero_is_nothing(optimizer, group):
    """Whether a gradient of zeros does what no gradient does: leaves parameter and state as they are."""
    kind = type(optimizer).__name__
    return group.get("weight_decay", 0) == 0 and (kind == "Adagrad" or kind == "SGD" and group["momentum"] == 0)


def _is_scaler(thing):
    return "GradScaler" in type(thing).__name__ and hasattr(thing, "get_scale")


def _scale(scaler, optimizers):
    """What the gradients are multiplied by: the scaler's factor, 1 once it has unscaled them."""
    if scaler is None or not scaler.is_enabled():
        return 1
    states = getattr(scaler, "_per_optimizer_states", {})
    unscaled = {getattr(states[id(o)].get("stage"), "name", None) == "UNSCALED" if id(o) in states else False for o in optimizers}
    if len(unscaled) > 1:
        raise ValueError("clippy-recorder: some optimizers' gradients are unscaled and some are not; call record before or after all unscale_")
    return 1 if unscaled.pop() else scaler.get_scale()


def _kinds(model, names, layouts):
    """Layout of every kernel and which parameters are embeddings, from the modules that own them; `layouts` wins."""
    kinds = {}
    for prefix, module in model.named_modules() if isinstance(model, torch.nn.Module) else []:
        for name, _ in module.named_parameters(prefix=prefix, recurse=False):
            if isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
                kinds[name] = {"layout": "none", "embedding": True}
            elif isinstance(module, torch.nn.Linear) and name.endswith("weight") or name.endswith("in_proj_weight"):
                kinds[name] = {"layout": "OI", "embedding": False}
            elif isinstance(module, torch.nn.Conv2d) and name.endswith("weight"):
                kinds[name] = {"layout": "OIHW", "embedding": False}
    for pattern, layout in layouts.items():
        kinds.update((name, {"layout": layout, "embedding": False}) for name in fnmatch.filter(names, pattern))
    return kinds

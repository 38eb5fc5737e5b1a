"""Records the gradient steps around a divergence, so that `clippy-diag` can replay them under other clipping
rules.

    from clippy_recorder import ClippyRecorder
    recorder = ClippyRecorder(model, optimizer, "capture")
    for step, batch in enumerate(batches):
        loss = compute_loss(batch)
        optimizer.zero_grad(); loss.backward()
        recorder.record(step, loss)            # after backward(), before clipping and optimizer.step()
        optimizer.step()

Then: clippy-diag replay capture --rule none --rule global-norm:1 --rule clippy

Gradients of the last K to 2K steps stay in memory and are written when the loss jumps, or after `flush()`;
clippy_capture.py, which lies beside this file, says how. Needs torch >= 1.13 and numpy. Apache-2.0. """

import fnmatch
import gc
import warnings

import torch

from clippy_capture import CaptureBuffer

SLOTS = {  # PyTorch's names of optimizer state and the capture's
    "Adagrad": {"sum": "accumulator", "step": "step"},
    "SGD": {"momentum_buffer": "momentum"},
    "Adam": {"exp_avg": "m", "exp_avg_sq": "v", "max_exp_avg_sq": "v_max", "step": "step"},
    "RMSprop": {"square_avg": "v", "grad_avg": "m", "momentum_buffer": "momentum", "step": "step"},
}
SLOTS["AdamW"] = SLOTS["Adam"]
OPTIONS = {  # options of a parameter group and the capture's names
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
                   Hessian eigenvalue is stored, plain and preconditioned. At most 82 Hessian-vector products.
    """

    def __init__(
        self,
        model,
        optimizers,
        folder="capture",
        every=20,
        after=34,
        clipping=None,
        model_file=None,
        layouts=None,
        curvature=None,
        max_captures=3,
    ):
        self.optimizers = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
        self.groups = [(o, g) for o in self.optimizers for g in o.param_groups]
        for optimizer, group in self.groups:
            if type(optimizer).__name__ not in SLOTS or group.get("maximize"):
                raise ValueError(
                    f"clippy-recorder: {type(optimizer).__name__}{' with maximize' if group.get('maximize') else ''}"
                    f" cannot be replayed; known are {', '.join(SLOTS)}"
                )
        group_of = {id(p): i for i, (_, g) in enumerate(self.groups) for p in g["params"]}
        named = list(model.named_parameters() if isinstance(model, torch.nn.Module) else model)
        self.parameters = {name: p for name, p in named if id(p) in group_of}
        if len(self.parameters) < len(group_of):
            raise ValueError(
                f"clippy-recorder: {len(group_of) - len(self.parameters)} parameters of the optimizer are not in the model"
            )
        self.group = {name: group_of[id(p)] for name, p in self.parameters.items()}
        self.kinds = _kinds(model, [name for name, _ in named], layouts or {})
        self.scale_checked = False
        self.buffer = CaptureBuffer(folder, every, after, max_captures, model_file, self._describe)
        self.clipping, self.curvature, self.disabled = clipping or {"rule": "none"}, curvature, None

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
        except Exception as error:
            self._disable(f"{type(error).__name__}: {error}")

    def flush(self, reason="requested"):
        """Writes a capture at the next `record`, jump or not, and records on for `after` steps."""
        self.buffer.wanted = reason

    def _record(self, step, loss, tasks, batch, scaler):
        if (
            not self.scale_checked
            and scaler is None
            and any(_is_scaler(o) and o.is_enabled() for o in gc.get_objects())
        ):
            return self._disable(
                "a GradScaler is active: pass it as record(..., scaler=scaler), or its scale would be taken for gradient"
            )
        self.scale_checked = True
        scaling = scaler is not None and scaler.is_enabled()
        scale = _scale(scaler, self.optimizers) if scaling else 1
        tensors = {f"batch/{name}": _array(value) for name, value in batch.items()}
        for name, p in self.parameters.items():
            if p.grad is None:
                if not _zero_is_nothing(*self.groups[self.group[name]]):
                    return self._disable(
                        f"{name} has no gradient at step {step}, and its optimizer would not take a zero for that"
                    )
                tensors[f"grad/{name}"] = _array(torch.zeros_like(p))
                continue
            gradient = p.grad if scale == 1 else p.grad / scale
            if gradient.is_sparse:
                gradient = gradient.coalesce() if gradient.sparse_dim() == 1 else gradient.to_dense()
            if scaling and not torch.isfinite(gradient.values() if gradient.is_sparse else gradient).all():
                return self.buffer.skip(step)
            if gradient.is_sparse:
                tensors[f"grad/{name}/indices"] = _array(gradient.indices()[0])
                tensors[f"grad/{name}/values"] = _array(gradient.values())
            else:
                tensors[f"grad/{name}"] = _array(gradient)
        parameters = state = None
        if self.buffer.snapshot_due():
            parameters = {f"param/{name}": _array(p) for name, p in self.parameters.items()}
            state = self._state() if self.buffer.manifest is None else None
        rates = [float(g["lr"]) for _, g in self.groups]
        losses = {name: torch.as_tensor(value).item() for name, value in tasks.items()}
        self.buffer.add(step, torch.as_tensor(loss).item(), rates, losses, tensors, parameters, state)

    def _state(self):
        slots = {}
        for name, p in self.parameters.items():
            optimizer = self.groups[self.group[name]][0]
            for theirs, ours in SLOTS[type(optimizer).__name__].items():
                value = optimizer.state.get(p, {}).get(theirs)
                if value is not None:
                    slots[f"state/{ours}/{name}"] = _array(
                        torch.as_tensor(value, dtype=torch.float32) if ours == "step" else value
                    )
        return slots

    def _describe(self, step, rates):
        options = [_options(o, g, rate) for (o, g), rate in zip(self.groups, rates)]
        manifest = {
            "framework": f"pytorch {torch.__version__}",
            "optimizer": options[0],
            "clipping": self.clipping,
            **({"groups": options[1:]} if len(options) > 1 else {}),
            "parameters": [
                {
                    "name": name,
                    "shape": list(p.shape),
                    **self.kinds.get(name, {"layout": "none", "embedding": False}),
                    **({"group": self.group[name] - 1} if self.group[name] else {}),
                }
                for name, p in self.parameters.items()
            ],
        }
        if self.curvature:
            from clippy_curvature import curvature_entries

            try:
                manifest["curvature"] = curvature_entries(
                    self.groups, list(self.parameters.values()), self.curvature, step
                )
            except RuntimeError as error:
                warnings.warn(f"clippy-recorder: no curvature: {error}")
        return manifest

    def _disable(self, why):
        self.disabled = why
        warnings.warn(f"clippy-recorder: stopped, training goes on: {why}")


def _array(tensor):
    """A copy in main memory as numpy; bfloat16, which numpy lacks, as its 16-bit words."""
    tensor = torch.as_tensor(tensor).detach().to("cpu", copy=True).contiguous()
    return ("BF16", tensor.view(torch.int16).numpy()) if tensor.dtype == torch.bfloat16 else tensor.numpy()


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
    states = getattr(scaler, "_per_optimizer_states", {})
    unscaled = {
        getattr(states[id(o)].get("stage"), "name", None) == "UNSCALED" if id(o) in states else False
        for o in optimizers
    }
    if len(unscaled) > 1:
        raise ValueError(
            "clippy-recorder: some optimizers' gradients are unscaled and some are not; call record before or after all unscale_"
        )
    return 1 if unscaled.pop() else scaler.get_scale()


def _kinds(model, names, layouts):
    """Layout of every kernel and which parameters are embeddings, from the modules that own them; `layouts`
    wins."""
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

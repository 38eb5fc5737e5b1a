"""Trains on from a capture in the user's own PyTorch model, under clipping rules and with one thing changed.

    from clippy_diag.torch import closed_loop

    closed_loop("capture", model, lambda model, batch: compute_loss(model, batch))

`clippy-diag analyze` and `clippy-diag replay capture` show the traces as `recorded`, with verdicts.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch

from ..auditing import remeasured_too
from ..bad_rows import taken_rows
from ..captures import INITIAL, Capture, changing_options, open_capture, options_of_step, read_raw, unflatten
from ..guarding import advice_entry
from ..loops import ClosedLoopMismatch, ClosedLoops, Found, LossFunctionError, Taken, called_loss, least, run_loops
from ..messages import describe
from ..rules import OUTPUT_AXIS, Rules
from . import words as names

__all__ = ["ClosedLoopMismatch", "LossFunctionError", "closed_loop"]

#: Rules that do not act on gradients.
AFTER = ("none", "clippy")
LossFn = Callable[[torch.nn.Module, Any], torch.Tensor]


def closed_loop(
    folder: str | Path,
    model: torch.nn.Module,
    loss_fn: LossFn,
    rules: None | Sequence[str] | Mapping[str, Mapping[str, float]] = None,
    arms: str | None | Sequence[str] = "all",
    train: bool = True,
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] | None = None,
) -> ClosedLoops:
    """Runs closed loops from the capture's first state, and stores their traces in capture.json's `replay`.

    folder     a capture with batches
    model      built as it was trained, frozen parameters included, and compiled if it was; what was trained is loaded from the
               capture
    loss_fn    (model, batch) -> loss, a scalar, with the batch as it was given to `record`
    rules      texts as `--rule` takes them, or options by rule: {"global-norm": {"maxNorm": 1.0}}. Default: none,
               global-norm:1, agc:0.01, clippy:paper
    arms       "all", None, or some of "skip-batches", "skip-rows", "earlier-batches", "learning-rate",
               "weight-decay", "restore-optimizer-state", "guard": the run with one thing changed, where the capture shows an incident;
               "skip-rows" leaves out rows of unlike batches whose own gradient is above twice that of every row of four earlier
               batches, at most 8 % of them, and none of more than 8,192 is looked at; "earlier-batches" replace unlike ones
               that last to the end; "guard" obeys a `Guard` that begins at the first recorded step
    train      in the recorded modes (dropout on, BatchNorm following its batches), with the recorded buffers and random
               state, under the recorded autocast and loss scale; False for evaluation mode.
    optimizer  makes the optimizer from its parameter groups, where its class can't be imported by its recorded name.

    With train, loss and gradients are computed again from the recorded weights, too, for `clippy-diag audit` (docs/audit.md).

    Returns {"replay": traces, "baseline": how closely the recorded losses came back, "references", "onsetStep"}.
    The recorded clipping runs first. Raises ClosedLoopMismatch, and stores nothing, where the recorded losses do not
    come back: to 1e-4 over the first five steps, or within four times the noise of random numbers that the capture does
    not hold. Parameters, gradients, buffers, modes and random state are as before afterwards.
    """
    capture = open_capture(folder)
    if capture.manifest.get("rerun", {}).get("inTurn"):
        raise ClosedLoopMismatch(
            f"{folder}: several optimizers step in turn, each on a loss of its own, which one loss_fn does not give: no closed"
            " loop is possible. Nothing was stored."
        )
    plain = names.plain_model(model)
    with _as_before(plain):
        trainer = _TorchTrainer(capture, plain, loss_fn, train, optimizer)
        # Compiled code draws other random numbers than the model inside of it.
        trainer.called = model if names.is_compiled(model) else plain
        found = run_loops(capture, trainer, rules, arms)
    if train:
        remeasured_too(folder, model, loss_fn)
    return found


@contextlib.contextmanager
def _as_before(model: torch.nn.Module) -> Iterator[None]:
    tensors = [(t, t.detach().clone()) for t in [*model.parameters(), *model.buffers()]]
    gradients = [(p, p.grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    python, numpy_state = random.getstate(), np.random.get_state()
    devices = sorted({p.device.index for p in model.parameters() if p.is_cuda})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, before in tensors:
                    tensor.copy_(before)
            for p, gradient in gradients:
                p.grad = gradient
            for module, training in modes:
                module.training = training
            random.setstate(python)
            np.random.set_state(numpy_state)


def _under(autocast: Mapping[str, str], loss_fn: LossFn) -> LossFn:
    def loss_of(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        with torch.autocast(autocast["device"], dtype=getattr(torch, autocast["dtype"])):
            return loss_fn(model, batch)

    return loss_of


def _word(dtype: torch.dtype) -> str:
    return str(dtype).split(".")[-1]


def _tensors(path: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    return {name: _tensor(*raw) for name, raw in read_raw(path, prefix).items()}


def _tensor(dtype: str, words: np.ndarray) -> torch.Tensor:
    if dtype in ("BF16", "F8_E4M3", "F8_E5M2"):
        kind = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}[dtype]
        return torch.from_numpy(words.view("<i2" if dtype == "BF16" else "u1")).view(getattr(torch, kind))
    return torch.from_numpy(words)


class _TorchTrainer:
    """A `Trainer` (loops.py) over a model of PyTorch."""

    def __init__(
        self,
        capture: Capture,
        model: torch.nn.Module,
        loss_fn: LossFn,
        train: bool,
        make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] | None,
    ) -> None:
        self.capture, self.model, self.train, self.make = capture, model, train, make
        #: What loss_fn gets: the model, or its compiled form.
        self.called = model
        named = dict(model.named_parameters())
        missing = [spec["name"] for spec in capture.manifest["parameters"] if spec["name"] not in named]
        if missing:
            raise ValueError(f'{capture.folder}: the model has no parameter "{missing[0]}"; {len(missing)} are missing')
        self.parameters = [(spec, named[spec["name"]]) for spec in capture.manifest["parameters"]]
        self.rerun: dict[str, Any] = capture.manifest.get("rerun", {})
        self.autocast: dict[str, str] | None = self.rerun.get("autocast")
        self.loss_fn = loss_fn if self.autocast is None else _under(self.autocast, loss_fn)
        self.initial = _tensors(capture.folder / INITIAL)
        self.optimizers: list[torch.optim.Optimizer] = []
        self._recorded_gradients: dict[str, Any] = {}
        self.written = changing_options(capture.manifest["steps"])
        self._guard: Any = None
        self._advice: dict[str, Any] | None = None

    def start(self) -> None:
        """Everything as before the first recorded step."""
        self._begin()
        self.optimizers = self._made()
        self._guard = self._advice = None

    def _begin(self) -> None:
        """Weights, buffers, modes and random state as before the first recorded step."""
        with torch.no_grad():
            for spec, p in self.parameters:
                p.copy_(self.initial[f"param/{spec['name']}"])
            for name, buffer in self.model.named_buffers():
                if f"buffer/{name}" in self.initial:
                    buffer.copy_(self.initial[f"buffer/{name}"])
        self.model.train(self.train)
        if self.train:
            self._put_modes(self.rerun.get("modes", {}))
        self._restore_other_random()

    def _put_modes(self, modes: Mapping[str, bool]) -> None:
        """Modes as recorded: the model's own under "", and those of modules that differ from it. None: as they are."""
        if not modes:
            return
        self.model.train(modes.get("", True))
        modules = dict(self.model.named_modules())
        for name, training in modes.items():
            if name and name in modules:
                modules[name].training = training

    def watch(self) -> bool:
        """A guard that begins here, under the recorded clipping."""
        from .guard import Guard  # which tries steps with this module's clipping

        clipping = self.capture.manifest.get("clipping")
        self._guard = Guard(self.model, self.optimizers, self.loss_fn, clipping=clipping)
        return True

    def advice(self) -> dict[str, Any] | None:
        """What the guard said of the last step."""
        return self._advice

    def _restore_other_random(self) -> None:
        if "rng" not in self.rerun:
            return
        import json

        with open(self.capture.folder / self.rerun["rng"], encoding="utf8") as file:
            state = json.load(file)
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((kind, np.array(keys, np.uint32), position, has_gauss, cached))

    def restore_optimizer(self) -> None:
        """New optimizers with the state from before the first recorded step."""
        self.optimizers = self._made()

    def _batch(self, entry: Mapping[str, Any], file: dict[str, torch.Tensor]) -> Any:
        device = self.parameters[0][1].device
        stored = {name[len("batch/") :]: t for name, t in file.items() if name.startswith("batch/")}
        leaves = {name: t.to(device) for name, t in taken_rows(entry, stored).items()}
        tree = entry.get("batch", self.capture.manifest.get("batch"))
        return leaves if tree is None else unflatten(tree, leaves)

    def _random(self, file: Mapping[str, torch.Tensor], rank: int = 0) -> None:
        """Sets the random state that a rank had before its forward pass."""
        of_rank = f"rng/rank-{rank}/" if rank else "rng/"
        for name, state in file.items():
            kind = name[len(of_rank) :] if name.startswith(of_rank) else ""
            if kind == "cpu":
                torch.set_rng_state(state)
            elif kind.startswith("cuda/") and torch.cuda.is_available():
                torch.cuda.set_rng_state(state, int(kind.rsplit("/", 1)[1]))

    def _losses(self, entry: Mapping[str, Any], file: dict[str, torch.Tensor]) -> Iterator[torch.Tensor]:
        """The losses whose mean is that of the step, one after another: of each rank on its own batch, or the only one."""
        batch = self._batch(entry, file)
        batches = batch if self.capture.manifest.get("world", {}).get("batches") == "by-rank" else [batch]
        for rank, one in enumerate(batches):
            self._random(file, rank)
            loss: torch.Tensor = called_loss(self.loss_fn, (self.called, one), entry["step"], one)
            yield loss.reshape(()) / len(batches)

    def loss(self, entry: Mapping[str, Any]) -> float:
        """Loss of a step's batch at the parameters as they are."""
        file = _tensors(self.capture.folder / entry["file"])
        buffers = [(buffer, buffer.detach().clone()) for buffer in self.model.buffers()]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            value = sum(map(float, self._losses(entry, file)))
            for buffer, before in buffers:
                buffer.copy_(before)
        return value

    def loss_and_size(self, entry: Mapping[str, Any]) -> tuple[float, float]:
        """Loss of a step's batch and norm of its gradient, in evaluation mode: a row alone leaves BatchNorm and dropout out."""
        modes = [(module, module.training) for module in self.model.modules()]
        called, self.called = self.called, self.model  # compiled code would be made anew for each length
        self.model.eval()
        self.model.zero_grad(set_to_none=True)
        try:
            (loss,) = self._losses(entry, _tensors(self.capture.folder / entry["file"]))
            loss.backward()
            gradients = [p.grad for _, p in self.parameters if p.grad is not None]
            values = [g.coalesce().values() if g.is_sparse else g for g in gradients]
            return float(loss.detach()), math.sqrt(sum((v.double() ** 2).sum().item() for v in values))
        finally:
            self.called = called
            self.model.zero_grad(set_to_none=True)
            for module, training in modes:
                module.training = training

    def noise(self, entry: Mapping[str, Any]) -> float:
        """Spread of the loss over seeds, where the step has no random state."""
        file = _tensors(self.capture.folder / entry["file"])
        if any(name.startswith("rng/") for name in file):
            return 0.0
        losses = []
        for seed in range(8):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                losses.append(self.loss(entry))
        return float(np.std(losses))

    def step(self, entry: Mapping[str, Any], rules: Rules, rate_factor: Sequence[float] | None) -> Taken:
        """One step of the training on a step's batch."""
        file = _tensors(self.capture.folder / entry["file"])
        self.model.zero_grad(set_to_none=True)
        # What float16 rounds to nothing depends on the loss scale.
        scale = float(entry.get("scale", 1))
        loss = torch.zeros(())
        for part in self._losses(entry, file):
            (part * scale if scale != 1 else part).backward()
            loss = part.detach().cpu() + loss
        for _, p in self.parameters:
            if scale != 1 and p.grad is not None:
                p.grad /= scale
        if entry.get("gradients") is False:
            self._recorded_gradients = {
                f"grad/{spec['name']}": names.array_of(p.grad.to_dense() if p.grad.is_sparse else p.grad)
                for spec, p in self.parameters
                if p.grad is not None
            }
        self._set_rates(entry, rate_factor)
        self._set_options(entry)
        if self._guard is not None:
            advice = self._guard.check(entry["step"], self._batch(entry, file), loss)
            self._guard.apply(advice)
            self._advice = advice_entry(advice)
        before = [p.detach().clone() for _, p in self.parameters]
        found = [clip_gradients(name, options, self.parameters) for name, options in rules if name not in AFTER]
        keeps: dict[int, float] = {}
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                decoupled = type(optimizer).__name__ == "AdamW" or group.get("decoupled_weight_decay")
                for p in group["params"]:
                    keeps[id(p)] = 1 - group["lr"] * group.get("weight_decay", 0) if decoupled else 1.0
            try:
                optimizer.step()
            except Exception as error:
                raise ClosedLoopMismatch(
                    f"{self.capture.folder}: a step of {names.class_path(optimizer)} failed from the recorded state"
                    f" ({describe(error)}): this optimizer cannot be run again from a capture. Nothing was stored."
                ) from error
        for name, options in rules:
            if name == "clippy":
                kept = [keeps[id(p)] for _, p in self.parameters]
                found.append(clip_updates(options, self.parameters, before, kept))
        moved = sum(((b - p.detach()).double() ** 2).sum().item() for b, (_, p) in zip(before, self.parameters))
        return Taken(float(loss.detach()), *least(found), math.sqrt(moved))

    def _set_rates(self, entry: Mapping[str, Any], factors: Sequence[float] | None) -> None:
        rates = [entry["learningRate"], *entry.get("groupLearningRates", [])]
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for k, group in enumerate(groups):
            group["lr"] = rates[k] * (factors[k] if factors is not None else 1.0)

    def _set_options(self, entry: Mapping[str, Any]) -> None:
        """Options that changed while the run was recorded, a cycled momentum say, are those of the step."""
        written = options_of_step(self.written, entry)
        owned = [(optimizer, group) for optimizer in self.optimizers for group in optimizer.param_groups]
        for k, (optimizer, group) in enumerate(owned):
            group.update(names.group_options(optimizer, group, written.get(k, {})))

    def gradients(self) -> dict[str, Any]:
        """Gradients of the last step, before clipping."""
        return self._recorded_gradients

    def suspects(self, entry: Mapping[str, Any]) -> list[str]:
        """What is seen to be other than it was: types, device, autocast, modes."""
        found = []
        for spec, p in self.parameters:
            recorded = self.initial[f"param/{spec['name']}"]
            if recorded.dtype != p.dtype:
                found.append(f"{spec['name']} was {_word(recorded.dtype)} and is {_word(p.dtype)} in this model")
                break
        file = _tensors(self.capture.folder / entry["file"])
        device = self.parameters[0][1].device.type
        if device == "cpu" and any(name.startswith("rng/cuda/") for name in file):
            found.append("it was trained on CUDA, whose random numbers do not come back on a CPU")
        if names.is_compiled(self.called) != bool(self.rerun.get("compiled")) and self.rerun:
            now, then = ("compiled", "as it is") if names.is_compiled(self.called) else ("not compiled", "compiled")
            found.append(f"the model is {now} and was recorded {then}: compiled code draws other random numbers")
        seen = self._seen(entry)
        modes = self.rerun.get("modes", {"": True})
        for name, training, _ in seen:
            if training != modes.get(name, modes.get("", True)):
                now, then = ("training", "evaluation") if training else ("evaluation", "training")
                found.append(f"{name or 'the model'} runs in {now} mode and was recorded in {then} mode")
                break
        recorded = "no autocast" if self.autocast is None else "autocast to {dtype} on {device}".format(**self.autocast)
        if self.rerun and seen and seen[0][2] != self.autocast:
            now = "without" if seen[0][2] is None else "under autocast to {dtype} on {device}".format(**seen[0][2])
            found.append(f"loss_fn runs the model {now}, and {recorded} was recorded")
        elif self.autocast is not None:
            found.append(f"{recorded} was recorded, which loss_fn was run under: the training may have left it earlier")
        return found

    def _seen(self, entry: Mapping[str, Any]) -> list[tuple[str, bool, dict[str, str] | None]]:
        """The modules that loss_fn runs, in order: name, whether in training mode, under which autocast."""
        seen: list[tuple[str, bool, dict[str, str] | None]] = []

        def watch(name: str) -> Callable[[torch.nn.Module, Any], None]:
            return lambda module, _: seen.append(
                (name, module.training, names.autocast_now(self.parameters[0][1].device.type))
            )

        hooks = [module.register_forward_pre_hook(watch(name)) for name, module in self.model.named_modules()]
        try:
            self.loss(entry)
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    # ---- optimizers

    def _made(self) -> list[torch.optim.Optimizer]:
        if "optimizers" in self.rerun:
            return [self._of_class(described) for described in self.rerun["optimizers"]]
        manifest = self.capture.manifest
        return [self._of_words(k - 1, o) for k, o in enumerate([manifest["optimizer"], *manifest.get("groups", [])])]

    def _of_class(self, described: Mapping[str, Any]) -> torch.optim.Optimizer:
        """The recorded class with its recorded groups and options."""
        trained = {spec["name"]: p for spec, p in self.parameters}
        groups = []
        for group in described["groups"]:
            options = {
                key: names.option_of(value, self.parameters[0][1].device)
                for key, value in group["options"].items()
                if not (isinstance(value, dict) and "lost" in value)
            }
            groups.append({"params": [trained[n] for n in group["parameters"] if n in trained], **options})
        make = self.make or _imported(described["class"], self.capture.folder)
        try:
            # An optimizer keeps and changes the mappings that it is given.
            optimizer = make([dict(group) for group in groups])
        except TypeError:
            optimizer = make([dict(group) for group in groups], lr=groups[0].get("lr", 1e-3))  # type: ignore[call-arg]
        if names.needs_closure(optimizer):
            raise ClosedLoopMismatch(
                f"{self.capture.folder}: {type(optimizer).__name__} computes the loss several times in a step, which no closed"
                " loop repeats. Nothing was stored."
            )
        for group, given in zip(optimizer.param_groups, groups):
            group.update({key: value for key, value in given.items() if key != "params"})
        self._put_state(
            optimizer, [(n, p) for n, p in trained.items() if any(p is q for g in groups for q in g["params"])]
        )
        return optimizer

    def _of_words(self, group: int, options: Mapping[str, Any]) -> torch.optim.Optimizer:
        """A torch optimizer from the capture's words, for captures that name no class."""
        kind = next((k for k in names.SLOTS if k.lower() == options["name"]), None)
        if kind is None:
            raise ValueError(
                f"{self.capture.folder}: no optimizer of torch.optim is {options['name']}; give optimizer="
            )
        arguments = {theirs: options[ours] for theirs, ours in names.OPTIONS[kind].items() if ours in options}
        if "beta1" in options:
            arguments["betas"] = (options["beta1"], options["beta2"])
        mine = [(spec["name"], p) for spec, p in self.parameters if spec.get("group", -1) == group]
        optimizer = getattr(torch.optim, kind)(
            [p for _, p in mine], lr=options["learningRate"], weight_decay=options.get("weightDecay", 0), **arguments
        )
        self._put_state(optimizer, mine)
        return optimizer

    def _put_state(self, optimizer: torch.optim.Optimizer, mine: Sequence[tuple[str, torch.nn.Parameter]]) -> None:
        slots = names.SLOTS.get(type(optimizer).__name__, {})
        plain = self.rerun.get("optimizerState", {})
        for name, p in mine:
            state = {theirs: self.initial.get(f"state/{ours}/{name}") for theirs, ours in slots.items()}
            found: dict[str, Any] = {key: value for key, value in state.items() if value is not None}
            kept = plain.get(name, {})
            nested: dict[str, dict[str, torch.Tensor]] = {k: {} for k, v in kept.items() if _kind(v) == "nested"}
            for tensor, value in self.initial.items():
                if tensor.startswith("optimizer/") and tensor.endswith(f"/{name}"):
                    key, _, leaf = tensor[len("optimizer/") : -len(name) - 1].partition("/")
                    nested.get(key, found)[leaf if key in nested else key] = value.to(p.device)
            for key, value in kept.items():
                if _kind(value) == "nested":
                    found[key] = unflatten(value["nested"], {leaf: t.clone() for leaf, t in nested[key].items()})
                elif _kind(value) != "lost":
                    found[key] = names.option_of(value, p.device)
            # A count of no steps is all that there is of a state that was not made yet: the optimizer makes it.
            if found.keys() == {"step"} and not found["step"]:
                continue
            # State of the type that its parameter had has the type that its parameter has.
            kind = self.initial[f"param/{name}"].dtype
            if found:
                optimizer.state[p] = {
                    key: value.clone().to(
                        "cpu" if key == "step" else p.device, p.dtype if value.dtype == kind else None
                    )
                    if isinstance(value, torch.Tensor)
                    else value
                    for key, value in found.items()
                }


def _kind(value: Any) -> str | None:
    """ "lost" or "nested" where the JSON of a part of the state says so."""
    return next(iter(value), None) if isinstance(value, dict) else None


def _imported(path: str, folder: Path) -> Callable[..., torch.optim.Optimizer]:
    module, _, name = path.rpartition(".")
    try:
        found: Callable[..., torch.optim.Optimizer] = getattr(importlib.import_module(module), name)
        return found
    except (ImportError, AttributeError):
        raise ValueError(
            f"{folder}: the optimizer {path} cannot be imported; give optimizer=lambda groups: {name}(groups)"
        ) from None


def clip_gradients(
    rule: str, options: Mapping[str, float], parameters: Sequence[tuple[Mapping[str, Any], torch.nn.Parameter]]
) -> list[Found]:
    """Clips the gradients in place; returns (factor, tensor, index of the unit or entry) of what it looked at.

    `value` clamps; `global-norm` is that of torch.nn.utils.clip_grad_norm_; `layer-norm` the same for each tensor; `agc`
    by unit: a kernel's outputs, an embedding's rows, else the whole tensor.
    """
    gradients = [
        (spec, p, p.grad.coalesce() if p.grad.is_sparse else p.grad) for spec, p in parameters if p.grad is not None
    ]
    values = [g.values() if g.is_sparse else g for _, _, g in gradients]
    found: list[Found] = []
    if rule == "global-norm":
        norm = math.sqrt(sum((v.double() ** 2).sum().item() for v in values))
        factor = min(1.0, options["maxNorm"] / (norm + 1e-6)) if norm == norm else norm
        for v in values:
            v.mul_(factor)
        found = [(factor, None, 0)]
    elif rule == "layer-norm":
        for (spec, _, _), v in zip(gradients, values):
            norm = v.double().norm().item()
            factor = min(1.0, options["maxNorm"] / (norm + 1e-6)) if norm == norm else norm
            v.mul_(factor)
            found.append((factor, spec["name"], 0))
    elif rule == "value":
        for (spec, _, _), v in zip(gradients, values):
            largest = v.abs().max().item() if v.numel() else 0.0
            v.clamp_(-options["clipValue"], options["clipValue"])
            found.append((min(1.0, options["clipValue"] / largest) if largest else 1.0, spec["name"], 0))
    else:
        for (spec, p, g), v in zip(gradients, values):
            w = p.detach()[g.indices()[0]] if g.is_sparse else p.detach()
            output = OUTPUT_AXIS.get(spec["layout"], 0 if spec["embedding"] else None)
            axes = [axis for axis in range(v.dim()) if axis != output]
            sizes = [torch.sqrt((x**2).sum(axes, keepdim=True)) if axes else x.abs() for x in (w, v)]
            units = torch.clamp(options["clipping"] * sizes[0].clamp(min=1e-3) / sizes[1].clamp(min=1e-6), max=1.0)
            v.mul_(units)
            index = int(units.argmin())
            found.append((units.min().item(), spec["name"], int(g.indices()[0][index]) if g.is_sparse else index))
    for _, p, g in gradients:
        p.grad = g
    return found


def clip_updates(
    options: Mapping[str, float],
    parameters: Sequence[tuple[Mapping[str, Any], torch.nn.Parameter]],
    before: Sequence[torch.Tensor],
    keeps: Sequence[float],
) -> list[Found]:
    """Clippy: σ = min(1, min_i (λ_rel|w_i| + λ_abs)/|Δ_i|) of each tensor, applied to the update that the optimizer has just
    made; what decoupled weight decay took off (all but `keeps`·w) is no part of it (arXiv 2302.09178)."""
    found: list[Found] = []
    for (spec, p), w, keep in zip(parameters, before, keeps):
        update = keep * w - p.detach()
        room = options["variableRelativeThreshold"] * w.abs() + options["absoluteThreshold"]
        ratio = torch.where(update == 0, torch.full_like(w, math.inf), room / update.abs())
        index = int(ratio.argmin())
        sigma = min(1.0, ratio.reshape(-1)[index].item()) if not ratio.isnan().any() else math.nan
        if sigma != 1:
            p.data.copy_(keep * w - sigma * update)
        found.append((sigma, spec["name"], index))
    return found

"""Trains on from a capture in your own PyTorch model under several clipping rules; the traces go to capture.json.

    from closed_loop import closed_loop
    closed_loop("capture", model, lambda model, batch: compute_loss(model, batch))

The capture must hold batches (`recorder.record(step, loss, batch=...)`), which `loss_of` gets under their names.
`clippy-diag replay capture` shows the traces as `recorded`, with verdicts. Dropout is off and BatchNorm in inference.
Needs torch >= 1.13 and numpy. Apache-2.0. """

import json
import math
import os

import torch

from clippy_capture import number, read_safetensors, write_atomically
from clippy_recorder import OPTIONS, SLOTS

RULES = {
    "none": {},
    "global-norm": {"maxNorm": 1.0},
    "agc": {"clipping": 0.01},
    "clippy": {"variableRelativeThreshold": 0.5, "absoluteThreshold": 0.01},
}


def closed_loop(folder, model, loss_of, rules=None):
    """Runs {rule: options} (default RULES), and the loop without a rule; writes the traces to capture.json."""
    path = os.path.join(folder, "capture.json")
    with open(path, encoding="utf8") as file:
        capture = json.load(file)
    rules = {"none": {}, **(rules or RULES)}
    capture["replay"] = [run(folder, capture, model, loss_of, rule, options) for rule, options in rules.items()]
    write_atomically(path, json.dumps(capture, indent=1, allow_nan=False).encode())
    return capture["replay"]


def run(folder, capture, model, loss_of, rule, options):
    """The trace of one closed loop from the capture's initial state."""
    initial = _tensors(folder, "initial.safetensors")
    named = dict(model.named_parameters())
    parameters = [(spec, named[spec["name"]]) for spec in capture["parameters"]]
    with torch.no_grad():
        for spec, p in parameters:
            p.copy_(initial[f"param/{spec['name']}"])
    groups = [capture["optimizer"], *capture.get("groups", [])]
    optimizers = _optimizers(groups, parameters, initial)
    model.eval()
    losses, factors, norms, bottleneck, ended = [], [], [], None, None
    for step in capture["steps"]:
        tensors = _tensors(folder, step["file"])
        model.zero_grad(set_to_none=True)
        loss = loss_of(model, {name[len("batch/") :]: t for name, t in tensors.items() if name.startswith("batch/")})
        loss.backward()
        before = [p.detach().clone() for _, p in parameters]
        found = [(1.0, None, 0)]  # (factor, tensor, index of the unit or entry)
        if rule in ("global-norm", "agc"):
            found += _clip_gradients(rule, options, parameters)
        rates = [step["learningRate"], *step.get("groupLearningRates", [])]
        for optimizer, rate in zip(optimizers, rates):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        if rule == "clippy":
            keeps = [1 - rate * o["weightDecay"] if o["name"] == "adamw" else 1 for rate, o in zip(rates, groups)]
            found += _clippy(options, parameters, before, [keeps[spec.get("group", -1) + 1] for spec, _ in parameters])
        moved = sum(((b - p.detach()).double() ** 2).sum().item() for b, (_, p) in zip(before, parameters))
        factor, tensor, index = min(found, key=lambda item: item[0] if item[0] == item[0] else -1)
        losses.append(loss.item())
        norms.append(math.sqrt(moved))
        factors.append(factor)
        if tensor is not None and factor < (bottleneck["factor"] if bottleneck else 1):
            bottleneck = {"tensor": tensor, "index": index, "factor": factor}
        if ended is None and not (math.isfinite(losses[-1]) and math.isfinite(moved)):
            ended = {"reason": "non-finite", "step": step["step"]}
    traces = {"loss": losses, "minClipFactor": factors, "updateNorm": norms}
    return {
        **{"mode": "closed-loop", "source": "recorded", "rule": rule, "options": options, "optimizer": groups[0]},
        "steps": [step["step"] for step in capture["steps"]],
        **{name: [number(value) for value in values] for name, values in traces.items()},
        "ended": ended or {"reason": "completed", "step": capture["steps"][-1]["step"]},
        "bottleneck": bottleneck,
    }


def _tensors(folder, file):
    return {name: torch.from_numpy(array) for name, array in read_safetensors(os.path.join(folder, file)).items()}


def _optimizers(groups, parameters, initial):
    """One torch optimizer a parameter group, with the state of the capture."""
    optimizers = []
    for i, options in enumerate(groups):
        kind = next(k for k in SLOTS if k.lower() == options["name"])
        arguments = {theirs: options[ours] for theirs, ours in OPTIONS[kind].items()}
        if "beta1" in options:
            arguments["betas"] = (options["beta1"], options["beta2"])
        mine = [(spec["name"], p) for spec, p in parameters if spec.get("group", -1) == i - 1]
        optimizer = getattr(torch.optim, kind)(
            [p for _, p in mine], lr=options["learningRate"], weight_decay=options["weightDecay"], **arguments
        )
        for name, p in mine:
            slots = {theirs: initial.get(f"state/{ours}/{name}") for theirs, ours in SLOTS[kind].items()}
            if any(value is not None for value in slots.values()):
                optimizer.state[p] = {slot: value.to(p.device) for slot, value in slots.items() if value is not None}
        optimizers.append(optimizer)
    return optimizers


def _clip_gradients(rule, options, parameters):
    """global-norm as torch has it; AGC by unit: a kernel's outputs, an embedding's rows, else the whole tensor."""
    gradients = [
        (spec, p, p.grad.coalesce() if p.grad.is_sparse else p.grad) for spec, p in parameters if p.grad is not None
    ]
    values = [g.values() if g.is_sparse else g for _, _, g in gradients]
    if rule == "global-norm":
        norm = math.sqrt(sum((v.double() ** 2).sum().item() for v in values))
        factor = min(1.0, options["maxNorm"] / (norm + 1e-6)) if norm == norm else norm
        for v in values:
            v.mul_(factor)
        found = [(factor, None, 0)]
    else:
        found = []
        for (spec, p, g), v in zip(gradients, values):
            w = p.detach()[g.indices()[0]] if g.is_sparse else p.detach()
            output = {"OI": 0, "OIHW": 0, "IO": 1, "HWIO": 3}.get(spec["layout"], 0 if spec["embedding"] else None)
            axes = [axis for axis in range(v.dim()) if axis != output]
            norms = [torch.sqrt((x**2).sum(axes, keepdim=True)) for x in (w, v)]
            factor = torch.clamp(options["clipping"] * norms[0].clamp(min=1e-3) / norms[1].clamp(min=1e-6), max=1.0)
            v.mul_(factor)
            index = int(factor.argmin())
            found.append((factor.min().item(), spec["name"], int(g.indices()[0][index]) if g.is_sparse else index))
    for _, p, g in gradients:
        p.grad = g
    return found


def _clippy(options, parameters, before, keeps):
    """σ = min(1, min_i (λ_rel|w_i| + λ_abs)/|Δ_i|) of each tensor, applied to the update that the optimizer has
    just made; what decoupled weight decay took off (all but `keeps`·w) is no part of it."""
    found = []
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

"""Trains on from a capture in your own PyTorch model under several clipping rules, and stores what happened in
capture.json.

    from closed_loop import closed_loop
    closed_loop("capture", model, lambda model, batch: compute_loss(model, batch))

The capture must hold batches (`recorder.record(step, loss, batch=...)`); `batch` has the names that you
recorded. `clippy-diag replay capture` then shows the traces as `recorded`. Dropout is off and BatchNorm in
inference. Needs torch >= 1.13 and numpy. Apache-2.0. """

import json
import math
import os

import torch

from clippy_capture import number, read_safetensors, write_atomically
from clippy_recorder import OPTIONS, SLOTS
from clippy_verdict import verdict

RULES = {
    "none": {},
    "global-norm": {"maxNorm": 1.0},
    "agc": {"clipping": 0.01},
    "clippy": {"variableRelativeThreshold": 0.5, "absoluteThreshold": 0.01},
}


def closed_loop(folder, model, loss_of, rules=None):
    """Runs each rule of {rule: options} (default RULES) and writes the entries to capture.json; returns
    them."""
    path = os.path.join(folder, "capture.json")
    with open(path, encoding="utf8") as file:
        capture = json.load(file)
    entries = [
        run(folder, capture, model, loss_of, rule, options)
        for rule, options in {"none": {}, **(rules or RULES)}.items()
    ]
    history = [float(value) for value in capture.get("history", {}).get("loss", [])]
    recorded = [float(step["loss"]) for step in capture["steps"]]
    for entry in entries:
        entry.update(verdict(history, recorded, entries[0]["loss"], entry["loss"], entry["steps"]))
        entry["loss"], entry["updateNorm"], entry["minClipFactor"] = (
            [number(value) for value in entry[key]] for key in ("loss", "updateNorm", "minClipFactor")
        )
    capture["replay"] = entries
    write_atomically(path, json.dumps(capture, indent=1, allow_nan=False).encode())
    return entries


def run(folder, capture, model, loss_of, rule, options):
    """One closed loop from the capture's initial state."""
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
        losses.append(loss.item())
        norms.append(
            math.sqrt(sum(((b - p.detach()).double() ** 2).sum().item() for b, (_, p) in zip(before, parameters)))
        )
        factor, tensor, index = min(found, key=lambda item: item[0] if item[0] == item[0] else -1)
        factors.append(factor)
        if tensor is not None and not (bottleneck and bottleneck["factor"] <= factor) and factor < 1:
            bottleneck = {"tensor": tensor, "index": index, "factor": factor}
        if ended is None and not (math.isfinite(losses[-1]) and math.isfinite(norms[-1])):
            ended = {"reason": "non-finite", "step": step["step"]}
    engaged = [s["step"] for s, factor in zip(capture["steps"], factors) if factor != 1]
    return {
        "mode": "closed-loop",
        "rule": rule,
        "options": options,
        "optimizer": capture["optimizer"],
        "steps": [step["step"] for step in capture["steps"]],
        "loss": losses,
        "minClipFactor": factors,
        "updateNorm": norms,
        "firstEngagedStep": engaged[0] if engaged else None,
        "engagedFraction": len(engaged) / len(losses),
        "ended": ended or {"reason": "completed", "step": capture["steps"][-1]["step"]},
        "bottleneck": bottleneck,
        "source": "recorded",
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
            slots = {
                theirs: initial[f"state/{ours}/{name}"].to(p.device)
                for theirs, ours in SLOTS[kind].items()
                if f"state/{ours}/{name}" in initial
            }
            if slots:
                optimizer.state[p] = slots
        optimizers.append(optimizer)
    return optimizers


def _clip_gradients(rule, options, parameters):
    """global-norm as torch has it; AGC by unit: a kernel's outputs, an embedding's rows, else the whole
    tensor."""
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
            keep = {"OI": [0], "OIHW": [0], "IO": [1], "HWIO": [3]}.get(
                spec["layout"], [0] if spec["embedding"] else []
            )
            axes = [axis for axis in range(v.dim()) if axis not in keep]
            norms = [torch.sqrt((x**2).sum(axes, keepdim=True)) for x in (w, v)]
            factor = torch.clamp(options["clipping"] * norms[0].clamp(min=1e-3) / norms[1].clamp(min=1e-6), max=1.0)
            v.mul_(factor)
            index = int(factor.argmin())
            found.append((factor.min().item(), spec["name"], int(g.indices()[0][index]) if g.is_sparse else index))
    for (_, p, g), v in zip(gradients, values):
        p.grad = torch.sparse_coo_tensor(g.indices(), v, g.shape).coalesce() if g.is_sparse else v
    return found


def _clippy(options, parameters, before, keeps):
    """σ = min(1, min_i (λ_rel|w_i| + λ_abs)/|Δ_i|) of each tensor, applied to the update that the optimizer has
    just made; what decoupled weight decay took off (all but `keeps`·w) is no part of it."""
    found = []
    with torch.no_grad():
        for (spec, p), w, keep in zip(parameters, before, keeps):
            update = keep * w - p
            room = options["variableRelativeThreshold"] * w.abs() + options["absoluteThreshold"]
            ratio = torch.where(update == 0, torch.full_like(w, math.inf), room / update.abs())
            index = int(ratio.argmin())
            sigma = min(1.0, ratio.reshape(-1)[index].item()) if not ratio.isnan().any() else math.nan
            if sigma != 1:
                p.copy_(keep * w - sigma * update)
            found.append((sigma, spec["name"], index))
    return found

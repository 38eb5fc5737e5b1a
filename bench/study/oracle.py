"""Each rule on a small net from a given initialisation, by PyTorch: what a cell of a study has to agree with.

    python3 oracle.py ../../fixtures/studies/exact

Writes data.csv (900 rows), initial.safetensors and oracle.json: the first twenty losses of each rule, in float32 and
float64, under Adagrad, and under Adam where a rule needs its second moment. The rules are written here as their papers state
them. PyTorch 2.15.0 (CPU, one thread) wrote what is committed. """

import csv
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import torch

ROWS, BATCH, STEPS, LR = 900, 32, 20, 0.3
SHAPES = {
    "embedding/kind": (5, 3),
    "shared/0/kernel": (5, 6),
    "shared/0/bias": (6,),
    "shared/1/kernel": (6, 4),
    "shared/1/bias": (4,),
    "task/click/0/kernel": (4, 1),
    "task/click/0/bias": (1,),
    "task/watch/0/kernel": (4, 1),
    "task/watch/0/bias": (1,),
}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, value in tensors.items():
        size = 4 * value.numel()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            out.write(struct.pack(f"<{value.numel()}f", *value.flatten().tolist()))


def norm(x):
    return x.double().pow(2).sum().sqrt().to(x.dtype)


def unit_norms(name, x):
    """AGC: one unit a row of a table, a column of a kernel, else the whole."""
    if name.startswith("embedding/"):
        return x.double().pow(2).sum(1, keepdim=True).sqrt().to(x.dtype)
    if x.dim() == 2:
        return x.double().pow(2).sum(0, keepdim=True).sqrt().to(x.dtype)
    return norm(x)


def clip_gradient(rule, number, names, ws, gs):
    if rule == "value":
        return [g.clamp(-number, number) for g in gs]
    if rule == "global-norm":
        total = math.sqrt(sum(float(g.double().pow(2).sum()) for g in gs))
        return [g * min(1.0, number / (total + 1e-6)) for g in gs]
    if rule == "layer-norm":
        return [g * min(1.0, number / max(float(norm(g)), 1e-300)) for g in gs]
    if rule == "agc":
        out = []
        for name, w, g in zip(names, ws, gs):
            limit = number * unit_norms(name, w).clamp(min=1e-3)
            size = unit_norms(name, g)
            out.append(torch.where(size < limit, g, g * (limit / size.clamp(min=1e-6))))
        return out
    if rule == "lars":
        out = []
        for w, g in zip(ws, gs):
            wn, gn = float(norm(w)), float(norm(g))
            out.append(g if wn == 0 or gn == 0 else g * (number * wn / gn))
        return out
    return gs


def total_norm(gs):
    return math.sqrt(sum(float(g.double().pow(2).sum()) for g in gs))


class AutoClip:
    """Seetharaman et al. 2020, section 3: clip_grad_norm_ at a percentile of all norms so far, this one's included."""

    def __init__(self, percent):
        self.percent, self.norms = percent, []

    def __call__(self, ws, gs):
        size = total_norm(gs)
        self.norms.append(size)
        limit = float(np.percentile(self.norms, self.percent))
        return [g * min(1.0, limit / (size + 1e-6)) for g in gs]


class ZClip:
    """Kumar et al. 2025, Algorithm 1, as bluorion-com/ZClip computes it in mode zscore with adaptive scaling."""

    def __init__(self, threshold, warmup, max_norm, alpha=0.97):
        self.threshold, self.warmup, self.max_norm, self.alpha = threshold, warmup, max_norm, alpha
        self.buffer, self.mean, self.var = [], None, None

    def __call__(self, ws, gs):
        size = total_norm(gs)
        if self.mean is None:
            self.buffer.append(size)
            if len(self.buffer) == self.warmup:
                self.mean = sum(self.buffer) / self.warmup
                self.var = sum((x - self.mean) ** 2 for x in self.buffer) / self.warmup
            return [g * min(1.0, self.max_norm / (size + 1e-6)) for g in gs]
        std = self.var**0.5
        z = (size - self.mean) / (std + 1e-6)
        clip = None if z <= self.threshold else self.mean + self.threshold * std / (z / self.threshold)
        limit = min(size if clip is None else clip, self.max_norm)
        factor = limit / (size + 1e-6) if limit < size else 1.0
        taken = size if clip is None else clip
        self.mean = self.alpha * self.mean + (1 - self.alpha) * taken
        self.var = self.alpha * self.var + (1 - self.alpha) * (taken - self.mean) ** 2
        return [g * factor for g in gs]


class AdaGC:
    """Wang et al. 2025, Algorithm 1."""

    def __init__(self, relative, warmup, absolute, beta=0.98):
        self.relative, self.warmup, self.absolute, self.beta = relative, warmup, absolute, beta
        self.step, self.averages = 0, None

    def __call__(self, ws, gs):
        sizes = [float(norm(g)) for g in gs]
        self.averages = self.averages or [math.inf] * len(gs)
        out = []
        if self.step < self.warmup:
            h = min(1.0, self.absolute / total_norm(gs))
            self.averages = [min(a, h * size) for a, size in zip(self.averages, sizes)]
            out = [g * h for g in gs]
        else:
            for i, (g, size) in enumerate(zip(gs, sizes)):
                h = 1.0 if size == 0 else min(1.0, self.relative * self.averages[i] / size)
                out.append(g * h)
                self.averages[i] = self.beta * self.averages[i] + (1 - self.beta) * h * size
        self.step += 1
        return out


class Spam:
    """Huang et al. 2025, section 4: entries whose square is above θ·v take the sign times √(θv), v before this step."""

    def __init__(self, threshold, warmup):
        self.threshold, self.warmup, self.step, self.v = threshold, warmup, 0, None

    def __call__(self, ws, gs):
        self.v = self.v or [torch.zeros_like(g) for g in gs]
        out = []
        for i, g in enumerate(gs):
            if self.step >= self.warmup:
                bound = (self.threshold * self.v[i]).sqrt()
                g = torch.where(g.abs() > bound, g.sign() * bound, g)
            # Adam's own second moment, of what it is given.
            self.v[i] = 0.999 * self.v[i] + 0.001 * g * g
            out.append(g)
        self.step += 1
        return out


STATEFUL = {
    "autoclip": lambda n: AutoClip(n),
    "zclip": lambda n: ZClip(n, warmup=5, max_norm=1.0),
    "adagc": lambda n: AdaGC(n, warmup=5, absolute=0.5),
    "spam": lambda n: Spam(n, warmup=5),
}


def train(rule, number, initial, x, ids, labels, dtype):
    names = list(initial)
    ws = [initial[name].clone().to(dtype).requires_grad_(True) for name in names]
    sums = [torch.full_like(w, 0.1) for w in ws]
    clip = STATEFUL[rule](number) if rule in STATEFUL else lambda ws, gs: clip_gradient(rule, number, names, ws, gs)
    adam = torch.optim.Adam(ws, lr=ADAM_LR, eps=1e-7) if rule in ADAM else None
    x, labels = x.to(dtype), {k: v.to(dtype) for k, v in labels.items()}
    delayed = rule == "clippy-tfrs"
    losses = []
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        p = dict(zip(names, ws))
        h = torch.cat([x[rows], p["embedding/kind"][ids[rows]]], 1)
        for i in range(2):
            h = torch.relu(h @ p[f"shared/{i}/kernel"] + p[f"shared/{i}/bias"])
        click = (h @ p["task/click/0/kernel"] + p["task/click/0/bias"])[:, 0]
        watch = (h @ p["task/watch/0/kernel"] + p["task/watch/0/bias"])[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(click, labels["click"][rows])
        loss = loss + 0.5 * (watch - labels["watch"][rows]).pow(2).mean()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            gs = clip(ws, torch.autograd.grad(loss, ws))
            if adam is not None:
                for w, g in zip(ws, gs):
                    w.grad = g
                adam.step()
                continue
            for w, g, total in zip(ws, gs, sums):
                if not delayed:
                    total += g * g
                r = g / (total + 1e-7).sqrt()
                factor = 1.0
                if rule == "rms":
                    factor = 1 / max(1.0, float(r.double().pow(2).mean().sqrt()) / number)
                if rule == "lamb":
                    wn, rn = float(norm(w)), float(norm(r))
                    factor = 1.0 if wn == 0 or rn == 0 else wn / rn
                if rule.startswith("clippy"):
                    relative, absolute = (0.1, 1e-7) if delayed else (0.5, 1e-2)
                    update = (LR * r).abs()
                    bound = relative * w.abs() + absolute
                    moved = update > 0
                    if bool(moved.any()):
                        factor = min(1.0, float((bound[moved] / update[moved]).min()))
                if delayed:
                    total += g * g
                w -= factor * LR * r
    return losses


RULES = {
    "none": ("none", 0),
    "value:0.01": ("value", 0.01),
    "global-norm:0.1": ("global-norm", 0.1),
    "layer-norm:0.05": ("layer-norm", 0.05),
    "agc:0.01": ("agc", 0.01),
    "lamb": ("lamb", 0),
    "lars:0.1": ("lars", 0.1),
    "rms:0.2": ("rms", 0.2),
    "autoclip:30": ("autoclip", 30),
    "zclip:1,warmupSteps=5": ("zclip", 1),
    "adagc:1.02,absoluteThreshold=0.5,warmupSteps=5": ("adagc", 1.02),
    "clippy:paper": ("clippy", 0),
    "clippy:tfrs": ("clippy-tfrs", 0),
}
# Under Adam: SPAM compares with its second moment.
ADAM_RULES = {"none": ("adam-none", 0), "spam:1.2,warmupSteps=5": ("spam", 1.2)}
ADAM = {"adam-none", "spam"}
ADAM_LR = 0.03


def main(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    g = torch.Generator().manual_seed(18)
    initial = {name: 0.6 * torch.randn(*shape, generator=g) for name, shape in SHAPES.items()}
    raw = torch.randn(ROWS, 2, generator=g) * torch.tensor([2.0, 0.5]) + 1
    ids = torch.randint(0, 5, (ROWS,), generator=g)
    ids[:5] = torch.arange(5)
    click = ((raw[:, 0] + ids.float()) > 3).float()
    watch = raw[:, 0] * raw[:, 1]
    raw = torch.tensor([[float(f"{v:.6f}") for v in row] for row in raw.tolist()], dtype=torch.float64)
    watch = torch.tensor([float(f"{v:.6f}") for v in watch.tolist()], dtype=torch.float64)
    with open(folder / "data.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["a", "b", "kind", "click", "watch"])
        for i in range(ROWS):
            row = [f"{raw[i, 0]:.6f}", f"{raw[i, 1]:.6f}", "vwxyz"[int(ids[i])], int(click[i]), f"{watch[i]:.6f}"]
            writer.writerow(row)
    train_part = raw[: STEPS * BATCH]
    x = (raw - train_part.mean(0)) / train_part.std(0, unbiased=False)
    labels = {"click": click, "watch": watch}
    write_safetensors(folder / "initial.safetensors", initial)
    for name, rules, rate in (("oracle", RULES, LR), ("oracle-adam", ADAM_RULES, ADAM_LR)):
        cells = {
            label: {
                name: train(rule, number, initial, x, ids, labels, dtype)
                for name, dtype in (("float32", torch.float32), ("float64", torch.float64))
            }
            for label, (rule, number) in rules.items()
        }
        source = f"bench/study/oracle.py, PyTorch {torch.__version__}"
        (folder / f"{name}.json").write_text(json.dumps({"source": source, "learningRate": rate, "cells": cells}) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])

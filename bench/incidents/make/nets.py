"""Small nets, each with a stream of batches whose batch of a step is the same however often it is asked for.

A net's `forward(batch)` gives the loss of each task; the loss of the run is their sum. A stream's `batch(step)` gives a mapping of
tensors whose first axis is the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

Batch = dict[str, torch.Tensor]
Losses = dict[str, torch.Tensor]


def _numbers(*key: int) -> np.random.Generator:
    return np.random.default_rng(list(key))


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.astype(np.float32)))


# ---- ranking nets: the `ranking` spec of clippy-diag as a user writes it

RANKING_NAMES = {
    "tables.*.weight": "embedding/*",
    "cross.*.weight": "cross/*/kernel",
    "cross.*.bias": "cross/*/bias",
    "bottom.*.weight": "shared/*/kernel",
    "bottom.*.bias": "shared/*/bias",
    "experts.*.*.weight": "expert/*/*/kernel",
    "experts.*.*.bias": "expert/*/*/bias",
    "gates.*.weight": "gate/*/kernel",
    "gates.*.bias": "gate/*/bias",
    "towers.*.*.weight": "task/*/*/kernel",
    "towers.*.*.bias": "task/*/*/bias",
}


def ranking_spec(kind: str) -> dict[str, Any]:
    """The spec of a ranking net: `mlp` (shared bottom), `dcn` (DCN-v2 over an embedding), `mmoe` (experts and gates)."""
    dense = {"name": "dense", "type": "dense", "size": 10}
    user = {"name": "user", "type": "categorical", "vocabulary": 50, "dim": 4}
    spec: dict[str, Any] = {
        "kind": "ranking",
        "version": 1,
        "features": [dense] if kind == "mlp" else [user, dense],
        "shared": {"type": "shared-bottom", "units": [24, 16], "activation": "relu", "layerNorm": False},
        "tasks": [
            {"name": "click", "units": [8], "loss": "sigmoid-cross-entropy", "weight": 1},
            {"name": "watch", "units": [8], "loss": "mean-squared-error", "weight": 1},
        ],
        "rename": RANKING_NAMES,
    }
    if kind == "dcn":
        spec["cross"] = {"type": "dcn-v2", "layers": 2}
    if kind == "mmoe":
        spec["shared"] = {"type": "mmoe", "experts": 3, "units": [16], "activation": "relu"}
    return spec


def _layers(width: int, units: list[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(a, b) for a, b in zip([width, *units], units))


class Ranker(nn.Module):
    """Embeddings and dense features, cross layers, shared layers or experts with a gate for each task, and towers."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        tables = {f["name"]: f for f in spec["features"] if f["type"] == "categorical"}
        self.order = [(f["name"], f["type"]) for f in spec["features"]]
        self.tables = nn.ModuleDict({n: nn.Embedding(f["vocabulary"], f["dim"]) for n, f in tables.items()})
        for table in self.tables.values():
            nn.init.normal_(table.weight, std=0.1)
        width = sum(f.get("dim", f.get("size")) for f in spec["features"])
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(spec.get("cross", {}).get("layers", 0)))
        shared = spec["shared"]
        self.bottom = _layers(width, shared["units"] if shared["type"] == "shared-bottom" else [])
        experts = shared.get("experts", 0)
        self.experts = nn.ModuleList(_layers(width, shared["units"]) for _ in range(experts))
        self.gates = nn.ModuleDict({t["name"]: nn.Linear(width, experts) for t in spec["tasks"]} if experts else {})
        self.towers = nn.ModuleDict({t["name"]: _layers(shared["units"][-1], [*t["units"], 1]) for t in spec["tasks"]})
        self.losses = {t["name"]: t["loss"] for t in spec["tasks"]}

    def forward(self, batch: Batch) -> Losses:
        """The loss of each task on a batch."""
        parts = [self.tables[n](batch[n]) if kind == "categorical" else batch[n] for n, kind in self.order]
        x0 = x = torch.cat(parts, dim=1)
        for layer in self.cross:
            x = x0 * layer(x) + x
        deep = x
        for layer in self.bottom:
            deep = torch.relu(layer(deep))
        mixed = []
        for expert in self.experts:
            out = x
            for layer in expert:
                out = torch.relu(layer(out))
            mixed.append(out)
        losses = {}
        for name, (first, last) in self.towers.items():
            if mixed:
                gate = torch.softmax(self.gates[name](x), dim=1)
                deep = sum(gate[:, k : k + 1] * out for k, out in enumerate(mixed))
            z, y = last(torch.relu(first(deep)))[:, 0], batch[f"label/{name}"]
            squared = self.losses[name] == "mean-squared-error"
            losses[name] = ((z - y) ** 2).mean() if squared else (F.softplus(z) - y * z).mean()
        return losses


def ranking_batch(seed: int, key: int, rows: int, ids: bool) -> Batch:
    """Rows of a teacher with a click and a watch time, both noisy."""
    teacher, rng = _numbers(seed, 1), _numbers(seed, 2, key)
    first = teacher.normal(0, 10**-0.5, (2, 10, 6))
    last = teacher.normal(0, 6**-0.5, (2, 6)) * 2.5
    effect = teacher.normal(0, 0.7, 50)
    x = rng.normal(0, 1, (rows, 10))
    user = rng.integers(0, 50, rows)
    score = [(np.tanh((x[:, :, None] * first[k]).sum(1)) * last[k]).sum(1) + (effect[user] if ids else 0) for k in (0, 1)]
    batch = {
        "dense": _tensor(x),
        "label/click": _tensor(rng.random(rows) < 1 / (1 + np.exp(-2 * score[0] + 0.7))),
        "label/watch": _tensor(score[1] + rng.normal(0, 0.4, rows)),
    }
    if ids:
        batch["user"] = torch.from_numpy(user.astype(np.int64))
    return batch


# ---- other nets


class Transformer(nn.Module):
    """A character-level decoder of two blocks of attention; the loss is the cross entropy of the next character."""

    def __init__(self, letters: int = 12, width: int = 16, length: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(letters, width)
        self.place = nn.Parameter(torch.randn(length, width) * 0.1)
        self.attend = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.wide = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.head = nn.Linear(width, letters)
        self.register_buffer("mask", torch.triu(torch.full((length, length), -1e9), 1), persistent=False)

    def forward(self, batch: Batch) -> Losses:
        """The cross entropy of a batch."""
        tokens = batch["tokens"]
        x = self.embed(tokens[:, :-1]) + self.place
        for k in range(2):
            q, key, value = self.attend[k](self.norms[2 * k](x)).chunk(3, dim=-1)
            weights = torch.softmax(q @ key.transpose(1, 2) / q.shape[-1] ** 0.5 + self.mask, dim=-1)
            x = x + self.mix[k](weights @ value)
            x = x + self.narrow[k](F.gelu(self.wide[k](self.norms[2 * k + 1](x))))
        return {"loss": F.cross_entropy(self.head(self.norms[4](x)).flatten(0, 1), tokens[:, 1:].flatten())}


def text_batch(seed: int, key: int, rows: int) -> Batch:
    """Text of a random Markov chain over 12 letters."""
    table = _numbers(seed, 1).dirichlet(np.full(12, 0.15), 12)
    edges = table.cumsum(1)
    draws = _numbers(seed, 2, key).random((rows, 17))
    tokens = np.zeros((rows, 17), np.int64)
    tokens[:, 0] = (draws[:, 0] * 12).astype(np.int64)
    for k in range(1, 17):
        tokens[:, k] = np.minimum(11, (draws[:, k : k + 1] > edges[tokens[:, k - 1]]).sum(1))
    return {"tokens": torch.from_numpy(tokens)}


class Cnn(nn.Module):
    """Two convolutions with batch normalisation over small pictures of six classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(8)
        self.head = nn.Linear(32, 6)

    def forward(self, batch: Batch) -> Losses:
        """The cross entropy of a batch."""
        x = F.max_pool2d(torch.relu(self.norm1(self.first(batch["image"]))), 2)
        x = F.max_pool2d(torch.relu(self.norm2(self.second(x))), 2)
        return {"loss": F.cross_entropy(self.head(x.flatten(1)), batch["label"])}


def picture_batch(seed: int, key: int, rows: int) -> Batch:
    """Noisy pictures of six patterns, 8 by 8."""
    patterns = _numbers(seed, 1).normal(0, 1, (6, 8, 8))
    rng = _numbers(seed, 2, key)
    label = rng.integers(0, 6, rows)
    image = 0.6 * patterns[label] + rng.normal(0, 1.2, (rows, 8, 8))
    return {"image": _tensor(image[:, None]), "label": torch.from_numpy(label.astype(np.int64))}


class Gru(nn.Module):
    """A recurrent net that predicts the sign of a delayed sum of its input."""

    def __init__(self, width: int = 14) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(3, 3 * width)
        self.hidden = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, 1)

    def forward(self, batch: Batch) -> Losses:
        """The mean square error of a batch."""
        series = batch["series"]
        h = series.new_zeros(len(series), self.width)
        for k in range(series.shape[1]):
            (ri, zi, ni), (rh, zh, nh) = self.input(series[:, k]).chunk(3, 1), self.hidden(h).chunk(3, 1)
            r, z = torch.sigmoid(ri + rh), torch.sigmoid(zi + zh)
            h = (1 - z) * torch.tanh(ni + r * nh) + z * h
        return {"loss": ((self.head(h)[:, 0] - batch["label"]) ** 2).mean()}


def series_batch(seed: int, key: int, rows: int) -> Batch:
    """Series of three channels, and a weighted sum of them."""
    weights = _numbers(seed, 1).normal(0, 1, (8, 3)) / 3
    rng = _numbers(seed, 2, key)
    x = rng.normal(0, 1, (rows, 8, 3))
    return {"series": _tensor(x), "label": _tensor((x * weights).sum((1, 2)) + rng.normal(0, 0.2, rows))}


class Vae(nn.Module):
    """A variational autoencoder with a code of four numbers; its losses are the reconstruction and the divergence."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(16, 24)
        self.code = nn.Linear(24, 8)
        self.decode = nn.Linear(4, 24)
        self.out = nn.Linear(24, 16)

    def forward(self, batch: Batch) -> Losses:
        """Reconstruction and divergence of a batch; the noise comes with the batch."""
        mean, log_variance = self.code(torch.relu(self.encode(batch["x"]))).chunk(2, 1)
        z = mean + torch.exp(0.5 * log_variance) * batch["noise"]
        again = self.out(torch.relu(self.decode(z)))
        divergence = 0.5 * (mean**2 + torch.exp(log_variance) - 1 - log_variance).sum(1).mean()
        return {"reconstruction": ((again - batch["x"]) ** 2).sum(1).mean(), "divergence": 0.1 * divergence}


def code_batch(seed: int, key: int, rows: int) -> Batch:
    """Rows on a curved surface of three dimensions in sixteen."""
    mixing = _numbers(seed, 1).normal(0, 1, (3, 16))
    rng = _numbers(seed, 2, key)
    x = np.sin((rng.normal(0, 1, (rows, 3, 1)) * mixing).sum(1)) + rng.normal(0, 0.1, (rows, 16))
    return {"x": _tensor(x), "noise": _tensor(rng.normal(0, 1, (rows, 4)))}


class Classifier(nn.Module):
    """Three layers with dropout over rows of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = _layers(12, [24, 24])
        self.norm = nn.LayerNorm(24)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(24, 10)

    def forward(self, batch: Batch) -> Losses:
        """The cross entropy of a batch."""
        x = batch["x"]
        for layer in self.layers:
            x = self.dropout(torch.relu(layer(x)))
        return {"loss": F.cross_entropy(self.head(self.norm(x)), batch["label"])}


def blob_batch(seed: int, key: int, rows: int) -> Batch:
    """Rows around ten centres."""
    centres = _numbers(seed, 1).normal(0, 1.2, (10, 12))
    rng = _numbers(seed, 2, key)
    label = rng.integers(0, 10, rows)
    return {"x": _tensor(centres[label] + rng.normal(0, 1, (rows, 12))), "label": torch.from_numpy(label.astype(np.int64))}


@dataclass(frozen=True)
class Family:
    """A kind of net with its data."""

    make: Callable[[], nn.Module]
    batch: Callable[[int, int, int], Batch]
    #: The parameter of the output, whose faults are told by name; those below it.
    head: str
    lower: str
    #: Tensors of inputs that a fault may scale, and of labels.
    inputs: tuple[str, ...]
    labels: tuple[str, ...]
    #: The `ranking` spec of clippy-diag, where the net is one.
    spec: dict[str, Any] | None = None
    #: The width of the first layer says whether it has a mode: dropout or batch normalisation.
    has_mode: bool = False


def _ranker(kind: str) -> Family:
    spec = ranking_spec(kind)
    lower = {"mlp": "bottom.0", "dcn": "bottom.0", "mmoe": "experts.0"}[kind]
    labels = ("label/click", "label/watch")
    return Family(
        lambda: Ranker(spec), lambda s, k, n: ranking_batch(s, k, n, kind != "mlp"), "towers.watch.1", lower, ("dense",), labels, spec
    )


FAMILIES = {
    "mlp-ranker": _ranker("mlp"),
    "mmoe-ranker": _ranker("mmoe"),
    "dcn-ranker": _ranker("dcn"),
    "transformer": Family(Transformer, text_batch, "head", "attend.0", (), ("tokens",)),
    "cnn": Family(Cnn, picture_batch, "head", "first", ("image",), ("label",), has_mode=True),
    "gru": Family(Gru, series_batch, "head", "input", ("series",), ("label",)),
    "vae": Family(Vae, code_batch, "out", "encode", ("x",), ()),
    "classifier": Family(Classifier, blob_batch, "head", "layers.0", ("x",), ("label",), has_mode=True),
}
#: The families of the open half; the others are the hidden half's.
OPEN = ("mlp-ranker", "mmoe-ranker", "transformer", "cnn")
HIDDEN = ("dcn-ranker", "gru", "vae", "classifier")


# ---- nets of healthy runs alone: losses that are no distance to an answer


class Gan(nn.Module):
    """A generator and its judge on points of a ring; two losses that pull against each other."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.ModuleList([nn.Linear(4, 24), nn.Linear(24, 2)])
        self.judge = nn.ModuleList([nn.Linear(2, 24), nn.Linear(24, 1)])

    def _judged(self, x: torch.Tensor, frozen: bool) -> torch.Tensor:
        for k, layer in enumerate(self.judge):
            weight, bias = (layer.weight.detach(), layer.bias.detach()) if frozen else (layer.weight, layer.bias)
            x = F.linear(x if k == 0 else F.leaky_relu(x, 0.2), weight, bias)
        return x

    def forward(self, batch: Batch) -> Losses:
        """The losses of the judge and of the generator on a batch."""
        fake = self.generator[1](torch.relu(self.generator[0](batch["noise"])))
        real = F.softplus(-self._judged(batch["real"], False)).mean()
        told = F.softplus(self._judged(fake.detach(), False)).mean()
        return {"judge": real + told, "generator": F.softplus(-self._judged(fake, True)).mean()}


def ring_batch(seed: int, key: int, rows: int) -> Batch:
    """Points of a ring, and noise."""
    rng = _numbers(seed, 2, key)
    angle = rng.uniform(0, 2 * np.pi, rows)
    real = np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, 0.05, (rows, 2))
    return {"real": _tensor(real), "noise": _tensor(rng.normal(0, 1, (rows, 4)))}


class Bandit(nn.Module):
    """A policy over five actions trained by REINFORCE; its loss has both signs and says nothing of its reward."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 24), nn.Linear(24, 5)])
        #: The mean reward of the newest batch.
        self.reward = 0.0

    def forward(self, batch: Batch) -> Losses:
        """The loss of the policy on a batch; actions are drawn with the batch's noise."""
        logits = self.layers[1](torch.tanh(self.layers[0](batch["x"])))
        action = (logits.detach() + batch["noise"]).argmax(1)
        reward = (action == batch["best"]).float()
        self.reward = float(reward.mean())
        chosen = torch.log_softmax(logits, 1).gather(1, action[:, None])[:, 0]
        return {"loss": -((reward - reward.mean()) * chosen).mean()}


def bandit_batch(seed: int, key: int, rows: int) -> Batch:
    """States with their best action, and Gumbel noise to draw actions with."""
    weights = _numbers(seed, 1).normal(0, 1, (8, 5))
    rng = _numbers(seed, 2, key)
    x = rng.normal(0, 1, (rows, 8))
    best = (x[:, :, None] * weights).sum(1).argmax(1)
    return {"x": _tensor(x), "best": torch.from_numpy(best.astype(np.int64)), "noise": _tensor(rng.gumbel(0, 1, (rows, 5)))}


FAMILIES |= {
    "gan": Family(Gan, ring_batch, "generator.1", "generator.0", (), ()),
    "bandit": Family(Bandit, bandit_batch, "layers.1", "layers.0", ("x",), ()),
}

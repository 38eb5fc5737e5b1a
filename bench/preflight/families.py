"""Six families of small nets on made data, each as two functions: initial weights, and the loss of a batch.

Weights are a dictionary of tensors, so that several seeds train at once (torch.func.vmap) and one seed trains as a module.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

Tensors = dict[str, torch.Tensor]


class Family(NamedTuple):
    """A net with its data: `rows(rng, n)` makes n rows, `chance` is the loss of the best constant answer on given rows."""

    weights: Callable[[torch.Generator], Tensors]
    loss: Callable[[Tensors, Tensors], torch.Tensor]
    rows: Callable[[np.random.Generator, int], Tensors]
    chance: Callable[[Tensors], float]


def _dense(g: torch.Generator, inputs: int, outputs: int) -> torch.Tensor:
    return torch.randn(inputs, outputs, generator=g) / math.sqrt(inputs)


def _floats(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _layers(g: torch.Generator, **sizes: tuple[int, int]) -> Tensors:
    found: Tensors = {}
    for name, (inputs, outputs) in sizes.items():
        found[f"{name}_w"], found[f"{name}_b"] = _dense(g, inputs, outputs), torch.zeros(outputs)
    return found


def _through(w: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ w[f"{name}_w"] + w[f"{name}_b"]


def _entropy(rate: float) -> float:
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


# ---- a variational autoencoder of sixteen features that are made of three

_MIX = np.random.default_rng(1).normal(0, 1, (3, 16))


def _vae_rows(rng: np.random.Generator, n: int) -> Tensors:
    x = np.tanh(rng.normal(0, 1, (n, 3)) @ _MIX) + 0.1 * rng.normal(0, 1, (n, 16))
    return {"x": _floats(x), "noise": _floats(rng.normal(0, 1, (n, 3)))}


def _vae_loss(w: Tensors, b: Tensors) -> torch.Tensor:
    hidden = torch.tanh(_through(w, "enter", b["x"]))
    mean, log_variance = _through(w, "mean", hidden), _through(w, "spread", hidden)
    code = mean + b["noise"] * torch.exp(0.5 * log_variance)
    out = _through(w, "leave", torch.tanh(_through(w, "decode", code)))
    divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(-1)
    return (((out - b["x"]) ** 2).sum(-1) + 0.1 * divergence).mean()


VAE = Family(
    lambda g: _layers(g, enter=(16, 24), mean=(24, 3), spread=(24, 3), decode=(3, 24), leave=(24, 16)),
    _vae_loss,
    _vae_rows,
    lambda b: float(((b["x"] - b["x"].mean(0)) ** 2).sum(-1).mean()),
)

# ---- a deep and cross network on two ids and six dense features

_BIAS = np.random.default_rng(2).normal(0, 1, (2, 60))
_SLOPE = np.random.default_rng(3).normal(0, 0.5, 6)


def _click_rows(rng: np.random.Generator, n: int) -> Tensors:
    ids = np.minimum(rng.zipf(1.5, (n, 2)) - 1, 59)
    x = rng.normal(0, 1, (n, 6))
    score = _BIAS[0, ids[:, 0]] + _BIAS[1, ids[:, 1]] + x @ _SLOPE + 0.5 * x[:, 0] * x[:, 1]
    click = rng.random(n) < 1 / (1 + np.exp(-score))
    watch = score + 0.3 * rng.normal(0, 1, n)
    return {"ids": torch.from_numpy(ids), "x": _floats(x), "click": _floats(click), "watch": _floats(watch)}


def _features(w: Tensors, b: Tensors) -> torch.Tensor:
    return torch.cat([w["first_ids"][b["ids"][..., 0]], w["second_ids"][b["ids"][..., 1]], b["x"]], -1)


def _dcn_weights(g: torch.Generator) -> Tensors:
    tables = {name: 0.1 * torch.randn(60, 4, generator=g) for name in ("first_ids", "second_ids")}
    return {**tables, **_layers(g, cross=(14, 14), body=(14, 24), out=(38, 1))}


def _dcn_loss(w: Tensors, b: Tensors) -> torch.Tensor:
    x = _features(w, b)
    crossed = x * _through(w, "cross", x) + x
    deep = torch.relu(_through(w, "body", x))
    logit = _through(w, "out", torch.cat([crossed, deep], -1))[..., 0]
    return F.binary_cross_entropy_with_logits(logit, b["click"])


DCN = Family(_dcn_weights, _dcn_loss, _click_rows, lambda b: _entropy(float(b["click"].mean())))

# ---- three experts, a gate for each of two tasks


def _mmoe_weights(g: torch.Generator) -> Tensors:
    tables = {name: 0.1 * torch.randn(60, 4, generator=g) for name in ("first_ids", "second_ids")}
    experts = {f"expert{k}": (14, 12) for k in range(3)}
    return {**tables, **_layers(g, **experts, gate0=(14, 3), gate1=(14, 3), click=(12, 1), watch=(12, 1))}


def _mmoe_loss(w: Tensors, b: Tensors) -> torch.Tensor:
    x = _features(w, b)
    experts = torch.stack([torch.relu(_through(w, f"expert{k}", x)) for k in range(3)], -1)
    click, watch = (
        _through(w, task, (experts * torch.softmax(_through(w, f"gate{k}", x), -1).unsqueeze(-2)).sum(-1))[..., 0]
        for k, task in enumerate(("click", "watch"))
    )
    return F.binary_cross_entropy_with_logits(click, b["click"]) + 0.3 * F.mse_loss(watch, b["watch"])


MMOE = Family(
    _mmoe_weights,
    _mmoe_loss,
    _click_rows,
    lambda b: _entropy(float(b["click"].mean())) + 0.3 * float(b["watch"].var(unbiased=False)),
)

# ---- one block of a transformer on sequences of a random Markov chain of order 1 with copies

_CHAIN = np.random.default_rng(4).dirichlet(np.full(16, 0.2), 16)
_LENGTH = 10


def _text_rows(rng: np.random.Generator, n: int) -> Tensors:
    edges = np.cumsum(_CHAIN, 1)
    text = np.empty((n, _LENGTH + 1), np.int64)
    text[:, 0] = rng.integers(0, 16, n)
    for k in range(_LENGTH):
        text[:, k + 1] = np.minimum((rng.random((n, 1)) > edges[text[:, k]]).sum(1), 15)
    return {"text": torch.from_numpy(text)}


def _text_weights(g: torch.Generator) -> Tensors:
    scales = {f"norm{k}_w": torch.ones(16) for k in range(2)} | {f"norm{k}_b": torch.zeros(16) for k in range(2)}
    tables = {"tokens": 0.3 * torch.randn(16, 16, generator=g), "places": 0.1 * torch.randn(_LENGTH, 16, generator=g)}
    return {**tables, **scales, **_layers(g, mix=(16, 48), join=(16, 16), up=(16, 32), down=(32, 16), out=(16, 16))}


def _text_loss(w: Tensors, b: Tensors) -> torch.Tensor:
    x = w["tokens"][b["text"][..., :-1]] + w["places"]
    h = F.layer_norm(x, (16,)) * w["norm0_w"] + w["norm0_b"]
    query, key, value = _through(w, "mix", h).chunk(3, -1)
    future = torch.ones(_LENGTH, _LENGTH).triu(1) * -1e9
    x = x + _through(w, "join", torch.softmax(query @ key.transpose(-1, -2) / 4 + future, -1) @ value)
    h = F.layer_norm(x, (16,)) * w["norm1_w"] + w["norm1_b"]
    x = x + _through(w, "down", torch.relu(_through(w, "up", h)))
    return F.cross_entropy(_through(w, "out", x).reshape(-1, 16), b["text"][..., 1:].reshape(-1))


def _text_chance(b: Tensors) -> float:
    shares = np.bincount(b["text"][:, 1:].reshape(-1).numpy(), minlength=16) / b["text"][:, 1:].numel()
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


TRANSFORMER = Family(_text_weights, _text_loss, _text_rows, _text_chance)

# ---- two convolutions on 8 × 8 pictures of five noisy shapes

_SHAPES = np.random.default_rng(5).normal(0, 1, (5, 8, 8))


def _picture_rows(rng: np.random.Generator, n: int) -> Tensors:
    kind = rng.integers(0, 5, n)
    return {"x": _floats(_SHAPES[kind][:, None] + 1.5 * rng.normal(0, 1, (n, 1, 8, 8))), "y": torch.from_numpy(kind)}


def _picture_weights(g: torch.Generator) -> Tensors:
    kernels = {
        "first": 0.33 * torch.randn(8, 1, 3, 3, generator=g),
        "second": 0.12 * torch.randn(8, 8, 3, 3, generator=g),
    }
    return {**kernels, **_layers(g, out=(32, 5))}


def _picture_loss(w: Tensors, b: Tensors) -> torch.Tensor:
    h = torch.relu(F.conv2d(b["x"], w["first"], stride=2, padding=1))
    h = torch.relu(F.conv2d(h, w["second"], stride=2, padding=1))
    return F.cross_entropy(_through(w, "out", h.flatten(1)), b["y"])


CNN = Family(_picture_weights, _picture_loss, _picture_rows, lambda _: math.log(5))

# ---- a gated recurrent net that sums what a second row marks


def _sum_rows(rng: np.random.Generator, n: int) -> Tensors:
    x = rng.normal(0, 1, (n, 10))
    marks = (rng.random((n, 10)) < 0.3).astype(float)
    return {"x": _floats(np.stack([x, marks], -1)), "y": _floats((x * marks).sum(1))}


def _sum_loss(w: Tensors, b: Tensors) -> torch.Tensor:
    h = torch.zeros(b["x"].shape[0], 12)
    for k in range(10):
        x = b["x"][:, k]
        update, reset = torch.sigmoid(_through(w, "gates", torch.cat([x, h], -1))).chunk(2, -1)
        new = torch.tanh(_through(w, "new", torch.cat([x, reset * h], -1)))
        h = (1 - update) * h + update * new
    return F.mse_loss(_through(w, "out", h)[..., 0], b["y"])


GRU = Family(
    lambda g: _layers(g, gates=(14, 24), new=(14, 12), out=(12, 1)),
    _sum_loss,
    _sum_rows,
    lambda b: float(b["y"].var(unbiased=False)),
)

FAMILIES = {"vae": VAE, "dcn": DCN, "mmoe": MMOE, "transformer": TRANSFORMER, "cnn": CNN, "gru": GRU}


# ---- optimizers with the rate from which the search begins


class Lion(torch.optim.Optimizer):
    """Lion (arXiv 2302.06675): the sign of an average of momentum and gradient."""

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99)) -> None:  # noqa: ANN001
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # noqa: ANN001
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.sub_(group["lr"] * torch.sign(first * average + (1 - first) * p.grad))
                average.mul_(second).add_(p.grad, alpha=1 - second)


OPTIMIZERS: dict[str, tuple[float, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": (0.1, lambda p, lr: torch.optim.SGD(p, lr)),
    "momentum": (0.02, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)),
    "adam": (0.01, lambda p, lr: torch.optim.Adam(p, lr)),
    "adamw": (0.01, lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.1)),
    "adagrad": (0.1, lambda p, lr: torch.optim.Adagrad(p, lr, initial_accumulator_value=0.1)),
    "rmsprop": (0.003, lambda p, lr: torch.optim.RMSprop(p, lr)),
    "lion": (0.001, lambda p, lr: Lion(p, lr)),
}

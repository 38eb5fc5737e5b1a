"""Trains small nets with the PyTorch recorder attached and prints what really happened, for pytorch.long.test.ts to
compare.

python3 pytorch_scenarios.py RECORDERS OUT
"""

import json
import math
import os
import signal
import sys
import warnings

import torch

sys.path[:0] = [os.path.join(sys.argv[1], folder) for folder in ("python", "pytorch")]
from clippy_recorder import ClippyRecorder  # noqa: E402
from closed_loop import closed_loop  # noqa: E402

OUT = sys.argv[2]
torch.set_num_threads(1)


def net(seed=0, embedding=False):
    torch.manual_seed(seed)
    first = torch.nn.Embedding(7, 4, sparse=True) if embedding else torch.nn.Linear(4, 3)
    return torch.nn.ModuleDict({"first": first, "last": torch.nn.Linear(4 if embedding else 3, 1)})


def loss_of(model, x, y):
    hidden = model["first"](x)
    return ((model["last"](torch.tanh(hidden))[:, 0] - y) ** 2).mean()


def batch(step, jump_at, embedding=False):
    g = torch.Generator().manual_seed(step)
    x = torch.randint(0, 7, (8,), generator=g) if embedding else torch.randn(8, 4, generator=g)
    y = torch.randn(8, generator=g) * 0.1 + 1
    return x, y * 50 if step == jump_at else y


def dense(t):
    values = (t.to_dense() if t.is_sparse else t).detach().double().reshape(-1).tolist()
    return [value if math.isfinite(value) else None for value in values]


def train(
    name,
    optimizers_of,
    steps,
    jump_at=None,
    embedding=False,
    scaler=None,
    pass_scaler=True,
    schedule=None,
    flush_at=None,
    **options,
):
    """Runs the recorder; returns gradients and parameters of every step, the largest number of steps held, and
    the warnings."""
    model = net(embedding=embedding)
    optimizers = optimizers_of(model)
    truth, held = {}, 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recorder = ClippyRecorder(model, optimizers, os.path.join(OUT, name), **options)
        for step in range(steps):
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
                if schedule:
                    for group in optimizer.param_groups:
                        group["lr"] *= schedule
            x, y = batch(step, jump_at, embedding)
            loss = loss_of(model, x, y)
            (loss * scaler.get_scale() if scaler else loss).backward()
            scale = scaler.get_scale() if scaler else 1
            if scaler and step == scaler.infinite_at:
                model["last"].weight.grad.fill_(float("inf"))
            truth[step] = {
                "loss": loss.item(),
                "rates": [g["lr"] for o in optimizers for g in o.param_groups],
                "gradients": {n: dense(p.grad / scale) for n, p in model.named_parameters()},
                "parameters": {n: dense(p) for n, p in model.named_parameters()},
            }
            if step == flush_at:
                recorder.flush()
            recorder.record(
                step, loss, tasks={"only": loss}, batch={"x": x, "label/y": y}, scaler=scaler if pass_scaler else None
            )
            held = max(held, len(recorder.buffer.ring))
            if not (scaler and step == scaler.infinite_at):
                for optimizer in optimizers:
                    if scaler:
                        for p in model.parameters():
                            p.grad /= scale
                    optimizer.step()
    return {"truth": truth, "held": held, "warnings": [str(w.message) for w in caught if "clippy" in str(w.message)]}


def adagrad(model):
    return [torch.optim.Adagrad(model.parameters(), lr=0.1, initial_accumulator_value=0.1)]


class GradScaler:
    """What the recorder sees of torch.cuda.amp.GradScaler, which disables itself without CUDA."""

    def __init__(self, enabled=True, infinite_at=None):
        self.enabled, self.infinite_at = enabled, infinite_at

    def is_enabled(self):
        return self.enabled

    def get_scale(self):
        return 1024.0


def groups(model):
    first = torch.optim.Adagrad(
        [{"params": model["first"].weight, "lr": 0.1}, {"params": model["first"].bias, "lr": 0.02, "eps": 1e-8}], lr=0.1
    )
    return [first, torch.optim.AdamW(model["last"].parameters(), lr=0.01, betas=(0.8, 0.99), weight_decay=0.02)]


def refusals():
    def message(call):
        try:
            call()
        except ValueError as error:
            return str(error)
        return None

    model = net()
    other = net(seed=1)
    return {
        "optimizer": message(lambda: ClippyRecorder(model, torch.optim.Rprop(model.parameters()))),
        "strangers": message(lambda: ClippyRecorder(model, torch.optim.SGD(other.parameters(), lr=0.1))),
    }


def kills(moments):
    """Children that die by SIGKILL at their n-th renaming of a file or folder; the captures that they leave."""
    for n in moments:
        if os.fork() == 0:
            left = [n]

            def dying(call):
                def renamed(*arguments):
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left[0] -= 1
                    return call(*arguments)

                return renamed

            os.replace, os.rename = dying(os.replace), dying(os.rename)
            train(f"kill-{n}", adagrad, 70, jump_at=57, every=10, after=6)
            os._exit(0)
        os.wait()


def curvature():
    """The recorder's eigenvalues, and those of the dense float64 Hessian at the same point."""
    import copy

    model = net()
    optimizer = adagrad(model)[0]
    again = {}
    recorder = ClippyRecorder(
        model, optimizer, os.path.join(OUT, "curvature"), every=5, after=1, curvature=lambda: again["loss"]()
    )
    for step in range(33):
        optimizer.zero_grad()
        x, y = batch(step, None)
        loss = loss_of(model, x, y)
        loss.backward()
        if step == 30:
            recorder.flush()
            exact = copy.deepcopy(model).double()
            names, values = zip(*exact.named_parameters())

            def total(*parameters):
                w, b, v, c = parameters
                return ((torch.tanh(x.double() @ w.T + b) @ v.T + c)[:, 0] - y.double()).pow(2).mean()

            blocks = torch.autograd.functional.hessian(total, values)
            matrix = torch.cat(
                [torch.cat([b.reshape(p.numel(), -1) for b in row], 1) for p, row in zip(values, blocks)]
            )
            gradient = torch.autograd.grad(total(*values), values)
            sums = [optimizer.state[p]["sum"].double() for p in model.parameters()]
            root = torch.cat([((s + g**2).sqrt() + 1e-10).reshape(-1) for s, g in zip(sums, gradient)])
            scaled = matrix / root.sqrt()[:, None] / root.sqrt()[None, :]
            tops = [torch.linalg.eigvalsh(m)[-1].item() for m in (matrix, scaled)]
        again["loss"] = lambda: loss_of(model, x, y)
        recorder.record(step, loss)
        optimizer.step()
    return tops


def closed_loops(name):
    """Entries of closed loops of a capture of `train`, which clipped nothing whatever it said."""
    folder = os.path.join(OUT, name)
    return closed_loop(folder, net(seed=5), lambda model, batch: loss_of(model, batch["x"], batch["label/y"]))


def nan_loss():
    model = net()
    recorder = ClippyRecorder(model, adagrad(model), os.path.join(OUT, "nan"), every=5, after=3)
    for step in range(60):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        recorder.record(step, 1.0 if step < 30 else float("nan"))
    return sorted(name for name in os.listdir(OUT) if name.startswith("nan"))


result = {
    "jump": train("jump", adagrad, 80, jump_at=57, every=10, after=6),
    "again": train("jump", adagrad, 80, jump_at=57, every=10, after=6),
    "groups": train(
        "groups",
        groups,
        40,
        jump_at=33,
        every=5,
        after=3,
        schedule=0.99,
        clipping={"rule": "global-norm", "maxNorm": 1},
    ),
    "sparse": train("sparse", adagrad, 40, embedding=True, flush_at=25, every=5, after=3),
    "quiet": train("quiet", adagrad, 300, every=7),
    "amp": train("amp", adagrad, 70, jump_at=57, every=5, after=3, scaler=GradScaler(infinite_at=54)),
    "ampUnseen": train("amp-unseen", adagrad, 40, jump_at=33, every=5, after=3, scaler=GradScaler(), pass_scaler=False),
    "closedLoops": closed_loops("groups"),
    "refusals": refusals(),
    "curvature": curvature(),
    "nan": nan_loss(),
}
kills(range(14, 36))
with open(os.path.join(OUT, "result.json"), "w") as file:
    json.dump(result, file)

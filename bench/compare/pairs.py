"""Trains the 125 pairs of runs that bench/compare/score.ts compares: PYTHONPATH=python/src python bench/compare/pairs.py FOLDER [PAIRS [DRAW]]

Sixty pairs have one change, drawn by seed, from a step on; sixty are of the same code, computed otherwise (threads, kernels,
order of sums); five more go on from a checkpoint with everything in it. Each run has a ledger of every step. What was changed is in truth.json; pairs that are there are kept.
DRAW other than 0 draws networks, data and places of the changes anew, so that what was tuned on one draw can be tried on another.
"""

import copy
import io
import json
import os
import random
import shutil
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from clippy_diag.torch import Recorder

STEPS = 40
CHANGES = (
    "order", "batch", "seed", "init", "rate", "sums", "clip", "option", "dropout", "gradient", "no-state", "world",
)  # fmt: skip
#: Changes after which a training is the same but for rounding, or one of another seed.
NOT_APART = ("sums", "world", "seed")
IDENTICAL = ("threads", "fused", "kernels", "halves")
PAIRS = 120
#: Pairs beyond those, of which the second run goes on from a checkpoint with its optimizer's state: the same, to the bit.
RESUMES = 5


class Halves(torch.nn.Linear):
    """A linear layer whose sums may be taken in two halves."""

    halves = False
    #: Whether an output was another than that of the whole sum: rounding may also come out the same.
    differed = False

    def forward(self, x):
        whole = super().forward(x)
        if not self.halves:
            return whole
        middle = self.in_features // 2
        found = x[:, :middle] @ self.weight[:, :middle].T + x[:, middle:] @ self.weight[:, middle:].T + self.bias
        self.differed |= not torch.equal(found, whole)
        return found


def model_of(draw):
    """A small network and its inputs: layers, widths and activation by the seed of the pair."""
    inputs, classes = draw.choice((6, 12, 20)), draw.choice((3, 5))
    width = draw.choice((8, 16, 48)) if draw.random() < 0.7 else 160
    layers, last = [], inputs
    for _ in range(draw.choice((1, 2, 3))):
        layers += [Halves(last, width), draw.choice((torch.nn.Tanh, torch.nn.ReLU, torch.nn.GELU))()]
        if draw.random() < 0.4:
            layers.append(torch.nn.LayerNorm(width))
        last = width
    layers += [torch.nn.Dropout(0.1), Halves(last, classes)]
    return torch.nn.Sequential(*layers), inputs, classes


def optimizer_of(draw, model, **more):
    if draw.random() < 0.35:
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, **more)
    return draw.choice((torch.optim.Adam, torch.optim.AdamW))(model.parameters(), lr=3e-3, weight_decay=1e-2, **more)


def batches_of(seed, inputs, classes, batch):
    """All batches of a run: a teacher's classes with noise."""
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(inputs, classes, generator=generator)
    found = []
    for _ in range(STEPS):
        x = torch.randn(batch, inputs, generator=generator)
        y = (x @ teacher + 0.5 * torch.randn(batch, classes, generator=generator)).argmax(1)
        found.append((x, y))
    return found


def before_step(change, at, step, model, optimizer, tensor):
    """Makes the changes that begin before a step. Returns the optimizer in use."""
    if step != at:
        return optimizer
    with torch.no_grad():
        if change == "init":
            dict(model.named_parameters())[tensor].mul_(1.01)
    if change == "rate":
        optimizer.param_groups[0]["lr"] *= 1.1
    if change == "option":
        optimizer.param_groups[0]["weight_decay"] *= 3
    if change == "dropout":
        next(m for m in model if isinstance(m, torch.nn.Dropout)).p = 0.2
    if change == "sums":
        dict(model.named_modules())[tensor.rsplit(".", 1)[0]].halves = True
    if change == "no-state":
        optimizer.state.clear()
    return optimizer


def resumed(model, optimizer, recorder, folder):
    """Model, optimizer and recorder as another process has them that goes on from a checkpoint."""
    recorder.close()
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    model = copy.deepcopy(model)
    model.load_state_dict(weights)
    optimizer = type(optimizer)(model.parameters(), lr=1.0)
    optimizer.load_state_dict(state)
    return model, optimizer, Recorder(model, optimizer, folder / "capture", ledger=True, ledger_every=1)


def loss_of(model, x, y, world):
    """Loss and gradients of a batch; in a world of two each rank takes half of it, and the means are averaged."""
    if world == 1:
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss
    half = len(x) // world
    rows = slice(dist.get_rank() * half, (dist.get_rank() + 1) * half)
    own = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
    own.backward()
    loss = own.detach().clone()
    for part in [loss, *(p.grad for p in model.parameters())]:
        dist.all_reduce(part)
        part /= world
    return loss


def train(folder, seed, change, at, tensor, world=1):
    """One run; `change` is None for the first of a pair. Returns the first step at which sums in halves or a clipping norm made a difference."""
    draw = random.Random(seed)
    torch.manual_seed(seed + (1000 if change == "seed" else 0))
    model, inputs, classes = model_of(draw)
    more = {"foreach": change != "fused"} if change in ("fused", None) else {}
    optimizer = optimizer_of(draw, model, **more)
    batches = batches_of(seed, inputs, classes, draw.choice((8, 32, 64)))
    if change == "order":
        batches[at:] = reversed(batches[at:])
    if change == "batch":
        x, y = batches[at]
        batches[at] = (torch.cat([x[:1] + 1, x[1:]]), y)
    if change == "halves":
        for module in model.modules():
            if isinstance(module, Halves):
                module.halves = True
    if world > 1 or change == "world-base":
        next(m for m in model if isinstance(m, torch.nn.Dropout)).p = 0.0
    records = world == 1 or dist.get_rank() == 0
    recorder = Recorder(model, optimizer, folder / "capture", ledger=True, ledger_every=1) if records else None
    differed_at = None
    for step, (x, y) in enumerate(batches):
        if change == "resume" and step == at:
            model, optimizer, recorder = resumed(model, optimizer, recorder, folder)
        optimizer = before_step(change, at, step, model, optimizer, tensor)
        optimizer.zero_grad()
        loss = loss_of(model, x, y, world)
        if differed_at is None and any(isinstance(m, Halves) and m.differed for m in model):
            differed_at = step
        if change == "gradient" and step >= at:
            dict(model.named_parameters())[tensor].grad.mul_(1.003)
        if recorder is not None:
            recorder.record(step, loss, batch=(x, y))
        clipped = change == "clip" and step >= at
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3 if clipped else 0.5)
        if clipped and differed_at is None and norm > 0.3:
            differed_at = step
        optimizer.step()
    if recorder is not None:
        recorder.close()
        shutil.rmtree(folder / "capture", ignore_errors=True)
    return differed_at


def of_two(rank, folder, seed):
    """A rank of a world of two."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # A file to meet at, since a port may belong to another.
    dist.init_process_group("gloo", init_method=f"file://{folder}.meet", rank=rank, world_size=2)
    train(Path(folder), seed, "world-base", 0, None, world=2)
    dist.barrier()
    # At the end of Python, a thread of gloo that waits for the interpreter now and then aborts the process.
    sys.stderr.flush()
    os._exit(0)


def truth_of(change, at, tensor):
    """What compare has to say of a change."""
    link, named = {
        "order": ("batch", None), "batch": ("batch", None), "seed": ("rng", None), "init": ("weights", tensor),
        "rate": ("options", "0.lr"), "option": ("options", "0.weight_decay"), "sums": ("loss or gradient", None),
        "clip": ("clip", None), "dropout": ("loss", None), "gradient": ("gradient", tensor),
        "no-state": ("state", "first"), "world": ("loss or gradient", None),
    }.get(change, (None, None))  # fmt: skip
    step = 0 if change in ("seed", "world") else at
    return {"change": change, "step": step if link else None, "link": link, "tensor": named, "apart": link is not None and change not in NOT_APART}


def pair(root, number, another):
    """Trains pair `number` of a draw: the first half have a change, the second half are of the same code."""
    folder = root / f"{number:03d}"
    if (folder / "truth.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    changed = number < PAIRS // 2
    change = CHANGES[number % len(CHANGES)] if changed else IDENTICAL[number % len(IDENTICAL)]
    if number >= PAIRS:
        change = "resume"
    seed, draw = 100 + number + 10_000 * another, random.Random(number + 10_000 * another)
    at = 0 if change in ("seed", "init") else draw.randrange(5, STEPS - 10)
    names = [name for name, _ in model_of(random.Random(seed))[0].named_parameters() if name.endswith("weight")]
    linear = [name for name, m in model_of(random.Random(seed))[0].named_modules() if isinstance(m, Halves)]
    tensor = f"{draw.choice(linear)}.weight" if change in ("sums", "gradient") else draw.choice(names)
    torch.set_num_threads(1)
    if change == "world":
        train(folder / "a", seed, "world-base", 0, None)
        mp.spawn(of_two, args=(str(folder / "b"), seed), nprocs=2)
    else:
        train(folder / "a", seed, None, at, tensor)
        torch.set_num_threads(2 if change == "threads" else 1)
        with torch.backends.mkldnn.flags(enabled=change != "kernels"):
            differed = train(folder / "b", seed, change, at, tensor)
        at = differed if change in ("sums", "clip") and differed is not None else at
    (folder / "truth.json").write_text(json.dumps(truth_of(change, at, tensor)) + "\n")


def main():
    warnings.simplefilter("ignore")
    root = Path(sys.argv[1])
    first, _, last = (sys.argv[2] if len(sys.argv) > 2 else f"0-{PAIRS + RESUMES - 1}").partition("-")
    for number in range(int(first), int(last or first) + 1):
        pair(root, number, int(sys.argv[3]) if len(sys.argv) > 3 else 0)


if __name__ == "__main__":
    main()

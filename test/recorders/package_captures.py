"""Captures of the Python package for package.long.test.ts, with what really happened.

python3 package_captures.py PYTHON_SRC OUT
"""

import json
import os
import sys

sys.path.insert(0, sys.argv[1])
import torch  # noqa: E402

from clippy_diag.torch import Recorder, closed_loop  # noqa: E402

OUT = sys.argv[2]
torch.set_num_threads(1)


def build():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
    model.unused = torch.nn.Linear(2, 2)  # has no gradient, and weight decay would move it if it took part
    return model


def loss_of(model, batch):
    return ((model[3](model[2](torch.tanh(model[1](model[0](batch["x"])))))[:, 0] - batch["y"]) ** 2).mean()


def run(name, make, clip=None, **options):
    model = build()
    optimizer = make(model.parameters())
    said = clip and {"rule": "global-norm", "maxNorm": clip}
    recorder = Recorder(model, optimizer, f"{OUT}/{name}", clipping=said, snapshot_every_steps=10, **options)
    norms, updates = {}, {}
    for step in range(140):
        g = torch.Generator().manual_seed(step)
        batch = {"x": torch.randn(32, 4, generator=g), "y": torch.randn(32, generator=g) * 0.1 + 1}
        if step == 100:
            optimizer.param_groups[0]["lr"] *= 1000
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        recorder.record(step, loss, batch=batch)
        used = [p for p in model.parameters() if p.grad is not None]
        norms[step] = sum((p.grad.double() ** 2).sum().item() for p in used) ** 0.5
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        before = [p.detach().clone() for p in used]
        optimizer.step()
        updates[step] = sum(((a - b).double() ** 2).sum().item() for a, b in zip(before, used)) ** 0.5
    recorder.close()
    return {"norms": norms, "updates": updates, "problems": recorder.status["problems"]}


truth = {
    "adamw": run("adamw", lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1), clip=1.0),
    "nadam": run("nadam", lambda p: torch.optim.NAdam(p, lr=1e-3)),
    "lost": run("lost", lambda p: torch.optim.SGD(p, lr=0.01), clip=1e6),
    "few": run("few", lambda p: torch.optim.Adam(p, lr=1e-3), memory=117_500),
}
for name in ("adamw", "nadam", "lost"):
    closed_loop(f"{OUT}/{name}", build(), loss_of)
os.makedirs(f"{OUT}/complete")
for file in os.listdir(f"{OUT}/few"):
    with open(f"{OUT}/few/{file}", "rb") as source, open(f"{OUT}/complete/{file}", "wb") as target:
        target.write(source.read())
closed_loop(f"{OUT}/complete", build(), loss_of, rules=["none"], arms=None)
with open(f"{OUT}/truth.json", "w") as file:
    json.dump(truth, file)

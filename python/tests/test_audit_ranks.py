"""Audits of trainings on two ranks of gloo: healthy ones are clean, and a planted fault is named with its link."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clippy_diag import audit

torch = pytest.importorskip("torch", reason="no torch in this environment")
if not torch.distributed.is_available():
    pytest.skip("torch without distributed", allow_module_level=True)

try:
    from torch.distributed.fsdp import fully_shard
except ImportError:
    fully_shard = None

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
if NODE is None or not (ROOT / "dist").exists():
    pytest.skip("the command line is not built", allow_module_level=True)
COMMAND = [NODE, str(ROOT / "bin" / "run.js")]

RANK = """
import sys, torch
from pathlib import Path
from clippy_diag.torch import Recorder
torch.set_num_threads(1)
rank, size, root, kinds = int(sys.argv[1]), 2, Path(sys.argv[2]), sys.argv[3].split(",")
store = torch.distributed.FileStore(str(root / "store"), size)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
WARM_UP, STEPS, LIMIT = 30, 20, 0.2

def train(kind, folder):
    layout, _, fault = kind.partition("-")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    if layout == "fsdp2":
        from torch.distributed.fsdp import fully_shard
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (size,))
        for part in (net[0], net[2], net):
            fully_shard(part, mesh=mesh)
        model = net
    else:
        model = torch.nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    clips = fault != "average"
    recorder = Recorder(
        model, optimizer, folder / "capture", clipping=f"global-norm:{LIMIT}" if clips else None,
        snapshot_every_steps=5, steps_after=STEPS,
    )
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(9))
    for step in range(WARM_UP + STEPS + 4):
        if step == WARM_UP:
            recorder.capture()
        draw = torch.Generator().manual_seed(step if fault == "same" else size * step + rank)
        x = torch.randn(16, 6, generator=draw)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), (x @ table).argmax(1))
        loss.backward()
        recorder.record(step, loss, batch=x)
        parameters = list(model.parameters())
        if fault == "average":
            for p in parameters:
                p.grad.div_(size)
        if clips and fault != "unclipped":
            torch.nn.utils.clip_grad_norm_(parameters, LIMIT)
        optimizer.step()
        if fault == "write" and step == WARM_UP + 8:
            with torch.no_grad():
                for p in parameters:
                    p.mul_(0.9)
        if fault == "apart" and rank == 1 and step == WARM_UP + 8:
            with torch.no_grad():
                net[2].weight[3, 4] += 1e-3
    recorder.close()

for kind in kinds:
    (root / kind).mkdir(exist_ok=True)
    torch.distributed.barrier()
    train(kind, root / kind)
torch.distributed.destroy_process_group()
"""
#: What a training does otherwise than it declares -> cause, link, factor.
EXPECTED: dict[str, tuple[str, str, float | None] | None] = {
    "ddp": None,
    "fsdp2": None,
    "ddp-apart": ("ranks-apart", "ranks", None),
    "ddp-same": ("same-data-on-ranks", "ranks", None),
    "ddp-average": ("divided-twice", "accumulation", 0.5),
    "ddp-unclipped": ("clip-inactive", "clip", None),
    "fsdp2-unclipped": ("clip-inactive", "clip", None),
    "fsdp2-average": ("divided-twice", "accumulation", 0.5),
    "fsdp2-write": ("all-scaled", "weights", 0.9),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ranks")
    kinds = [kind for kind in EXPECTED if fully_shard is not None or not kind.startswith("fsdp2")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python" / "src"), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RANK, str(rank), str(root), ",".join(kinds)], env=environment
        )
        for rank in range(2)
    ]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    return root


@pytest.mark.parametrize("kind", EXPECTED)
def test_two_ranks(trained: Path, kind: str) -> None:
    if fully_shard is None and kind.startswith("fsdp2"):
        pytest.skip("this torch has no fully_shard")
    folder = trained / kind / "capture"
    manifest = json.loads((folder / "capture.json").read_text("utf8"))
    assert manifest["world"]["size"] == 2
    found = audit(folder, command=COMMAND)
    broken = [link for link in found["links"] if link["outcome"] == "broken" and link["follows"] is None]
    outcomes = {link["link"]: link["outcome"] for link in found["links"]}
    expected = EXPECTED[kind]
    if expected is None:
        assert broken == []
        assert [outcomes[name] for name in ("clip", "optimizer", "weights", "ranks")] == ["holds"] * 4
        return
    cause, name, factor = expected
    assert [(one["cause"], one["link"]) for one in broken] == [(cause, name)]
    if cause == "ranks-apart":
        assert broken[0]["tensor"] == "2.weight" and broken[0]["step"] == 39
        assert broken[0]["statement"].startswith('rank 1 held other weights of "2.weight"')
    assert factor is None or abs(broken[0]["factor"] / factor - 1) < 0.01

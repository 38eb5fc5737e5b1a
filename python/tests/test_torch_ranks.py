"""Two ranks on gloo: one capture, and a rank whose recording stops leaves the other neither waiting nor wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch in this environment")
if not torch.distributed.is_available():
    pytest.skip("torch without distributed", allow_module_level=True)

SOURCE = Path(__file__).parent.parent / "src"
RANK = """
import os, sys, json, torch
from clippy_diag.torch import Recorder
torch.set_num_threads(1)
rank, folder, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
store = torch.distributed.FileStore(folder + "/store", 2)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
if kind == "alone":
    model = net
elif kind == "fsdp1":
    from torch.distributed.fsdp import FullyShardedDataParallel
    model = FullyShardedDataParallel(net, device_id=torch.device("cpu"), use_orig_params=True)
else:
    model = torch.nn.parallel.DistributedDataParallel(net)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
recorder = None if kind == "plain" else Recorder(model, optimizer, folder + "/capture", snapshot_every_steps=5, steps_after=5)
losses = []
for step in range(70):
    random = torch.Generator().manual_seed(2 * step + rank)
    x = torch.randn(16, 4, generator=random)
    y = x[:, :1] * (100 if step >= 60 and rank == 1 else 1)
    optimizer.zero_grad()
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    if recorder is not None:
        if kind == "stops" and step == 20 and rank == 0:
            recorder.stop("out of luck")
        recorder.record(step, loss, batch=(x, y))
    optimizer.step()
    losses.append(loss.item())
if recorder is not None:
    recorder.close()
print(json.dumps([losses, None if recorder is None else recorder.stopped]), flush=True)
torch.distributed.destroy_process_group()
"""


def ranks(folder, kind):
    """Losses and `stopped` of both ranks."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    code = RANK
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), str(folder), kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for rank in (0, 1)
    ]
    answers = []
    try:
        for one in both:
            out, err = one.communicate(timeout=240)
            assert one.returncode == 0, err.decode()
            answers.append(json.loads(out.decode().splitlines()[-1]))
    finally:
        for one in both:
            one.kill()
    return answers


def test_a_rank_whose_recording_stops_leaves_the_other_training(tmp_path):
    plain = ranks(tmp_path / "plain", "plain")
    stopped = ranks(tmp_path / "stops", "stops")
    assert [losses for losses, _ in stopped] == [losses for losses, _ in plain]
    assert stopped[0][1] == "out of luck" and stopped[1][1] is None
    status = json.loads((tmp_path / "stops" / "capture" / "status.json").read_text())
    # The mean loss of both ranks is judged all the same.
    assert [incident["step"] for incident in status["incidents"]] == [60]


def test_shards_of_fsdp1_are_refused_on_every_rank(tmp_path):
    answers = ranks(tmp_path / "fsdp1", "fsdp1")
    assert all("FullyShardedDataParallel" in stopped for _, stopped in answers)
    assert [path.name for path in (tmp_path / "fsdp1").glob("capture*")] == ["capture"]
    assert not (tmp_path / "fsdp1" / "capture" / "capture.json").exists()


def test_ranks_that_nothing_joins_are_recorded_as_rank_0_sees_them(tmp_path):
    first, second = ranks(tmp_path / "alone", "alone")
    assert first[1] is None and "rank 1 of 2 is not recorded" in second[1]
    status = json.loads((tmp_path / "alone" / "capture" / "status.json").read_text())
    assert any("2 ranks train without DistributedDataParallel" in problem for problem in status["problems"])

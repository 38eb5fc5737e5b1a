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
from pathlib import Path
from clippy_diag.torch import Recorder
from torch.distributed.fsdp import FullyShardedDataParallel
torch.set_num_threads(1)
rank, size, root, kinds = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4].split(",")
store = torch.distributed.FileStore(root + "/store", size)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)

def shard(net, kind):
    if kind.startswith("fsdp1"):
        return FullyShardedDataParallel(net, device_id=torch.device("cpu"), use_orig_params=kind != "fsdp1-flat")
    if kind.startswith(("fsdp2", "tp", "mesh")):
        if kind == "mesh":
            both = torch.distributed.device_mesh.init_device_mesh("cpu", (2, size // 2), mesh_dim_names=("data", "model"))
            mesh, parts = both["data"], both["model"]
        else:
            mesh = parts = torch.distributed.device_mesh.init_device_mesh("cpu", (size,))
        if kind in ("tp", "mesh"):
            from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
            net[2].eval()  # each rank would drop other entries of what is one layer
            net = parallelize_module(net, parts, {"0": ColwiseParallel(), "3": RowwiseParallel()})
        if kind == "tp":
            return net
        from torch.distributed.fsdp import fully_shard
        fully_shard(net[0], mesh=mesh)
        fully_shard(net, mesh=mesh)
        return net
    return net if kind == "alone" else torch.nn.parallel.DistributedDataParallel(net)

def train(kind, folder):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1))
    model = shard(net, kind)
    own = 0 if kind == "tp" else rank * 2 // size if kind == "mesh" else rank
    torch.manual_seed(own)
    make = torch.optim.NAdam if kind.endswith("nadam") else torch.optim.Adam
    optimizer = make(model.parameters(), lr=0.01)
    recorder = None
    if kind != "plain":
        recorder = Recorder(model, optimizer, folder / "capture", snapshot_every_steps=5, steps_after=5)
    losses = []
    for step in range(70):
        random = torch.Generator().manual_seed(size * step + own)
        x = torch.randn(16, 4, generator=random)
        y = x[:, :1] * (100 if step >= 60 and (own == 1 or kind == "tp") and not kind.endswith("calm") else 1)
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        if kind == "dies" and step == 62 and rank == 1:
            os._exit(3)
        if recorder is not None:
            if kind == "stops" and step == 20 and rank == 0:
                recorder.stop("out of luck")
            if kind == "ddp-asked-calm" and step == 60 and rank == size - 1:
                recorder.capture()
            if kind == "fsdp2-nan-calm" and step == 60 and rank == size - 1:
                net[0].weight.grad.to_local()[1, 1] = float("nan")
            recorder.record(step, loss, batch=(x, y), batch_id=1000 * rank + step)
        try:
            optimizer.step()
            losses.append(loss.item())
        except RuntimeError:
            assert kind == "dies"
    if recorder is not None:
        recorder.close()
    return [losses, None if recorder is None else recorder.stopped]

found = {}
for kind in kinds:
    folder = Path(root) / kind
    folder.mkdir(exist_ok=True)
    try:
        found[kind] = train(kind, folder)
    except RuntimeError as error:
        assert kind == "dies" and "Connection" in str(error), error
        found[kind] = [[], "the training ended: " + str(error)]
        break
print(json.dumps(found), flush=True)
if "dies" not in kinds:
    torch.distributed.destroy_process_group()
"""


def ranks(folder, *kinds, size=2):
    """Losses and `stopped` of each rank by the kind of training; None for a rank that died."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(size), str(folder), ",".join(kinds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for rank in range(size)
    ]
    answers = []
    try:
        for one in running:
            out, err = one.communicate(timeout=900)
            assert one.returncode in ((0, 3) if "dies" in kinds else (0,)), err.decode()
            answers.append(json.loads(out.decode().splitlines()[-1]) if out else None)
    finally:
        for one in running:
            one.kill()
    return answers


def plain_net():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1))


def mean_square(model, batch):
    x, y = batch
    return ((model(x) - y) ** 2).mean()


def check_whole(folder, kind, size, held=False):
    """The capture holds whole tensors and all ranks' data: one process trains on from it to the recorded losses. `held`: no dropout."""
    manifest = json.loads((folder / "capture" / "capture.json").read_text())
    assert manifest["world"]["size"] == size and manifest["world"]["kind"] == kind
    assert manifest["flushed"]["step"] == 60 and manifest["steps"][-1]["step"] == 65
    assert {p["name"]: p["shape"] for p in manifest["parameters"]} == {
        name: list(p.shape) for name, p in plain_net().named_parameters()
    }
    assert [one.name for one in folder.iterdir()] == ["capture"]
    entry = manifest["steps"][0]
    assert [one["batchId"] for one in entry["ranks"]] == [1000 * rank + entry["step"] for rank in range(size)]
    assert sum(one["loss"] for one in entry["ranks"]) / size == pytest.approx(entry["loss"], rel=1e-12)
    from clippy_diag.torch import closed_loop

    model = plain_net()
    model[2].train(not held)
    found = closed_loop(folder / "capture", model, mean_square, rules=["none", "global-norm:1"], arms=None)
    assert found["baseline"]["worstDifference"] < 1e-5
    return manifest


def test_two_ranks_become_one_capture_with_whole_tensors_and_the_data_of_both(tmp_path):
    both = ranks(tmp_path, "plain", "ddp", "fsdp1", "fsdp2", "tp", "fsdp2-nadam", "ddp-asked-calm", "fsdp2-nan-calm")
    for found in both:
        assert {kind: stopped for kind, (_, stopped) in found.items() if stopped is not None} == {}
        assert found["ddp"][0] == found["plain"][0]
    for kind in ("ddp", "fsdp1", "fsdp2", "tp"):
        check_whole(tmp_path / kind, kind, 2, held=kind == "tp")
    check_whole(tmp_path / "fsdp2-nadam", "fsdp2", 2)
    asked = json.loads((tmp_path / "ddp-asked-calm" / "capture" / "capture.json").read_text())
    assert asked["flushed"] == {"step": 60, "reason": "requested on rank 1"}
    broken = json.loads((tmp_path / "fsdp2-nan-calm" / "capture" / "capture.json").read_text())
    assert broken["flushed"] == {"step": 60, "reason": "gradients on rank 1 are not finite"}


def test_a_rank_whose_recording_stops_ends_that_of_all_and_leaves_the_training(tmp_path):
    both = ranks(tmp_path, "plain", "stops", "alone", "fsdp1-flat")
    for found in both:
        assert found["stops"][0] == found["plain"][0]
        assert "use_orig_params=True" in found["fsdp1-flat"][1]
    assert both[0]["stops"][1] == "out of luck" and "rank 0 of 2 records no more" in both[1]["stops"][1]
    status = json.loads((tmp_path / "stops" / "capture" / "status.json").read_text())
    # The mean loss of both ranks is judged all the same.
    assert [incident["step"] for incident in status["incidents"]] == [60]
    # Ranks that nothing joins are recorded as rank 0 sees them.
    assert both[0]["alone"][1] is None and "rank 1 of 2 is not recorded" in both[1]["alone"][1]
    status = json.loads((tmp_path / "alone" / "capture" / "status.json").read_text())
    assert any("2 ranks train without DistributedDataParallel" in problem for problem in status["problems"])


def test_a_rank_that_dies_within_a_capture_leaves_what_is_whole_and_no_rank_waiting(tmp_path):
    first, second = ranks(tmp_path, "dies")
    assert second is None and first is not None
    manifest = json.loads((tmp_path / "dies" / "capture" / "capture.json").read_text())
    steps = [entry["step"] for entry in manifest["steps"]]
    # The rank dies at 62. Its part of 61 may still have been on its way to disk: a step is kept when all parts are whole.
    assert steps == list(range(steps[0], steps[-1] + 1)) and steps[-1] in (60, 61), steps
    assert all((tmp_path / "dies" / "capture" / entry["file"]).is_file() for entry in manifest["steps"])


def test_four_ranks_become_one_capture_and_an_alarm_on_one_is_an_alarm_on_all(tmp_path):
    everyone = ranks(tmp_path, "ddp", "fsdp1", "fsdp2", "tp", "mesh", "fsdp2-nan-calm", "ddp-asked-calm", size=4)
    assert all(stopped is None for found in everyone for _, stopped in found.values())
    for kind in ("ddp", "fsdp1", "fsdp2", "tp"):
        check_whole(tmp_path / kind, kind, 4, held=kind == "tp")
    # Two ranks of data, each with its layers on two ranks.
    check_whole(tmp_path / "mesh", "fsdp2", 4, held=True)
    broken = json.loads((tmp_path / "fsdp2-nan-calm" / "capture" / "capture.json").read_text())
    assert broken["flushed"] == {"step": 60, "reason": "gradients on rank 3 are not finite"}
    asked = json.loads((tmp_path / "ddp-asked-calm" / "capture" / "capture.json").read_text())
    assert asked["flushed"] == {"step": 60, "reason": "requested on rank 3"}

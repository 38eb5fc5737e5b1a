"""`clippy_diag.rerun`: a training launched again from its own checkpoint, as it was and with one thing changed."""

import json
import os
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch in this environment")

import clippy_diag  # noqa: E402
from clippy_diag.captures import open_capture  # noqa: E402
from clippy_diag.rerunning import LauncherError, main, plan_arms  # noqa: E402

SOURCE = Path(__file__).parent.parent / "src"
#: A training that saves its state at step 55 and is given two bad batches at step 70.
TRAIN = """
import argparse, os
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from clippy_diag.torch import Recorder

options = argparse.ArgumentParser()
options.add_argument("--out")
options.add_argument("--resume")
options.add_argument("--forget", action="store_true")
options = options.parse_args()
torch.set_num_threads(1)
rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
if size > 1:
    torch.distributed.init_process_group("gloo")
    from torch.distributed.fsdp import fully_shard
    fully_shard(model, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (size,)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
accelerator = None
if "ACCELERATE_USE_CPU" in os.environ:
    from accelerate import Accelerator
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(model, optimizer)
start = 0
if options.resume and accelerator is not None:
    accelerator.load_state(options.resume)
    start = 55
elif options.resume:
    weights, state = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": state}, checkpoint_id=options.resume)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
    for kept in optimizer.state.values() if options.forget else ():
        kept["momentum_buffer"].zero_()
    start = 55
recorder = Recorder(model, optimizer, options.out + "/capture", snapshot_every_steps=5, steps_after=30)
for step in range(start, 110):
    if step == 55 and not options.resume and accelerator is not None:
        accelerator.save_state(options.out + "/checkpoint")
    elif step == 55 and not options.resume:
        weights, state = get_state_dict(model, optimizer)
        dcp.save({"model": weights, "optimizer": state}, checkpoint_id=options.out + "/checkpoint")
    random = torch.Generator().manual_seed(size * step + rank)
    x = torch.randn(16, 8, generator=random)
    y = x[:, :1] * (1e3 if step in (70, 71) and rank == size - 1 else 1)
    optimizer.zero_grad()
    loss = ((model(x) - y) ** 2).mean()
    loss.backward() if accelerator is None else accelerator.backward(loss)
    recorder.record(step, loss, batch=(x, y))
    optimizer.step()
recorder.close()
if rank == 0:
    open(options.out + "/end", "a").write("x")
"""


def trained(folder, monkeypatch, *launcher):
    """The launcher's command of a training that has run once and left a capture and a checkpoint."""
    import subprocess

    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    program = folder / "train.py"
    program.write_text(TRAIN)
    command = [sys.executable, *launcher, str(program), "--out", str(folder)]
    subprocess.run(command, check=True, timeout=900, capture_output=True)
    assert (folder / "capture" / "capture.json").is_file() and (folder / "end").read_text() == "x"
    return [*command, "--resume", str(folder / "checkpoint")]


def test_a_plain_script_is_launched_again_once_for_each_arm(tmp_path, monkeypatch, capsys):
    command = trained(tmp_path, monkeypatch)
    path = tmp_path / "capture"
    before = (path / "status.json").read_bytes()
    arms = [
        {"kind": "rule", "rule": "global-norm:1"},
        {"kind": "learning-rate", "factor": 0.5},
        {"kind": "skip-batches", "steps": [70, 71]},
    ]
    found = clippy_diag.rerun(path, command, arms=arms)
    recorded = json.loads((path / "capture.json").read_text())
    as_it_was, clipped, slower, without = found["reruns"]
    assert found["onset"] == 70
    assert as_it_was["holds"] is False and "does not come back" in as_it_was["why"]
    # The same batches from the same state: the same losses, bit for bit.
    assert as_it_was["loss"] == [entry["loss"] for entry in recorded["steps"]]
    assert clipped["holds"] is True and clipped["loss"][-1] < 2
    assert slower["loss"][0] == as_it_was["loss"][0] and slower["loss"][1] != as_it_was["loss"][1]
    assert without["holds"] is True and without["loss"][-1] < 2
    assert recorded["reruns"] == found["reruns"] and arms[2] in found["holding"]
    # Nothing of the training's own was written again.
    assert (path / "status.json").read_bytes() == before and (tmp_path / "end").read_text() == "x"
    kinds = [arm["kind"] for arm in plan_arms(open_capture(path), 70, ["global-norm:1"])]
    assert kinds == ["rule", "learning-rate", "learning-rate"]

    assert main([str(path), "--", *command, "--forget"]) == 4
    assert "the checkpoint holds not all of the training's state" in capsys.readouterr().err
    assert main([str(path), "--", sys.executable, "-c", "raise SystemExit('no')"]) == 3
    assert "took no step from" in capsys.readouterr().err
    with pytest.raises(LauncherError, match="cannot be launched"):
        clippy_diag.rerun(path, ["/nowhere/torchrun"])


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_torchrun_with_shards_and_a_distributed_checkpoint(tmp_path, monkeypatch):
    port = 20_000 + os.getpid() % 20_000
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port))
    command = trained(tmp_path, monkeypatch, *launcher)
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text())
    assert manifest["world"]["kind"] == "fsdp2"
    found = clippy_diag.rerun(tmp_path / "capture", command, arms=[{"kind": "rule", "rule": "global-norm:1"}])
    as_it_was, clipped = found["reruns"]
    assert as_it_was["holds"] is False and as_it_was["loss"] == [entry["loss"] for entry in manifest["steps"]]
    assert clipped["holds"] is True and clipped["loss"][-1] < 2


def test_accelerate_launch_with_safetensors(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1")
    command = trained(tmp_path, monkeypatch, *launcher, "--mixed_precision", "no", "--dynamo_backend", "no")
    assert list((tmp_path / "checkpoint").glob("*.safetensors"))
    found = clippy_diag.rerun(tmp_path / "capture", command, arms=[{"kind": "learning-rate", "factor": 0.001}])
    as_it_was, slower = found["reruns"]
    # At a thousandth of the rate two batches that are 1,000 times too large still do harm: far less of it.
    assert as_it_was["holds"] is False and slower["holds"] is False
    assert slower["loss"][0] == as_it_was["loss"][0] and slower["loss"][-1] < as_it_was["loss"][-1] / 100


def test_arms_are_checked_before_anything_is_launched(tmp_path):
    from test_recording import Loop, losses

    loop = Loop(tmp_path / "capture", every=5, after=30)
    for step in range(100):
        loop.step(step, losses(step, 60))
    loop.recording.close()
    capture = open_capture(tmp_path / "capture")
    assert plan_arms(capture, None, ["global-norm:1"]) == []
    with pytest.raises(ValueError, match="only global-norm and value"):
        plan_arms(capture, 60, ["agc:0.01"])
    with pytest.raises(ValueError, match="only trainings in PyTorch"):
        clippy_diag.rerun(tmp_path / "capture", ["true"])

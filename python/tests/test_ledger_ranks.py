"""Two ranks on gloo that each hold a shard: one ledger of the whole run, equal to that of one process but for rounding."""

import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from test_torch_ranks import SOURCE

from conftest import lines_of, records_of, roles_of

torch = pytest.importorskip("torch", reason="no torch in this environment")
if not torch.distributed.is_available():
    pytest.skip("torch without distributed", allow_module_level=True)

RANK = """
import os, sys, torch
from pathlib import Path
from clippy_diag.torch import Recorder
from torch.distributed.fsdp import FullyShardedDataParallel
torch.set_num_threads(1)
rank, size, root, kinds = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4].split(",")
store = torch.distributed.FileStore(str(root / "store"), size)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)

def shard(net, kind):
    if kind == "fsdp1":
        return FullyShardedDataParallel(net, device_id=torch.device("cpu"), use_orig_params=True)
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (size,))
    if kind == "tp":
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
        return parallelize_module(net, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    from torch.distributed.fsdp import fully_shard
    fully_shard(net[0], mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net

def train(kind, folder):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 4))
    if kind == "tp":
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.Tanh(), torch.nn.Linear(10, 4))
    alone = kind.startswith("alone")
    if kind == "alone-tp":
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.Tanh(), torch.nn.Linear(10, 4))
    model = net if alone else shard(net, kind.removesuffix("-dies"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    if alone and rank:
        return
    recorder = Recorder(net if alone else model, optimizer, folder / "capture", ledger=True, ledger_every=2)
    if alone:
        recorder.ranks = None
    for step in range(16):
        random = torch.Generator().manual_seed(step)
        x = torch.randn(32, 6, generator=random)
        y = torch.randint(0, 4, (32,), generator=random)
        if not alone and kind != "tp":
            x, y = x[16 * rank : 16 * rank + 16], y[16 * rank : 16 * rank + 16]
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        if kind.endswith("dies") and step == 9 and rank == 1:
            os._exit(3)
        recorder.record(step, loss, batch=(x, y), batch_id=step)
        if kind == "fsdp1":
            model.clip_grad_norm_(0.4)
        else:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.4)
        optimizer.step()
        if step == 10:  # somebody writes to the weights
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1.5)
    recorder.close()
    print(kind, recorder.problems, recorder.ledger and recorder.ledger.own.stopped, file=sys.stderr)

for kind in kinds:
    (root / kind).mkdir(exist_ok=True)
    try:
        train(kind, root / kind)
    except RuntimeError as error:
        assert kind.endswith("dies"), error
        os._exit(0)  # an end without any call of close()
torch.distributed.destroy_process_group()
"""


def train_on_ranks(folder, kinds, size=2):
    """What the ranks wrote to stderr; the ledgers are in `folder/KIND/ledger`."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(size), str(folder), ",".join(kinds)],
            stderr=subprocess.PIPE,
            env=environment,
        )
        for rank in range(size)
    ]
    said = []
    try:
        for one in running:
            said.append(one.communicate(timeout=300)[1].decode())
            assert one.returncode in ((0, 3) if any(kind.endswith("dies") for kind in kinds) else (0,)), said[-1]
    finally:
        for one in running:
            one.kill()
    return said


def loss_of(line):
    return struct.unpack(">d", bytes.fromhex(line["loss"]))[0]


def check_equal(sharded, alone):
    """The ledger of a sharded run holds what that of the run in one process holds, within rounding of float32."""
    head, *lines = lines_of(sharded)
    expected_head, *expected = lines_of(alone)
    assert head["world"] == 2 and expected_head["world"] == 2  # one process of the two trained alone
    for member in ("tensors", "parameters", "options", "every"):
        assert head[member] == expected_head[member]
    assert [line["step"] for line in lines] == list(range(16))
    for line, one in zip(lines, expected):
        assert loss_of(line) == pytest.approx(loss_of(one), rel=1e-5)
        assert line["weightNorm"] == pytest.approx(one["weightNorm"], rel=1e-5)
        if line["step"] == 15:
            assert "gradientNorm" not in line and "clippedNorm" not in line
        else:
            assert line["gradientNorm"] == pytest.approx(one["gradientNorm"], rel=1e-4)
            assert line.get("clippedNorm", 0) == pytest.approx(one.get("clippedNorm", 0), rel=1e-4)
    assert sum("clippedNorm" in line for line in lines) > 3
    count = len(head["tensors"])
    records, others = records_of(sharded), records_of(alone)
    assert [step for _, step, _ in records] == [0, 1, 2, 3, 4, 6, 8, 10, 12, 14]
    for record, other in zip(records, others[: len(records)]):
        roles, wanted = roles_of(record, count), roles_of(other, count)
        assert set(roles) == set(wanted)
        for role, (sketches, checksums) in roles.items():
            scale = np.abs(wanted[role][0]).max()
            np.testing.assert_allclose(sketches, wanted[role][0], atol=3e-4 * scale, rtol=0, err_msg=role)
            assert checksums.all() or not wanted[role][1].all()
    # Nothing was computed yet: the weights are equal to the bit, and so are their checksums.
    first, wanted = roles_of(records[0], count), roles_of(others[0], count)
    assert first["weights"][1].tolist() == wanted["weights"][1].tolist()
    np.testing.assert_allclose(first["weights"][0], wanted["weights"][0], rtol=1e-12, atol=1e-14)
    # Somebody wrote between step 10 and the next, and nobody did elsewhere.
    assert [record[1] for record in records if "weightsNext" in roles_of(record, count)] == [10]


def test_a_sharded_run_has_the_ledger_of_the_whole_run(tmp_path):
    said = train_on_ranks(tmp_path, ["alone", "alone-tp", "fsdp1", "fsdp2", "tp"])
    assert "the ledger stopped" not in "".join(said), said
    check_equal(tmp_path / "fsdp1", tmp_path / "alone")
    check_equal(tmp_path / "fsdp2", tmp_path / "alone")
    check_equal(tmp_path / "tp", tmp_path / "alone-tp")


def test_a_rank_that_dies_leaves_whole_lines_and_records(tmp_path):
    train_on_ranks(tmp_path, ["fsdp2-dies"])
    _, *lines = lines_of(tmp_path / "fsdp2-dies")
    assert [line["step"] for line in lines] in (list(range(8)), list(range(9)))
    assert [step for _, step, _ in records_of(tmp_path / "fsdp2-dies")] in ([0, 1, 2, 3, 4, 6], [0, 1, 2, 3, 4, 6, 8])

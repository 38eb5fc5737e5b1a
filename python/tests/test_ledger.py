"""The ledger: what it keeps of each step, whole after a kill, thinned to its budget, and never in the way of the training."""

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

from clippy_diag.ledger import BLOCK, HEAD, Ledger, Summary, _records, hash_of, record_of
from clippy_diag.sketch import checksum, sketch
from conftest import lines_of, records_of, roles_of

torch = pytest.importorskip("torch")
from clippy_diag.torch import Recorder  # noqa: E402


def train(folder, steps=40, first=0, fault=lambda model, step: None, **options):
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    recorder = Recorder(model, optimizer, folder / "capture", **{"ledger": True, **options})
    data = torch.Generator().manual_seed(1)
    for step in range(first, first + steps):
        x, y = torch.randn(16, 6, generator=data), torch.randint(0, 3, (16,), generator=data)
        if step == first + 20:
            optimizer.param_groups[0]["lr"] = 2e-2
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        recorder.record(step, loss, batch=(x, y), batch_id=range(16 * step, 16 * step + 16))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
        fault(model, step)
    recorder.close()
    return model, optimizer, recorder


def test_a_step_has_its_loss_hashes_norms_and_changed_options_within_300_bytes(tmp_path):
    train(tmp_path)
    head, *steps = lines_of(tmp_path)
    assert [name for name, _, _ in head["tensors"]] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert head["options"]["0.lr"] == 1e-2 and head["every"] == 1 and head["parameters"] == 83
    assert [line["step"] for line in steps] == list(range(40))
    assert max(map(len, (tmp_path / "ledger" / "steps.jsonl").read_bytes().splitlines()[1:])) <= 300
    assert 0 < struct.unpack(">d", bytes.fromhex(steps[0]["loss"]))[0] < 2
    assert {line["step"]: line["options"] for line in steps if "options" in line} == {20: {"0.lr": 2e-2}}
    assert len({line["batch"] for line in steps}) == 40
    assert all(line["clippedNorm"] == pytest.approx(0.3, rel=1e-5) for line in steps if line["gradientNorm"] > 0.3)


def test_sketches_are_those_of_the_tensors_and_what_is_written_between_steps_is_there(tmp_path):
    def fault(model, step):
        if step == 11:
            model[2].bias.data[1] += 1.0

    model, optimizer, _ = train(tmp_path, steps=13, fault=fault)
    last = roles_of(records_of(tmp_path)[-1], 4)
    weight = model[0].weight.detach().numpy()
    np.testing.assert_allclose(last["weightsAfter"][0][0], sketch(weight, "0.weight"), rtol=1e-12, atol=1e-12)
    assert int(last["weightsAfter"][1][0]) == checksum(weight)
    written = [k for k, record in enumerate(records_of(tmp_path)) if "weightsNext" in roles_of(record, 4)]
    assert written == [11]
    record = roles_of(records_of(tmp_path)[11], 4)
    differ = record["weightsNext"][1] != record["weightsAfter"][1]
    assert differ.tolist() == [False, False, False, True]
    change = record["weightsNext"][0][3] - record["weightsAfter"][0][3]
    assert np.abs(change).max() == pytest.approx(1, rel=1e-6)


def test_the_training_is_the_same_with_and_without(tmp_path):
    with_ledger, _, _ = train(tmp_path / "a")
    without, _, _ = train(tmp_path / "b", ledger=False)
    assert not (tmp_path / "b" / "ledger").exists()
    for a, b in zip(with_ledger.parameters(), without.parameters()):
        assert torch.equal(a, b)


def test_there_is_none_unless_asked_for(tmp_path):
    _, _, recorder = train(tmp_path, steps=1, ledger=None)
    assert recorder.ledger is None and not (tmp_path / "ledger").exists()


def test_a_later_process_adds_its_session(tmp_path):
    train(tmp_path, steps=5)
    with open(tmp_path / "ledger" / "steps.jsonl", "a") as file:
        file.write('{"step":5,"lo')  # what a kill leaves
    train(tmp_path, steps=5, first=5)
    texts = (tmp_path / "ledger" / "steps.jsonl").read_text().splitlines()
    assert sum(text.startswith('{"ledger"') for text in texts) == 2
    assert [json.loads(text)["step"] for text in texts[7:] if text.startswith('{"step"')] == [5, 6, 7, 8, 9]


def test_a_killed_process_leaves_whole_lines_and_records(tmp_path):
    program = textwrap.dedent(f"""
        import os, signal, sys
        sys.path[:0] = {[p for p in sys.path if p]!r}
        from pathlib import Path
        from test_ledger import train
        train(Path({str(tmp_path)!r}), fault=lambda model, step: step == 25 and os.kill(os.getpid(), signal.SIGKILL))
    """)
    done = subprocess.run([sys.executable, "-c", program], cwd=os.path.dirname(__file__), capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert [line["step"] for line in lines_of(tmp_path)[1:]] == list(range(25))
    assert [step for _, step, _ in records_of(tmp_path)] == list(range(25))


def test_a_record_that_is_cut_or_damaged_ends_its_file():
    data = record_of(1, 7, 1, b"x" * 50) + record_of(1, 8, 1, b"y" * 50)
    assert [step for _, step, _ in _records(data)] == [7, 8]
    assert [step for _, step, _ in _records(data[:-1])] == [7]
    damaged = bytearray(data)
    damaged[40] ^= 1
    assert _records(bytes(damaged)) == []


def keep_steps(folder, steps, **options):
    ledger = Ledger(folder, **options)
    ledger.begin({"parameters": 10, "tensors": [["w", [10], "float32"]], "options": {}})
    one = Summary(np.ones((1, 64)), np.ones(1, np.uint64))
    for step in range(steps):
        ledger.line({"step": step, "loss": "0" * 16})
        ledger.tensors(step, {"gradient": one})
        ledger.ids(step, [step, step + 1, step + 2])
    ledger.close()
    return [step for path in sorted((folder / "tensors").glob("*.bin")) for _, step, _ in _records(path.read_bytes())]


def test_old_steps_are_thinned_by_the_rule(tmp_path):
    kept = keep_steps(tmp_path, 3200)
    assert set(range(1000)) <= set(kept) and set(range(2201, 3200)) <= set(kept)
    middle = [step for step in kept if 1000 <= step < 2200 - 2 * BLOCK]
    assert middle and all(step % 10 == 0 for step in middle)


def test_beyond_the_budget_more_is_thinned_and_said(tmp_path):
    kept = keep_steps(tmp_path, 3000, budget=400_000)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.bin")) + (tmp_path / "steps.jsonl").stat().st_size
    assert size < 400_000 + 2 * BLOCK * 600
    assert kept[-1] == 2999
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert sum("step" in line for line in lines) == 3000
    assert any(line["thinned"]["window"] < 1000 for line in lines if "thinned" in line)


@pytest.mark.parametrize(
    "batch_id, kind, size",
    [(range(5, 5005), 0, 16), ([9, 2, 7], 1, 24), ("shard-1/x", 2, 11), (np.array([3, 4, 5, 6, 7]), 0, 16)],
)
def test_ids_are_ranges_numbers_or_text(tmp_path, batch_id, kind, size):
    ledger = Ledger(tmp_path)
    ledger.ids(4, batch_id)
    [(data, step, found)] = _records((tmp_path / "ids" / "000001.bin").read_bytes())
    assert (step, found, len(data) - HEAD.size) == (4, kind, size)


def test_two_flipped_signs_and_exchanged_rows_change_the_hash():
    a = np.arange(1, 64, dtype=np.float32).reshape(9, 7)
    b, c = a.copy(), a.copy()
    b[0, 1] *= -1
    b[0, 3] *= -1
    c[[2, 5]] = c[[5, 2]]
    hashes = {hash_of({"x": value}) for value in (a, b, c, a.T, a.reshape(7, 9))} | {hash_of({"y": a})}
    assert len(hashes) == 6 and hash_of({"x": a.copy()}) in hashes


def test_a_disk_that_fails_stops_the_ledger_and_not_the_training(tmp_path):
    (tmp_path / "ledger").write_text("a file where the folder should be")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, _, recorder = train(tmp_path)
    assert "the ledger stopped, training goes on" in "".join(str(w.message) for w in caught)
    assert recorder.status["steps"] == 40


def test_a_step_that_the_scaler_skips_says_so_and_secrets_are_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "1e-3", "--api-key", "abc", "--hub_token=xyz"])
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(model, optimizer, tmp_path / "capture", ledger=True)
    for step in range(3):
        optimizer.zero_grad()
        loss = model(torch.ones(2, 3)).sum()
        loss.backward()
        recorder.record(step, loss)
        if step != 1:
            optimizer.step()
    recorder.close()
    head, *steps = lines_of(tmp_path)
    assert [line.get("skipped") for line in steps] == [None, True, None]
    assert head["command"] == ["train.py", "--lr", "1e-3", "--api-key", "…", "--hub_token=…"]

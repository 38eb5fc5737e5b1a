"""What several tests share: a small torch net on a stream of batches, and a reader of captures that knows nothing of the package."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U32": "<u4",
    "U8": "u1",
    "BOOL": "u1",
}


def read_tensors(path):
    """Tensors of a safetensors file: {name: (dtype, array)}; fails where the bytes are not exactly covered."""
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    assert size % 8 == 0
    header = json.loads(data[8 : 8 + size])
    body, expected, tensors = data[8 + size :], 0, {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        assert start == expected
        expected = end
        array = np.frombuffer(body[start:end], _NUMPY[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = (entry["dtype"], array)
    assert expected == len(body)
    return tensors


class Read:
    """A capture as docs/captures.md says it is written."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.manifest = json.loads((self.folder / "capture.json").read_text())
        self.initial = read_tensors(self.folder / "initial.safetensors")
        self.steps = {e["step"]: read_tensors(self.folder / e["file"]) for e in self.manifest["steps"]}
        named = {e["file"] for e in self.manifest["steps"]}
        self.extra = [p.name for p in self.folder.glob("step-*.safetensors") if p.name not in named]

    def entry(self, step):
        return next(e for e in self.manifest["steps"] if e["step"] == step)


@pytest.fixture
def read():
    return Read


@pytest.fixture
def status():
    return lambda folder: json.loads((Path(folder) / "status.json").read_text())


def check_guard_at_surge(replay, first, surge):
    """The guard of a closed loop applies the steps from `first` on, refuses the one of the surge, and saves the run."""
    (guarded,) = [entry for entry in replay if entry.get("arm") == {"kind": "guard"}]
    advice = {one["step"]: one for one in guarded["advice"]}
    assert all(advice[step]["action"] == "apply" for step in range(first, surge))
    assert advice[surge]["action"] != "apply" and advice[surge]["risk"] >= 0.9
    # What it scales and refuses are its factors.
    factors = dict(zip(guarded["steps"], guarded["minClipFactor"]))
    assert all(factors[step] == advice[step]["scale"] for step in advice) and factors[surge] < 1 == factors[first]
    assert guarded["referenceLoss"][-1] < 1.25 * guarded["referenceLoss"][0]
    assert not float(replay[0]["referenceLoss"][-1]) < 1.45 * guarded["referenceLoss"][0]


def lines_of(folder):
    """Lines of the ledger of a run."""
    return [json.loads(line) for line in (folder / "ledger" / "steps.jsonl").read_text().splitlines()]


def records_of(folder, kind="tensors"):
    """Records of a ledger: bytes, step and kind."""
    from clippy_diag.ledger import _records

    paths = sorted((folder / "ledger" / kind).glob("*.bin"))
    return [record for path in paths for record in _records(path.read_bytes())]


def roles_of(record, tensors):
    """Summaries of a record, by role."""
    from clippy_diag.ledger import HEAD, ROLES

    data, _, kind = record
    rows = np.frombuffer(data[HEAD.size :], "<f8").reshape(-1, tensors, 65)
    names = [role for bit, role in enumerate(ROLES) if kind >> bit & 1]
    return {name: (part[:, :64], part.copy().view("<u8")[:, 64]) for name, part in zip(names, rows)}


def losses_of(folder):
    """Losses of a ledger, by step."""
    lines = [line for line in lines_of(folder) if "step" in line]
    return {line["step"]: struct.unpack(">d", bytes.fromhex(line["loss"]))[0] for line in lines}


def check_ledger_of_trainer(folder, steps, norms):
    """What the ledger of a trainer's callback has to hold, without batches in captures: a line of each of `steps`, with the
    batch by its hash, the norm of the gradient before clipping (`norms`, by step), and tensors before and after the step."""
    head, *lines = lines_of(folder)
    assert [line["step"] for line in lines] == list(steps)
    assert len({line["batch"] for line in lines}) == len(lines) and len({line["rng"] for line in lines}) == len(lines)
    for line in lines:
        assert line["gradientNorm"] == pytest.approx(norms[line["step"]], rel=1e-5)
        assert "skipped" not in line
    tensors = len(head["tensors"])
    records = {record[1]: roles_of(record, tensors) for record in records_of(folder)}
    for step, record in records.items():
        assert {"gradient", "weights", "state", "weightsAfter", "stateAfter"} <= set(record)
        assert (record["weights"][1] != record["weightsAfter"][1]).any()
        if step + 1 in records:
            assert (record["weightsAfter"][1] == records[step + 1]["weights"][1]).all()
    return head, records

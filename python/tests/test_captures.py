"""Files of a capture: what is written is what an independent reader finds, and batches come back as they were."""

import json
import math
import os

import numpy as np
import pytest

from clippy_diag import captures
from conftest import read_tensors


def test_tensors_come_back_byte_for_byte(tmp_path):
    random = np.random.default_rng(0)
    kinds = ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "u1", "<u4", "bool"]
    tensors = {kind: (random.normal(size=(3, 2)) * 50).astype(kind) for kind in kinds}
    tensors["transposed"] = random.normal(size=(4, 3)).T
    tensors["big-endian"] = np.arange(3, dtype=">f4")
    tensors["scalar"], tensors["none"] = np.float32(2.5).reshape(()), np.zeros((0, 3), "<f4")
    tensors["bfloat16"] = ("BF16", np.array([0x3FC0, 0xFF80], "<u2"))
    path = tmp_path / "file.safetensors"
    size = captures.write_tensors(path, tensors)
    assert path.stat().st_size == size
    back = captures.read_tensors(path)
    for name, array in tensors.items():
        if name == "bfloat16":
            assert back[name].tolist() == [1.5, -math.inf]
        else:
            assert back[name].shape == array.shape
            np.testing.assert_array_equal(back[name], array)
    mine = read_tensors_of(path)
    assert mine["<f4"][0] == "F32"
    np.testing.assert_array_equal(mine["transposed"][1], tensors["transposed"])


def read_tensors_of(path):
    found = captures.read_raw(path)
    keep = {name: captures.words(found[name]) for name in ("<f4", "transposed", "scalar", "none", "bfloat16")}
    captures.write_tensors(path, keep)
    return read_tensors(path)


def test_a_type_without_a_name_is_refused(tmp_path):
    with pytest.raises(TypeError, match="complex128"):
        captures.write_tensors(tmp_path / "file", {"z": np.zeros(2, complex)})


def test_a_file_that_is_cut_short_is_named(tmp_path):
    path = tmp_path / "file.safetensors"
    captures.write_tensors(path, {"w": np.zeros(10, "<f4")})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match='tensor "w" is cut short'):
        captures.read_tensors(path)


@pytest.mark.parametrize(
    "batch",
    [
        np.arange(3),
        {"x": np.ones(2), "label/click": np.zeros(2)},
        {"user": {"id": np.ones(1), "tags": [np.ones(2), (np.zeros(1), None)]}, "n": 3, "w": 0.5, "text": "a", 7: True},
        [{"x": np.ones(1)}, {"x": np.zeros(1)}],
        {"a/b": np.ones(1), "a": {"b": np.zeros(1)}, "nan": math.inf},
    ],
)
def test_batches_come_back_as_they_were(batch):
    leaves, tree = captures.flatten(batch, lambda value: isinstance(value, np.ndarray))
    import json

    back = captures.unflatten(json.loads(json.dumps(tree)), leaves)
    assert repr(back) == repr(batch)


def test_names_of_a_nested_batch_are_joined_by_slashes():
    leaves, _ = captures.flatten({"u": {"id": np.ones(1)}, "l": [np.ones(1)]}, lambda v: isinstance(v, np.ndarray))
    assert list(leaves) == ["u/id", "l/0"]


def test_what_a_capture_cannot_hold_is_named_when_the_batch_is_put_together():
    _, tree = captures.flatten({"graph": object()}, lambda value: False)
    with pytest.raises(ValueError, match="held a object"):
        captures.unflatten(tree, {})


def test_a_folder_without_a_capture_is_told_to_be_one_of_a_calm_run(tmp_path):
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"holds no capture: .* while it stays in it; recorder.capture\(\)"):
        captures.open_capture(tmp_path)


def test_a_file_has_its_bytes_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """What a loss of power leaves: a name without bytes would be a capture that names an empty step."""
    synced, named = set(), []
    fsync, replace = os.fsync, os.replace

    def keep_fsync(descriptor):
        fsync(descriptor)
        state = os.fstat(descriptor)
        synced.add((state.st_ino, state.st_size))

    def keep_replace(source, target):
        state = os.stat(source)
        named.append((os.path.basename(target), (state.st_ino, state.st_size) in synced))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", keep_fsync)
    monkeypatch.setattr(os, "replace", keep_replace)
    captures.write_tensors(tmp_path / "step-1.safetensors", {"w": np.ones(1000, "<f4")})
    sources = [captures.Source("w", "F32", (2,), lambda: None)]
    captures.write_fetched(tmp_path / "initial.safetensors", sources, [np.ones(2, "<f4")])
    captures.write_json(tmp_path / "capture.json", {"steps": ["step-1.safetensors"]})
    assert named == [("step-1.safetensors", True), ("initial.safetensors", True), ("capture.json", True)]


def test_numbers_that_json_lacks_are_text_wherever_they_stand(tmp_path):
    captures.write_json(tmp_path / "x.json", {"rate": math.nan, "of": [{"decay": -math.inf}, (1.5, math.inf)], "n": 3})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {"rate": "NaN", "of": [{"decay": "-Infinity"}, [1.5, "Infinity"]], "n": 3}
    assert captures.number_back("NaN") != captures.number_back("NaN")

"""The capture that the PyTorch and Keras recorders write: ring buffer and files. Numpy only.
Apache-2.0.

A capture is a folder: capture.json, initial.safetensors (parameters and optimizer state before the first step)
and one safetensors file a step. In memory are the steps since the older of two snapshots of parameters and
state, which are renewed every K steps, so a capture begins K to 2K steps before the incident. When the loss
leaves its band (clippy_judge.py, which lies beside this file), what is in memory is written, and each of the
next `after` steps is added as it comes. Every file appears whole or not at all: a job that dies leaves a capture
with fewer steps. """

import collections
import json
import math
import os
import shutil

import numpy as np

from clippy_judge import Judge


class CaptureBuffer:
    """Steps in memory until the loss jumps, then on disk.

    folder        the capture; a second incident goes to `<folder>-2`, up to `max_captures`
    every, after  K, and the number of steps after the jump
    model_file    description of the model, copied into the folder; or None
    describe      called as (step of the jump, learning rates of the first step) for the manifest's framework, optimizer, …
    """

    def __init__(self, folder, every, after, max_captures, model_file, describe):
        self.folder, self.every, self.after, self.max_captures = str(folder), every, after, max_captures
        self.model_file, self.describe = model_file, describe
        self.ring = collections.deque()
        self.losses = collections.deque(maxlen=500 + 2 * every)
        self.skipped = collections.deque(maxlen=2 * every)
        self.since = self.captures = 0
        self.wanted = self.late = self.manifest = None
        self.judge = Judge()

    def snapshot_due(self):
        """Whether `add` needs the parameters (and, unless a capture is being written, the state) this time."""
        return self.since % self.every == 0

    def add(self, step, loss, rates, tasks, tensors, parameters=None, state=None):
        """One step: learning rates of all groups, task losses, tensors under their names in the file (grad/…,
        batch/…), and the snapshot {param/<name>: …}, {state/<slot>/<name>: …} from before the step. Arrays are
        kept, not copied."""
        record = {
            "step": step,
            "loss": loss,
            "rates": rates,
            "tasks": tasks,
            "tensors": tensors,
            "parameters": parameters,
        }
        self.since += 1
        if self.manifest is None:
            if state is not None:
                record["state"] = state
                snapshots = [i for i, r in enumerate(self.ring) if "state" in r]
                for _ in range(snapshots[-1] if len(snapshots) > 1 else 0):
                    self.ring.popleft()
            self.ring.append(record)
        else:
            self._append(record)
        jump = self.judge.add(loss)
        # After the last step of a capture nothing is in memory: what asks for another then has it a step later.
        ended = self.manifest is None and not self.ring
        asked = self.wanted or self.captures < self.max_captures and (self.late or jump)
        if self.manifest is None and not ended and asked:
            self._open(step, asked)
        self.late = jump if ended else None
        self.losses.append((step, loss))

    def _open(self, step, reason):
        """Writes what is in memory; the folder appears under its name when it is whole."""
        self.captures, self.wanted, first = self.captures + 1, None, self.ring[0]
        n, target = 1, self.folder
        while os.path.exists(target):
            n, target = n + 1, f"{self.folder}-{n + 1}"
        self.path, self.left = f"{target}.partial", self.after + 1
        shutil.rmtree(self.path, ignore_errors=True)
        os.makedirs(self.path)
        history = [(s, l) for s, l in self.losses if s < first["step"]][-500:]
        self.manifest = {
            "version": 1,
            **self.describe(step, first["rates"]),
            "flushed": {"step": step, "reason": reason},
            "history": {"steps": [s for s, _ in history], "loss": [number(l) for _, l in history]},
            "skipped": [s for s in self.skipped if s > first["step"]],
            "steps": [],
        }
        if self.model_file:
            copy_model(self.model_file, self.path)
            self.manifest["model"] = os.path.basename(self.model_file)
        write_safetensors(os.path.join(self.path, "initial.safetensors"), {**first["parameters"], **first["state"]})
        first["parameters"] = None
        for record in self.ring:
            self._append(record, last=record is self.ring[-1])
        os.rename(self.path, target)
        self.path = target
        self.ring.clear()

    def _append(self, record, last=True):
        """Adds a step to the open capture: its file first, then the manifest that names it."""
        entry = {
            "step": record["step"],
            "file": f"step-{record['step']:08d}.safetensors",
            "learningRate": record["rates"][0],
            "loss": number(record["loss"]),
        }
        if record["tasks"]:
            entry["tasks"] = {name: number(value) for name, value in record["tasks"].items()}
        if len(record["rates"]) > 1:
            entry["groupLearningRates"] = record["rates"][1:]
        write_safetensors(os.path.join(self.path, entry["file"]), {**record["tensors"], **(record["parameters"] or {})})
        self.manifest["steps"].append(entry)
        if last:
            write_atomically(
                os.path.join(self.path, "capture.json"), json.dumps(self.manifest, indent=1, allow_nan=False).encode()
            )
            self.left -= 1
            if self.left == 0:
                self.manifest, self.since = None, 0

    def skip(self, step):
        """A step that the loss scaler skips: nothing moves, and its absence is no gap."""
        (self.skipped if self.manifest is None else self.manifest["skipped"]).append(step)


def copy_model(model_file, folder):
    """Copies a model description; an objective's layers model, which it names, comes with it."""
    shutil.copy(model_file, folder)
    if not str(model_file).endswith(".json"):
        return
    with open(model_file) as file:
        description = json.load(file)
    if isinstance(description, dict) and description.get("kind") == "layers":
        named = description["model"]
        shutil.copy(os.path.join(os.path.dirname(model_file), named), os.path.join(folder, os.path.basename(named)))


DTYPES = {
    "f8": "F64",
    "f4": "F32",
    "f2": "F16",
    "i8": "I64",
    "i4": "I32",
    "i2": "I16",
    "i1": "I8",
    "u1": "U8",
    "b1": "BOOL",
}


def write_safetensors(path, tensors):
    """u64 length of the header, JSON header padded with spaces to 8 bytes, the tensors row by row,
    little-endian. A tensor is a numpy array, or ("BF16", array of its 16-bit words)."""
    header, blobs, offset = {}, [], 0
    for name, tensor in tensors.items():
        dtype, array = tensor if isinstance(tensor, tuple) else (DTYPES[tensor.dtype.str[1:]], tensor)
        blob = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_atomically(path, len(text).to_bytes(8, "little"), text, *blobs)


def read_safetensors(path):
    """All tensors of a file by name, as numpy; bfloat16 widened to float32."""
    with open(path, "rb") as file:
        header, data = json.loads(file.read(int.from_bytes(file.read(8), "little"))), file.read()
    kinds, tensors = {name: kind for kind, name in DTYPES.items()}, {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            array = np.frombuffer(data[start:end], kinds.get(entry["dtype"], "u2"))
            if entry["dtype"] == "BF16":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = array.reshape(entry["shape"]).copy()
    return tensors


def write_atomically(path, *parts):
    """Bytes to a temporary file beside the path, synced, renamed."""
    with open(f"{path}.tmp", "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.tmp", path)


def number(value):
    """A number as JSON has it; non-finite ones are strings."""
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

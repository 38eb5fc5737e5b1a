"""The faults: what goes wrong around a recorder, each by name. A fault changes the process that it runs in."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from trainings import BAD, STEPS, At, Given


class Case:
    """What a fault may set before a training begins."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = folder + "/capture"
        self.at: At = lambda step: None
        self.given: Given = {}
        self.options: dict[str, Any] = {}
        #: What a loop does to its model and optimizer before a step, with a recorder and without.
        self.change: Change | None = None

    def on(self, step: int, action: Callable[[], Any]) -> None:
        """Does `action` before a step."""
        before = self.at

        def at(now: int) -> None:
            before(now)
            if now == step:
                action()

        self.at = at


#: (step, model, optimizer) -> None
Change = Callable[[int, Any, Any], None]
Fault = Callable[[Case], None]
#: Faults of every framework, and those that only a loop of one's own can have.
FAULTS: dict[str, Fault] = {}
IN_LOOPS: dict[str, Fault] = {}
#: What a loop in PyTorch does to its model and optimizer, and options of the recorder.
IN_TORCH: dict[str, Fault] = {}
#: Options that are wrong: the constructor raises ValueError or TypeError, before the training begins.
REFUSED: dict[str, Fault] = {}


def _fault(name: str, among: dict[str, Fault] = FAULTS) -> Callable[[Fault], Fault]:
    def keep(fault: Fault) -> Fault:
        among[name] = fault
        return fault

    return keep


# ---- disks. A file system of its own needs root; without it these faults are left out, and named.


def mount(folder: str, size: str) -> None:
    """A file system in memory of this size, which ends with the process's own view of it."""
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)


def can_mount(folder: str) -> bool:
    """Whether this process may mount."""
    os.makedirs(folder, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], capture_output=True)
    subprocess.run(["umount", folder], capture_output=True)
    return done.returncode == 0


MOUNTED: dict[str, Fault] = {}
for _size in ("16k", "40k", "64k", "120k", "160k", "200k", "300k", "400k"):
    MOUNTED[f"disk of {_size}"] = lambda case, size=_size: mount(case.folder, size)  # type: ignore[misc]


def _remount(case: Case) -> None:
    subprocess.run(["mount", "-o", "remount,ro", case.folder], check=True)


@_fault("disk is read-only from the start", MOUNTED)
def _read_only(case: Case) -> None:
    mount(case.folder, "10m")
    _remount(case)


@_fault("disk becomes read-only within a capture", MOUNTED)
def _becomes_read_only(case: Case) -> None:
    mount(case.folder, "10m")
    case.on(BAD + 3, lambda: _remount(case))


@_fault("disk is gone within a capture", MOUNTED)
def _unmounted(case: Case) -> None:
    mount(case.folder, "10m")
    case.on(BAD + 3, lambda: subprocess.run(["umount", "-l", case.folder], check=True))


# ---- folders


def _write(path: str, text: str = "junk{") -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


FAULTS["folder is a file"] = lambda case: _write(case.path)
FAULTS["junk in the folder"] = lambda case: [  # type: ignore[assignment, return-value]
    _write(f"{case.path}/{name}") for name in ("status.json", "capture.json", "initial.safetensors")
]
FAULTS["status.json is a folder"] = lambda case: os.makedirs(case.path + "/status.json")
FAULTS["partial folder is a file"] = lambda case: _write(case.path + ".partial")


def _at_path(change: Callable[[str], str]) -> Fault:
    def fault(case: Case) -> None:
        case.path = change(case.path)

    return fault


FAULTS["parent is a file"] = lambda case: (_write(case.folder + "/x"), _at_path(lambda p: case.folder + "/x/c")(case))[1]
FAULTS["folder in /proc"] = _at_path(lambda path: "/proc/nope/capture")
FAULTS["folder under /dev/null"] = _at_path(lambda path: "/dev/null/capture")
FAULTS["name of 5000 characters"] = _at_path(lambda path: path + "x" * 5000)
FAULTS["NUL in the path"] = _at_path(lambda path: path + "\0")
FAULTS["surrogate in the path"] = _at_path(lambda path: path + "\ud800")
FAULTS["link to itself"] = lambda case: (os.makedirs(case.folder), os.symlink(case.path, case.path))[1]
for _step in (5, BAD - 1, BAD + 2, BAD + 20, STEPS - 1):
    FAULTS[f"folder is removed at step {_step}"] = lambda case, step=_step: case.on(  # type: ignore[misc]
        step, lambda: shutil.rmtree(case.path, ignore_errors=True)
    )


@_fault("folder becomes a file")
def _becomes_file(case: Case) -> None:
    def replace() -> None:
        # The recorder's thread may make the folder again between the two.
        while not os.path.isfile(case.path):
            shutil.rmtree(case.path, ignore_errors=True)
            with contextlib.suppress(IsADirectoryError):
                _write(case.path)

    case.on(BAD + 2, replace)


@_fault("folder is a link to nowhere")
def _dangling(case: Case) -> None:
    os.symlink(case.folder + "/nowhere/at/all", case.path)


@_fault("folder is a pipe")
def _pipe(case: Case) -> None:
    os.mkfifo(case.path)


@_fault("status.json is a pipe")
def _status_pipe(case: Case) -> None:
    os.makedirs(case.path)
    os.mkfifo(case.path + "/status.json")


@_fault("status.json of a run before is of other types")
def _odd_status(case: Case) -> None:
    _write(case.path + "/status.json", '{"losses": [[null, []], 3, "x"], "batches": [3], "learningRates": []}')


@_fault("a million losses of a run before")
def _long_status(case: Case) -> None:
    _write(case.path + "/status.json", json.dumps({"losses": [[step, 1.0] for step in range(1_000_000)]}))


@_fault("captures of a run before are there")
def _earlier(case: Case) -> None:
    for name in ("capture", "capture-2", "capture-3", "capture-7"):
        os.makedirs(f"{case.folder}/{name}", exist_ok=True)


@_fault("somebody else's files are in the folder of the steps")
def _others_files(case: Case) -> None:
    for step in range(0, STEPS, 5):
        os.makedirs(f"{case.path}.partial/step-{step}.safetensors")


# ---- limits of the process


def _limit(what: int, value: int) -> Fault:
    def fault(case: Case) -> None:
        def set_limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(what, (value, resource.getrlimit(what)[1]))

        case.on(2, set_limit)

    return fault


for _value in (500, 1_000, 9_000, 40_000):
    FAULTS[f"files of {_value} bytes at most"] = _limit(resource.RLIMIT_FSIZE, _value)
FAULTS["no file can be opened"] = _limit(resource.RLIMIT_NOFILE, 3)


@_fault("the working folder is removed")
def _no_working_folder(case: Case) -> None:
    def leave() -> None:
        gone = case.folder + "-gone"
        os.makedirs(gone)
        os.chdir(gone)
        os.rmdir(gone)

    case.on(3, leave)


@_fault("the working folder is another")
def _elsewhere(case: Case) -> None:
    case.on(3, lambda: os.chdir("/"))


@_fault("no file may be written by others' mask")
def _mask(case: Case) -> None:
    os.umask(0o777)


@_fault("the environment is emptied")
def _no_environment(case: Case) -> None:
    case.on(3, os.environ.clear)


@_fault("the locale is C and the encoding ascii")
def _ascii(case: Case) -> None:
    case.on(0, lambda: setattr(sys, "stderr", open(2, "w", encoding="ascii", errors="strict", closefd=False)))
    _at_path(lambda path: path + "-Ä-測")(case)


@_fault("memory ends soon after the start")
def _little_memory(case: Case) -> None:
    def set_limit() -> None:
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))

    case.on(20, set_limit)


@_fault("few steps of recursion are left")
def _recursion(case: Case) -> None:
    case.on(20, lambda: sys.setrecursionlimit(len(__import__("inspect").stack()) + 120))


@_fault("the collector of garbage runs at every allocation")
def _collector(case: Case) -> None:
    import gc

    gc.set_threshold(200, 1, 1)


@_fault("no thread can be started")
def _no_thread(case: Case) -> None:
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == "clippy-diag":
            raise RuntimeError("can't start new thread")
        start(self)

    threading.Thread.start = refuse  # type: ignore[method-assign]


# ---- messages


@_fault("warnings are errors")
def _errors(case: Case) -> None:
    case.on(0, lambda: warnings.simplefilter("error", UserWarning))


@_fault("warnings are errors and the folder cannot be made")
def _errors_without_folder(case: Case) -> None:
    _errors(case)
    FAULTS["folder is a file"](case)


class _Raises:
    def write(self, text: str) -> int:
        raise RuntimeError("no")

    def flush(self) -> None:
        raise RuntimeError("no")


def _broken_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 2)


def _full_stderr() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)


FAULTS["stderr is closed"] = lambda case: case.on(BAD - 2, sys.stderr.close)
FAULTS["stderr is None"] = lambda case: case.on(BAD - 2, lambda: setattr(sys, "stderr", None))
FAULTS["stderr raises"] = lambda case: case.on(BAD - 2, lambda: setattr(sys, "stderr", _Raises()))
FAULTS["reader of stderr is gone"] = lambda case: case.on(BAD - 2, _broken_pipe)
FAULTS["stderr is full"] = lambda case: case.on(BAD - 2, _full_stderr)


@_fault("warnings cannot be shown")
def _not_shown(case: Case) -> None:
    def shown(*_: Any) -> None:
        raise KeyError("no")

    warnings.showwarning = shown  # type: ignore[assignment]
    FAULTS["folder is removed at step 5"](case)


# ---- clocks, forks, signals


def _jumping(clock: Callable[[], float]) -> Callable[[], float]:
    jumps = random.Random(1)
    return lambda: clock() + jumps.choice([-1e9, 0.0, 1e9])


@_fault("SIGTERM is handled by the training")
def _term(case: Case) -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)
    case.on(BAD + 2, lambda: os.kill(os.getpid(), signal.SIGTERM))


@_fault("an alarm interrupts at every millisecond")
def _alarms(case: Case) -> None:
    signal.signal(signal.SIGVTALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)


@_fault("the process has another thread that takes turns")
def _busy_thread(case: Case) -> None:
    ends = threading.Event()

    def work() -> None:
        while not ends.wait(0.0005):
            sum(range(2000))

    case.on(10, lambda: threading.Thread(target=work, daemon=True, name="busy").start())
    case.on(STEPS - 2, ends.set)


@_fault("time.time stands still")
def _still(case: Case) -> None:
    time.time = lambda: 0.0


@_fault("the clock that only rises falls")
def _falling(case: Case) -> None:
    time.monotonic = _jumping(time.monotonic)


FAULTS["time.time jumps"] = lambda case: setattr(time, "time", _jumping(time.time))


def _fork(code: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            code()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


for _step in (20, BAD + 4):
    FAULTS[f"fork at step {_step}"] = lambda case, step=_step: case.on(step, lambda: _fork(lambda: None))  # type: ignore[misc]
FAULTS["signals at every third step"] = lambda case: [  # type: ignore[assignment, return-value]
    signal.signal(signal.SIGUSR2, lambda *_: None),
    *(case.on(step, lambda: os.kill(os.getpid(), signal.SIGUSR2)) for step in range(0, STEPS, 3)),
]


# ---- calls of the recorder that fail


def failing(target: Any, name: str, error: Exception, first: int, lasting: bool) -> Fault:
    """The n-th call of a function from within the package raises, and all later ones where it lasts."""

    def fault(case: Case) -> None:
        original = getattr(target, name)
        count = [0]

        @functools.wraps(original)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            frame = sys._getframe(1)
            while frame is not None and f"{os.sep}clippy_diag{os.sep}" not in frame.f_code.co_filename:
                frame = frame.f_back  # type: ignore[assignment]
            if frame is not None:
                count[0] += 1
                if count[0] == first or (lasting and count[0] > first):
                    raise error
            return original(*arguments, **options)

        setattr(target, name, wrapped)

    return fault


def failing_calls(seed: int, of_framework: list[tuple[Any, str]]) -> dict[str, Fault]:
    """Faults by a seed: which call of which function fails, with what, and whether it goes on to fail."""
    chance = random.Random(seed)
    import builtins

    common: list[tuple[Any, str]] = [
        (builtins, "open"),
        (os, "replace"),
        (os, "rename"),
        (os, "mkdir"),
        (json, "dumps"),
        (np, "array"),
        (np, "asarray"),
        (np, "copyto"),
        (shutil, "rmtree"),
        (shutil, "disk_usage"),
        (os, "fsync"),
        (os, "stat"),
        (json, "loads"),
        (np, "ascontiguousarray"),
    ]
    errors: list[tuple[Exception, bool]] = [
        (OSError(errno.EIO, "Input/output error"), False),
        (MemoryError("no memory"), True),
        (RuntimeError("out of memory"), False),
    ]
    found: dict[str, Fault] = {}
    for target, name in common + of_framework:
        for error, lasting in errors:
            first = chance.choice([1, 2, chance.randint(3, 40), chance.randint(40, 400)])
            label = f"{getattr(target, '__name__', target)}.{name} fails at call {first}: {type(error).__name__}"
            found[label + (", lasting" if lasting else "")] = failing(target, name, error, first, lasting)
    return found


# ---- what a loop may hand over


class Evil:
    """Raises at whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"evil {name}")

    def __iter__(self) -> Any:
        raise RuntimeError("evil iteration")

    def __str__(self) -> str:
        raise RuntimeError("evil text")

    __repr__ = __str__


_itself: list[Any] = []
_itself.append(_itself)
_GIVEN: dict[str, dict[str, Callable[[Any], Any]]] = {
    "batch": {
        "an object that raises": lambda batch: Evil(),
        "a list that holds itself": lambda batch: _itself,
        "a function": lambda batch: len,
        "nested 5000 deep": lambda batch: functools.reduce(lambda inside, _: [inside], range(5000), batch),
        "text and odd keys": lambda batch: ["x", b"y", {1: 2}, {(1, 2): batch}],
        "an array of objects": lambda batch: np.array([object()]),
        "complex numbers": lambda batch: np.ones(2, complex),
        "a name with a surrogate": lambda batch: {"\ud800": np.ones(2)},
        "a name that leaves the folder": lambda batch: {"../../x": np.ones(2), "": np.ones(1)},
        "NaN": lambda batch: float("nan"),
        "empty": lambda batch: {},
        "a generator": lambda batch: (row for row in batch),
        "of dates": lambda batch: np.array(["2020-01-01"], "datetime64[D]"),
        "of text": lambda batch: np.array(["ä", "b"]),
        "another size at each step": lambda batch: np.ones(np.random.default_rng().integers(1, 50)),
    },
    "step": {
        "text": str,
        "None": lambda step: None,
        "falling": lambda step: -step,
        "always 0": lambda step: 0,
        "with a fraction": lambda step: step + 0.5,
        "NaN": lambda step: float("nan"),
        "infinite": lambda step: float("inf"),
        "beyond 64 bits": lambda step: 10**30 + step,
        "an object that raises": lambda step: Evil(),
        "from 0 again at every tenth": lambda step: step % 10,
    },
    "loss": {
        "text": lambda loss: "x",
        "None": lambda loss: None,
        "an object that raises": lambda loss: Evil(),
        "a vector": lambda loss: np.ones(3),
        "a mapping": lambda loss: {"loss": loss},
        "a complex number": lambda loss: 1j,
        "a number": float,
        "infinite from the first step": lambda loss: float("inf"),
        "negative and falling without end": lambda loss: -float(loss) ** 2,
        "the same at every step": lambda loss: 1.0,
    },
}
for _what, _kinds in _GIVEN.items():
    for _name, _change in _kinds.items():
        IN_LOOPS[f"{_what} is {_name}"] = lambda case, what=_what, change=_change: case.given.update({what: change})  # type: ignore[misc]


# ---- what a loop in PyTorch does to its own objects


def _changing(name: str, at: int = BAD - 5, lasting: bool = False) -> Callable[[Change], Change]:
    """Registers what is done before step `at`, and before each later one where it is `lasting`."""

    def keep(change: Change) -> Change:
        def act(step: int, model: Any, optimizer: Any) -> None:
            if step == at or (lasting and step > at):
                change(step, model, optimizer)

        IN_TORCH[name] = lambda case: setattr(case, "change", act)
        return change

    return keep


@_changing("hooks of the model are removed")
def _no_hooks(step: int, model: Any, optimizer: Any) -> None:
    model._forward_pre_hooks.clear()


@_changing("hooks of the optimizer are removed")
def _no_step_hooks(step: int, model: Any, optimizer: Any) -> None:
    optimizer._optimizer_step_post_hooks.clear()


@_changing("the model is copied at each step", lasting=True)
def _copied(step: int, model: Any, optimizer: Any) -> None:
    import copy

    copy.deepcopy(model)(next(model.parameters()).new_zeros(1, 16))


@_changing("the model is pickled at each step", lasting=True)
def _pickled(step: int, model: Any, optimizer: Any) -> None:
    import pickle

    pickle.loads(pickle.dumps(model))


@_changing("the optimizer is copied and pickled at each step", lasting=True)
def _optimizer_copied(step: int, model: Any, optimizer: Any) -> None:
    import copy
    import pickle

    copy.deepcopy(optimizer)
    pickle.loads(pickle.dumps(optimizer.state_dict()))


def _replace(module: Any, name: str) -> Any:
    import torch

    old = getattr(module, name)
    new = torch.nn.Parameter(old.detach().clone() * 0.5)
    setattr(module, name, new)
    return old, new


@_changing("a parameter is replaced and the optimizer keeps the old one")
def _replaced(step: int, model: Any, optimizer: Any) -> None:
    _replace(model[0], "weight")


@_changing("a parameter is replaced in the optimizer too")
def _replaced_in_both(step: int, model: Any, optimizer: Any) -> None:
    old, new = _replace(model[0], "weight")
    group = optimizer.param_groups[0]
    group["params"] = [new if p is old else p for p in group["params"]]


@_changing("the data of a parameter is replaced")
def _data_replaced(step: int, model: Any, optimizer: Any) -> None:
    model[0].weight.data = model[0].weight.data * 0.5


@_changing("a layer is appended and trained")
def _layer_appended(step: int, model: Any, optimizer: Any) -> None:
    import torch

    torch.manual_seed(1)
    layer = torch.nn.Linear(1, 1)
    model.append(layer)
    optimizer.add_param_group({"params": list(layer.parameters())})


@_changing("a layer is frozen")
def _frozen(step: int, model: Any, optimizer: Any) -> None:
    model[0].requires_grad_(False)


@_changing("the state of the optimizer is cleared")
def _state_cleared(step: int, model: Any, optimizer: Any) -> None:
    optimizer.state.clear()


@_changing("the state of the optimizer is of another shape", at=BAD + 3)
def _state_reshaped(step: int, model: Any, optimizer: Any) -> None:
    for state in optimizer.state.values():
        state["extra"] = [object(), state["momentum_buffer"].reshape(-1)]


@_changing("groups of the optimizer have odd options")
def _odd_options(step: int, model: Any, optimizer: Any) -> None:
    optimizer.param_groups[0].update(odd=object(), itself=optimizer.param_groups[0], nan=float("nan"))


@_changing("the learning rate is NaN")
def _rate_nan(step: int, model: Any, optimizer: Any) -> None:
    optimizer.param_groups[0]["lr"] = float("nan")


@_changing("the learning rate is a tensor", at=3)
def _rate_tensor(step: int, model: Any, optimizer: Any) -> None:
    import torch

    optimizer.param_groups[0]["lr"] = torch.tensor(optimizer.param_groups[0]["lr"])


@_changing("weights are loaded at each step", lasting=True)
def _loaded(step: int, model: Any, optimizer: Any) -> None:
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    optimizer.load_state_dict(optimizer.state_dict())


@_changing("weights are NaN under a loss that is not")
def _weights_nan(step: int, model: Any, optimizer: Any) -> None:
    import torch

    with torch.no_grad():
        model[2].bias.fill_(float("nan"))


@_changing("modes change at each step", lasting=True)
def _modes(step: int, model: Any, optimizer: Any) -> None:
    model.train(step % 2 == 0)


for _name, _given in {
    "clipping of torch's words": {"max_norm": 0.5},
    "clipping as a number": 0.5,
    "clipping of two rules": "global-norm:1+rms:1",
}.items():
    IN_TORCH[_name] = lambda case, given=_given: case.options.update(clipping=given)  # type: ignore[misc]
for _name, _options in {
    "clipping with a misspelt word": {"clipping": {"maxnorm": 0.5}},
    "clipping at NaN": {"clipping": float("nan")},
    "clipping at a negative norm": {"clipping": {"max_norm": -1.0}},
    "clipping by an unknown rule": {"clipping": "no-such-rule:1"},
    "clipping as a set": {"clipping": {1, 2}},
    "snapshots every NaN steps": {"snapshot_every_steps": float("nan")},
    "snapshots every 0 steps": {"snapshot_every_steps": 0},
    "half a step after": {"steps_after": 0.5},
    "minus one step after": {"steps_after": -1},
    "memory of NaN": {"memory": float("nan")},
    "memory as a word": {"memory": "lots"},
    "a negative disk": {"disk": -1},
    "half a capture": {"max_captures": 0.5},
    "an unknown option": {"no_such_option": 1},
}.items():
    REFUSED[_name] = lambda case, options=_options: case.options.update(options)  # type: ignore[misc]
for _name, _options in {
    "no step after": {"steps_after": 0},
    "no capture": {"max_captures": 0},
    "a memory of 1 byte": {"memory": 1},
    "a disk of 1 byte": {"disk": 1},
    "snapshots at each step": {"snapshot_every_steps": 1},
    "a million steps after": {"steps_after": 1_000_000},
}.items():
    FAULTS[_name] = lambda case, options=_options: case.options.update(options)  # type: ignore[misc]
for _step in (3, BAD - 1, BAD, BAD + 1, BAD + 5, STEPS - 1):
    IN_LOOPS[f"killed at step {_step}"] = lambda case, step=_step: case.on(  # type: ignore[misc]
        step, lambda: os.kill(os.getpid(), signal.SIGKILL)
    )

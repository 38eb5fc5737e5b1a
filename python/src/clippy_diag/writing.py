"""What writes a capture to disk: a thread, the tensors on their way to it, and the folder that is being written."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import shutil
import threading
import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from .captures import INITIAL, MANIFEST, Array, Source, size_of, write_fetched, write_json, write_tensors
from .joining import Joining

#: The loop waits for the disk no longer than this in all, seconds per capture.
PATIENCE = 0.8


@dataclass
class Snapshot:
    """Parameters, buffers, optimizer state from before a step, and what of the rerun is JSON."""

    tensors: dict[str, Array]
    meta: dict[str, Any]
    #: The file that holds the tensors where they were too large for memory.
    spilled: Path | None = None


class OpenCapture:
    """A capture that is being written; its methods run in the writer's thread."""

    def __init__(self, target: Path, manifest: dict[str, Any], keys: list[Hashable], after: int, incident: int) -> None:
        self.target, self.manifest, self.keys = target, manifest, keys
        self.path = target.with_name(f"{target.name}.partial")
        #: The step of the incident, or the last step where the first ones are captured.
        self.incident = incident
        self.left = after
        self.patience = PATIENCE
        self.placed = False
        self.written = 0
        #: Members of the entry that was written last.
        self.last: Mapping[str, Any] | None = None
        #: Why nothing more is written, or None.
        self.broken: str | None = None
        #: Takes in the parts of the other ranks, on the first of several.
        self.joining: Joining | None = None

    def begin(
        self, snapshot: Snapshot, joined: dict[str, Array], files: Mapping[str, Any], copies: Mapping[str, str]
    ) -> None:
        """Makes the folder, with the state from before the first step, JSON documents and copies of files."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        initial = self.path / INITIAL
        if self.joining is not None:
            own = {**joined, **snapshot.tensors} if snapshot.spilled is None else snapshot.spilled
            self.written += self.joining.initial(initial, own)
            if snapshot.spilled is not None:
                snapshot.spilled.unlink()
        elif snapshot.spilled is None:
            self.written += write_tensors(initial, {**joined, **snapshot.tensors})
        else:
            shutil.move(str(snapshot.spilled), initial)
            self.written += initial.stat().st_size
        for name, document in files.items():
            write_json(self.path / name, document, durable=False)
        for name, path in copies.items():
            shutil.copy(path, self.path / name)

    def append(self, entry: dict[str, Any], tensors: Mapping[str, Array]) -> None:
        """A step's file first, then the manifest that names it. Does nothing once the capture is broken."""
        if self.broken is not None:
            return
        file = self.path / entry["file"]
        if self.joining is None:
            self.written += write_tensors(file, tensors)
        else:
            self.written += self.joining.step(file, entry, tensors)
        self.manifest["steps"].append(entry)
        if self.placed:
            write_json(self.path / MANIFEST, self.manifest, durable=False)

    def place(self, lock: threading.RLock) -> None:
        """The folder appears under its name when it is whole; what was there, status.json, moves into it first."""
        if self.broken is None:
            self._place(lock)

    def _place(self, lock: threading.RLock) -> None:
        write_json(self.path / MANIFEST, self.manifest)
        with lock:
            if self.target.exists():
                for entry in list(self.target.iterdir()):
                    os.replace(entry, self.path / entry.name)
                self.target.rmdir()
            os.rename(self.path, self.target)
            self.path, self.placed = self.target, True

    def end(self) -> None:
        """Nothing more comes."""
        if self.placed and self.broken is None and not self.manifest.get("isPart"):
            write_json(self.path / MANIFEST, self.manifest)
        if self.joining is not None:
            self.joining.end()

    def salvage(self, why: str, lock: threading.RLock) -> bool:
        """Ends a capture that could not be written on. Its whole steps stay where the step of the incident is among
        them; otherwise the folder is removed, since a capture of the calm steps alone would look like a healthy run.

        why  becomes `ended` in capture.json
        Returns whether there is a capture. Never raises.
        """
        self.broken = self.manifest["ended"] = why
        try:
            if self.placed:
                # The manifest on disk names whole steps only; where this one cannot be written, that one stays.
                with contextlib.suppress(OSError, ValueError):
                    write_json(self.path / MANIFEST, self.manifest, durable=False)
                return (self.path / MANIFEST).is_file()
            skipped = any(step >= self.incident for step in self.manifest["skipped"])
            while self.manifest["steps"] and (skipped or self.manifest["steps"][-1]["step"] >= self.incident):
                try:
                    self._place(lock)
                    return True
                except (OSError, ValueError):
                    # Room for the manifest: the newest step makes way.
                    (self.path / self.manifest["steps"].pop()["file"]).unlink()
        except Exception:  # whatever the disk does: what is left cannot be used
            pass
        with contextlib.suppress(Exception):
            shutil.rmtree(self.path, ignore_errors=True)
        return False


class Way:
    """Tensors on their way to disk: the loop puts them in, the writer takes them out, at most `room` bytes between them (or
    one tensor that is larger)."""

    def __init__(self, room: int, held: Callable[[int], None]) -> None:
        self._room, self._held = room, held
        self._arrays: collections.deque[Array] = collections.deque()
        self._bytes = 0
        #: Whether all were put in, or nobody takes them out any more.
        self._whole = self._broken = False
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, *_: Any) -> None:
        with self._changed:
            self._whole, self._broken = kind is None, self._broken or kind is not None
            self._changed.notify_all()

    def put(self, array: Array) -> None:
        """Waits until there is room. Does nothing once the writer gave up."""
        size = size_of([array])
        with self._changed:
            self._changed.wait_for(lambda: self._broken or not self._bytes or self._bytes + size <= self._room)
            if self._broken:
                return
            self._arrays.append(array)
            self._bytes += size
            self._held(size)
            self._changed.notify_all()

    def wait(self) -> None:
        """Waits until nothing waits to be written."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or not self._bytes)

    def arrays(self) -> Iterator[Array]:
        """Each in turn; its bytes are free when the next one is asked for. Raises where the loop put in no more."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._arrays or self._whole or self._broken)
                if not self._arrays:
                    if self._broken:
                        raise RuntimeError("the snapshot was not copied to its end")
                    return
                array = self._arrays.popleft()
            yield array
            self._free(size_of([array]))

    def give_up(self) -> None:
        """Nobody takes out any more: what waits is forgotten."""
        with self._changed:
            self._broken = True
            self._arrays.clear()
            waiting = self._bytes
            self._changed.notify_all()
        self._free(waiting)

    def _free(self, size: int) -> None:
        with self._changed:
            self._bytes -= size
            self._held(-size)
            self._changed.notify_all()


def write_arriving(path: Path, sources: list[Source], way: Way) -> None:
    try:
        write_fetched(path, sources, way.arrays())
    except BaseException:
        way.give_up()
        raise


class Writer:
    """A thread that does one thing after another, started when there is something to do. Where no thread can be started
    (a container's limit of processes), the caller does each thing at once."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Any] = queue.Queue()
        self._thread: threading.Thread | None = None
        #: Bytes that wait to be written.
        self.waiting = 0
        #: Why there is no thread, or None.
        self.refused: str | None = None
        self._lock = threading.Lock()

    def ready(self) -> bool:
        """Whether there is a thread; starts one where there is none."""
        if self._thread is not None and self._thread.is_alive():
            return True
        if self.refused is not None:
            return False
        thread = threading.Thread(target=self._run, name="clippy-diag", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self.refused = str(error)
            return False
        self._thread = thread
        return True

    def do(self, job: Callable[[], None], size: int, failed: Callable[[BaseException], None]) -> None:
        """Does `job` after those before it. When one fails, `failed` is called."""
        if not self.ready():
            try:
                job()
            except Exception as error:
                with contextlib.suppress(Exception):
                    failed(error)
            return
        with self._lock:
            self.waiting += size
        self._jobs.put((job, size, failed))

    def _run(self) -> None:
        while True:
            task = self._jobs.get()
            if task is None:
                self._jobs.task_done()
                return
            job, size, failed = task
            try:
                job()
            except Exception as error:  # the loop must not see it
                with contextlib.suppress(Exception):
                    failed(error)
            finally:
                with self._lock:
                    self.waiting -= size
                self._jobs.task_done()

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return bool(self._jobs.unfinished_tasks) and threading.current_thread() is not self._thread

    def wait(self, seconds: float) -> bool:
        """Waits until everything is done, at most so long; returns whether it is."""
        end = time.monotonic() + seconds
        with self._jobs.all_tasks_done:
            while self._jobs.unfinished_tasks:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._jobs.all_tasks_done.wait(left)
        return True

    def finish(self) -> None:
        """Waits for everything and ends the thread."""
        if self._thread is not None and self._thread.is_alive():
            self._jobs.put(None)
            self._jobs.join()

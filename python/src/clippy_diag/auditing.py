"""`audit` and `assert_clean`: what `clippy-diag audit` says of a capture, in Python. The command line computes it.

from clippy_diag import assert_clean

def test_training_step(tmp_path):
    train_twenty_steps(record_to=tmp_path / "capture")
    assert_clean(tmp_path / "capture")
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from .cli import node, program
from .messages import describe, tell

if TYPE_CHECKING:
    from .captures import Capture

#: Exit codes of the command line with which it has an audit to tell: 0 holds, 1 broken, 4 nothing to check.
_ANSWERS = (0, 1, 4)


class AuditFailed(AssertionError):
    """A link of the training step is broken; `audit` holds what was found."""

    def __init__(self, message: str, audit: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.audit = audit


def audit(
    capture: str | Path,
    *,
    optimizer: Any = None,
    model: Any = None,
    loss_fn: Callable[[Any, Any], Any] | None = None,
    expected_changes: Iterable[str] = (),
    command: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Audits a capture: `{"links": [{"link", "outcome", "cause", "factor", "statement", "fix", …}], "checks", "broken"}`, as docs/audit.md
    has it. Numbers that JSON lacks are text ("NaN", "Infinity").

    capture    a folder that a recorder wrote
    optimizer  for steps that the command line has no formula of: the class is run on the recorded gradients, from the recorded state.
               PyTorch: a class or a function of parameter groups, or a list of them, one for each optimizer; Keras: a class, or a
               function without arguments that makes the optimizer; JAX: a function of the learning rate that makes the chain without
               its clipping, such as `lambda rate: optax.lion(rate)`. Nothing is run that is not given here
    model      the model, built as it was trained; in JAX a tree like the trained parameters. With it and `loss_fn` the loss and the
               gradient of each step whose weights were recorded are computed again from its batch, and stored in the capture for
               `clippy-diag audit`. The model is as before afterwards
    loss_fn    (model, batch) -> loss, a scalar, with the batch as it was given to `record`; under accumulation the mean over its
               micro-batches
    expected_changes   options of the optimizer that the training changes on purpose, apart from the learning rate, such as
               "weight_decay". Stored in the capture for `clippy-diag audit`
    command    how the command line is called, such as `["npx", "clippy-diag"]`; left out, the one of this package under Node, else the
               `clippy-diag` on PATH

    Raises FileNotFoundError where there is no command line, ValueError with its message where it cannot read the capture.
    """
    if (model is None) != (loss_fn is None):
        raise TypeError("clippy-diag: an audit with a model needs both: model=… and loss_fn=…")
    if model is not None:
        _remeasured(capture, model, loss_fn)
    _expect(capture, list(expected_changes))
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
    return found if optimizer is None else _merged(found, _stepped(capture, optimizer))


def _part_of(capture: Capture, module: str) -> Any:
    """The module of the framework that a capture was recorded in. Frameworks are imported where they are used."""
    framework = str(capture.manifest.get("framework", ""))
    folder = "torch" if framework.startswith("pytorch") else "jax" if framework.startswith("jax") else "keras"
    return importlib.import_module(f".{folder}.{module}", __package__)


def _expect(capture: str | Path, names: list[str]) -> None:
    """Stores which options a training changes on purpose."""
    if not names:
        return
    from .captures import MANIFEST, open_capture, write_json

    folder, manifest = open_capture(capture)
    known = manifest.get("expectedChanges", [])
    write_json(folder / MANIFEST, {**manifest, "expectedChanges": sorted({*known, *names})})


def _remeasured(capture: str | Path, model: Any, loss_fn: Any) -> None:
    """Measures loss and gradients again and stores them in the capture."""
    from .captures import open_capture
    from .remeasuring import remeasure

    opened = open_capture(capture)
    with _part_of(opened, "remeasuring").remeasurer_of(opened, model, loss_fn) as again:
        remeasure(opened, again)


def remeasured_too(capture: str | Path, model: Any, loss_fn: Any) -> None:
    """What `audit(model=…)` measures, for closed loops, which have model and loss at hand. Never raises: of what cannot be measured
    the audit says that it was not computed again."""
    try:
        _remeasured(capture, model, loss_fn)
    except NotImplementedError:
        return
    except Exception as error:
        tell(f"clippy-diag: loss and gradients were not computed again for the audit: {describe(error)}")


def _stepped(capture: str | Path, optimizer: Any) -> list[dict[str, Any]]:
    """The links that a run of the optimizer's own class checks. Numpy is imported where it is used."""
    from .captures import open_capture
    from .stepping import Stepped, link

    opened = open_capture(capture)
    make = _part_of(opened, "stepping").steppers_of(opened, optimizer)
    name = opened.manifest["optimizer"]["name"]
    try:
        return Stepped(opened, make, name).links()
    except Exception as error:  # whatever the class that was given raises
        told = f"{name} could not be run on the recorded steps ({describe(error)})"
        return [link("optimizer", "cannot-tell", told, wouldTell="optimizer= that makes the recorded optimizer")]


#: In the order of the chain, as docs/audit.md has it.
_LINKS = (
    "batch",
    "mode",
    "loss",
    "gradient",
    "accumulation",
    "unscale",
    "clip",
    "optimizer",
    "weights",
    "between",
    "ranks",
)


def _merged(audit: dict[str, Any], links: list[dict[str, Any]]) -> dict[str, Any]:
    """An audit in which `links` replace those that the command line could not tell, the broken ones first."""
    checked = {one["link"] for one in links}
    kept = [one for one in audit["links"] if one["outcome"] != "cannot-tell" or one["link"] not in checked]
    first = next((one for one in kept if one["outcome"] == "broken"), None)
    known = next((one for one in links if one["outcome"] == "broken" and one["cause"] != "unknown"), None)
    for one in links:
        if one["cause"] == "unknown" and first is not None:
            one["follows"] = first["id"]
    for one in kept:
        # What moves the weights otherwise than the step breaks the checksums between two steps too.
        if one["cause"] == "weights-replaced" and known is not None:
            one["follows"] = known["id"]
    every = sorted([*kept, *links], key=lambda one: (one["outcome"] != "broken", _LINKS.index(one["link"])))
    return {"links": every, **{name: sum(one[name] for one in every) for name in ("checks", "broken")}}


def assert_clean(
    capture: str | Path,
    *,
    optimizer: Any = None,
    model: Any = None,
    loss_fn: Callable[[Any, Any], Any] | None = None,
    expected_changes: Iterable[str] = (),
    allow: Iterable[str] = (),
    needs: Iterable[str] = ("optimizer",),
    command: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Raises `AuditFailed`, an AssertionError, where a link is broken, or one of `needs` could not be checked; returns the audit.

    allow      causes that are meant, such as "repeated-batch" in a test that one batch can be learnt
    needs      links that have to hold; a capture in which they cannot be checked proves nothing. With a model loss and gradient
               are needed too
    others     as of `audit`
    """
    found = audit(
        capture, optimizer=optimizer, model=model, loss_fn=loss_fn, expected_changes=expected_changes, command=command
    )
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
    for name in (*needs, *(() if model is None else ("loss", "gradient"))):
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

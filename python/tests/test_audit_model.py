"""`audit(capture, model=…, loss_fn=…)`: the recorded gradient is that of the loss on the recorded batch, or what else it is."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clippy_diag import AuditFailed, assert_clean, audit

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
built = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")
COMMAND = [NODE or "node", str(ROOT / "bin" / "run.js")]
torch = pytest.importorskip("torch", reason="no torch in this environment")


def _model(embeds: bool = False) -> Any:
    torch.manual_seed(0)
    net = [
        torch.nn.Linear(12, 24),
        torch.nn.BatchNorm1d(24),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(24, 4),
    ]
    return (
        torch.nn.Sequential(torch.nn.Embedding(30, 4, sparse=True), torch.nn.Flatten(), *net)
        if embeds
        else torch.nn.Sequential(*net)
    )


def _loss(model: Any, batch: Any) -> Any:
    """As the loop computes it; of micro-batches the mean."""
    parts = batch if isinstance(batch, list) else [batch]
    return sum(torch.nn.functional.cross_entropy(model(x), y) for x, y in parts) / len(parts)


def _train(folder: Path, fault: str = "", *, embeds: bool = False, micro: int = 1, narrow: bool = False) -> Any:
    """13 recorded steps, the weights of every third; returns a model of the same kind with other weights."""
    from clippy_diag.torch import Recorder

    model = _model(embeds)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    recorder = Recorder(model, optimizer, folder, snapshot_every_steps=3, steps_after=12)
    recorder.capture()
    draw = torch.Generator().manual_seed(1)
    before = None
    for step in range(15):
        parts = []
        for _ in range(micro):
            x = torch.randint(30, (32, 3), generator=draw) if embeds else torch.randn(32, 12, generator=draw)
            parts.append((x, torch.randint(4, (32,), generator=draw)))
        batch = parts if micro > 1 else parts[0]
        if fault != "no-zero-grad":
            optimizer.zero_grad()
        if fault == "evaluated" or (fault == "stays-evaluated" and step == 7):
            model.eval()
        if fault == "eval-mode":
            model.train()
            recorder.mark_random_state()
            model.eval()
        with torch.autocast("cpu", torch.bfloat16) if narrow else contextlib.nullcontext():
            loss = _loss(model, before if fault == "batch-before" and before is not None else batch)
        (loss * micro if fault == "not-divided" else loss).backward()
        if fault == "detached":
            model[0].weight.grad.mul_(0.9)
        if fault == "eval-mode":
            model.train()
        recorder.record(step, loss * 32 if fault == "summed" else loss, batch=batch)
        optimizer.step()
        before = batch
    recorder.close()
    return _model(embeds)


def _links(folder: Path, model: Any) -> dict[str, Any]:
    return {link["link"]: link for link in audit(folder, model=model, loss_fn=_loss, command=COMMAND)["links"]}


@built
@pytest.mark.parametrize("how", [{}, {"embeds": True}, {"micro": 4}, {"narrow": True}])
def test_a_healthy_training_holds(tmp_path: Path, how: dict[str, Any]) -> None:
    model = _train(tmp_path / "capture", **how)
    before = [p.detach().clone() for p in model.parameters()]
    found = assert_clean(tmp_path / "capture", model=model, loss_fn=_loss, command=COMMAND)
    outcomes = {link["link"]: link for link in found["links"]}
    assert [outcomes[name]["outcome"] for name in ("loss", "gradient", "accumulation", "mode")] == ["holds"] * 4
    assert outcomes["loss"]["checks"] == 5
    assert all(torch.equal(a, p) for a, p in zip(before, model.parameters()))
    stored = json.loads((tmp_path / "capture" / "capture.json").read_text("utf8"))["remeasured"]
    assert [one["step"] for one in stored] == [one["step"] for one in stored if one["gradient"]["repeats"] == 0]


@built
@pytest.mark.parametrize(
    ("fault", "link", "cause", "factor"),
    [
        ("not-divided", "accumulation", "not-divided", 4.0),
        ("no-zero-grad", "gradient", "no-zero-grad", None),
        ("summed", "loss", "loss-changed", 32.0),
        ("batch-before", "loss", "loss-changed", None),
        ("eval-mode", "mode", "eval-mode", None),
        ("detached", "gradient", "gradient-not-of-loss", None),
    ],
)
def test_a_fault_is_named(tmp_path: Path, fault: str, link: str, cause: str, factor: float | None) -> None:
    model = _train(tmp_path / "capture", fault, micro=4 if fault == "not-divided" else 1)
    with pytest.raises(AuditFailed) as failed:
        assert_clean(tmp_path / "capture", model=model, loss_fn=_loss, command=COMMAND)
    broken = [one for one in failed.value.audit["links"] if one["outcome"] == "broken" and one["follows"] is None]
    assert [(one["link"], one["cause"]) for one in broken] == [(link, cause)]
    assert broken[0]["factor"] == (None if factor is None else pytest.approx(factor, rel=1e-3))
    if cause == "gradient-not-of-loss":
        assert broken[0]["tensor"] == "0.weight"


@built
def test_a_mode_that_was_recorded_is_no_other_loss(tmp_path: Path) -> None:
    model = _train(tmp_path / "capture", "stays-evaluated")
    links = _links(tmp_path / "capture", model)
    assert [name for name, link in links.items() if link["outcome"] == "broken"] == ["mode"]
    assert links["mode"]["step"] == 7
    # What BatchNorm reads in evaluation mode is known before the first step alone.
    stored = json.loads((tmp_path / "capture" / "capture.json").read_text("utf8"))["remeasured"]
    assert max(one["step"] for one in stored) < 7


@built
def test_steps_that_are_all_in_evaluation_mode_are_measured_in_it(tmp_path: Path) -> None:
    model = _train(tmp_path / "capture", "evaluated")
    links = _links(tmp_path / "capture", model)
    assert [name for name, link in links.items() if link["outcome"] == "broken"] == ["mode"]
    assert links["loss"]["checks"] == 5


@built
def test_another_loss_is_told_of_and_other_random_numbers_are_not_called_so(tmp_path: Path) -> None:
    model = _train(tmp_path / "capture")
    model[3].p = 0.5
    assert [_links(tmp_path / "capture", model)[name]["outcome"] for name in ("loss", "gradient")] == [
        "cannot-tell"
    ] * 2
    model[3].p = 0.2
    model[2] = torch.nn.Tanh()
    found = audit(tmp_path / "capture", model=model, loss_fn=lambda m, b: _loss(m, b) + 9, command=COMMAND)
    assert [link["cause"] for link in found["links"] if link["outcome"] == "broken"][0] == "loss-changed"


@built
def test_a_loss_that_draws_numbers_of_its_own_proves_nothing(tmp_path: Path) -> None:
    model = _train(tmp_path / "capture")
    elsewhere = torch.Generator().manual_seed(3)

    def noisy(model: Any, batch: Any) -> Any:
        x, y = batch
        return torch.nn.functional.cross_entropy(model(x + torch.randn(x.shape, generator=elsewhere)), y)

    found = audit(tmp_path / "capture", model=model, loss_fn=noisy, command=COMMAND)
    links = {one["link"]: one for one in found["links"]}
    assert links["loss"]["outcome"] == "cannot-tell"
    assert found["broken"] == 0


def test_a_model_needs_its_loss(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="loss_fn"):
        audit(tmp_path, model=object(), command=["false"])

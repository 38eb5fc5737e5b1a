"""`audit` and `assert_clean` against the command line of the checkout, where it is built."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from clippy_diag import AuditFailed, assert_clean, audit

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "bin" / "run.js"
NODE = shutil.which("node")
built = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")
COMMAND = [NODE or "node", str(PROGRAM)]
HEALTHY = ROOT / "fixtures" / "captures" / "seed-2"


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """A capture of which the learning rate was another than it says."""
    folder = tmp_path / "capture"
    shutil.copytree(HEALTHY, folder)
    manifest = json.loads((folder / "capture.json").read_text("utf8"))
    for step in manifest["steps"]:
        step["learningRate"] *= 2
    (folder / "capture.json").write_text(json.dumps(manifest), "utf8")
    return folder


@built
def test_a_clean_capture_passes_and_is_told() -> None:
    found = assert_clean(HEALTHY, command=COMMAND)
    assert found["broken"] == 0
    assert {link["link"]: link["outcome"] for link in found["links"]}["optimizer"] == "holds"


@built
def test_a_fault_fails_with_its_statement(doubled: Path) -> None:
    with pytest.raises(AuditFailed, match="0.5") as failed:
        assert_clean(doubled, command=COMMAND)
    broken = [link for link in failed.value.audit["links"] if link["outcome"] == "broken"]
    assert [link["cause"] for link in broken] == ["rate-factor"]
    assert abs(broken[0]["factor"] - 0.5) < 0.005
    # Adagrad forgets no scale: the cause is the rate, and a test may say that it is meant.
    assert_clean(doubled, command=COMMAND, allow=["rate-factor"], needs=[])


@built
def test_what_is_no_capture_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no capture\.json"):
        audit(tmp_path, command=COMMAND)


def _trained(
    folder: Path,
    make: Any,
    *,
    norm: float = 1.0,
    decay: float = 1.0,
    fresh: int | None = None,
    times: float = 1.0,
    cut: int | None = None,
) -> None:
    """84 steps of a small net that are clipped to 0.3; the last 24 are recorded. `norm` multiplies the norm that the clip sees, `times`
    each step, after it; from step `cut` on no gradient reaches the first layer."""
    torch = pytest.importorskip("torch", reason="no torch in this environment")
    from clippy_diag.torch import Recorder

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 48), torch.nn.Tanh(), torch.nn.Linear(48, 8))
    made = make(torch.optim, model)
    optimizers = made if isinstance(made, list) else [made]
    if decay != 1:
        # Before and after the step itself, where the recorder does not see it.
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(lambda o, *_: o.param_groups[0].update(weight_decay=0.1 * decay))
            optimizer.register_step_post_hook(lambda o, *_: o.param_groups[0].update(weight_decay=0.1))
    recorder = Recorder(model, made, folder, clipping="global-norm:0.3", snapshot_every_steps=6, steps_after=20)
    draw = torch.Generator().manual_seed(1)
    table = torch.randn(20, 8, generator=draw)
    for step in range(84):
        if step == 60:
            recorder.capture()
        for optimizer in optimizers:
            optimizer.zero_grad()
        x = torch.randn(32, 20, generator=draw)
        hidden = model[:2](x)
        output = model[2](hidden if cut is None or step < cut else hidden.detach())
        loss = torch.nn.functional.cross_entropy(output, (x @ table).argmax(1))
        loss.backward()
        recorder.record(step, loss, batch=x)
        parameters = [p for p in model.parameters() if p.grad is not None]
        total = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        torch.nn.utils.clip_grads_with_norm_(parameters, 0.3, total * norm)
        for optimizer in optimizers:
            if step == fresh:
                optimizer.state.clear()
            before = [p.detach().clone() for p in parameters]
            optimizer.step()
            if times != 1:
                with torch.no_grad():
                    for p, old in zip(parameters, before):
                        p.copy_(old + times * (p - old))
    recorder.close()


def _two(optim: Any, model: Any) -> list[Any]:
    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    return [optim.Muon(matrices, lr=2e-2, weight_decay=0.1), optim.AdamW(others, lr=1e-3, weight_decay=0.1)]


def _one(kind: str) -> Any:
    return lambda optim, model: getattr(optim, kind)(model.parameters(), lr=1e-2, weight_decay=0.1)


@built
@pytest.mark.parametrize("kind", ["Adafactor", "NAdam", "Muon"])
def test_a_class_is_run_on_the_recorded_steps(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch", reason="no torch in this environment")
    if not hasattr(torch.optim, kind):
        pytest.skip(f"this torch has no {kind}")
    _trained(tmp_path / "capture", _two if kind == "Muon" else _one(kind))
    own = getattr(torch.optim, kind)
    classes = [own, torch.optim.AdamW] if kind == "Muon" else own
    unnamed = {link["link"]: link for link in audit(tmp_path / "capture", command=COMMAND)["links"]}
    assert unnamed["optimizer"]["outcome"] == "cannot-tell"
    assert f"optimizer={kind})" in unnamed["optimizer"]["wouldTell"]
    found = assert_clean(tmp_path / "capture", optimizer=classes, command=COMMAND)
    outcomes = {link["link"]: link["outcome"] for link in found["links"]}
    assert [outcomes[name] for name in ("clip", "optimizer", "weights", "between")] == ["holds"] * 4


@built
@pytest.mark.parametrize(
    ("fault", "cause", "link", "factor"),
    [
        ({"norm": 0.5}, "clip-norm-factor", "clip", 0.5),
        ({"norm": 1e-6}, "clip-inactive", "clip", None),
        ({"decay": 4.0}, "decay-factor", "optimizer", 4.0),
        ({"fresh": 70}, "state-fresh", "optimizer", None),
    ],
)
def test_a_fault_under_a_class_without_a_formula(
    tmp_path: Path, fault: dict[str, Any], cause: str, link: str, factor: float | None
) -> None:
    torch = pytest.importorskip("torch", reason="no torch in this environment")
    _trained(tmp_path / "capture", _one("NAdam"), **fault)
    with pytest.raises(AuditFailed) as failed:
        assert_clean(tmp_path / "capture", optimizer=torch.optim.NAdam, command=COMMAND)
    first = failed.value.audit["links"][0]
    assert [first["cause"], first["link"], first["outcome"]] == [cause, link, "broken"]
    assert first["factor"] is None if factor is None else abs(first["factor"] / factor - 1) < 0.01
    if cause == "state-fresh":
        assert first["step"] is not None


def _signs(torch: Any) -> Any:
    """An optimizer that takes the sign of a mean, as Lion does: rounding decides the sign of a few entries."""

    class Signs(torch.optim.Optimizer):  # type: ignore[misc]
        def __init__(self, params: Any, lr: float = 1e-3) -> None:
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    mean.lerp_(p.grad, 0.1)
                    p.sub_(mean.sign(), alpha=group["lr"])

    return Signs


def _follows(torch: Any) -> Any:
    """One whose state follows the weights, as that of schedule-free optimizers: what moves the weights afterwards is no rate."""

    class Follows(torch.optim.Optimizer):  # type: ignore[misc]
        def __init__(self, params: Any, lr: float = 1e-2) -> None:
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    z = self.state[p].setdefault("z", p.clone())
                    z.sub_(p.grad, alpha=group["lr"])
                    p.lerp_(z, 0.3)

    return Follows


@built
@pytest.mark.parametrize("make", [_signs, _follows])
@pytest.mark.parametrize("times", [1.0, 2.0])
def test_steps_of_another_size_have_their_factor(tmp_path: Path, make: Any, times: float) -> None:
    torch = pytest.importorskip("torch", reason="no torch in this environment")
    own = make(torch)
    _trained(tmp_path / "capture", lambda _, model: own(model.parameters()), times=times)
    found = audit(tmp_path / "capture", optimizer=own, command=COMMAND)["links"]
    first = next(link for link in found if link["link"] == "optimizer")
    assert [first["cause"], first["outcome"]] == ([None, "holds"] if times == 1 else ["rate-factor", "broken"])
    assert times == 1 or abs(first["factor"] / times - 1) < 0.01


def test_a_factor_leaves_out_the_entries_of_which_rounding_decides() -> None:
    np = pytest.importorskip("numpy")
    from clippy_diag.stepping import _nearest

    slope = np.random.default_rng(0).choice([-1e-3, 1e-3], 500)
    off = 0.7 * slope
    off[:9] *= -1
    assert _nearest(slope, off) == pytest.approx(0.7)


@built
@pytest.mark.parametrize("cut", [70, None])
def test_a_graph_that_is_cut_later_on_is_told(tmp_path: Path, cut: int | None) -> None:
    _trained(tmp_path / "capture", lambda optim, model: optim.SGD(model.parameters(), lr=1e-2), cut=cut)
    told = [
        link
        for link in audit(tmp_path / "capture", command=COMMAND)["links"]
        if link["cause"] in ("detached", "unknown")
    ]
    assert [(link["cause"], link["step"], link["tensor"]) for link in told] == (
        [] if cut is None else [("detached", 70, "0.weight")]
    )


@built
def test_another_class_than_the_recorded_one_is_not_clean(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="no torch in this environment")
    _trained(tmp_path / "capture", _one("NAdam"))
    found = audit(tmp_path / "capture", optimizer=lambda groups: torch.optim.SGD(groups), command=COMMAND)
    assert {link["link"]: link["outcome"] for link in found["links"]}["optimizer"] != "holds"


def test_a_link_that_was_not_checked_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = {"link": "optimizer", "outcome": "cannot-tell", "cause": None, "follows": None}
    link |= {"statement": "no snapshot", "wouldTell": "more steps"}
    answer = json.dumps({"schemaVersion": "3.0", "audit": {"links": [link], "checks": 0, "broken": 0}})
    fake = tmp_path / "fake.py"
    fake.write_text(f"print({answer!r})", "utf8")
    with pytest.raises(AuditFailed, match="no snapshot; would tell: more steps"):
        assert_clean(tmp_path, command=[sys.executable, str(fake)])

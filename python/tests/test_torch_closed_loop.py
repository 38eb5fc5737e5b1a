"""Closed loops in the user's own PyTorch model: the recorded run comes back exactly, or nothing is stored."""

import copy
import itertools
import json
import shutil
import types

import numpy as np
import pytest

from conftest import check_guard_at_surge

torch = pytest.importorskip("torch", reason="no torch in this environment")

from clippy_diag import loops  # noqa: E402
from clippy_diag.torch import ClosedLoopMismatch, Recorder, closed_loop  # noqa: E402

torch.set_num_threads(1)
CLIP = {"rule": "global-norm", "maxNorm": 1.0}


def build():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 1)
    )


def loss_fn(model, batch):
    return ((model(batch["x"])[:, 0] - batch["y"]) ** 2).mean()


def batch_at(step, bad=range(0)):
    g = torch.Generator().manual_seed(step)
    x, y = torch.randn(32, 4, generator=g), torch.randn(32, generator=g) * 0.1 + 1
    return {"x": x, "y": y * 50 if step in bad else y}


def record(
    folder,
    make,
    steps=75,
    bad=range(60, 64),
    clip=CLIP,
    said=CLIP,
    model=None,
    fn=loss_fn,
    rate=None,
    write=None,
    **options,
):
    """Trains through a surge of bad labels; returns the losses from the first step on."""
    model = model or build()
    optimizer = make(model)
    recorder = Recorder(
        model, optimizer, folder, **{"snapshot_every_steps": 5, "steps_after": 12, "clipping": said, **options}
    )
    torch.manual_seed(5)
    losses = []
    for step in range(steps):
        batch = batch_at(step, bad)
        if rate:
            optimizer.param_groups[0]["lr"] = rate(step)
        if write:
            optimizer.param_groups[0].update(write(step))
        torch.rand(3)  # what a data loader draws between two steps
        optimizer.zero_grad()
        loss = fn(model, batch)
        loss.backward()
        recorder.record(step, loss, batch=batch)
        losses.append(loss.item())
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip["maxNorm"])
        optimizer.step()
    recorder.close()
    return losses


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=1e-3)


class Lookahead(torch.optim.Adam):
    """An optimizer that no formula describes: Adam that takes half of each step back."""

    def step(self, closure=None):
        before = [p.detach().clone() for g in self.param_groups for p in g["params"]]
        super().step(closure)
        with torch.no_grad():
            for p, b in zip((p for g in self.param_groups for p in g["params"]), before):
                p.copy_((p + b) / 2)


class CountsInGroup(torch.optim.SGD):
    """Keeps a count and a tensor in its groups and lists of tensors in its state, as schedule-free, Prodigy and SOAP do."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group.update(k=0, d=torch.tensor(0.5))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] += 1
            group["d"].mul_(0.99)
            rate = group["lr"] * group["d"].to(torch.float32) / group["k"] ** 0.1
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["means"] = [torch.zeros_like(p), None, {"rows": torch.zeros(p.shape[0])}]
                state["means"][0].mul_(0.9).add_(p.grad)
                state["means"][2]["rows"].add_(p.grad.reshape(p.shape[0], -1).sum(1))
                p.sub_(rate.item() * state["means"][0])


MAKERS = {
    "adam": adam,
    "counts-in-group": lambda m: CountsInGroup(m.parameters()),
    "sgd-nesterov": lambda m: torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9, nesterov=True),
    "adamw-groups": lambda m: torch.optim.AdamW(
        [{"params": m[0].parameters(), "lr": 2e-3}, {"params": m[1:].parameters()}]
    ),
    "nadam": lambda m: torch.optim.NAdam(m.parameters()),
    "adafactor": lambda m: torch.optim.Adafactor(m.parameters()),
    "own": lambda m: Lookahead(m.parameters(), lr=1e-3),
}


def schedule_free(model):
    optimizer = pytest.importorskip("schedulefree").AdamWScheduleFree(model.parameters(), lr=1e-3)
    optimizer.train()
    return optimizer


def muon(model):
    """Matrices under Muon and the rest under AdamW, in one optimizer."""
    kinds = [(p.ndim >= 2, p) for p in model.parameters()]
    groups = [{"params": [p for matrix, p in kinds if matrix is at], "use_muon": at} for at in (True, False)]
    return pytest.importorskip("pytorch_optimizer").Muon(groups, lr=1e-3)


def public(module, kind, rate=1e-3, **options):
    """Makes an optimizer of a package that this environment may lack."""
    return lambda model: getattr(pytest.importorskip(module), kind)(model.parameters(), lr=rate, **options)


#: Optimizers of other packages, which CI does not install: versions that were tried are in docs/recorders.md.
PUBLIC = {
    "schedule-free": schedule_free,
    "prodigy": public("prodigyopt", "Prodigy", 1.0),
    "soap": public("pytorch_optimizer", "SOAP"),
    "shampoo": public("pytorch_optimizer", "Shampoo"),
    "lion": public("pytorch_optimizer", "Lion", 1e-4),
    "muon": muon,
    "transformers-adafactor": public(
        "transformers.optimization", "Adafactor", scale_parameter=False, relative_step=False
    ),
    "8-bit-adam": public("bitsandbytes.optim", "Adam8bit", min_8bit_size=0),
}


@pytest.mark.parametrize("name", [*MAKERS, *PUBLIC])
def test_the_recorded_run_comes_back_through_batchnorm_dropout_and_clipping(tmp_path, name):
    if name == "adafactor" and not hasattr(torch.optim, "Adafactor"):
        pytest.skip("torch has no Adafactor")
    losses = record(tmp_path / "capture", {**MAKERS, **PUBLIC}[name])
    model = build()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)  # what the model is now does not matter
    # Momentum overshoots once before the surge, which is captured too: the last capture is of the surge.
    capture = max(tmp_path.glob("capture*"))
    result = closed_loop(capture, model, loss_fn, rules=["none", "global-norm:1"], arms=None)
    none, clipped = result["replay"]
    first = clipped["steps"][0]
    # Prodigy's losses were seen to differ by 1.4e-6, those of the others by 2e-7.
    close = 1e-5 if name == "prodigy" else 1e-6
    np.testing.assert_allclose(clipped["loss"], losses[first : first + len(clipped["loss"])], rtol=close)
    assert none["loss"][0] == clipped["loss"][0] and none["loss"] != clipped["loss"]
    assert result["baseline"]["worstDifference"] <= 1e-6
    stored = json.loads((capture / "capture.json").read_text())["replay"]
    assert [entry["label"] for entry in stored] == ["none", "global-norm:1"]
    # The recorded clipping, from what the optimizer was given: its factor is that of clip_grad_norm_.
    assert min(clipped["minClipFactor"]) < 0.2


@pytest.mark.parametrize(
    "name, write",
    [
        # As OneCycleLR does it, and a decay that code writes.
        ("adam", lambda step: {"betas": (0.85 + 0.1 * abs((step % 20) / 10 - 1), 0.999)}),
        ("sgd-nesterov", lambda step: {"momentum": 0.9 if step % 8 < 4 else 0.8}),
        ("sgd-nesterov", lambda step: {"weight_decay": 0.0 if step < 58 else 3.0}),
    ],
)
def test_options_that_are_written_while_recorded_are_those_of_each_step(tmp_path, name, write):
    losses = record(tmp_path / "capture", MAKERS[name], write=write)
    capture = max(tmp_path.glob("capture*"))
    clipped = closed_loop(capture, build(), loss_fn, rules=["none", "global-norm:1"], arms=None)["replay"][1]
    first = clipped["steps"][0]
    np.testing.assert_allclose(clipped["loss"], losses[first : first + len(clipped["loss"])], rtol=1e-6)


def test_an_optimizer_whose_state_is_in_objects_of_its_own_is_refused_by_name(tmp_path):
    record(tmp_path / "capture", public("pytorch_optimizer", "ScalableShampoo"))
    with pytest.raises(ClosedLoopMismatch, match="ScalableShampoo failed .*cannot be run again"):
        closed_loop(max(tmp_path.glob("capture*")), build(), loss_fn)


def test_everything_is_as_before_afterwards(tmp_path):
    record(tmp_path / "capture", adam)
    model = build()
    model[1].eval()
    loss_fn(model, batch_at(0)).backward()
    state, gradients = copy.deepcopy(model.state_dict()), [p.grad.clone() for p in model.parameters()]
    random = torch.get_rng_state()
    closed_loop(tmp_path / "capture", model, loss_fn)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients))
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == [True, True, False, True, True, True]


def test_arms_change_one_thing_each(tmp_path):
    losses = record(tmp_path / "capture", adam, rate=lambda step: 1e-3 if step < 58 else 0.3)
    result = closed_loop(tmp_path / "capture", build(), loss_fn, rules=["none"])
    arms = {json.dumps(entry["arm"]): entry for entry in result["replay"] if "arm" in entry}
    kinds = [json.loads(arm)["kind"] for arm in arms]
    rates = ["learning-rate"] * 3
    assert kinds == ["skip-batches", *rates, "restore-optimizer-state", "guard"]
    assert result["onsetStep"] in (59, 60)
    skip = next(entry for entry in arms.values() if entry["arm"]["kind"] == "skip-batches")
    assert skip["arm"]["steps"] == [60, 61, 62, 63]
    place = skip["steps"].index(60)
    assert skip["loss"][: place + 1] == pytest.approx(losses[skip["steps"][0] : 61], rel=1e-5)
    assert skip["updateNorm"][place : place + 4] == [0, 0, 0, 0]
    before = arms['{"kind": "learning-rate", "of": "before", "learningRate": 0.001}']
    assert before["referenceLoss"][-1] < skip["referenceLoss"][-1]
    earlier = [step for step in result["references"] if step < 60]
    after = [step for step in result["references"] if step >= 60]
    assert len(earlier) == 3 and set(earlier) <= set(range(50, 60))
    assert len(after) == 4 and min(after) >= 64  # not the unlike ones
    assert before["referenceLoss"][0] == pytest.approx(
        np.mean([closed_loop_reference(tmp_path / "capture", step) for step in result["references"]]), rel=1e-5
    )


@pytest.mark.parametrize("seconds, told", [(3.0, True), (0.0, False)])
def test_loops_that_take_long_say_how_far_they_are(tmp_path, monkeypatch, capsys, seconds, told):
    record(tmp_path / "capture", adam)
    clock = itertools.count(0.0, seconds)
    monkeypatch.setattr(loops, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    capsys.readouterr()
    result = closed_loop(tmp_path / "capture", build(), loss_fn, rules=["none", "agc:0.01"])
    lines = capsys.readouterr().err.splitlines()
    count = len(result["replay"])
    assert count > 4
    if not told:
        assert lines == []
        return
    # The clock goes on by three seconds each time that it is read: when progress begins, and before each loop.
    left = [3 * (k + 1) / k * (count - k) for k in range(1, count)]
    assert [line.split("about ")[1] for line in lines[1:]] == [f"{seconds:.0f} s left" for seconds in left]
    assert lines[0].startswith(f"clippy-diag: closed loop 1 of {count} (none), about ")
    assert lines[-1].startswith(f"clippy-diag: closed loop {count} of {count} (guard), about ")


def test_batches_that_stay_unlike_have_earlier_ones_in_their_place(tmp_path):
    folder = tmp_path / "capture"
    losses = record(folder, adam, steps=90, bad=range(60, 90), steps_after=24)
    result = closed_loop(folder, build(), loss_fn, rules=["none"])
    (arm,) = [entry for entry in result["replay"] if entry.get("arm", {}).get("kind") == "earlier-batches"]
    assert not any(entry.get("arm", {}).get("kind") == "skip-batches" for entry in result["replay"])
    first, unlike = arm["steps"][0], arm["arm"]["steps"]
    assert unlike == [step for step in arm["steps"] if step >= 60] and len(unlike) >= 20
    place = arm["steps"].index(60)
    assert arm["loss"][:place] == pytest.approx(losses[first:60], rel=1e-5)
    # Trained on at the rate of its own steps, on what came before: nothing is left out and nothing is raised.
    assert min(arm["updateNorm"]) > 0 and max(arm["loss"][place:]) < 2 * max(arm["loss"][:place])
    assert arm["referenceLoss"][-1] < 1.25 * arm["referenceLoss"][place] < losses[60]


def closed_loop_reference(folder, step):
    """The loss of a step's batch at the capture's first state, written without the package's own closed loop."""
    from conftest import Read

    capture = Read(folder)
    model = build()
    state = {
        name.split("/", 1)[1]: torch.from_numpy(array.copy())
        for name, (_, array) in capture.initial.items()
        if name.startswith(("param/", "buffer/"))
    }
    model.load_state_dict(state)
    torch.set_rng_state(torch.from_numpy(capture.steps[step]["rng/cpu"][1].copy()))
    batch = {name: torch.from_numpy(capture.steps[step][f"batch/{name}"][1].copy()) for name in ("x", "y")}
    return loss_fn(model, batch).item()


def unclipped_said(folder):
    record(folder, adam, said=None)
    return build(), loss_fn, "the losses before it come back, so it is the step: the clipping \\(recorded: none;"


def another_loss(folder):
    record(folder, adam)
    return build(), lambda model, batch: 1.01 * loss_fn(model, batch), "the first loss differs"


def frozen_differs(folder):
    model = build()
    model[0].requires_grad_(False)
    record(folder, lambda m: torch.optim.Adam([p for p in m.parameters() if p.requires_grad], lr=1e-3), model=model)
    other = build()
    torch.nn.init.zeros_(other[0].weight)
    return other, loss_fn, "frozen parameters"


def evaluating(folder):
    record(folder, adam)

    def fn(model, batch):
        model[3].eval()
        return loss_fn(model, batch)

    return build(), fn, "3 runs in evaluation mode and was recorded in training mode"


def another_type(folder):
    record(folder, adam, model=build().bfloat16(), fn=in_the_models_type)
    return build(), in_the_models_type, "0.weight was bfloat16 and is float32 in this model"


def autocast_of_a_loss(folder):
    record(folder, adam)

    def fn(model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss_fn(model, batch)

    return build(), fn, "runs the model under autocast to bfloat16 on cpu, and no autocast was recorded"


def autocast_switched_off(folder):
    record(folder, adam, fn=under_autocast)

    def fn(model, batch):
        with torch.autocast("cpu", enabled=False):
            return loss_fn(model, batch)

    return build(), fn, "runs the model without, and autocast to bfloat16 on cpu was recorded"


def a_sum(folder):
    record(folder, adam)
    return build(), lambda model, batch: 32 * loss_fn(model, batch), "the recorded loss is 1/32 of that of loss_fn"


def draws_of_its_own(folder):
    record(folder, adam)
    random = np.random.default_rng()
    return build(), lambda model, batch: loss_fn(model, batch) * random.normal(1, 0.1), "another value each time"


def another_order(folder):
    def no_dropout():
        model = build()
        model[3].p = 0
        return model

    model, optimizer = no_dropout(), None
    optimizer = adam(model)
    recorder = Recorder(model, optimizer, folder, snapshot_every_steps=5, steps_after=12)
    recorder.capture()
    for step in range(20):
        optimizer.zero_grad()
        loss = loss_fn(model, batch_at(step + 1))
        loss.backward()
        recorder.record(step, loss, batch=batch_at(step))
        optimizer.step()
    recorder.close()
    return (
        no_dropout(),
        loss_fn,
        "the batch of step 1 gives the loss of step 0: batches went to the recorder in another order",
    )


def in_the_models_type(model, batch):
    return loss_fn(model, {key: value.to(model[0].weight.dtype) for key, value in batch.items()})


def under_autocast(model, batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return loss_fn(model, batch)


MISMATCHES = [
    unclipped_said,
    another_loss,
    frozen_differs,
    evaluating,
    another_type,
    autocast_of_a_loss,
    autocast_switched_off,
    a_sum,
    draws_of_its_own,
    another_order,
]


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_run_that_does_not_come_back_stores_nothing_and_says_what_differs(tmp_path, case):
    model, fn, message = case(tmp_path / "capture")
    before = (tmp_path / "capture" / "capture.json").read_bytes()
    with pytest.raises(ClosedLoopMismatch, match=message):
        closed_loop(tmp_path / "capture", model, fn)
    assert (tmp_path / "capture" / "capture.json").read_bytes() == before


def test_a_model_in_double_precision_comes_back(tmp_path):
    record(tmp_path / "capture", adam)
    found = closed_loop(tmp_path / "capture", build().double(), in_the_models_type, rules=["none"], arms=None)
    assert found["baseline"]["worstDifference"] < 1e-5


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="torch has no compile")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_model_trains_bitwise_the_same_and_comes_back_with_its_dropout(tmp_path, monkeypatch, backend):
    if backend == "inductor" and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        pytest.skip("inductor needs a compiler of C++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))

    def train(folder):
        torch._dynamo.reset()
        compiled = torch.compile(build(), backend=backend)
        optimizer = adam(compiled)
        recorder = Recorder(compiled, optimizer, folder, snapshot_every_steps=4, steps_after=5) if folder else None
        torch.manual_seed(5)
        losses = []
        for step in range(18):
            torch.rand(3)  # what a data loader draws between two steps
            optimizer.zero_grad()
            loss = loss_fn(compiled, batch_at(step))
            loss.backward()
            if recorder and step == 12:
                recorder.capture()
            if recorder:
                recorder.record(step, loss, batch=batch_at(step))
            optimizer.step()
            losses.append(loss.item())
        if recorder:
            recorder.close()
        return losses

    assert train(tmp_path / "capture") == train(None)
    compiled = torch.compile(build(), backend=backend)
    found = closed_loop(tmp_path / "capture", compiled, loss_fn, rules=["none"], arms=None)
    assert found["baseline"]["worstDifference"] <= 1e-6 and found["baseline"]["noise"] == 0
    if backend == "inductor":
        with pytest.raises(ClosedLoopMismatch, match="is not compiled and was recorded compiled"):
            closed_loop(tmp_path / "capture", build(), loss_fn)


def test_autocast_comes_back_by_itself(tmp_path):
    losses = record(tmp_path / "capture", adam, fn=under_autocast)
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text())
    assert manifest["rerun"]["autocast"] == {"device": "cpu", "dtype": "bfloat16"}
    for fn in (loss_fn, under_autocast):
        found = closed_loop(tmp_path / "capture", build(), fn, rules=["global-norm:1"], arms=None)
        (recorded,) = [entry for entry in found["replay"] if entry["rule"] == "global-norm"]
        assert recorded["loss"] == pytest.approx(losses[recorded["steps"][0] :][: len(recorded["loss"])], rel=1e-6)


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="torch has no GradScaler for the CPU")
def test_float16_under_a_loss_scaler_comes_back_with_its_scale(tmp_path):
    def fn(model, batch):
        with torch.autocast("cpu", dtype=torch.float16):
            return loss_fn(model, batch) * 1e-6  # gradients that float16 rounds to nothing without the scale

    model, scaler = build(), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e4)
    recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=5, steps_after=12)
    recorder.capture()
    losses = []
    for step in range(20):
        optimizer.zero_grad()
        loss = fn(model, batch_at(step))
        scaler.scale(loss).backward()
        recorder.record(step, loss, batch=batch_at(step), scaler=scaler)
        losses.append(float(loss))
        scaler.step(optimizer)
        scaler.update()
    recorder.close()
    assert recorder.stopped is None
    found = closed_loop(tmp_path / "capture", build(), fn, rules=["none"], arms=None)["replay"][0]
    assert found["loss"] == pytest.approx([losses[step] for step in found["steps"]], rel=1e-6)
    assert found["loss"][-1] < 0.8 * found["loss"][0]


def test_noise_that_cannot_be_restored_is_measured_and_allowed_for(tmp_path):
    record(tmp_path / "capture", adam)
    for file in (tmp_path / "capture").glob("step-*"):
        from clippy_diag import captures

        captures.write_tensors(file, {k: v for k, v in captures.read_raw(file).items() if not k.startswith("rng/")})
    result = closed_loop(tmp_path / "capture", build(), loss_fn, rules=["none"], arms=None)
    assert result["baseline"]["noise"] > 0
    assert result["baseline"]["worstDifference"] > 1e-4


def test_gradients_that_memory_was_too_small_for_are_computed_again(tmp_path):
    from conftest import Read

    record(tmp_path / "all", adam)
    record(tmp_path / "few", adam, memory=61_500)
    assert Read(tmp_path / "few").manifest["gradients"] == "after-trigger"
    closed_loop(tmp_path / "few", build(), loss_fn, rules=["none"], arms=None)
    full, again = Read(tmp_path / "all"), Read(tmp_path / "few")
    assert again.manifest["gradients"] == "every-step"
    for step, tensors in full.steps.items():
        for name, (_, array) in tensors.items():
            if name.startswith("grad/"):
                np.testing.assert_allclose(again.steps[step][name][1], array, rtol=1e-5, atol=1e-7)


def test_an_optimizer_that_cannot_be_imported_is_asked_for(tmp_path):
    class Local(torch.optim.Adam):
        pass

    record(tmp_path / "capture", lambda m: Local(m.parameters(), lr=1e-3))
    with pytest.raises(ValueError, match="give optimizer="):
        closed_loop(tmp_path / "capture", build(), loss_fn)
    result = closed_loop(
        tmp_path / "capture",
        build(),
        loss_fn,
        rules=["none", "global-norm:1"],
        arms=None,
        optimizer=lambda groups: Local(groups),
    )
    assert result["baseline"]["worstDifference"] <= 1e-6


def test_rules_are_texts_or_options_and_others_are_refused(tmp_path):
    record(tmp_path / "capture", adam)
    folder = tmp_path / "capture"
    as_texts = closed_loop(
        folder, build(), loss_fn, rules=["agc:0.02", "value:0.1", "layer-norm:0.5", "clippy:tfrs"], arms=None
    )
    as_options = closed_loop(folder, build(), loss_fn, rules={"agc": {"clipping": 0.02}}, arms=None)
    assert [e["label"] for e in as_texts["replay"]] == [
        "none",
        "agc:0.02",
        "value:0.1",
        "layer-norm:0.5",
        "clippy:tfrs",
        "global-norm:1",
    ]
    assert as_options["replay"][1]["loss"] == as_texts["replay"][1]["loss"]
    with pytest.raises(ValueError, match='no rule "zclip"'):
        closed_loop(folder, build(), loss_fn, rules=["zclip"])
    with pytest.raises(ValueError, match="is no option of agc"):
        closed_loop(folder, build(), loss_fn, rules=["agc:clip=2"])


def test_a_capture_without_batches_is_refused(tmp_path):
    model = build()
    recorder = Recorder(model, adam(model), tmp_path / "capture", snapshot_every_steps=2, steps_after=0)
    recorder.capture()
    loss = loss_fn(model, batch_at(0))
    loss.backward()
    recorder.record(0, loss)
    recorder.close()
    with pytest.raises(ValueError, match="holds no batches"):
        closed_loop(tmp_path / "capture", build(), loss_fn)


def test_several_rules_of_the_training_act_one_after_the_other(tmp_path):
    said = ["value:0.5", {"rule": "global-norm", "maxNorm": 1.0}]
    model = build()
    optimizer = adam(model)
    recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=5, steps_after=12, clipping=said)
    torch.manual_seed(5)
    for step in range(75):
        batch = batch_at(step, range(60, 64))
        optimizer.zero_grad()
        loss = loss_fn(model, batch)
        loss.backward()
        recorder.record(step, loss, batch=batch)
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    recorder.close()
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text())
    assert manifest["clipping"] == [{"rule": "value", "clipValue": 0.5}, {"rule": "global-norm", "maxNorm": 1.0}]
    found = closed_loop(tmp_path / "capture", build(), loss_fn, rules=["global-norm:1"], arms=None)
    assert found["baseline"]["rule"] == "value:0.5+global-norm:1"
    assert found["baseline"]["worstDifference"] <= 1e-6
    recorded = next(entry for entry in found["replay"] if entry["rule"] == "value+global-norm")
    assert [part["label"] for part in recorded["rules"]] == ["value:0.5", "global-norm:1"]
    assert recorded["loss"] == pytest.approx([entry["loss"] for entry in manifest["steps"]], rel=1e-5)
    # In the other order it is another training.
    manifest["clipping"].reverse()
    manifest["clipping"][0]["maxNorm"] = 0.1
    (tmp_path / "capture" / "capture.json").write_text(json.dumps(manifest))
    with pytest.raises(ClosedLoopMismatch, match=r"global-norm:0\.1\+value:0\.5"):
        closed_loop(tmp_path / "capture", build(), loss_fn, arms=None)


def test_a_guard_that_was_not_there_is_tried(tmp_path):
    def loss_of(model, batch):
        return ((model(batch["x"]) - batch["y"]) ** 2).mean()

    def build():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))

    def record(name, times):
        model = build()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        recorder = Recorder(model, optimizer, tmp_path / name)
        if times == 1:
            recorder.capture()
        for step in range(160):
            g = torch.Generator().manual_seed(step)
            x = torch.randn(32, 8, generator=g)
            y = torch.tanh(x[:, :1]) + 0.1 * torch.randn(32, 1, generator=g)
            batch = {"x": x * (times if 120 <= step < 124 else 1), "y": y}
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            recorder.record(step, loss, batch=batch)
            optimizer.step()
        recorder.close()
        return tmp_path / name

    folder = record("surge", 40.0)
    found = closed_loop(folder, build(), loss_of, rules=["none"])["replay"]
    check_guard_at_surge(found, 100, 120)
    # A run that a guard looked at says itself what it knew; where there is no incident there is nothing to know.
    again = closed_loop(folder, build(), loss_of, rules=["none"], arms=["learning-rate"])["replay"]
    assert not [entry for entry in again if "advice" in entry]
    calm = closed_loop(record("calm", 1), build(), loss_of, rules=["none"])["replay"]
    assert not [entry for entry in calm if "arm" in entry]


def test_an_optimizer_that_needs_a_closure_is_refused_by_name_at_the_start_and_in_loops(tmp_path):
    model = build()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match="LBFGS computes the loss several times"):
        recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=2, steps_after=2)
    recorder.capture()
    for step in range(6):
        batch = batch_at(step)
        optimizer.zero_grad()
        loss = loss_fn(model, batch)
        loss.backward()
        recorder.record(step, loss, batch=batch)
        optimizer.step(lambda batch=batch: loss_fn(model, batch))
    recorder.close()
    assert recorder.captures and recorder.stopped is None
    with pytest.raises(ClosedLoopMismatch, match="LBFGS computes the loss several times"):
        closed_loop(tmp_path / "capture", build(), loss_fn)


@pytest.mark.parametrize(
    "fn, why",
    [
        (lambda model, batch: batch[0], r"KeyError.*step 60.*x: float32 \[32, 4\], y: float32 \[32\]"),
        (lambda model, batch: model(batch["x"]), r"shape \(32, 1\), not one loss"),
    ],
)
def test_what_a_loss_function_raises_says_which_batch_it_got(tmp_path, fn, why):
    record(tmp_path / "capture", adam)
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text())
    with pytest.raises(loops.LossFunctionError, match=why.replace("60", str(manifest["steps"][0]["step"]))):
        closed_loop(tmp_path / "capture", build(), fn)


def test_a_weight_decay_that_was_raised_is_tried_as_before(tmp_path):
    def adamw(model):
        return torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0)

    def write(step):
        return {"weight_decay": 0.0 if step < 58 else 300.0}

    losses = record(tmp_path / "capture", adamw, bad=(), write=write)
    result = closed_loop(tmp_path / "capture", build(), loss_fn, rules=["none"])
    (arm,) = (entry for entry in result["replay"] if entry.get("arm", {}).get("kind") == "weight-decay")
    assert arm["arm"]["factor"] == 0
    place = arm["steps"].index(58)
    assert arm["loss"][: place + 1] == pytest.approx(losses[arm["steps"][0] : 59], rel=1e-5)
    plain = next(entry for entry in result["replay"] if "arm" not in entry)
    assert arm["referenceLoss"][-1] < 0.7 * plain["referenceLoss"][-1]


def test_gradients_that_are_not_those_of_the_loss_are_measured_with_the_loops(tmp_path):
    def summed(model, batch):
        return 16 * loss_fn(model, batch)

    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-30)
    torch.manual_seed(5)
    with Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=10, steps_after=6) as recorder:
        for step in range(40):
            loss = summed(model, batch_at(step)) if step >= 28 else loss_fn(model, batch_at(step))
            loss.backward()
            if step == 31:
                recorder.capture()
            recorder.record(step, loss / 16 if step >= 28 else loss, batch=batch_at(step))
            optimizer.step()
            optimizer.zero_grad()
    closed_loop(tmp_path / "capture", build(), loss_fn, rules=["none"], arms=None)
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text())
    assert len(manifest["replay"]) == 1 and len(manifest["remeasured"]) > 1

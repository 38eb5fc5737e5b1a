"""The callback in a loop of Accelerate."""

import numpy as np
import pytest

from conftest import check_ledger_of_trainer, lines_of, losses_of

torch = pytest.importorskip("torch", reason="no torch in this environment")
accelerate = pytest.importorskip("accelerate", reason="no accelerate in this environment")

from clippy_diag.accelerate import ClippyCallback  # noqa: E402
from clippy_diag.sketch import checksum  # noqa: E402
from clippy_diag.torch import Recorder, closed_loop  # noqa: E402

torch.set_num_threads(1)


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))


def loss_of(model, batch):
    parts = batch if isinstance(batch, list) else [batch]
    return torch.stack([((model(part["x"])[:, 0] - part["y"]) ** 2).mean() for part in parts]).mean()


def train(folder, callback=None, accumulation=1, clip=None, steps=12, **options):
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulation, **options)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    g = torch.Generator().manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(256, 4, generator=g), torch.randn(256, generator=g))
    model, optimizer, loader = accelerator.prepare(model, optimizer, torch.utils.data.DataLoader(data, batch_size=4))
    if callback:
        callback.attach(accelerator)
    torch.manual_seed(1)
    gradients, losses, micro = [], [], []
    for x, y in loader:
        batch = {"x": x, "y": y}
        if len(losses) == steps:
            break
        with accelerator.accumulate(model):
            if callback:
                callback.batch(batch)
            loss = loss_of(model, batch)
            micro.append(loss.item())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                gradients.append([p.grad.clone() for p in model.parameters()])
                losses.append(np.mean(micro))
                micro = []
                if clip:
                    accelerator.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
    if callback:
        callback.close()
        assert "step" not in optimizer.__dict__ and "backward" not in accelerator.__dict__
    return model, gradients, losses


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_loop_is_recorded_before_its_clipping_which_is_heard(tmp_path, read, accumulation, clip):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=3, batches=True)
    callback.capture()
    model, gradients, losses = train(tmp_path, callback, accumulation, clip)
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == [0, 1, 2, 3]
    assert capture.manifest["clipping"] == ({"rule": "global-norm", "maxNorm": clip} if clip else {"rule": "none"})
    for step, tensors in capture.steps.items():
        assert capture.entry(step)["loss"] == pytest.approx(losses[step], rel=1e-6)
        for (name, _), gradient in zip(model.named_parameters(), gradients[step]):
            np.testing.assert_array_equal(tensors[f"grad/{name}"][1], gradient.numpy())
    assert closed_loop(tmp_path / "capture", build(), loss_of, arms=None)["baseline"]["worstDifference"] < 1e-6
    plain, _, _ = train(tmp_path, None, accumulation, clip)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters()))


def test_autocast_of_the_accelerator_comes_back_in_a_closed_loop(tmp_path, read):
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=5, batches=True)
    callback.capture()
    train(tmp_path, callback, mixed_precision="bf16")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    assert read(tmp_path / "capture").manifest["rerun"]["autocast"] == {"device": "cpu", "dtype": "bfloat16"}
    found = closed_loop(tmp_path / "capture", build(), loss_of, rules=["none"], arms=None)
    assert found["baseline"]["worstDifference"] <= 1e-6


def test_several_clippings_are_recorded_in_their_order(tmp_path, read):
    """Those of a step of two optimizers, from the first recorded step on; what changes later is said."""
    accelerator = accelerate.Accelerator(cpu=True)
    model = build()
    parts = [[p for name, p in model.named_parameters() if name.startswith(first)] for first in ("0", "2")]
    model, *optimizers = accelerator.prepare(model, *(torch.optim.SGD(part, lr=0.01) for part in parts))
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=2, steps_after=3).attach(accelerator)
    callback.capture()
    for _ in range(5):
        accelerator.backward(loss_of(model, {"x": torch.ones(2, 4), "y": torch.ones(2)}))
        accelerator.clip_grad_value_(model.parameters(), 0.5)
        accelerator.clip_grad_norm_(model.parameters(), 0.1)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    problems = callback.recorder.status["problems"]
    callback.close()
    value, norm = {"rule": "value", "clipValue": 0.5}, {"rule": "global-norm", "maxNorm": 0.1}
    assert read(tmp_path / "capture").manifest["clipping"] == [value, norm]
    assert list(read(tmp_path / "capture").steps) == [0, 1, 2, 3] and problems == []


def test_clipping_that_changes_is_said(tmp_path, read):
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(*(lambda m: (m, torch.optim.SGD(m.parameters(), lr=0.01)))(build()))
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=2, steps_after=1).attach(accelerator)
    callback.capture()
    with pytest.warns(UserWarning, match="the clipping changes"):
        for limit in (0.1, 0.1, 0.2, 0.3):
            accelerator.backward(loss_of(model, {"x": torch.ones(2, 4), "y": torch.ones(2)}))
            accelerator.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            optimizer.zero_grad()
        callback.close()
    assert read(tmp_path / "capture").manifest["clipping"] == {"rule": "global-norm", "maxNorm": 0.1}


def test_a_prepared_optimizer_is_unwrapped_by_the_recorder_too(tmp_path, read):
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(build(), torch.optim.Adam(build().parameters()))
    optimizer = accelerator.prepare(torch.optim.AdamW(model.parameters(), lr=0.01))
    recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=1, steps_after=0)
    recorder.capture()
    loss = loss_of(model, {"x": torch.ones(2, 4), "y": torch.ones(2)})
    accelerator.backward(loss)
    recorder.record(0, loss)
    recorder.close()
    assert read(tmp_path / "capture").manifest["optimizer"]["name"] == "adamw"


def test_attach_before_prepare_is_a_usage_error(tmp_path):
    with pytest.raises(ValueError, match="after accelerator.prepare"):
        ClippyCallback(tmp_path / "capture").attach(accelerate.Accelerator(cpu=True))


def test_with_a_guard_bad_batches_do_not_move_the_model(tmp_path):
    def trained(callback, times):
        accelerator = accelerate.Accelerator(cpu=True)
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        model, optimizer = accelerator.prepare(model, optimizer)
        if callback:
            callback.attach(accelerator)
        for step in range(50):
            g = torch.Generator().manual_seed(step)
            x = torch.randn(16, 4, generator=g)
            batch = {"x": x * (times if step >= 40 else 1), "y": x.sum(1)}
            if callback:
                callback.batch(batch)
            accelerator.backward(loss_of(model, batch))
            optimizer.step()
            optimizer.zero_grad()
        if callback:
            callback.close()
        return model.weight.detach().clone()

    lost = trained(None, 50.0)
    held = trained(ClippyCallback(tmp_path / "a", guard=True, loss_fn=loss_of), 50.0)
    assert not (lost - 1).abs().max() < 10 and (held - 1).abs().max() < 0.2
    calm = trained(ClippyCallback(tmp_path / "b", guard=True, loss_fn=loss_of), 1.0)
    assert torch.equal(calm, trained(None, 1.0))


@pytest.mark.parametrize("together", [True, False])
def test_several_optimizers_step_together_or_in_turn(tmp_path, read, together):
    accelerator = accelerate.Accelerator(cpu=True)
    model = build()
    made = [torch.optim.Adam(model[0].parameters(), lr=0.01), torch.optim.Adam(model[2].parameters(), lr=0.01)]
    model, *optimizers = accelerator.prepare(model, *made)
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=3).attach(accelerator)
    callback.capture()
    g = torch.Generator().manual_seed(0)
    for _ in range(6):
        batch = {"x": torch.randn(4, 4, generator=g), "y": torch.randn(4, generator=g)}
        if together:
            accelerator.backward(loss_of(model, batch))
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            continue
        for k, optimizer in enumerate(optimizers):
            for one in optimizers:
                one.zero_grad(set_to_none=False)
            accelerator.backward(loss_of(model, batch) * (1 + k))
            accelerator.clip_grad_norm_(model[2 * k].parameters(), 1.0)
            optimizer.step()
    callback.close()
    capture = read(tmp_path / "capture")
    found = [
        "".join(sorted({name.split(".")[0][-1] for name in tensors if name.startswith("grad/")}))
        for tensors in capture.steps.values()
    ]
    assert found == (["02"] * 4 if together else ["0", "2", "0", "2"])
    assert all(len(entry.get("tasks", {})) == 2 for entry in capture.manifest["steps"][1:]) != together


def test_checkpoints_of_the_accelerator_hold_the_guard(tmp_path):
    def guarded(folder, steps, load):
        accelerator = accelerate.Accelerator(cpu=True)
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        model, optimizer = accelerator.prepare(model, optimizer)
        callback = ClippyCallback(tmp_path / folder, guard=True, loss_fn=loss_of).attach(accelerator)
        if load:
            accelerator.load_state(tmp_path / "saved")
        g = torch.Generator().manual_seed(3)
        for _ in range(steps):
            batch = callback.batch({"x": torch.randn(8, 4, generator=g), "y": torch.randn(8, generator=g)})
            accelerator.backward(loss_of(model, batch))
            optimizer.step()
            optimizer.zero_grad()
        guard = callback.guard
        if not load:
            accelerator.save_state(tmp_path / "saved")
        callback.close()
        return guard

    assert guarded("a", 15, False)._checks.steps == 15
    again = guarded("b", 5, True)
    assert again._checks.steps == 20 and not again.problems


def test_a_preflight_takes_a_loader_of_its_own(tmp_path):
    accelerator = accelerate.Accelerator(cpu=True)
    g = torch.Generator().manual_seed(3)
    x = torch.randn(2048, 4, generator=g)
    rows = [{"x": one, "y": one.sum()} for one in x]
    model = build()
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=0.01))
    before = [p.detach().clone() for p in model.parameters()]
    callback = ClippyCallback(tmp_path / "a", preflight=True, loss_fn=loss_of)
    callback.attach(accelerator, batches=torch.utils.data.DataLoader(rows, batch_size=32)).close()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before))
    assert callback.preflight_answer["preflight"]["verdict"] == "well-within"
    with pytest.warns(UserWarning, match="no preflight: it needs batches"):
        ClippyCallback(tmp_path / "b", preflight=True, loss_fn=loss_of).attach(accelerator).close()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_ledger_has_every_step_with_the_hash_of_batches_that_are_not_kept(tmp_path, accumulation):
    model, gradients, losses = train(tmp_path, ClippyCallback(tmp_path / "capture", ledger=True), accumulation, 0.1)
    norms = dict(enumerate(float(torch.stack([g.norm() for g in own]).norm()) for own in gradients))
    head, records = check_ledger_of_trainer(tmp_path, range(12), norms)
    assert losses_of(tmp_path) == pytest.approx(dict(enumerate(losses)), rel=1e-6)
    weight = model[0].weight.detach().numpy()
    assert int(records[11]["weightsAfter"][1][0]) == checksum(weight) and head["world"] == 1
    clipped = [line["clippedNorm"] for line in lines_of(tmp_path)[1:] if line["gradientNorm"] > 0.1]
    assert clipped == pytest.approx([0.1] * len(clipped), rel=1e-4) and clipped

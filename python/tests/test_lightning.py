"""The callback in Lightning's Trainer."""

import logging
import warnings

import numpy as np
import pytest

from conftest import check_ledger_of_trainer, lines_of, losses_of

torch = pytest.importorskip("torch", reason="no torch in this environment")
lightning = pytest.importorskip("lightning", reason="no lightning in this environment")

from clippy_diag.lightning import ClippyCallback  # noqa: E402
from clippy_diag.sketch import checksum  # noqa: E402
from clippy_diag.torch import ClosedLoopMismatch, Recorder, closed_loop  # noqa: E402

torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore")


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
        self.gradients, self.losses = [], []

    def loss(self, batch):
        x, y = batch
        return ((self.net(x)[:, 0] - y) ** 2).mean()

    def training_step(self, batch, index):
        loss = self.loss(batch)
        self.losses.append(loss.item())
        return loss

    def on_before_optimizer_step(self, optimizer):
        self.gradients.append([p.grad.clone() for p in self.parameters()])

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


class Gan(Net):
    """Manual optimization with two optimizers that step in turn."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.Adam(self.net[0].parameters(), 0.01), torch.optim.SGD(self.net[2].parameters(), 0.01)]

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


def train(folder, callbacks=(), module=None, **options):
    g = torch.Generator().manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(256, 4, generator=g), torch.randn(256, generator=g))
    module = module or Net()
    torch.manual_seed(1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=12,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))
    return module


CLIPS = {
    "none": ({}, {"rule": "none"}),
    "norm": ({"gradient_clip_val": 0.1}, {"rule": "global-norm", "maxNorm": 0.1}),
    "value": ({"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, {"rule": "value", "clipValue": 0.01}),
}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("clip", CLIPS)
def test_a_fit_is_recorded_before_its_clipping(tmp_path, read, accumulation, clip):
    options, expected = CLIPS[clip]
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=4, batches=True)
    callback.capture()
    module = train(tmp_path, [callback], accumulate_grad_batches=accumulation, **options)
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == [0, 1, 2, 3, 4]
    assert capture.manifest["clipping"] == expected
    for step, tensors in capture.steps.items():
        mean = np.mean(module.losses[step * accumulation : (step + 1) * accumulation])
        assert capture.entry(step)["loss"] == pytest.approx(mean, rel=1e-6)
        for (name, _), gradient in zip(module.named_parameters(), module.gradients[step]):
            np.testing.assert_array_equal(tensors[f"grad/{name}"][1], gradient.numpy())

    def loss_fn(model, batch):
        return torch.stack([model.loss(part) for part in (batch if accumulation > 1 else [batch])]).mean()

    assert closed_loop(tmp_path / "capture", Net(), loss_fn, arms=None)["baseline"]["worstDifference"] < 1e-6
    plain = train(tmp_path, accumulate_grad_batches=accumulation, **options)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), module.parameters()))


def test_each_of_several_optimizers_takes_steps_of_its_own(tmp_path, read):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=4, batches=True)
    callback.capture()
    train(tmp_path, [callback], module=Gan())
    capture = read(tmp_path / "capture")
    found = [
        sorted({name.split(".")[1] for name in tensors if name.startswith("grad/")})
        for tensors in capture.steps.values()
    ]
    assert found == [["0"], ["2"], ["0"], ["2"], ["0"]]
    assert [group["name"] for group in [capture.manifest["optimizer"], *capture.manifest["groups"]]] == ["adam", "sgd"]

    # The losses of several kinds in turn have no level: the step's is the sum of the newest of each, its tasks.
    first, second = (capture.entry(step) for step in (1, 2))
    assert first["tasks"].keys() == {"optimizer 0", "optimizer 1"}
    assert first["loss"] == pytest.approx(sum(first["tasks"].values()))
    assert first["tasks"]["optimizer 1"] == second["tasks"]["optimizer 1"]
    with pytest.raises(ClosedLoopMismatch, match="in turn"):
        closed_loop(tmp_path / "capture", Net(), lambda model, batch: model.loss(batch))


class Together(Gan):
    """Two optimizers that step after one backward pass, of which one has no formula."""

    def configure_optimizers(self):
        return [torch.optim.Adam(self.net[0].parameters(), 0.01), torch.optim.Adamax(self.net[2].parameters(), 0.01)]

    def training_step(self, batch, index):
        loss = self.loss(batch)
        self.losses.append(loss.item())
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        for optimizer in self.optimizers():
            optimizer.zero_grad()


def test_optimizers_that_step_after_one_backward_pass_take_one_step(tmp_path, read):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=2, batches=True)
    callback.capture()
    module = train(tmp_path, [callback], module=Together())
    capture = read(tmp_path / "capture")
    assert [capture.entry(step)["loss"] for step in capture.steps] == pytest.approx(module.losses[:3])
    for tensors in capture.steps.values():
        for kind in ("grad", "param", "param-after"):
            there = {name.split(".")[1] for name in tensors if name.startswith(f"{kind}/")}
            assert there >= ({"0", "2"} if kind == "grad" else {"2"})
    found = closed_loop(tmp_path / "capture", Together(), lambda model, batch: model.loss(batch), arms=None)
    assert found["baseline"]["worstDifference"] < 1e-6
    plain = train(tmp_path, module=Together())
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), module.parameters()))


@pytest.mark.parametrize("how", ["its own code", "the line to paste", "a way of its own"])
def test_clipping_by_hand_is_recorded_with_the_gradients_from_before_it(tmp_path, read, how):
    class Manual(Gan):
        def configure_optimizers(self):
            return torch.optim.SGD(self.net.parameters(), 0.1)

        def training_step(self, batch, index):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            if how == "its own code":
                self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")
            if how == "a way of its own":
                torch.nn.utils.clip_grad_norm_(self.parameters(), 0.1)
            optimizer.step()

    class Pasted(Manual):
        def on_before_optimizer_step(self, optimizer):  # of the LightningModule
            self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")

    made = Pasted if how == "the line to paste" else Manual
    said = {"clipping": "global-norm:0.1"} if how == "a way of its own" else {}
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=9, batches=True, **said)
    callback.capture()
    module = train(tmp_path, [callback], module=made())
    capture = read(tmp_path / "capture")
    assert capture.manifest["clipping"] == {"rule": "global-norm", "maxNorm": 0.1}
    assert capture.manifest["trainer"] == "lightning-manual"
    norms = [
        np.sqrt(sum((t[1] ** 2).sum() for name, t in tensors.items() if name.startswith("grad/")))
        for tensors in capture.steps.values()
    ]
    assert (max(norms) > 0.2) == (how != "a way of its own")
    found = closed_loop(tmp_path / "capture", made(), lambda model, batch: model.loss(batch), arms=None)
    assert found["baseline"]["worstDifference"] < 1e-6
    assert "clip_gradients" not in module.__dict__


def test_bfloat16_autocast_is_recorded(tmp_path, read):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=1, batches=True)
    callback.capture()
    module = train(tmp_path, [callback], precision="bf16-mixed")
    capture = read(tmp_path / "capture")
    np.testing.assert_array_equal(capture.steps[0]["grad/net.0.weight"][1], module.gradients[0][0].numpy())
    assert capture.manifest["rerun"]["autocast"] == {"device": "cpu", "dtype": "bfloat16"}
    found = closed_loop(tmp_path / "capture", Net(), lambda m, batch: m.training_step(batch, 0), arms=None)
    assert found["baseline"]["worstDifference"] <= 1e-6


def test_an_error_in_the_training_still_ends_the_recording(tmp_path, status):
    class Broken(Net):
        def training_step(self, batch, index):
            if index == 3:
                raise RuntimeError("of the user")
            return super().training_step(batch, index)

    with pytest.raises(RuntimeError, match="of the user"):
        train(tmp_path, [ClippyCallback(tmp_path / "capture")], module=Broken())
    assert status(tmp_path / "capture")["state"] == "closed"


def test_lightnings_wrapped_optimizer_is_unwrapped_by_the_recorder(tmp_path, read):
    class Own(lightning.Callback):
        def on_train_start(self, trainer, module):
            self.recorder = Recorder(
                module, module.optimizers(), tmp_path / "capture", snapshot_every_steps=1, steps_after=0
            )
            self.recorder.capture()

        def on_before_optimizer_step(self, trainer, module, optimizer):
            self.recorder.record(trainer.global_step, module.losses[-1])

        def on_train_end(self, trainer, module):
            self.recorder.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(tmp_path, [Own()])
    assert read(tmp_path / "capture").manifest["optimizer"]["name"] == "adamw"


def test_with_a_guard_bad_batches_do_not_move_the_model(tmp_path):
    class Plain(Net):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Linear(4, 1)

        def on_before_optimizer_step(self, optimizer):
            """A skipped step has no gradients to keep."""

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05)

    def trained(callback, times):
        g = torch.Generator().manual_seed(0)
        x = torch.randn(50 * 16, 4, generator=g)
        y = x.sum(1)
        x[40 * 16 :] *= times
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
        model = Plain()
        lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[callback] if callback else [],
        ).fit(model, loader)
        return model.net.weight.detach().clone()

    def loss_fn(model, batch):
        return model.loss(batch)

    lost = trained(None, 50.0)
    held = trained(ClippyCallback(tmp_path / "a", guard=True, loss_fn=loss_fn), 50.0)
    assert not (lost - 1).abs().max() < 10 and (held - 1).abs().max() < 0.2
    calm = trained(ClippyCallback(tmp_path / "b", guard=True, loss_fn=loss_fn), 1.0)
    assert torch.equal(calm, trained(None, 1.0))


def loss_fn_of_net(module, batch):
    return module.loss(batch)


class Watched(ClippyCallback):
    """Writes a checkpoint after the twelfth step, and remembers the guard, which goes when the training ends."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 12:
            trainer.save_checkpoint(self._own.folder.parent / "saved.ckpt")

    def on_train_end(self, *arguments):
        self.seen = self.guard
        super().on_train_end(*arguments)


def test_checkpoints_of_the_trainer_hold_the_guard(tmp_path):
    def fit(callback, steps, **options):
        g = torch.Generator().manual_seed(0)
        data = torch.utils.data.TensorDataset(torch.randn(256, 4, generator=g), torch.randn(256, generator=g))
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[callback],
        )
        trainer.fit(Net(), torch.utils.data.DataLoader(data, batch_size=8), **options)

    fit(Watched(tmp_path / "a", guard=True, loss_fn=loss_fn_of_net), 12)
    resumed = Watched(tmp_path / "b", guard=True, loss_fn=loss_fn_of_net)
    fit(resumed, 20, ckpt_path=str(tmp_path / "saved.ckpt"))
    assert resumed.seen._checks.steps == 20 and not resumed.seen.problems


def test_a_preflight_before_the_first_step_changes_nothing_of_the_training(tmp_path):
    plain = train(tmp_path, [ClippyCallback(tmp_path / "a")])
    asked = ClippyCallback(tmp_path / "b", preflight=True, loss_fn=loss_fn_of_net)
    assert train(tmp_path, [asked]).losses == plain.losses
    assert asked.preflight_answer["preflight"]["asked"] == 0.01


def test_a_preflight_without_a_loss_function_is_refused_in_words(tmp_path):
    with pytest.warns(UserWarning, match="no preflight: it needs loss_fn="):
        train(tmp_path, [ClippyCallback(tmp_path / "c", preflight=True)])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_ledger_has_every_step_with_the_hash_of_batches_that_are_not_kept(tmp_path, accumulate):
    callback = ClippyCallback(tmp_path / "capture", ledger=True)
    module = train(tmp_path, [callback], gradient_clip_val=0.1, accumulate_grad_batches=accumulate)
    norms = dict(enumerate(float(torch.stack([g.norm() for g in own]).norm()) for own in module.gradients))
    _, records = check_ledger_of_trainer(tmp_path, range(12), norms)
    means = np.array(module.losses).reshape(-1, accumulate).mean(1)
    assert losses_of(tmp_path) == pytest.approx(dict(enumerate(means)), rel=1e-6)
    assert int(records[11]["weightsAfter"][1][0]) == checksum(module.net[0].weight.detach().cpu().numpy())
    rates = [line["options"]["0.lr"] for line in lines_of(tmp_path)[1:] if "0.lr" in line.get("options", {})]
    assert rates == [] or rates[0] == pytest.approx(0.009)

"""The callback in the Trainer of transformers, with a tiny model: what it records is what the Trainer did."""

import json

import numpy as np
import pytest

from conftest import check_ledger_of_trainer, losses_of

torch = pytest.importorskip("torch", reason="no torch in this environment")
transformers = pytest.importorskip("transformers", reason="no transformers in this environment")
pytest.importorskip("accelerate", reason="no accelerate in this environment")

from clippy_diag.huggingface import ClippyCallback, loss_fn  # noqa: E402
from clippy_diag.sketch import checksum  # noqa: E402
from clippy_diag.torch import Tracker, closed_loop  # noqa: E402

torch.set_num_threads(1)


def build(dropout=0.1):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=31,
        n_positions=8,
        n_embd=16,
        n_layer=1,
        n_head=2,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=0,
    )
    return transformers.GPT2LMHeadModel(config)


class Tokens(torch.utils.data.Dataset):
    """Sequences that count; from `bad` on they are noise."""

    def __init__(self, size=400, bad=10**9):
        self.size, self.bad = size, bad

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        g = torch.Generator().manual_seed(index)
        start = int(torch.randint(0, 31, (1,), generator=g))
        ids = (torch.arange(8) + start) % 31
        if index >= self.bad:
            ids = torch.randint(0, 31, (8,), generator=g)
        return {"input_ids": ids, "labels": ids.clone()}


class Ordered(transformers.Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Watch(transformers.TrainerCallback):
    """What the Trainer itself logs: norms before clipping, losses, learning rates."""

    def __init__(self):
        self.logs = {}

    def on_log(self, args, state, control, logs=None, **_):
        if "grad_norm" in logs:
            self.logs[state.global_step] = dict(logs)


def train(folder, steps=12, callback=None, model=None, data=None, kind=Ordered, **options):
    arguments = {
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 7,
        **options,
    }
    args = transformers.TrainingArguments(str(folder / "out"), max_steps=steps, **arguments)
    watch, model = Watch(), model or build()
    trainer = kind(model, args, train_dataset=data or Tokens(), callbacks=[*([callback] if callback else []), watch])
    trainer.train()
    return watch.logs, model, trainer


def norm(tensors):
    return np.sqrt(sum((a.astype(np.float64) ** 2).sum() for n, (_, a) in tensors.items() if n.startswith("grad/")))


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("clip", [0.3, 0])
def test_gradients_are_those_before_clipping_and_losses_those_of_the_step(tmp_path, read, accumulation, clip):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=4, steps_after=3, batches=True)
    callback.capture()
    logs, _, _ = train(tmp_path, callback=callback, max_grad_norm=clip, gradient_accumulation_steps=accumulation)
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == [1, 2, 3, 4]
    assert capture.manifest["clipping"] == ({"rule": "global-norm", "maxNorm": clip} if clip else {"rule": "none"})
    assert capture.manifest["optimizer"]["name"] == "adamw"
    for step, tensors in capture.steps.items():
        assert norm(tensors) == pytest.approx(logs[step]["grad_norm"], rel=1e-4)
        assert capture.entry(step)["loss"] == pytest.approx(logs[step]["loss"], rel=1e-3)
        assert capture.entry(step)["learningRate"] == pytest.approx(logs[step]["learning_rate"], rel=1e-6)
    # The loss comes back through dropout, accumulation and the clipping of the Trainer.
    result = closed_loop(tmp_path / "capture", build(), loss_fn, rules=["none"], arms=None)
    assert result["baseline"]["worstDifference"] <= 1e-5


def test_batches_are_those_of_their_steps_under_shuffling_workers_and_accumulation(tmp_path, read):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=5, batches=True)
    callback.capture()
    shuffled = {"kind": transformers.Trainer, "dataloader_num_workers": 2, "gradient_accumulation_steps": 2}
    train(tmp_path, callback=callback, **shuffled)
    first = read(tmp_path / "capture").steps[1]["batch/0/inputs/input_ids"][1]
    assert first.tolist() != torch.stack([Tokens()[k]["input_ids"] for k in range(4)]).tolist()
    found = closed_loop(tmp_path / "capture", build(), loss_fn, rules=["none"], arms=None)
    assert found["baseline"]["worstDifference"] <= 1e-5


def test_autocast_of_the_trainer_comes_back_in_a_closed_loop(tmp_path, read):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=3, steps_after=5, batches=True)
    callback.capture()
    train(tmp_path, callback=callback, bf16=True)
    assert read(tmp_path / "capture").manifest["rerun"]["autocast"] == {"device": "cpu", "dtype": "bfloat16"}
    found = closed_loop(tmp_path / "capture", build(), loss_fn, rules=["none"], arms=None)
    assert found["baseline"]["worstDifference"] <= 1e-6


def test_training_is_bitwise_the_same_and_nothing_stays_wrapped(tmp_path):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=4, steps_after=3, batches=True)
    callback.capture()
    _, plain, _ = train(tmp_path)
    _, recorded, trainer = train(tmp_path, callback=callback)
    for a, b in zip(plain.state_dict().values(), recorded.state_dict().values()):
        assert torch.equal(a, b)
    for name in ("backward", "clip_grad_norm_"):
        assert name not in trainer.accelerator.__dict__
    assert "compute_loss" not in trainer.__dict__
    assert callback.recorder is None


def test_an_incident_of_the_learning_rate_is_captured_without_batches_by_default(tmp_path, read, capfd):
    class Surge(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, optimizer=None, **_):
            if state.global_step >= 90:
                for group in optimizer.param_groups:
                    group["lr"] = 3.0

    folder = tmp_path / "capture"
    callback = ClippyCallback(folder, snapshot_every_steps=5, steps_after=6)
    args = transformers.TrainingArguments(
        str(tmp_path / "out"),
        max_steps=110,
        per_device_train_batch_size=4,
        learning_rate=3e-3,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    Ordered(build(0), args, train_dataset=Tokens(600), callbacks=[Surge(), callback]).train()
    capture = read(folder)
    assert 92 <= capture.manifest["flushed"]["step"] <= 95
    assert not [n for tensors in capture.steps.values() for n in tensors if n.startswith("batch/")]
    assert "batches are not kept" in capfd.readouterr().err


def test_several_trainings_of_one_callback_and_an_evaluation_between(tmp_path, read):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=4, steps_after=1, batches=True)
    callback.capture()
    train(tmp_path, callback=callback, steps=5, eval_strategy="no")
    train(tmp_path, callback=callback, steps=5)
    assert len(read(tmp_path / "capture").steps) == 2
    assert len(read(tmp_path / "capture-2").steps) == 2


def test_the_trackers_columns_are_in_the_trainers_log(tmp_path):
    callback = ClippyCallback(tmp_path / "capture", curvature=Tracker(every=2))
    logs, _, trainer = train(tmp_path, callback=callback, steps=5)
    assert logs[3]["precond_eigenvalue"] > 0
    # What trainer_state.json holds.
    assert trainer.state.log_history[2]["precond_eigenvalue"] == logs[3]["precond_eigenvalue"]
    rows = (tmp_path / "capture-curvature.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 3, 5]


@pytest.mark.parametrize("name", ["adafactor", "sgd", "adagrad", "rmsprop"])
def test_the_trainers_other_optimizers_are_recorded(tmp_path, read, name):
    callback = ClippyCallback(tmp_path / "capture", snapshot_every_steps=2, steps_after=2, batches=True)
    callback.capture()
    train(tmp_path, callback=callback, steps=5, optim=name)
    capture = read(tmp_path / "capture")
    assert len(capture.steps) == 3
    after = [n for n in capture.steps[1] if n.startswith("param-after/")]
    assert bool(after) == (name == "adafactor")


def test_deepspeed_is_refused_by_name(tmp_path, status):
    callback = ClippyCallback(tmp_path / "capture")

    class Kind:
        name = "DEEPSPEED"

    class Pretending(Ordered):
        """A Trainer whose accelerator says that it runs under DeepSpeed, as the callback asks."""

        def training_step(self, *arguments, **options):
            raise KeyboardInterrupt

    args = transformers.TrainingArguments(str(tmp_path / "out"), max_steps=1, report_to=[], use_cpu=True)
    trainer = Pretending(build(), args, train_dataset=Tokens(), callbacks=[callback])
    trainer.accelerator.state.distributed_type = Kind
    with pytest.warns(UserWarning, match="DeepSpeed keeps gradients"):
        callback.on_train_begin(
            args,
            trainer.state,
            trainer.control,
            model=trainer.model,
            optimizer=torch.optim.SGD(trainer.model.parameters(), 0.1),
        )
    callback.on_train_end(args, trainer.state, trainer.control)
    assert "DeepSpeed" in status(tmp_path / "capture")["stopped"]


class Surge(transformers.TrainerCallback):
    """The learning rate jumps from 3e-3 to 3 at step 61."""

    def on_step_begin(self, args, state, control, optimizer=None, **_):
        for group in optimizer.param_groups:
            group["lr"] = 3.0 if state.global_step >= 60 else 3e-3


def guarded(tmp_path, surge, **options):
    callback = ClippyCallback(tmp_path / "capture", **options)
    model = build(0)
    args = transformers.TrainingArguments(
        str(tmp_path / "out"),
        max_steps=75,
        per_device_train_batch_size=4,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        seed=7,
    )
    Ordered(model, args, train_dataset=Tokens(400), callbacks=[*([Surge()] if surge else []), callback]).train()
    with torch.no_grad():
        held_out = [Tokens()[k] for k in range(300, 332)]
        batch = {key: torch.stack([row[key] for row in held_out]) for key in held_out[0]}
        return float(model.eval()(**batch).loss), model, callback


def test_with_a_guard_a_rate_that_jumps_does_not_ruin_the_model(tmp_path):
    well, plain, _ = guarded(tmp_path / "well", False)
    lost, _, _ = guarded(tmp_path / "lost", True)
    held, _, _ = guarded(tmp_path / "held", True, guard=True, pulse=tmp_path / "pulse.jsonl")
    assert lost > 2 * well and held < 1.3 * well
    lines = [json.loads(line) for line in (tmp_path / "pulse.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 76))
    assert all(line["action"] == "apply" for line in lines[:60]) and lines[60]["action"] != "apply"
    status = json.loads((tmp_path / "held" / "capture" / "status.json").read_text())
    assert status["incidents"][0]["step"] == 61 and "guard" in status["incidents"][0]["reason"]
    # A healthy training is bitwise what it is without.
    _, same, _ = guarded(tmp_path / "calm", False, guard=True)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), same.parameters()))


def checkpointed(folder, callback, steps, resume=None, **options):
    """A Trainer with checkpoints at every 20 steps."""
    args = transformers.TrainingArguments(
        str(folder / "out"),
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=3e-3,
        save_steps=20,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1000,
        **options,
    )
    trainer = Ordered(build(), args, train_dataset=Tokens(), callbacks=[callback])
    trainer.train(resume_from_checkpoint=resume)
    return trainer


class Guarded(ClippyCallback):
    """Remembers the guard, which goes when the training ends."""

    def on_train_end(self, *arguments, **options):
        self.seen = self.guard
        super().on_train_end(*arguments, **options)


def test_a_checkpoint_holds_the_guard_and_a_resume_goes_on_with_it(tmp_path):
    first = Guarded(tmp_path / "a", guard=True)
    checkpointed(tmp_path, first, 20)
    assert (tmp_path / "out" / "checkpoint-20" / "clippy-guard.pt").is_file()
    resumed = Guarded(tmp_path / "b", guard=True)
    checkpointed(tmp_path, resumed, 24, resume=str(tmp_path / "out" / "checkpoint-20"))
    assert resumed.seen._checks.steps == first.seen._checks.steps + 4 == 24 and not resumed.seen.problems
    # Batches may hold personal data: without batches=True none is in a checkpoint.
    state = torch.load(tmp_path / "out" / "checkpoint-20" / "clippy-guard.pt", weights_only=True)
    assert state["references"] == []
    (tmp_path / "out" / "checkpoint-20" / "clippy-guard.pt").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="was not loaded"):
        checkpointed(tmp_path, Guarded(tmp_path / "c", guard=True), 22, resume=str(tmp_path / "out" / "checkpoint-20"))


def test_a_preflight_before_the_first_step_changes_nothing_of_the_training(tmp_path):
    asked = ClippyCallback(tmp_path / "asked", preflight=True)
    plain = checkpointed(tmp_path / "plain", ClippyCallback(tmp_path / "none"), 6)
    tried = checkpointed(tmp_path / "tried", asked, 6)
    for left, right in zip(plain.model.state_dict().values(), tried.model.state_dict().values()):
        assert torch.equal(left, right)
    answer = json.loads((tmp_path / "asked-preflight.json").read_text())
    assert answer == json.loads(json.dumps(asked.preflight_answer))
    assert answer["preflight"]["asked"] == 3e-3 and answer["preflight"]["verdict"] in ("well-within", "near")
    assert answer["preflight"]["warmup"] is None
    warm = ClippyCallback(tmp_path / "warm", preflight=True)
    checkpointed(tmp_path / "warmed", warm, 6, warmup_steps=3)
    assert warm.preflight_answer["preflight"]["warmup"] == {"steps": 3}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_ledger_has_every_step_with_the_hash_of_batches_that_are_not_kept(tmp_path, accumulation):
    callback = ClippyCallback(tmp_path / "capture", ledger=True)
    options = {"gradient_accumulation_steps": accumulation, "max_grad_norm": 0.5}
    logs, model, _ = train(tmp_path, 6, callback, **options)
    head, records = check_ledger_of_trainer(
        tmp_path, range(1, 7), {step: log["grad_norm"] for step, log in logs.items()}
    )
    assert losses_of(tmp_path) == pytest.approx({step: log["loss"] for step, log in logs.items()}, rel=1e-3)
    name, shape, dtype = head["tensors"][0]
    weight = dict(model.named_parameters())[name].detach().numpy()
    assert list(weight.shape) == shape and dtype == "float32"
    assert int(records[6]["weightsAfter"][1][0]) == checksum(weight)

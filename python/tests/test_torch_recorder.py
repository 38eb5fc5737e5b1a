"""The recorder for PyTorch against what the training really did, and that it changes nothing of it."""

import copy
import json
import os
import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch in this environment")

from clippy_diag.torch import Recorder  # noqa: E402

torch.set_num_threads(1)
HAS_HOOKS = hasattr(torch.optim.Optimizer, "register_step_post_hook")


def net(seed=0, embedding=False):
    torch.manual_seed(seed)
    first = torch.nn.Embedding(7, 4, sparse=embedding == "sparse") if embedding else torch.nn.Linear(4, 3)
    return torch.nn.ModuleDict({"first": first, "last": torch.nn.Linear(4 if embedding else 3, 1)})


def loss_of(model, batch):
    return ((model["last"](torch.tanh(model["first"](batch["x"])))[:, 0] - batch["label/y"]) ** 2).mean()


def batch_at(step, jump_at=None, embedding=False):
    g = torch.Generator().manual_seed(step)
    x = torch.randint(0, 7, (8,), generator=g) if embedding else torch.randn(8, 4, generator=g)
    y = torch.randn(8, generator=g) * 0.1 + 1
    return {"x": x, "label/y": y * 50 if step == jump_at else y}


def dense(t):
    return (t.to_dense() if t.is_sparse else t).detach().clone()


class Truth:
    """Trains with a recorder; keeps gradients, parameters before and after, and learning rates of every step."""

    def __init__(
        self, folder, make, steps, *, model=None, jump_at=None, embedding=False, during=None, batches=True, **options
    ):
        self.model = model or net(embedding=embedding)
        made = make(self.model)
        self.optimizers = made if isinstance(made, list) else [made]
        self.recorder = Recorder(self.model, self.optimizers, folder, **options)
        self.gradients, self.parameters, self.rates, self.losses = {}, {}, {}, {}
        for step in range(steps):
            if during:
                during(self, step)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            batch = batch_at(step, jump_at, embedding)
            loss = loss_of(self.model, batch)
            loss.backward()
            named = list(self.model.named_parameters())
            self.gradients[step] = {n: dense(p.grad) for n, p in named if p.grad is not None}
            self.parameters[step] = {n: dense(p) for n, p in named}
            self.rates[step] = [float(g["lr"]) for o in self.optimizers for g in o.param_groups]
            self.losses[step] = loss.item()
            self.recorder.record(step, loss, tasks={"only": loss}, batch=batch if batches else None)
            for optimizer in self.optimizers:
                optimizer.step()
        self.parameters[steps] = {n: dense(p) for n, p in self.model.named_parameters()}
        self.recorder.close()


def adagrad(model):
    return torch.optim.Adagrad(model.parameters(), lr=0.1, initial_accumulator_value=0.1)


def same(array, tensor):
    np.testing.assert_array_equal(array[1], tensor.numpy())


def test_gradients_losses_parameters_and_state_are_those_of_the_run(tmp_path, read):
    run = Truth(tmp_path / "capture", adagrad, 80, jump_at=57, snapshot_every_steps=10, steps_after=6)
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == list(range(40, 64))
    assert capture.manifest["optimizer"] == {
        "name": "adagrad",
        "learningRate": 0.1,
        "initialAccumulatorValue": 0.1,
        "epsilon": 1e-10,
        "epsilonInside": False,
        "accumulator": "standard",
        "learningRateDecay": 0,
        "weightDecay": 0,
    }
    assert [(p["name"], p["shape"], p["layout"]) for p in capture.manifest["parameters"]] == [
        ("first.weight", [3, 4], "OI"),
        ("first.bias", [3], "none"),
        ("last.weight", [1, 3], "OI"),
        ("last.bias", [1], "none"),
    ]
    sums = {}
    for name, value in run.parameters[40].items():
        same(capture.initial[f"param/{name}"], value)
        sums[name] = torch.from_numpy(capture.initial[f"state/accumulator/{name}"][1].copy())
        assert capture.initial[f"state/step/{name}"][1] == 40
    for step, tensors in capture.steps.items():
        assert capture.entry(step)["loss"] == run.losses[step]
        assert capture.entry(step)["tasks"] == {"only": run.losses[step]}
        assert tensors["batch/x"][1].shape == (8, 4)
        for name, gradient in run.gradients[step].items():
            same(tensors[f"grad/{name}"], gradient)
            # The accumulator explains the parameters that follow.
            sums[name] += gradient**2
            after = run.parameters[step][name] - 0.1 * gradient / (sums[name].sqrt() + 1e-10)
            torch.testing.assert_close(after, run.parameters[step + 1][name], rtol=1e-6, atol=1e-7)
        for name, value in run.parameters[step].items():
            if step == 50:
                same(tensors[f"param/{name}"], value)


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw-amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "sgd-nesterov": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "rmsprop-centered": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "subclass": lambda p: type("MyAdam", (torch.optim.Adam,), {})(p, lr=0.01),
    "maximize": lambda p: torch.optim.SGD(p, lr=0.001, maximize=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_bitwise_the_same_with_a_recorder(tmp_path, name):
    if name == "adafactor" and not hasattr(torch.optim, "Adafactor"):
        pytest.skip("torch has no Adafactor")

    def train(recorded):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
        )
        optimizer = OPTIMIZERS[name](model.parameters())
        if recorded:
            recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=3, steps_after=3)
            recorder.capture()
        for step in range(12):
            batch = batch_at(step)
            optimizer.zero_grad()
            loss = ((model(batch["x"])[:, 0] - batch["label/y"]) ** 2).mean()
            loss.backward()
            if recorded:
                recorder.record(step, loss, batch=batch)
            optimizer.step()
        if recorded:
            recorder.close()
            assert recorder.stopped is None
        return [*model.state_dict().values(), torch.get_rng_state()]

    for plain, recorded in zip(train(False), train(True)):
        assert torch.equal(plain, recorded)
    assert (tmp_path / "capture" / "capture.json").exists()


@pytest.mark.parametrize("name", ["nadam", "rprop", "adafactor", "subclass", "maximize"])
def test_an_optimizer_without_a_formula_is_recorded_with_parameters_before_and_after(tmp_path, read, name):
    if name == "adafactor" and not hasattr(torch.optim, "Adafactor"):
        pytest.skip("torch has no Adafactor")
    run = Truth(
        tmp_path / "capture",
        lambda m: OPTIMIZERS[name](m.parameters()),
        65,
        jump_at=58,
        snapshot_every_steps=5,
        steps_after=3,
    )
    capture = read(tmp_path / "capture")
    assert capture.manifest["optimizer"]["formula"] is False
    assert capture.manifest["optimizer"]["name"] == type(run.optimizers[0]).__name__
    assert list(capture.steps) == list(range(50, 62))
    for step, tensors in capture.steps.items():
        for key, value in run.parameters[step].items():
            same(tensors[f"param/{key}"], value)
            same(tensors[f"param-after/{key}"], run.parameters[step + 1][key])


def test_learning_rates_are_the_optimizers_own_after_load_state_dict(tmp_path, read):
    def resume(run, step):
        if step == 0:
            old = torch.optim.Adagrad(run.model.parameters(), lr=0.02)
            run.optimizers[0].load_state_dict(old.state_dict())
            run.schedule = torch.optim.lr_scheduler.ExponentialLR(run.optimizers[0], 0.9)
        else:
            run.schedule.step()

    run = Truth(tmp_path / "capture", adagrad, 65, jump_at=58, snapshot_every_steps=5, steps_after=3, during=resume)
    capture = read(tmp_path / "capture")
    for step in capture.steps:
        assert [capture.entry(step)["learningRate"]] == run.rates[step]
    assert run.rates[50][0] == pytest.approx(0.02 * 0.9**50)


@pytest.mark.parametrize(
    "make, slots, begun",
    [
        (lambda p: torch.optim.Adam(p, lr=0.01), ["step"], ["m", "step", "v"]),
        (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), ["step"], ["momentum"]),
        (lambda p: torch.optim.SGD(p, lr=0.01), [], []),
    ],
)
def test_an_optimizer_that_has_made_no_state_is_told_from_a_state_that_is_not_recorded(
    tmp_path, read, make, slots, begun
):
    from clippy_diag.torch import closed_loop

    run = Truth(
        tmp_path / "first",
        lambda model: make(model.parameters()),
        12,
        jump_at=11,
        snapshot_every_steps=5,
        steps_after=0,
    )
    named = lambda capture: sorted({n.split("/")[1] for n in capture.initial if n.startswith("state/")})  # noqa: E731
    first = read(tmp_path / "first")
    assert list(first.steps)[0] == 5 and named(first) == begun
    # A resume that loads the weights alone, whose steps count on.
    optimizer = make(run.model.parameters())
    recorder = Recorder(run.model, optimizer, tmp_path / "second", snapshot_every_steps=5, steps_after=3)
    for step in range(100, 107):
        optimizer.zero_grad()
        loss = loss_of(run.model, batch_at(step, 103))
        loss.backward()
        if step == 103:
            recorder.capture()
        recorder.record(step, loss, batch=batch_at(step, 103))
        optimizer.step()
    recorder.close()
    second = read(tmp_path / "second")
    assert list(second.steps)[0] == 100 and named(second) == slots
    assert all(float(array) == 0 for name, (_, array) in second.initial.items() if name.startswith("state/step/"))
    # It raises where the recorded losses do not come back: the count of no steps is no state.
    closed_loop(tmp_path / "second", run.model, loss_of)


def test_parameters_that_join_are_recorded_from_then_on(tmp_path, read):
    def unfreeze(run, step):
        if step == 31:
            run.optimizers[0].add_param_group({"params": run.model["last"].parameters(), "lr": 0.003})

    first = lambda model: torch.optim.Adam(model["first"].parameters(), lr=0.01)  # noqa: E731
    run = Truth(tmp_path / "capture", first, 45, jump_at=38, snapshot_every_steps=10, steps_after=3, during=unfreeze)
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == list(range(20, 42))
    assert [p.get("group") for p in capture.manifest["parameters"]] == [None, None, 0, 0]
    same(capture.initial["param/last.weight"], run.parameters[31]["last.weight"])
    assert ["grad/last.weight" in tensors for tensors in capture.steps.values()] == [s >= 31 for s in capture.steps]
    assert capture.entry(35)["groupLearningRates"] == [0.003]


def test_parameters_that_join_at_the_step_of_a_later_snapshot_are_in_the_first_state(tmp_path, read):
    def unfreeze(run, step):
        if step == 30:
            run.optimizers[0].add_param_group({"params": run.model["last"].parameters(), "lr": 0.003})

    first = lambda model: torch.optim.Adam(model["first"].parameters(), lr=0.01)  # noqa: E731
    run = Truth(tmp_path / "capture", first, 45, jump_at=38, snapshot_every_steps=10, steps_after=3, during=unfreeze)
    capture = read(tmp_path / "capture")
    assert list(capture.steps)[0] == 20
    same(capture.initial["param/last.weight"], run.parameters[30]["last.weight"])


def test_parameters_that_join_while_a_capture_is_written_end_it(tmp_path, read, status):
    def unfreeze(run, step):
        if step == 35:
            run.optimizers[0].add_param_group({"params": run.model["last"].parameters()})

    first = lambda model: torch.optim.Adam(model["first"].parameters(), lr=0.01)  # noqa: E731
    Truth(tmp_path / "capture", first, 45, jump_at=33, snapshot_every_steps=10, steps_after=9, during=unfreeze)
    assert list(read(tmp_path / "capture").steps) == list(range(20, 35))
    assert any("parameters were added" in problem for problem in status(tmp_path / "capture")["problems"])


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_frozen_and_unused_parameters_do_not_stop_it(tmp_path, read, kind):
    model = net()
    model["unused"] = torch.nn.Linear(2, 2)
    model["first"].weight.requires_grad_(False)
    options = {"lr": 0.01, "weight_decay": 0.1, **({"momentum": 0.9} if kind == "SGD" else {})}
    run = Truth(
        tmp_path / "capture",
        lambda m: getattr(torch.optim, kind)(m.parameters(), **options),
        30,
        model=model,
        during=lambda run, step: run.recorder.capture() if step == 20 else None,
        snapshot_every_steps=5,
        steps_after=3,
    )
    assert run.recorder.stopped is None
    capture = read(tmp_path / "capture")
    names = [p["name"] for p in capture.manifest["parameters"]]
    assert "first.weight" not in names and "unused.weight" in names
    assert not any("grad/unused.weight" in tensors for tensors in capture.steps.values())


def test_groups_and_several_optimizers_have_their_own_options_and_rates(tmp_path, read):
    def make(model):
        first = torch.optim.Adagrad(
            [{"params": [model["first"].weight], "lr": 0.1}, {"params": [model["first"].bias], "lr": 0.02, "eps": 1e-8}]
        )
        return [first, torch.optim.AdamW(model["last"].parameters(), lr=0.01, betas=(0.8, 0.99), weight_decay=0.02)]

    def decay(run, step):
        for optimizer in run.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= 0.99

    run = Truth(tmp_path / "capture", make, 65, jump_at=58, snapshot_every_steps=5, steps_after=3, during=decay)
    capture = read(tmp_path / "capture")
    assert [p.get("group") for p in capture.manifest["parameters"]] == [None, 0, 1, 1]
    assert [group["name"] for group in capture.manifest["groups"]] == ["adagrad", "adamw"]
    assert capture.manifest["groups"][1]["beta1"] == 0.8
    for step in capture.steps:
        entry = capture.entry(step)
        assert [entry["learningRate"], *entry["groupLearningRates"]] == run.rates[step]


def test_sparse_gradients_are_rows(tmp_path, read):
    run = Truth(
        tmp_path / "capture", adagrad, 65, embedding="sparse", jump_at=58, snapshot_every_steps=5, steps_after=3
    )
    capture = read(tmp_path / "capture")
    assert capture.manifest["parameters"][0] == {
        "name": "first.weight",
        "shape": [7, 4],
        "layout": "none",
        "embedding": True,
    }
    for step, tensors in capture.steps.items():
        rows, values = tensors["grad/first.weight/indices"], tensors["grad/first.weight/values"]
        assert rows[0] == "I64"
        whole = np.zeros((7, 4), np.float32)
        whole[rows[1]] = values[1]
        np.testing.assert_array_equal(whole, run.gradients[step]["first.weight"].numpy())


def test_sparse_adam_is_recorded(tmp_path, read):
    make = lambda m: [  # noqa: E731
        torch.optim.SparseAdam(m["first"].parameters(), lr=0.01),
        torch.optim.Adam(m["last"].parameters(), lr=0.01),
    ]
    run = Truth(tmp_path / "capture", make, 65, embedding="sparse", jump_at=58, snapshot_every_steps=5, steps_after=3)
    capture = read(tmp_path / "capture")
    same(capture.steps[60]["param-after/first.weight"], run.parameters[61]["first.weight"])
    assert "param-after/last.weight" not in capture.steps[60]


def test_tied_weights_and_bfloat16_are_recorded_once_and_bit_for_bit(tmp_path, read):
    torch.manual_seed(0)
    model = torch.nn.ModuleDict(
        {"a": torch.nn.Linear(4, 4, bias=False), "b": torch.nn.Linear(4, 4, bias=False)}
    ).bfloat16()
    model["b"].weight = model["a"].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=2, steps_after=1)
    for step in range(6):
        optimizer.zero_grad()
        loss = model["b"](model["a"](torch.randn(3, 4).bfloat16())).pow(2).mean()
        loss.backward()
        if step == 4:
            recorder.capture()
            expected = model["a"].weight.grad.view(torch.int16).numpy().copy()
        recorder.record(step, loss)
        optimizer.step()
    recorder.close()
    capture = read(tmp_path / "capture")
    assert [p["name"] for p in capture.manifest["parameters"]] == ["a.weight"]
    dtype, words = capture.steps[4]["grad/a.weight"]
    assert dtype == "BF16"
    np.testing.assert_array_equal(words.view("<i2"), expected)


class GradScaler:
    """What a recorder sees of torch's GradScaler, which disables itself without CUDA."""

    def __init__(self, scale=1024.0):
        self.scale = scale

    def is_enabled(self):
        return True

    def get_scale(self):
        return self.scale


def amp(folder, infinite, jump_at=None, passed=True, steps=70):
    model, scaler = net(), GradScaler()
    optimizer = adagrad(model)
    recorder = Recorder(model, optimizer, folder, snapshot_every_steps=5, steps_after=3)
    gradients = {}
    for step in range(steps):
        optimizer.zero_grad()
        batch = batch_at(step, jump_at)
        loss = loss_of(model, batch)
        (loss * scaler.get_scale()).backward()
        if step in infinite:
            model["last"].weight.grad.fill_(float("inf"))
        gradients[step] = {n: p.grad / scaler.scale for n, p in model.named_parameters()}
        recorder.record(step, loss, batch=batch, scaler=scaler if passed else None)
        if step in infinite:
            scaler.scale /= 2
        else:
            for p in model.parameters():
                p.grad /= scaler.scale
            optimizer.step()
    recorder.close()
    return recorder, gradients


def test_gradients_are_recorded_without_the_loss_scale_and_skipped_steps_are_listed(tmp_path, read):
    _, gradients = amp(tmp_path / "capture", {54}, jump_at=57)
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == [*range(50, 54), *range(55, 61)]
    assert capture.manifest["skipped"] == [54]
    assert capture.manifest["skips"][0]["nonFinite"] == ["last.weight"]
    for step, tensors in capture.steps.items():
        for name, gradient in gradients[step].items():
            same(tensors[f"grad/{name}"], gradient)


def test_a_run_whose_scaler_skips_every_step_is_captured(tmp_path, read):
    amp(tmp_path / "capture", set(range(52, 70)))
    capture = read(tmp_path / "capture")
    assert list(capture.steps)[-1] == 51
    assert capture.manifest["skipped"] == list(range(52, 59))
    assert "skipped 4 steps in a row" in capture.manifest["flushed"]["reason"]


def test_a_scaler_that_was_not_passed_is_found_and_said(tmp_path, status):
    with pytest.warns(UserWarning, match="pass it as record"):
        recorder, _ = amp(tmp_path / "capture", set(), passed=False, steps=3)
    assert "GradScaler is active" in recorder.stopped
    assert status(tmp_path / "capture")["stopped"] == recorder.stopped


def test_accumulated_micro_batches_come_back_as_a_list(tmp_path, read):
    model = net()
    optimizer = adagrad(model)
    recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=2, steps_after=1)
    for step in range(6):
        optimizer.zero_grad()
        micro = [batch_at(2 * step), batch_at(2 * step + 1)]
        total = 0.0
        for batch in micro:
            loss = loss_of(model, batch) / 2
            loss.backward()
            total += loss.item()
        if step == 4:
            recorder.capture()
        ids = torch.arange(8) + 100 if step == 5 else f"shard-{step}"
        recorder.record(step, total, batch=micro, batch_id=ids)
        optimizer.step()
    recorder.close()
    capture = read(tmp_path / "capture")
    assert capture.steps[4]["batch/1/x"][1].shape == (8, 4)
    assert capture.manifest["batch"]["list"][0]["dict"][0] == ["x", {"tensor": "0/x"}]
    assert capture.entry(4)["batchId"] == "shard-4"
    assert capture.entry(5)["batchId"] == list(range(100, 108))
    assert capture.manifest["flushed"]["reason"] == "requested"


def test_without_batches_nothing_of_them_is_in_the_capture(tmp_path, read):
    Truth(tmp_path / "capture", adagrad, 65, jump_at=58, snapshot_every_steps=5, steps_after=3, batches=False)
    capture = read(tmp_path / "capture")
    assert "batch" not in capture.manifest
    assert not [n for tensors in capture.steps.values() for n in tensors if n.startswith(("batch/", "rng/"))]


def test_a_copy_and_a_pickle_of_the_model_know_nothing_of_the_recorder(tmp_path):
    model = net()
    recorder = Recorder(model, adagrad(model), tmp_path / "capture")
    twin = copy.deepcopy(model)
    again = pickle.loads(pickle.dumps(model))
    assert b"clippy" not in pickle.dumps(model)
    for other in (twin, again):
        (hook,) = other._forward_pre_hooks.values()
        assert hook(other, (1,)) == (1,) or hook(other, (1,)) is None
    recorder.close()


def test_an_error_inside_stops_the_recorder_and_not_the_training(tmp_path, status):
    model = net()
    recorder = Recorder(model, adagrad(model), tmp_path / "capture")
    with pytest.warns(UserWarning, match="recording stopped, training goes on"):
        recorder.record("not a step", 1.0)
    recorder.record(1, 1.0)
    assert status(tmp_path / "capture")["state"] == "stopped"


def test_what_is_no_optimizer_or_another_models_is_refused(tmp_path):
    model = net()
    with pytest.raises(TypeError, match="no optimizer of PyTorch"):
        Recorder(model, object(), tmp_path / "capture")
    with pytest.raises(ValueError, match="none of the optimizer's parameters"):
        Recorder(model, torch.optim.SGD(net(1).parameters(), lr=0.1), tmp_path / "capture")


def test_a_parameter_outside_of_the_model_is_recorded_under_a_name(tmp_path, read):
    model, temperature = net(), torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.Adam([*model.parameters(), temperature], lr=0.01)
    with pytest.warns(UserWarning, match="not in the model"):
        recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=2, steps_after=1)
        recorder.capture()
        for step in range(3):
            optimizer.zero_grad()
            loss = loss_of(model, batch_at(step)) * temperature
            loss.backward()
            recorder.record(step, loss)
            optimizer.step()
    recorder.close()
    assert read(tmp_path / "capture").manifest["parameters"][-1]["name"].startswith("optimizer.0.")


@pytest.fixture(name="mesh")
def one_rank_mesh(tmp_path):
    """A mesh of this process alone, on which torch shards as on many."""
    pytest.importorskip("torch.distributed.tensor", reason="torch is older than DTensor")
    from torch.distributed.device_mesh import init_device_mesh

    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def by_fsdp2(model, mesh):
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("torch is older than FSDP2")
    fsdp.fully_shard(model, mesh=mesh)


def by_tensor_parallel(model, mesh):
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    parallelize_module(model, mesh, {"0": ColwiseParallel()})


def by_fsdp1(model, mesh):
    from torch.distributed.fsdp import FullyShardedDataParallel

    try:
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)
    except (RuntimeError, ValueError, TypeError) as error:
        pytest.skip(f"FSDP needs more than this machine has: {error}")


@pytest.mark.parametrize("shard", [by_fsdp1, by_fsdp2, by_tensor_parallel])
def test_shards_of_one_rank_are_recorded_whole_and_the_training_is_bitwise_the_same(tmp_path, mesh, shard, read):
    def losses(record):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 1))
        model = shard(model, mesh) or model
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        if record:
            recorder = Recorder(model, optimizer, tmp_path / "capture", steps_after=2)
            recorder.capture()
        found = []
        for step in range(4):
            optimizer.zero_grad()
            x = torch.ones(3, 4) * step
            loss = (model(x) ** 2).sum()
            loss.backward()
            if record:
                recorder.record(step, loss, batch={"x": x})
            optimizer.step()
            found.append(float(loss))
        if record:
            recorder.close()
            assert recorder.stopped is None
        return found

    assert losses(record=True) == losses(record=False)
    capture = read(tmp_path / "capture")
    assert list(capture.steps) == [0, 1, 2]
    assert capture.steps[1]["grad/0.weight"][1].shape == (8, 4) and capture.steps[1]["batch/x"][1].shape == (3, 4)
    assert capture.initial["param/1.bias"][1].shape == (1,)


def test_memory_below_the_gradients_keeps_them_from_the_incident_on(tmp_path, read):
    model = torch.nn.ModuleDict({"first": torch.nn.Linear(4, 256), "last": torch.nn.Linear(256, 1)})
    run = Truth(
        tmp_path / "capture",
        adagrad,
        65,
        model=model,
        jump_at=58,
        snapshot_every_steps=5,
        steps_after=3,
        memory=100_000,
    )
    capture = read(tmp_path / "capture")
    assert capture.manifest["gradients"] == "after-trigger"
    assert [s for s, tensors in capture.steps.items() if "grad/first.weight" in tensors] == [58, 59, 60, 61]
    same(capture.steps[58]["grad/first.weight"], run.gradients[58]["first.weight"])


def test_state_that_the_optimizer_makes_at_its_first_step_is_within_the_budget_too(tmp_path, read, status):
    model = torch.nn.ModuleDict({"first": torch.nn.Linear(4, 2000), "last": torch.nn.Linear(2000, 1)})
    size = 4 * sum(p.numel() for p in model.parameters())
    # Two copies of the parameters fit, and two of parameters and state do not.
    run = Truth(
        tmp_path / "capture",
        lambda m: torch.optim.Adam(m.parameters(), lr=1e-3),
        65,
        model=model,
        jump_at=58,
        snapshot_every_steps=5,
        steps_after=3,
        memory=4 * size,
    )
    # What is still on its way to a slow disk comes on top; two snapshots with their state would be six.
    assert run.recorder.status["memory"]["mostHeld"] <= 5 * size
    assert "snapshots go to disk" in status(tmp_path / "capture")["plan"]
    capture = read(tmp_path / "capture")
    assert list(capture.steps)[-4:] == [58, 59, 60, 61]
    same(capture.initial["param/last.weight"], run.parameters[list(capture.steps)[0]]["last.weight"])
    assert "state/v/last.weight" in capture.initial
    assert sorted(os.listdir(tmp_path)) == ["capture"]


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="torch has no compile")
def test_a_compiled_model_is_recorded_under_its_plain_names(tmp_path, read):
    model = net()
    compiled = torch.compile(model, backend="eager")
    recorder = Recorder(compiled, adagrad(model), tmp_path / "capture", snapshot_every_steps=2, steps_after=1)
    recorder.capture()
    loss = loss_of(model, batch_at(0))
    loss.backward()
    recorder.record(0, loss)
    recorder.close()
    assert read(tmp_path / "capture").manifest["parameters"][0]["name"] == "first.weight"


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="torch has no compile")
def test_a_model_compiled_whole_after_the_recorder_was_made_still_compiles(tmp_path):
    model = torch.nn.Linear(4, 1)
    recorder = Recorder(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path / "capture")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(torch.zeros(2, 4)).sum().backward()
    recorder.close()


def ddp_worker(rank, world, folder, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    recorder = Recorder(model, optimizer, folder, snapshot_every_steps=2, steps_after=1)
    if rank == 0:
        recorder.capture()
    for step in range(4):
        optimizer.zero_grad()
        loss = (model(torch.full((2, 4), float(rank + 1))) ** 2).mean()
        loss.backward()
        recorder.record(step, loss, batch={"x": torch.zeros(1)})
        both = [torch.zeros(()) for _ in range(world)]
        torch.distributed.all_gather(both, loss.detach())
        if rank == 0 and step == 0:
            np.save(f"{folder}-truth.npy", [float(sum(both)) / world, model.module.weight.grad[0, 0].item()])
        optimizer.step()
    recorder.close()
    # A rank that ends while another one still writes takes the other's connection with it.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_ranks_write_one_capture_of_the_mean_loss_and_the_reduced_gradient(tmp_path, read):
    folder = str(tmp_path / "capture")
    torch.multiprocessing.spawn(ddp_worker, (2, folder, 29555 + os.getpid() % 1000), nprocs=2)
    capture = read(folder)
    loss, gradient = np.load(f"{folder}-truth.npy")
    assert capture.entry(0)["loss"] == pytest.approx(loss, rel=1e-6)
    assert capture.steps[0]["grad/weight"][1][0, 0] == np.float32(gradient)
    assert {"batch/rank-0/x", "batch/rank-1/x"} <= set(capture.steps[0])
    assert sorted(os.listdir(tmp_path)) == ["capture", "capture-truth.npy"]


@pytest.mark.parametrize("what", ["another optimizer", "loaded weights", "steps left out"])
def test_parameters_that_others_move_are_told_from_steps_of_the_optimizer(tmp_path, status, what):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    recorder = Recorder(model, optimizer, tmp_path / "capture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(60):
            if what == "another optimizer" and step == 30:
                optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            x = torch.randn(16, 4)
            optimizer.zero_grad()
            loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
            loss.backward()
            recorder.record(step, loss)
            if what == "loaded weights" and step == 30:
                model.load_state_dict({name: 0 * tensor for name, tensor in model.state_dict().items()})
            elif what != "steps left out" or step % 3:
                optimizer.step()
        recorder.close()
    said = status(tmp_path / "capture")
    told = [problem for problem in said["problems"] if "took no step" in problem]
    assert (told == []) == (what == "steps left out") and all("before step 3" in problem for problem in told)
    assert (said["stopped"] is not None) == (what == "another optimizer")
    assert "make a new Recorder" in (said["stopped"] or "make a new Recorder")


@pytest.mark.skipif(not HAS_HOOKS, reason="torch 1 has no hook after a step")
@pytest.mark.parametrize("before", [True, False], ids=["before record", "between record and the step"])
def test_the_rate_and_options_that_a_step_used_are_recorded(tmp_path, read, before):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=5, steps_after=10)
    used = {}

    def schedule(step):
        for group in optimizer.param_groups:
            group["lr"], group["weight_decay"] = 0.01 / (1 + step), 0.001 * step
        used[step] = 0.01 / (1 + step), 0.001 * step

    for step in range(40):
        x = torch.randn(16, 4)
        optimizer.zero_grad()
        loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        loss.backward()
        if before:
            schedule(step)
        if step == 20:
            recorder.capture("drill")
        recorder.record(step, loss)
        if not before:
            schedule(step)
        optimizer.step()
    recorder.close()
    manifest = json.loads((tmp_path / "capture" / "capture.json").read_text("utf8"))
    assert len(manifest["steps"]) > 12
    options = None
    for entry in manifest["steps"]:
        # An entry names its options where they differ from those of the step before.
        options = entry.get("options", options)
        rate, decay = used[entry["step"]]
        assert entry["learningRate"] == rate
        assert options[0]["weightDecay"] == pytest.approx(decay)


@pytest.mark.parametrize("width", [8, 100])
def test_memory_of_weights_and_gradients_may_still_be_given_another_size(tmp_path, width):
    # As sharded training does between steps. `Tensor.numpy` would forbid it. Steps of the larger net wait.
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
    optimizer = torch.optim.Adam(model.parameters())
    recorder = Recorder(model, optimizer, tmp_path / "capture", snapshot_every_steps=5, ledger=True)
    for step in range(30):
        optimizer.zero_grad()
        loss = (model(torch.randn(16, width)) ** 2).mean()
        loss.backward()
        recorder.record(step, loss)
        optimizer.step()
        for parameter in model.parameters():
            for tensor in (parameter.data, parameter.grad):
                memory, numbers = tensor.untyped_storage(), tensor.clone()
                size = memory.nbytes()
                memory.resize_(0)
                memory.resize_(size)
                tensor.copy_(numbers)
    recorder.close()
    assert recorder.problems == [] and recorder._own.stopped is None

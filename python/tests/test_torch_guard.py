"""The guard for PyTorch: it changes nothing, measures what the step then does, and holds what would be lost."""

import copy
import io
import json
import math
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch in this environment")

from clippy_diag.guarding import Advice, Ahead, Checks, Measured  # noqa: E402
from clippy_diag.rules import clipping_words, recorded_rules  # noqa: E402
from clippy_diag.torch import Guard, Recorder  # noqa: E402
from clippy_diag.torch.ahead import LookAhead  # noqa: E402
from clippy_diag.torch.measures import measure  # noqa: E402

torch.set_num_threads(1)

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    "dampened": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, dampening=0.3),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.1, lr_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.003, momentum=0.5, centered=True),
}


class Net(torch.nn.Module):
    """Ids, dropout and batch statistics: all that a look-ahead could disturb."""

    def __init__(self, seed=0, sparse=False, plain=False):
        super().__init__()
        torch.manual_seed(seed)
        self.table = torch.nn.Embedding(9, 4, sparse=sparse)
        self.first = torch.nn.Linear(8, 16)
        self.norm = torch.nn.Identity() if plain else torch.nn.BatchNorm1d(16)
        self.drop = torch.nn.Dropout(0.0 if plain else 0.2)
        self.last = torch.nn.Linear(16, 1)

    def forward(self, batch):
        x = torch.cat([batch["x"], self.table(batch["id"])], dim=1)
        y = self.last(self.drop(torch.relu(self.norm(self.first(x)))))[:, 0]
        return ((y - batch["y"]) ** 2).mean()


def batch_at(step, times=1.0, rows=32):
    g = torch.Generator().manual_seed(step)
    x = torch.randn(rows, 4, generator=g)
    y = torch.tanh(x.sum(1)) + 0.1 * torch.randn(rows, generator=g)
    return {"x": x * times, "id": torch.randint(0, 9, (rows,), generator=g), "y": y}


def loss_of(net, batch):
    return net(batch)


def train(steps, make, *, guard=None, obey=True, net=None, batch=batch_at, before_step=None):
    """Returns the net, its optimizer, and the advice of every step."""
    net = net or Net()
    optimizer = make(net.parameters())
    own = guard(net, optimizer) if guard else None
    advice = []
    for step in range(steps):
        data = batch(step)
        optimizer.zero_grad(set_to_none=True)
        loss = net(data)
        loss.backward()
        if before_step:
            before_step(step, net, optimizer)
        if own is not None:
            advice.append(own.check(step, data, loss))
            if obey:
                own.apply(advice[-1])
        optimizer.step()
    return net, optimizer, advice, own


def state_of(net, optimizer):
    tensors = {**net.state_dict(), "rng": torch.get_rng_state()}
    for k, state in enumerate(optimizer.state.values()):
        tensors.update({f"{k}.{key}": torch.as_tensor(value) for key, value in state.items() if value is not None})
    return {key: value.clone() for key, value in tensors.items()}


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        left, right = a[key], b[key]
        if left.is_floating_point():
            assert torch.equal(left.isnan(), right.isnan()), key
            left, right = left.nan_to_num(), right.nan_to_num()
        assert torch.equal(left, right), key


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_check_leaves_everything_bitwise_as_it_was(name):
    surge = lambda step: batch_at(step, 30.0 if step >= 25 else 1.0)  # noqa: E731
    torch.manual_seed(5)
    bare = train(32, OPTIMIZERS[name], batch=surge)
    after_bare = state_of(*bare[:2])
    torch.manual_seed(5)
    seen = train(32, OPTIMIZERS[name], batch=surge, guard=lambda n, o: Guard(n, o, loss_of), obey=False)
    same(state_of(*seen[:2]), after_bare)
    # It did look ahead, so something could have been disturbed.
    assert any(a.ahead for a in seen[2]) and not seen[3].problems


def test_gradients_modes_and_buffers_stay_while_a_step_is_tried():
    net, optimizer, _, guard = train(12, OPTIMIZERS["adam"], guard=lambda n, o: Guard(n, o, loss_of))
    net.drop.eval()
    data = batch_at(99)
    data["y"] = 50 * data["y"]
    optimizer.zero_grad()
    loss = net(data)
    loss.backward()
    before = [(p.grad, p.grad.clone(), p.data_ptr()) for p in net.parameters()]
    buffers = {n: b.clone() for n, b in net.named_buffers()}
    advice = guard.check(99, data, loss)
    assert advice.ahead is not None
    for p, (gradient, values, pointer) in zip(net.parameters(), before):
        assert p.grad is gradient and torch.equal(p.grad, values) and p.data_ptr() == pointer
    assert not net.drop.training and net.norm.training
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, buffers[name]), name


def surprise_of(optimizer, p):
    """The largest |g| over the root of the state before it, from the definition."""
    group, state = optimizer.param_groups[0], optimizer.state[p]
    slot = {"Adagrad": "sum", "RMSprop": "square_avg", "Adam": "exp_avg_sq", "AdamW": "exp_avg_sq"}
    kind = type(optimizer).__name__
    if slot.get(kind) not in state:
        return math.nan
    before = state[slot[kind]].double()
    if "betas" in group:
        before = before / (1 - group["betas"][1] ** float(state["step"]))
    decay = 0 if kind == "AdamW" else group["weight_decay"]
    gradient = (p.grad + decay * p.detach()).double()
    ratio = torch.where(gradient == 0, torch.zeros_like(gradient), gradient.abs() / before.sqrt())
    return min(1000.0, ratio.max().item())


def shares(optimizer):
    """Of the state before, without its bias, and of g² in the state with it. |g| over the root of that is what is measured; what
    is told follows by a subtraction, ill-conditioned where the state is nearly all this gradient."""
    group, kind = optimizer.param_groups[0], type(optimizer).__name__
    if kind not in ("RMSprop", "Adam", "AdamW"):
        return 1.0, 1.0
    if kind == "RMSprop":
        return group["alpha"], 1 - group["alpha"]
    beta, taken = group["betas"][1], float(next(iter(optimizer.state.values()))["step"]) - 1
    return beta * (1 - beta**taken), 1 - beta


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_is_the_one_that_the_optimizer_then_takes(name):
    net = Net(plain=True)
    optimizer = OPTIMIZERS[name](net.parameters())
    for step in range(6):
        optimizer.zero_grad()
        net(batch_at(step)).backward()
        named = [(n, p, optimizer, optimizer.param_groups[0]) for n, p in net.named_parameters()]
        found = measure(named, torch.zeros(())).tensors
        before = {n: p.detach().clone() for n, p in net.named_parameters()}
        gradients = {n: p.grad.clone() for n, p in net.named_parameters()}
        surprises = {n: surprise_of(optimizer, p) for n, p in net.named_parameters()}
        optimizer.step()
        if step == 0:
            continue  # torch makes the state of some optimizers in the first step
        for one, (n, p) in zip(found, net.named_parameters()):
            moved = (before[n] - p.detach()).double()
            # Clippy bounds the update without decoupled decay.
            bounded = ((1 - 0.01 * 0.1 if name == "adamw" else 1.0) * before[n] - p.detach()).double()
            assert one.name == n
            assert math.sqrt(one.update) == pytest.approx(float(moved.norm()), rel=2e-4)
            assert math.sqrt(one.square) == pytest.approx(float(gradients[n].double().norm()), rel=1e-5)
            kept, share = shares(optimizer)
            measured, wanted = (x / math.sqrt(kept + share * x * x) for x in (one.surprise, surprises[n]))
            assert measured == pytest.approx(wanted, rel=2e-3, nan_ok=True)
            bound = float(((0.5 * before[n].abs() + 0.01) / bounded.abs()).min())
            assert one.factor == pytest.approx(min(1.0, bound), rel=1e-3)


def test_a_large_tensor_is_measured_in_parts_as_it_is_whole(monkeypatch):
    net = torch.nn.Linear(300, 200)
    optimizer = torch.optim.Adagrad(net.parameters(), lr=0.1)
    net(torch.randn(4, 300)).square().mean().backward()
    named = [(n, p, optimizer, optimizer.param_groups[0]) for n, p in net.named_parameters()]
    parts = measure(named, torch.zeros(())).tensors
    monkeypatch.setattr("clippy_diag.torch.measures.ON_CPU", 10**9)
    whole = measure(named, torch.zeros(())).tensors
    assert len(parts) == len(whole) == 2
    for a, b in zip(parts, whole):
        assert a[0] == b[0] and a[1:] == pytest.approx(b[1:], rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("broken", [False, True])
def test_small_tensors_are_measured_together_as_each_is_alone(name, broken, monkeypatch):
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 4), torch.nn.Linear(4, 1))
    # A tensor that has taken fewer steps than the others has other bias corrections.
    late = net[1].bias
    optimizer = OPTIMIZERS[name](list(net.parameters()))
    for step in range(3):
        optimizer.zero_grad()
        net(torch.randn(8, 6)).square().mean().backward()
        if not step:
            late.grad = None
        optimizer.step()
    if broken:
        net[0].weight.grad[2, 3] = math.nan
    named = [(n, p, optimizer, optimizer.param_groups[0]) for n, p in net.named_parameters()]
    together = measure(named, torch.tensor(1.0)).tensors
    monkeypatch.setattr("clippy_diag.torch.measures.SMALL", 0)
    alone = measure(named, torch.tensor(1.0)).tensors
    assert [one.name for one in together] == [one.name for one in alone] == [n for n, _ in net.named_parameters()]
    for a, b in zip(together, alone):
        assert a[1:] == pytest.approx(b[1:], rel=1e-5, nan_ok=True)
    assert [not math.isfinite(one.square) for one in together] == [broken, *[False] * 5]


def test_a_gradient_that_is_not_finite_reaches_no_parameter():
    def spoil(step, net, optimizer):
        if step == 20:
            net.first.weight.grad[0, 0] = math.nan

    net, optimizer, advice, _ = train(
        25, OPTIMIZERS["adamw"], guard=lambda n, o: Guard(n, o, loss_of), before_step=spoil
    )
    assert advice[20].action == "skip" and advice[20].risk >= 0.99
    assert "first.weight" in advice[20].why and advice[20].tensor == "first.weight"
    assert all(torch.isfinite(p).all() for p in net.parameters())
    # Nothing moved, not even by momentum or decay: the count of steps of Adam stands one behind.
    assert {int(state["step"]) for state in optimizer.state.values()} == {24}


def test_skip_removes_gradients_clip_never_raises_the_norm_apply_leaves_them():
    from clippy_diag.guarding import Advice

    net, optimizer, _, guard = train(3, OPTIMIZERS["adam"], guard=lambda n, o: Guard(n, o, loss_of))
    net(batch_at(3)).backward()
    before = [p.grad.clone() for p in net.parameters()]
    guard.apply(Advice(3, 0.1, "apply", ""))
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), before))
    guard.apply(Advice(3, 0.95, "clip", "", scale=0.2))
    assert all(torch.equal(p.grad, g * 0.2) for p, g in zip(net.parameters(), before))
    guard.apply(Advice(3, 1.0, "skip", ""))
    assert all(p.grad is None for p in net.parameters())


def test_advice_only_touches_nothing():
    surge = lambda step: batch_at(step, 30.0 if step >= 40 else 1.0)  # noqa: E731
    make = lambda n, o: Guard(n, o, loss_of, advice_only=True)  # noqa: E731
    bare = train(50, OPTIMIZERS["sgd"], net=Net(plain=True), batch=surge)
    told = train(50, OPTIMIZERS["sgd"], net=Net(plain=True), batch=surge, guard=make)
    assert any(a.action != "apply" for a in told[2])
    same({**told[0].state_dict()}, {**bare[0].state_dict()})


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop"])
def test_a_run_that_a_surge_destroys_is_held_and_its_healthy_twin_is_left_alone(name):
    clean = batch_at(10**6, rows=256)

    def surge(step):
        return batch_at(step, 40.0 if step >= 60 else 1.0)

    def end(net):
        net.eval()
        with torch.no_grad():
            return float(net(clean))

    make = OPTIMIZERS[name]
    well = end(train(60, make, net=Net(plain=True))[0])
    lost = end(train(80, make, net=Net(plain=True), batch=surge)[0])
    held = train(80, make, net=Net(plain=True), batch=surge, guard=lambda n, o: Guard(n, o, loss_of))
    assert not lost <= 1.45 * well
    assert end(held[0]) <= 1.25 * well
    assert all(a.action == "apply" for a in held[2][:60]), [a.why for a in held[2][:60] if a.action != "apply"]
    assert held[2][60].action != "apply" and "batches from before" in held[2][60].why
    twin = train(80, make, net=Net(plain=True), guard=lambda n, o: Guard(n, o, loss_of))
    assert all(a.action == "apply" for a in twin[2])
    same(twin[0].state_dict(), train(80, make, net=Net(plain=True))[0].state_dict())


def test_any_optimizer_sparse_gradients_and_frozen_parameters():
    class Own(torch.optim.SGD):
        pass

    net = Net(sparse=True, plain=True)
    net.first.bias.requires_grad_(False)
    surge = lambda step: batch_at(step, 60.0 if step >= 30 else 1.0)  # noqa: E731
    _, _, advice, guard = train(
        34,
        lambda p: Own([q for q in p if q.requires_grad], lr=0.05),
        net=net,
        batch=surge,
        guard=lambda n, o: Guard(n, o, loss_of),
    )
    assert not guard.problems
    assert advice[30].action != "apply" and all(a.action == "apply" for a in advice[:30])


def test_a_scheduler_around_step_is_not_called_by_what_is_tried():
    net = Net(plain=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1000)
    before = copy.deepcopy(net.state_dict())
    net(batch_at(0)).backward()
    LookAhead(net, [optimizer], loss_of).run(batch_at(0), [batch_at(1)])
    same(net.state_dict(), before)
    assert not getattr(optimizer, "_opt_called", False)
    assert scheduler.last_epoch == 0


def test_what_fails_is_said_once_and_the_loop_goes_on():
    def fails(net, batch):
        raise RuntimeError("no such batch")

    with pytest.warns(UserWarning, match="no such batch") as heard:
        _, _, advice, guard = train(40, OPTIMIZERS["sgd"], guard=lambda n, o: Guard(n, o, fails))
    assert len([w for w in heard if "no such batch" in str(w.message)]) == 1
    assert all(a.action == "apply" for a in advice) and len(guard.problems) == 1


def test_without_a_loss_the_signs_decide():
    surge = lambda step: batch_at(step, 100.0 if step >= 40 else 1.0)  # noqa: E731
    _, _, advice, _ = train(41, OPTIMIZERS["sgd"], net=Net(plain=True), batch=surge, guard=lambda n, o: Guard(n, o))
    assert advice[40].action == "clip" and 0 < advice[40].scale < 1 and advice[40].ahead is None
    assert advice[40].rule.startswith("global-norm:")
    assert all(a.action == "apply" for a in advice[:40])


def test_a_scaler_is_unscaled_once_and_its_skips_stay_its_own():
    if not hasattr(torch, "amp") or not hasattr(torch.amp, "GradScaler"):
        pytest.skip("this torch has no GradScaler for the CPU")
    net = Net(plain=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    guard = Guard(net, optimizer, loss_of, scaler=scaler)
    for step in range(30):
        optimizer.zero_grad()
        loss = net(batch_at(step))
        scaler.scale(loss * (math.inf if step == 20 else 1.0)).backward()
        advice = guard.check(step, batch_at(step), loss)
        if step == 5:
            wanted = torch.autograd.grad(net(batch_at(step)), net.first.weight)[0]
            assert torch.allclose(net.first.weight.grad, wanted, rtol=1e-4, atol=1e-6)
        guard.apply(advice)
        scaler.step(optimizer)
        scaler.update()
        assert (advice.action == "skip") == (step == 20)
    assert scaler.get_scale() == 2.0**9
    assert all(torch.isfinite(p).all() for p in net.parameters()) and not guard.problems


def test_the_loops_own_clipping_is_part_of_what_is_tried():
    net = Net(plain=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    data = batch_at(0, 50.0)
    net(data).backward()
    bare = LookAhead(net, [optimizer], loss_of).run(data, [batch_at(1)])
    clipped = LookAhead(net, [optimizer], loss_of, rules=(("global-norm", {"maxNorm": 0.01}),)).run(data, [batch_at(1)])
    assert not bare.kept[0][1] <= 2 * bare.kept[0][0]
    assert clipped.kept[0][1] == pytest.approx(clipped.kept[0][0], rel=0.02)


def test_the_pulse_has_a_line_for_every_step(tmp_path):
    path = tmp_path / "runs" / "pulse.jsonl"
    surge = lambda step: batch_at(step, 40.0 if step == 30 else 1.0)  # noqa: E731
    _, _, advice, guard = train(
        35, OPTIMIZERS["adagrad"], net=Net(plain=True), batch=surge, guard=lambda n, o: Guard(n, o, loss_of, pulse=path)
    )
    guard.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(35))
    assert [line["risk"] for line in lines] == [round(a.risk, 6) for a in advice]
    assert set(lines[0]) >= {"step", "loss", "grad_norm", "surprise", "update_norm", "clippy_factor", "risk", "tensor"}
    assert max(line["risk"] for line in lines[:30]) < 0.9 <= lines[30]["risk"]


def test_a_recorder_with_a_guard_opens_its_capture_at_the_alarm(tmp_path, read):
    net = Net(plain=True)
    optimizer = torch.optim.Adagrad(net.parameters(), lr=0.1, initial_accumulator_value=0.1)
    guard = Guard(net, optimizer, loss_of, advice_only=True)
    recorder = Recorder(net, optimizer, tmp_path / "capture", snapshot_every_steps=5, steps_after=4, guard=guard)
    for step in range(40):
        # The rate jumps: the loss of step 30 is as usual, that of step 31 is not.
        optimizer.param_groups[0]["lr"] = 0.1 if step < 30 else 10.0
        data = batch_at(step)
        optimizer.zero_grad()
        loss = net(data)
        loss.backward()
        guard.check(step, data, loss)
        recorder.record(step, loss, batch=data)
        optimizer.step()
    recorder.close()
    capture = read(tmp_path / "capture")
    assert capture.manifest["flushed"]["step"] == 30
    assert "guard" in capture.manifest["flushed"]["reason"]
    assert capture.entry(30)["guard"]["risk"] >= 0.9


def by_ddp(net):
    return torch.nn.parallel.DistributedDataParallel(net)


def by_fsdp2(net):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    fully_shard(net.first, mesh=mesh)
    return fully_shard(net, mesh=mesh) or net


def by_fsdp1(net):
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(net, device_id=torch.device("cpu"), use_orig_params=True)


def rank_worker(rank, world, folder, port, wrappings):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    told = []
    for wrap, loss_fn in wrappings:
        model = wrap(Net(plain=True))
        optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1, initial_accumulator_value=0.1)
        guard = Guard(model, optimizer, loss_fn)
        said = []
        for step in range(35):
            # Only the batch of rank 0 is bad.
            data = batch_at(2 * step + rank, 40.0 if step >= 30 and rank == 0 else 1.0)
            optimizer.zero_grad()
            loss = model(data)
            loss.backward()
            advice = guard.check(step, data, loss)
            guard.apply(advice)
            optimizer.step()
            said.append([advice.action, advice.risk, advice.scale, advice.ahead is not None, advice.rule])
        weights = [(p.to_local() if hasattr(p, "to_local") else p).double().sum().item() for p in model.parameters()]
        told.append([said, guard.problems, weights])
    Path(f"{folder}-{rank}.json").write_text(json.dumps(told))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def of_ranks(tmp_path, wrappings):
    """What each of two ranks said, by wrapping: [[action, risk, scale, looked ahead, rule] of each step], problems, weights."""
    port = 29755 + os.getpid() % 1000
    torch.multiprocessing.spawn(rank_worker, (2, str(tmp_path / "said"), port, wrappings), nprocs=2)
    return [json.loads((tmp_path / f"said-{rank}.json").read_text()) for rank in (0, 1)]


def test_all_ranks_get_the_same_advice(tmp_path):
    (first,), (second,) = of_ranks(tmp_path, [(by_ddp, loss_of)])
    assert first == second
    said, problems, weights = first
    assert said[30][0] != "apply" and all(action == "apply" for action, *_ in said[:30])
    assert not problems and all(math.isfinite(w) for w in weights)


def rows_worker(rank, folder, port, sparse):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    model = by_ddp(Net(plain=True, sparse=sparse))
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05) if sparse else adam(model.parameters())
    guard = Guard(model, optimizer, loss_of)
    for step in range(62):
        # Only rank 1 has bad rows, from step 60 on.
        batches = [batch_at(2 * step), with_bad_rows(2 * step + 1) if step >= 60 else batch_at(2 * step + 1)]
        optimizer.zero_grad()
        loss = model(batches[rank])
        loss.backward()
        advice = guard.check(step, batches[rank], loss)
        guard.apply(advice)
        if step == 60:
            said = [advice.action, advice.risk, advice.scale, advice.why, list(advice.rows)]
            both = {name: torch.cat([part[name] for part in batches]) for name in batches[0]}
            kept = {name: part[[k for k in range(64) if k not in advice.rows]] for name, part in both.items()}
            wanted = torch.autograd.grad(loss_of(guard.model, kept), list(guard.model.parameters()))
            apart = max(float((p.grad - g).to_dense().abs().max()) for p, g in zip(guard.model.parameters(), wanted))
            kept_sparse = guard.model.table.weight.grad.is_sparse
        optimizer.step()
    Path(f"{folder}-{rank}.json").write_text(json.dumps([said, apart, guard.problems, kept_sparse]))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("sparse", [False, True])
def test_bad_rows_of_one_rank_are_left_out_on_all_ranks_and_have_their_places_in_all_batches(tmp_path, sparse):
    port = 30755 + os.getpid() % 1000 + sparse
    torch.multiprocessing.spawn(rows_worker, (str(tmp_path / "rows"), port, sparse), nprocs=2)
    first, second = (json.loads((tmp_path / f"rows-{rank}.json").read_text()) for rank in (0, 1))
    assert first[0] == second[0] and first[2] == second[2] == []
    action, _, scale, why, rows = first[0]
    # A row of rank 0 that nothing was done to is above the limit too.
    assert action == "clip" and {35, 49} <= set(rows) and len(rows) <= 4
    assert scale == 1 - len(rows) / 64 and f"Without {len(rows)} of its 64 rows it holds." in why
    assert first[1] < 1e-5 and second[1] < 1e-5 and first[3] == second[3] == sparse


def test_shards_are_judged_as_whole_tensors_by_signs_alone(tmp_path):
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("torch is older than FSDP2")
    first, second = of_ranks(tmp_path, [(by_ddp, None), (by_fsdp2, loss_of), (by_fsdp1, loss_of)])
    whole = first[0][0]
    assert whole[30][0] == "clip"
    for own, other in zip(first[1:], second[1:]):
        assert own[0] == other[0]
        assert own[1] == other[1] == ["parameters are sharded: steps are not tried before, the signs alone decide"]
        for (action, risk, scale, looked, _), (as_whole, wanted, scaled, *_) in zip(own[0], whole):
            assert action == as_whole and not looked
            assert (risk, scale) == pytest.approx((wanted, scaled), rel=1e-3)
        assert all(math.isfinite(w) for w in own[2] + other[2])


def test_shards_over_some_of_the_ranks_are_refused():
    class Mesh:
        def size(self):
            return 2

    net = Net(plain=True)
    net.first.weight.device_mesh = Mesh()
    if not torch.distributed.is_available():
        pytest.skip("this torch has no ranks")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="over 2 of 1 ranks"):
            Guard(net, torch.optim.SGD(net.parameters(), lr=0.1), loss_of)
    finally:
        torch.distributed.destroy_process_group()


# ---- what the step will really do


def test_decoupled_decay_is_part_of_the_update_and_a_mistyped_one_is_refused_before_it_acts():
    def mistyped(step, _net, optimizer):
        if step == 40:
            optimizer.param_groups[0]["weight_decay"] = 250.0

    for harmed in (True, False):
        _, _, advice, _ = train(
            50,
            OPTIMIZERS["adamw"],
            guard=lambda n, o: Guard(n, o, loss_of),
            net=Net(plain=True),
            before_step=mistyped if harmed else None,
        )
        assert all(a.action == "apply" for a in advice[:40])
        assert (advice[40].action != "apply") is harmed and (advice[40].risk > 0.9) is harmed


@pytest.mark.parametrize("clipping", ["global-norm:0.05", "value:0.003"])
def test_the_update_is_that_of_the_clipped_gradient(clipping):
    rules = recorded_rules(clipping_words(clipping))
    net = Net(plain=True)
    optimizer = OPTIMIZERS["nesterov"](net.parameters())
    for step in range(4):
        optimizer.zero_grad()
        net(batch_at(step)).backward()
        named = [(n, p, optimizer, optimizer.param_groups[0]) for n, p in net.named_parameters()]
        found = measure(named, torch.zeros(()), rules).tensors
        raw = {n: float(p.grad.norm()) for n, p in net.named_parameters()}
        before = {n: p.detach().clone() for n, p in net.named_parameters()}
        for rule, options in rules:
            if rule == "value":
                torch.nn.utils.clip_grad_value_(net.parameters(), options["clipValue"])
            else:
                torch.nn.utils.clip_grad_norm_(net.parameters(), options["maxNorm"])
        optimizer.step()
        for one, (n, p) in zip(found, net.named_parameters()):
            assert math.sqrt(one.square) == pytest.approx(raw[n], rel=1e-5)
            assert math.sqrt(one.update) == pytest.approx(float((before[n] - p.detach()).norm()), rel=1e-3)


# ---- a rate that stays wrong


def jump_of_the_rate(times, at=60):
    def set_rate(step, _net, optimizer):
        # A schedule that sets the rate at every step, as most do.
        optimizer.param_groups[0]["lr"] = 0.01 * (times if at <= step < at + 40 else 1.0)

    return set_rate


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def test_a_rate_that_stays_wrong_is_lowered_and_the_run_goes_on_learning():
    seen = []

    def after(optimizer):
        optimizer.register_step_post_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))

    def guarded(net, optimizer):
        own = Guard(net, optimizer, loss_of)
        after(optimizer)
        return own

    net, optimizer, advice, guard = train(
        130, adam, guard=guarded, net=Net(plain=True), before_step=jump_of_the_rate(200.0)
    )
    bare, *_ = train(130, adam, net=Net(plain=True), before_step=jump_of_the_rate(200.0))
    fresh = [batch_at(1000 + k) for k in range(8)]
    end, lost = (sum(float(loss_of(n, b)) for b in fresh) / 8 for n in (net, bare))
    assert end < 0.5 * lost
    lowered = [a for a in advice[60:100] if a.action == "lower-rate"]
    assert len(lowered) >= 30 and all(0 < a.learning_rate < 2.0 for a in lowered)
    # The loop's own rate comes back after every step, and the guard lets go when the schedule is as before.
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert all(a.action == "apply" for a in advice[105:]) and guard.taken["lower-rate"] >= 30


def test_lowering_needs_no_schedule_that_sets_the_rate_again():
    def once(step, _net, optimizer):
        if step == 60:
            optimizer.param_groups[0]["lr"] = 2.0

    _, optimizer, advice, _ = train(
        90, adam, guard=lambda n, o: Guard(n, o, loss_of), net=Net(plain=True), before_step=once
    )
    assert optimizer.param_groups[0]["lr"] == 2.0
    rates = [a.learning_rate for a in advice if a.action == "lower-rate"]
    assert rates and min(rates) > 1e-4


def test_a_decay_that_stays_wrong_is_lowered_with_the_rate_and_the_run_goes_on_learning():
    def mistyped(step, _net, optimizer):
        optimizer.param_groups[0]["weight_decay"] = 30.0 if step >= 60 else 0.01

    def adamw(parameters):
        return torch.optim.AdamW(parameters, lr=0.01)

    net, _, _, guard = train(
        120, adamw, guard=lambda n, o: Guard(n, o, loss_of), net=Net(plain=True), before_step=mistyped
    )
    early, *_ = train(60, adamw, net=Net(plain=True))
    # The loop's rate never grew, so that nothing says that it is right again: twice the lowered rate is tried from time to time.
    assert guard.taken["skip"] <= 20 and guard.taken["lower-rate"] >= 40
    fresh = [batch_at(1000 + k) for k in range(8)]
    end, before = (sum(float(loss_of(n, b)) for b in fresh) / 8 for n in (net, early))
    assert end < 1.3 * before


@pytest.mark.parametrize(("decay", "after", "looked"), [(0.0, 1.0, []), (0.5, 1.0, [30]), (0.5, 1.2, [30, 32])])
def test_a_decay_that_grows_is_looked_at_and_so_is_the_step_after_one_that_raises_earlier_batches(decay, after, looked):
    """Harm that builds up is not unusual at any single step: the same loss, gradients and update at every one of these."""
    found = []
    checks = Checks(0.9, False, lambda _: None)
    for step in range(33):

        def look(batches, _scale, _rate, step=step):
            found.append(step)
            return Ahead([1.0, 1.0], [[1.0, after if step >= 30 else 1.0] for _ in batches])

        seen = Measured(1.0, 0.1, 1.0, 1.0, 1.0, ["w"], [1.0], [], decay if step >= 30 else 0.0)
        advice = checks.advise(step, seen, look, lambda: "batch")[1]
        assert advice.action == "apply"
        if step == 31:
            resumed = Checks(0.9, False, lambda _: None)
            resumed.restore(checks.state())
            resumed.references, checks = checks.references, resumed
    assert [step for step in found if step >= 30] == looked


def at_looks(checks, steps, look, keep=lambda: "batch"):
    """The advice of as many steps, all alike but for what a look at them sees."""
    seen = Measured(1.0, 0.1, 1.0, 1.0, 1.0, ["w"], [1.0], [], 0.0)
    return [checks.advise(step, seen, look, keep, lowers=True)[1] for step in steps]


def test_a_little_harm_at_every_step_is_refused_once_it_has_added_up():
    checks = Checks(0.9, False, lambda _: None)
    at_looks(checks, range(52), lambda batches, scale, rate: Ahead([1.0, 1.0], [[1.0, 1.0] for _ in batches]))
    harm, ends = [0.0], []

    def look(batches, scale, rate):
        return Ahead([1.0, 1.0], [[1.0 + harm[0], 1.0 + harm[0] + 0.009 * scale * rate] for _ in batches])

    for step in range(52, 800):
        advice = at_looks(checks, [step], look)[0]
        harm[0] += 0.003 * advice.scale * (advice.learning_rate or 0.1) / 0.1
        ends.append(advice.action)
    # Each step is below what a step may do. All of them would come to 2.2 times the loss.
    assert harm[0] < 0.75 and set(ends) > {"apply"}


def test_batches_are_kept_and_losses_are_usual_only_while_earlier_batches_are_where_they_were():
    checks = Checks(0.9, False, lambda _: None)
    kept = iter(range(1000))
    calm = lambda batches, scale, rate: Ahead([1.0, 1.0], [[1.0, 1.0] for _ in batches])  # noqa: E731
    up = lambda batches, scale, rate: Ahead([1.0, 1.0], [[1.2, 1.2] for _ in batches])  # noqa: E731
    at_looks(checks, range(52), calm, lambda: next(kept))
    at_looks(checks, range(52, 103), up, lambda: next(kept))  # the next look is 50 steps after the last
    before = checks.references
    at_looks(checks, range(103, 160), up, lambda: next(kept))
    assert checks.references == before
    at_looks(checks, range(160, 260), calm, lambda: next(kept))
    assert checks.references != before


def test_the_oldest_reference_is_from_some_fifty_steps_ago():
    checks = Checks(0.9, False, lambda _: None)
    calm = lambda batches, scale, rate: Ahead([1.0, 1.0], [[1.0, 1.0] for _ in batches])  # noqa: E731
    step = [0]  # the batch of a step is its number
    for step[0] in range(301):
        at_looks(checks, [step[0]], calm, lambda: step[0])
        if step[0] >= 60 and step[0] % 10 == 0:
            kept = [batch for batch, _ in checks.references]
            assert kept[1:] == [step[0] - 20, step[0] - 10, step[0]] and 30 <= step[0] - kept[0] <= 80


CALM = lambda batches, scale, rate: Ahead([1.0, 1.0], [[1.0, 1.0] for _ in batches])  # noqa: E731


def of_losses(checks, losses, look, keep=lambda: "batch"):
    """The advice of steps that are alike but for their losses."""
    step = lambda loss: Measured(loss, 0.1, 1.0, 1.0, 1.0, ["w"], [1.0], [], 0.0)  # noqa: E731
    return [checks.advise(k, step(loss), look, keep, lowers=True)[1] for k, loss in enumerate(losses)]


def test_a_batch_whose_loss_is_unlike_those_before_is_no_reference_and_does_not_count_as_usual():
    checks = Checks(0.9, False, lambda _: None)
    of_losses(checks, [1.0] * 52, CALM, lambda: "clean")
    of_losses(checks, [2.0] * 40, CALM, lambda: "unlike")
    assert {batch for batch, _ in checks.references} == {"clean"} and checks._watch.unit == 1.0
    # Once half of the past is like that, it is what is usual.
    of_losses(checks, [2.0] * 80, CALM, lambda: "new")
    assert "new" in {batch for batch, _ in checks.references}


def test_batches_in_a_row_that_are_unlike_those_before_are_looked_at_ever_less_often():
    checks, looked = Checks(0.9, False, lambda _: None), []
    of_losses(checks, [1.0] * 52, CALM)
    for step in range(1, 31):
        before = checks.looks
        # The third is another process's: the count is in the state.
        if step == 3:
            resumed = Checks(0.9, False, lambda _: None)
            resumed.restore(checks.state())
            resumed.references, resumed.looks, checks = checks.references, checks.looks, resumed
        of_losses(checks, [2.0], CALM)
        looked += [step] if checks.looks > before else []
    assert looked == [3, 6, 12, 24]


@pytest.mark.parametrize(("loss", "action"), [(1.0, "apply"), (2.0, "skip")])
def test_a_rise_under_batches_that_stay_unlike_counts_twice(loss, action):
    checks = Checks(0.9, False, lambda _: None)
    of_losses(checks, [1.0] * 52, CALM)
    up = lambda batches, scale, rate: Ahead([1.0, 1.0], [[1.0, 1.35] for _ in batches])  # noqa: E731
    assert of_losses(checks, [loss] * 3 if loss > 1 else [1.0] * 60, up)[-1].action == action


def test_the_level_of_a_reference_is_the_lowest_that_it_had_but_for_the_newest():
    checks = Checks(0.9, False, lambda _: None)
    learnt = lambda batches, scale, rate: Ahead([1.0, 1.0], [[0.4, 0.4] for _ in batches])  # noqa: E731
    of_losses(checks, [1.0] * 62, learnt)
    bases = [base for _, base in checks.references]
    assert bases[0] == 0.4 and bases[-1] == 1.0


@pytest.mark.parametrize(("loss", "then"), [(1.0, "lower-rate"), (3.0, "skip")])
def test_a_rate_is_lowered_where_no_part_of_the_gradient_holds_and_the_batch_is_like_those_before(loss, then):
    checks = Checks(0.9, False, lambda _: None)
    of_losses(checks, [1.0] * 52, CALM)
    # What is in momentum harms, whatever the gradient; the loss of the batch says whether it is to blame.
    state = lambda batches, scale, rate: Ahead([loss, loss], [[1.0, 1.0 + rate] for _ in batches])  # noqa: E731
    steep = Measured(loss, 0.1, 5.0, 5.0, 1.0, ["w"], [1.0], [], 0.0)
    actions = [checks.advise(k, steep, state, lambda: "batch", lowers=True)[1].action for k in range(6)]
    assert actions == ["skip"] * 5 + [then]


def test_what_is_clipped_while_the_rate_is_lowered_is_taken_at_that_rate():
    net = Net(plain=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.4)
    guard = Guard(net, optimizer, loss_of)
    guard.apply(Advice(0, 1.0, "lower-rate", "", learning_rate=0.1))
    loss_of(net, batch_at(0)).backward()
    optimizer.step()
    optimizer.zero_grad()
    assert optimizer.param_groups[0]["lr"] == 0.4
    loss_of(net, batch_at(0)).backward()
    before = [p.detach().clone() for p in net.parameters()]
    gradients = [p.grad.clone() for p in net.parameters()]
    guard.apply(Advice(1, 1.0, "clip", "", scale=0.5, learning_rate=0.1))
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.4
    for p, old, g in zip(net.parameters(), before, gradients):
        torch.testing.assert_close(p.detach(), old - 0.1 * 0.5 * g)


def with_bad_rows(step):
    """From step 60 on two rows of each batch have labels that are a thousand times too large."""
    batch = batch_at(step)
    if step >= 60:
        batch["y"][[3, 17]] = -1000.0
    return batch


@pytest.mark.parametrize("make", [adam, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)])
def test_bad_rows_are_left_out_and_the_run_goes_on_learning_from_the_others(make):
    net, _, advice, _ = train(
        120, make, guard=lambda n, o: Guard(n, o, loss_of), net=Net(plain=True), batch=with_bad_rows
    )
    calm, *_ = train(120, make, net=Net(plain=True))
    early, *_ = train(60, make, net=Net(plain=True))
    fresh = [batch_at(1000 + k) for k in range(8)]
    end, twin, before = (sum(float(loss_of(n, b)) for b in fresh) / 8 for n in (net, calm, early))
    first = next(a for a in advice[60:] if a.rows)
    assert tuple(first.rows) == (3, 17) and first.scale == 30 / 32
    assert "Without 2 of its 32 rows it holds." in first.why
    assert sum({3, 17} <= set(a.rows) and len(a.rows) <= 6 for a in advice[60:]) >= 50
    assert end < 1.3 * twin and end < before


def test_what_is_applied_without_bad_rows_is_the_gradient_of_the_others():
    net, optimizer, _, guard = train(60, adam, guard=lambda n, o: Guard(n, o, loss_of), net=Net(plain=True))
    batch = with_bad_rows(60)
    kept = [k for k in range(32) if k not in (3, 17)]
    wanted = torch.autograd.grad(
        loss_of(net, {name: part[kept] for name, part in batch.items()}), list(net.parameters())
    )
    optimizer.zero_grad()
    loss = loss_of(net, batch)
    loss.backward()
    before = [p.grad.clone() for p in net.parameters()]
    advice = guard.check(60, batch, loss)
    assert tuple(advice.rows) == (3, 17) and all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), before))
    guard.apply(advice)
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), wanted))


def test_rows_are_not_named_where_the_gradient_is_not_the_mean_of_the_batch():
    net, optimizer, _, guard = train(60, adam, guard=lambda n, o: Guard(n, o, loss_of), net=Net(plain=True))
    optimizer.zero_grad()
    for batch in (batch_at(59), with_bad_rows(60)):  # two accumulated batches, of which the guard is shown the last
        loss = loss_of(net, batch) / 2
        loss.backward()
    advice = guard.check(60, with_bad_rows(60), loss)
    assert advice.action in ("clip", "skip") and advice.rows == ()


def test_bad_data_are_no_matter_of_the_rate():
    bad = lambda step: batch_at(step, 60.0 if 60 <= step < 70 else 1.0)  # noqa: E731
    _, _, advice, _ = train(90, adam, guard=lambda n, o: Guard(n, o, loss_of), net=Net(plain=True), batch=bad)
    assert not any(a.action == "lower-rate" for a in advice)


# ---- a resume


def resumed(kind):
    """A run whose rate jumps two steps after a resume: the actions from the jump on, and the guard."""
    net = Net(plain=True)
    optimizer = adam(net.parameters())
    guard = Guard(net, optimizer, loss_of)
    actions = []
    for step in range(75):
        if step == 58 and kind != "none":
            state = guard.state_dict(batches=kind != "without batches")
            guard = Guard(net, optimizer, loss_of)
            if kind != "anew":
                file = io.BytesIO()
                torch.save(state, file)
                file.seek(0)
                guard.load_state_dict(torch.load(file, weights_only=True))
        jump_of_the_rate(200.0)(step, net, optimizer)
        optimizer.zero_grad()
        loss = net(batch_at(step))
        loss.backward()
        advice = guard.check(step, batch_at(step), loss)
        guard.apply(advice)
        optimizer.step()
        actions.append((advice.action, advice.risk, advice.learning_rate))
    return actions[58:], guard


@pytest.mark.filterwarnings("ignore")
def test_a_guard_that_is_loaded_at_a_resume_goes_on_as_if_nothing_had_been():
    whole, _ = resumed("none")
    loaded, guard = resumed("loaded")
    assert loaded == whole and not guard.problems
    assert whole[2][0] != "apply"


@pytest.mark.filterwarnings("ignore")
def test_a_guard_made_anew_says_for_how_long_it_is_blind():
    _, guard = resumed("anew")
    assert any("for its first 10 steps" in problem for problem in guard.problems)
    alarmed, guard = resumed("without batches")
    assert not guard.problems and any(action != "apply" for action, *_ in alarmed[2:5])


def test_what_is_no_state_is_refused_and_changes_nothing():
    _, _, _, guard = train(20, adam, guard=lambda n, o: Guard(n, o, loss_of), net=Net(plain=True))
    before = json.dumps(guard.state_dict(batches=False))
    for wrong in ({}, {"version": 99}, {**guard.state_dict(), "checks": {}}, None):
        with pytest.raises(ValueError, match="no state of a guard"):
            guard.load_state_dict(wrong)
    assert json.dumps(guard.state_dict(batches=False)) == before

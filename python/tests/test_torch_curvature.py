"""Eigenvalues against dense float64 Hessians, and the tracker against them while a training runs."""

import json

import pytest

torch = pytest.importorskip("torch", reason="no torch in this environment")

from clippy_diag.torch import Recorder, Tracker, curvature  # noqa: E402

torch.set_num_threads(1)


def build():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))


def batch_at(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(16, 4, generator=g), torch.randn(16, generator=g)


def loss_of(model, batch):
    return ((model(batch[0])[:, 0] - batch[1]) ** 2).mean()


def trained(make, steps=50):
    model = build()
    optimizer = make(model.parameters())
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, batch_at(step)).backward()
        optimizer.step()
    return model, optimizer


def dense(model, batch):
    """Gradient and Hessian in float64, one entry after another."""
    from torch.func import functional_call

    names, values = zip(*((n, p.detach().double()) for n, p in model.named_parameters()))
    x, y = batch[0].double(), batch[1].double()

    def total(*parameters):
        out = functional_call(model.double(), dict(zip(names, parameters)), (x,))
        return ((out[:, 0] - y) ** 2).mean()

    blocks = torch.autograd.functional.hessian(total, values)
    matrix = torch.cat([torch.cat([b.reshape(p.numel(), -1) for b in row], 1) for p, row in zip(values, blocks)])
    values = tuple(v.requires_grad_() for v in values)
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(total(*values), values)])
    model.float()
    return gradient, matrix


def flat(optimizer, slot):
    return torch.cat(
        [optimizer.state[p][slot].double().reshape(-1) for g in optimizer.param_groups for p in g["params"]]
    )


def adam_root(o, g, amsgrad=False, eps=1e-8):
    v = 0.999 * flat(o, "exp_avg_sq") + 0.001 * g**2
    v = torch.maximum(v, flat(o, "max_exp_avg_sq")) if amsgrad else v
    return (v / (1 - 0.999**51)).sqrt() + eps


#: Of Adam at the 51st step: 38/η, less what the bias correction has not made up for yet.
LATE = 3800 * (1 - 0.9**51)
CASES = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.01), None, 200.0),
    "heavy-ball": (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), None, 380.0),
    "nesterov": (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True), None, 380 / 2.8),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.01), adam_root, LATE),
    "amsgrad": (lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True), lambda o, g: adam_root(o, g, True), LATE),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3), adam_root, LATE),
    "adagrad": (
        lambda p: torch.optim.Adagrad(p, lr=0.1),
        lambda o, g: (flat(o, "sum") + g**2).sqrt() + 1e-10,
        20.0,
    ),
    "rmsprop": (
        lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True),
        lambda o, g: (
            (0.99 * flat(o, "square_avg") + 0.01 * g**2 - (0.99 * flat(o, "grad_avg") + 0.01 * g) ** 2).sqrt() + 1e-8
        ),
        200.0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_eigenvalues_are_those_of_the_dense_matrices(name):
    make, root, limit = CASES[name]
    model, optimizer = trained(make)
    # A batch unlike the others, where this batch's own g² decides P.
    batch = (batch_at(50)[0] * 5, batch_at(50)[1] * 5)
    gradient, matrix = dense(model, batch)
    state = torch.get_rng_state()
    entries = curvature(model, optimizer, lambda: loss_of(model, batch), step=50)
    assert torch.equal(torch.get_rng_state(), state)
    expected = [torch.linalg.eigvalsh(matrix)[-1].item()]
    if root is not None:
        scale = root(optimizer, gradient) ** -0.5
        expected.append(torch.linalg.eigvalsh(scale[:, None] * matrix * scale[None, :])[-1].item())
    assert [e["operator"] for e in entries] == ["hessian", "preconditioned-hessian"][: len(expected)]
    for entry, value in zip(entries, expected):
        pair = entry["eigenvalues"][0]
        assert pair["value"] == pytest.approx(value, rel=1e-4)
        assert pair["converged"] and pair["residualNorm"] <= 1e-3 * value
    assert entries[-1]["stability"]["limit"] == pytest.approx(limit)
    assert entries[-1]["stability"]["ratio"] == pytest.approx(expected[-1] / limit, rel=1e-4)
    assert entries[0]["stability"]["ratio"] is None or root is None
    assert entries[-1]["stability"]["forecast"] is (name == "sgd")


def test_critical_sharpness_of_a_quadratic_is_that_of_the_update():
    """On ½·a·w² the loss along the gradient rises beyond twice the step to the minimum: 2/η_c = a."""
    w = torch.nn.Parameter(torch.tensor([3.0]))
    model = torch.nn.Module()
    model.w = w
    optimizer = torch.optim.SGD([w], lr=0.01)
    (entry,) = curvature(model, optimizer, lambda: (0.5 * 7 * w**2).sum())
    assert entry["criticalSharpness"]["value"] == pytest.approx(7, rel=0.02)
    assert w.item() == 3.0 and w.grad is None and not optimizer.state


def test_attention_is_measured_on_the_kernel_that_has_a_second_derivative():
    torch.manual_seed(0)
    q = torch.nn.Parameter(torch.randn(1, 2, 8, 4))
    model = torch.nn.Module()
    model.q = q
    optimizer = torch.optim.SGD([q], lr=0.01)
    loss = lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q).pow(2).mean()  # noqa: E731
    (entry,) = curvature(model, optimizer, loss, critical=False)
    assert entry["eigenvalues"][0]["converged"]


def test_an_incident_comes_with_its_eigenvalues(tmp_path, read):
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    now = {}
    recorder = Recorder(
        model,
        optimizer,
        tmp_path / "capture",
        snapshot_every_steps=5,
        steps_after=1,
        curvature=lambda: loss_of(model, now["batch"]),
    )
    for step in range(31):
        now["batch"] = batch_at(step)
        optimizer.zero_grad()
        loss = loss_of(model, now["batch"])
        loss.backward()
        if step == 30:
            recorder.capture()
            gradient, matrix = dense(model, now["batch"])
            v = 0.999 * flat(optimizer, "exp_avg_sq") + 0.001 * gradient**2
            scale = ((v / (1 - 0.999**31)).sqrt() + 1e-8) ** -0.5
            expected = torch.linalg.eigvalsh(scale[:, None] * matrix * scale[None, :])[-1].item()
        recorder.record(step, loss)
        optimizer.step()
    recorder.close()
    entries = read(tmp_path / "capture").manifest["curvature"]
    assert entries[1]["eigenvalues"][0]["value"] == pytest.approx(expected, rel=1e-4)
    assert entries[1]["step"] == 30


def test_the_tracker_follows_the_eigenvalue_with_few_products_and_leaves_the_training_alone(tmp_path):
    def train(tracker):
        torch.manual_seed(0)
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
        recorder = Recorder(model, optimizer, tmp_path / "capture", curvature=tracker)
        found = []
        for step in range(61):
            batch = batch_at(0)
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            if tracker is not None and step % 10 == 0:
                gradient, matrix = dense(model, batch)
                steps = step + 1
                v = 0.001 * gradient**2 + (0.999 * flat(optimizer, "exp_avg_sq") if step else 0)
                scale = ((v / (1 - 0.999**steps)).sqrt() + 1e-8) ** -0.5
                found.append(torch.linalg.eigvalsh(scale[:, None] * matrix * scale[None, :])[-1].item())
            recorder.record(step, loss, batch=batch)
            optimizer.step()
        recorder.close()
        return found, [p.detach().clone() for p in model.parameters()]

    tracker = Tracker(every=10, loss_fn=loss_of)
    expected, parameters = train(tracker)
    rows = [json.loads(line) for line in (tmp_path / "capture-curvature.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(0, 61, 10))
    for row, value in zip(rows, expected):
        assert abs(row["precond_eigenvalue"] - value) <= row["precond_residual"] + 1e-3 * value
        assert row["precond_eigenvalue"] == pytest.approx(value, rel=0.05)
    assert all(row["products"] < 5 for row in rows[1:])
    assert tracker.seconds == pytest.approx(sum(row["seconds"] for row in rows), abs=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(parameters, train(None)[1]))


class Twice(torch.autograd.Function):
    """An operation without a second derivative."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * g


def test_without_a_second_derivative_critical_sharpness_is_tracked(tmp_path):
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    tracker = Tracker(every=1, loss_fn=lambda m, batch: (Twice.apply(m(batch[0]))[:, 0] - batch[1]).pow(2).mean())
    recorder = Recorder(model, optimizer, tmp_path / "capture", curvature=tracker)
    loss = tracker.loss_fn(model, batch_at(0))
    loss.backward()
    with pytest.warns(UserWarning, match="critical sharpness is tracked in place"):
        recorder.record(0, loss, batch=batch_at(0))
    recorder.close()
    assert tracker.last["critical_sharpness"] > 0


def test_a_derivative_that_autograd_leaves_out_is_refused():
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        curvature(model, optimizer, lambda: (Twice.apply(model(batch_at(0)[0])) ** 2).mean())


def test_a_tracker_without_batches_says_what_it_needs(tmp_path):
    model = build()
    recorder = Recorder(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path / "capture", curvature=Tracker())
    with pytest.warns(UserWarning, match="Tracker needs the batch"):
        recorder.record(0, 1.0)
    recorder.close()
    assert recorder.stopped is None

"""`preflight` on small PyTorch trainings: the limit where it is known, nothing disturbed, errors that say what to do."""

from __future__ import annotations

import copy
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import clippy_diag  # noqa: E402
from clippy_diag.torch import preflight  # noqa: E402

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
built = pytest.mark.skipif(NODE is None or not (ROOT / "dist").exists(), reason="the command line is not built")


def squares(model, batch):
    return ((model(batch[0]) - batch[1]) ** 2).mean()


def linear_regression(rate, make=torch.optim.SGD, **options):
    """Least squares on inputs of known covariance: the largest eigenvalue of the Hessian is 2·3² = 18, so SGD is stable to 2/18."""
    torch.manual_seed(0)
    model = torch.nn.Linear(12, 1, bias=False)
    x = torch.randn(60, 256, 12) @ torch.diag(torch.linspace(0.3, 3.0, 12))
    target = torch.randn(12, 1)
    return model, make(model.parameters(), rate, **options), [(one, one @ target) for one in x]


class Net(torch.nn.Module):
    """Batch norm, dropout, two layers: buffers, modes and random numbers that a preflight could disturb."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(8, 16),
            torch.nn.BatchNorm1d(16),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(16, 1),
        )

    def forward(self, x):
        return self.body(x)


def small_net(rate=0.01, make=torch.optim.Adam, **options):
    torch.manual_seed(1)
    model = Net()
    data = torch.utils.data.TensorDataset(x := torch.randn(2048, 8), x[:, :1] * x[:, 1:2] + x[:, 2:3])
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(4))
    return model, make(model.parameters(), rate, **options), loader


def answer_of(setup, **options):
    return clippy_diag.preflight(*setup, squares, audited=False, **options)["preflight"]


@pytest.mark.parametrize("asked", [0.01, 0.1, 1.0])
def test_gradient_descent_is_stable_to_two_over_the_largest_eigenvalue(asked):
    stable = answer_of(linear_regression(asked))["stableRate"]
    assert stable["low"] / 1.5 <= 2 / 18 <= stable["high"] * 1.5


def test_under_lion_and_adagrad_the_band_is_that_of_more_steps_than_a_ladder_has():
    class Lion(torch.optim.SGD):
        """The steps of SGD, so that the ladder is the same."""

    class Adagrad(torch.optim.SGD):
        """The same."""

    plain, lion, adagrad = (
        answer_of(linear_regression(0.1, make))["stableRate"] for make in (torch.optim.SGD, Lion, Adagrad)
    )
    longer = (150 / 40) ** 0.5
    assert lion == pytest.approx({end: rate / longer for end, rate in plain.items()})
    assert adagrad == pytest.approx({"low": plain["low"], "high": plain["high"] * longer})


def test_a_healthy_training_is_well_within_and_three_times_the_limit_is_above():
    assert answer_of(linear_regression(0.02))["verdict"] == "well-within"
    steep = answer_of(linear_regression(3 * 2 / 18))
    assert steep["verdict"] == "above" and steep["ratio"] > 1.5
    assert "too high for its first steps" in steep["statement"] and f"{3 * 2 / 18:.2g}" in steep["statement"]


def test_adam_is_well_within_at_a_usual_rate_and_above_at_one_that_destroys():
    assert answer_of(linear_regression(0.03, torch.optim.Adam))["verdict"] == "well-within"
    assert answer_of(linear_regression(100.0, torch.optim.Adam))["verdict"] == "above"


def test_clipping_of_the_loop_is_part_of_what_is_tried():
    free = answer_of(linear_regression(0.4))
    clipped = answer_of(linear_regression(0.4), clipping="global-norm:0.5")
    assert free["verdict"] == "above" and clipped["verdict"] != "above"


def test_nothing_of_the_training_changes():
    model, optimizer, loader = small_net()
    for batch in list(loader)[:3]:
        optimizer.zero_grad()
        squares(model, batch).backward()
        optimizer.step()
    model.body[3].eval()
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    storage = {name: p.data_ptr() for name, p in model.named_parameters()}
    gradients = [p.grad.clone() for p in model.parameters()]
    state = copy.deepcopy(optimizer.state_dict())
    modes = [module.training for module in model.modules()]
    draws = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy(), loader.generator.get_state()
    preflight(model, optimizer, loader, squares, audited=True, command=["does-not-exist"])
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())
    assert storage == {name: p.data_ptr() for name, p in model.named_parameters()}
    assert all(torch.equal(p.grad, before) for p, before in zip(model.parameters(), gradients))
    after = optimizer.state_dict()
    assert after["param_groups"] == state["param_groups"]
    for key, slots in state["state"].items():
        assert all(torch.equal(torch.as_tensor(after["state"][key][k]), torch.as_tensor(v)) for k, v in slots.items())
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(draws[0], torch.get_rng_state()) and draws[1] == random.getstate()
    assert np.array_equal(draws[2], np.random.get_state()[1]) and torch.equal(draws[3], loader.generator.get_state())
    assert not optimizer._optimizer_step_post_hooks and not optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adagrad, torch.optim.AdamW, torch.optim.RMSprop])
def test_a_training_after_it_is_the_training_without_it(make):
    def trained(with_preflight):
        model, optimizer, loader = small_net(0.01, make)
        if with_preflight:
            preflight(model, optimizer, loader, squares, audited=False, rules=())
        for batch in loader:
            optimizer.zero_grad()
            squares(model, batch).backward()
            optimizer.step()
        return model.state_dict()

    plain, after = trained(False), trained(True)
    assert all(torch.equal(plain[name], after[name]) for name in plain)


def test_random_labels_teach_nothing_and_nothing_is_said():
    model, optimizer, _ = small_net(1e-4, torch.optim.SGD)
    torch.manual_seed(2)
    batches = [(torch.randn(64, 8), torch.zeros(64, 1)) for _ in range(60)]
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    answer = preflight(model, optimizer, batches, squares, audited=False)["preflight"]
    assert answer["verdict"] == "cannot-tell" and answer["stableRate"] is None


def test_the_peak_of_a_schedule_is_what_is_asked():
    model, optimizer, batches = linear_regression(0.3)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 100)
    assert optimizer.param_groups[0]["lr"] == 0
    assert answer_of((model, optimizer, batches))["asked"] == pytest.approx(0.3)
    assert answer_of((model, optimizer, batches), rate=0.05)["asked"] == 0.05


def test_groups_keep_their_proportions():
    torch.manual_seed(0)
    model, _, batches = linear_regression(0.1)
    model = torch.nn.Sequential(model, torch.nn.Linear(1, 1))
    # Far above the band, so that a rung more or less, which rounding decides, is no other verdict.
    groups = [{"params": model[0].parameters(), "lr": 0.6}, {"params": model[1].parameters(), "lr": 0.06}]
    answer = answer_of((model, torch.optim.SGD(groups), batches))
    assert answer["asked"] == 0.6 and answer["verdict"] == "above"


def test_a_model_that_returns_its_loss_needs_no_loss_fn():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(12, 1, bias=False)

        def forward(self, x, y):
            return {"loss": ((self.line(x) - y) ** 2).mean()}

    _, _, batches = linear_regression(0.02)
    torch.manual_seed(0)
    model = Own()
    given = [{"x": x, "y": y} for x, y in batches]
    answer = preflight(model, torch.optim.SGD(model.parameters(), 0.02), given, audited=False)["preflight"]
    assert answer["verdict"] == "well-within"


@built
def test_the_quiet_steps_are_audited():
    command = [NODE, str(ROOT / "bin" / "run.js")]
    model, optimizer, loader = small_net()
    clean = preflight(model, optimizer, loader, squares, command=command)["preflight"]["audit"]
    assert clean["broken"] == 0
    assert {link["link"]: link["outcome"] for link in clean["links"]}["optimizer"] == "holds"
    same = [next(iter(loader))] * 80
    fault = preflight(model, optimizer, same, squares, command=command)["preflight"]
    assert fault["audit"]["broken"] > 0 and "The audit of the quiet steps found a fault" in fault["statement"]


def test_errors_say_what_is_wrong_and_what_to_do():
    model, optimizer, batches = linear_regression(0.1)
    with pytest.raises(TypeError, match="takes a torch.nn.Module"):
        clippy_diag.preflight(object(), optimizer, batches, squares)
    with pytest.raises(ValueError, match="at least 16 are needed"):
        preflight(model, optimizer, batches[:5], squares)
    with pytest.raises(ValueError, match="give the peak rate of the training with rate="):
        preflight(model, torch.optim.SGD(model.parameters(), 0.0), batches, squares)
    with pytest.raises(ValueError, match="LBFGS computes the loss several times"):
        preflight(model, torch.optim.LBFGS(model.parameters()), batches, squares)
    with pytest.raises(ValueError, match="make the optimizer from it"):
        preflight(torch.nn.Linear(2, 2), optimizer, batches, squares)
    with pytest.raises(TypeError, match="must return one number"):
        preflight(model, optimizer, batches, lambda m, b: m(b[0]))
    with pytest.raises(TypeError, match="returns no loss"):
        preflight(model, optimizer, [b[0] for b in batches])
    with pytest.raises(ValueError, match="seconds=0"):
        preflight(model, optimizer, batches, squares, 0)

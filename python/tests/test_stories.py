"""Each trainer with a run that breaks and one that does not: `clippy-diag analyze` on the folder says what happened, why, and what
would have held, with the line for that trainer. Needs Node and the built command line (`npm run build`)."""

import importlib.util
import json
import os
import shutil
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
if shutil.which("node") is None or not (ROOT / "dist" / "index.js").exists():
    pytest.skip("needs Node and the built command line", allow_module_level=True)

BREAK, STEPS, RATE = 120, 165, 0.003


def batch_at(step, kind):
    rng = np.random.default_rng(step)
    x = rng.normal(size=(32, 8)).astype("float32")
    y = (np.tanh(x[:, :1] + 0.5 * x[:, 1:2]) + 0.1 * rng.normal(size=(32, 1))).astype("float32")
    if kind == "batch" and BREAK <= step < BREAK + 4:
        return 30 * x, 0 * y + 300
    # Labels in another unit from here on.
    if kind == "stream" and step >= BREAK:
        return x, 100 * y + 30
    return x, y


def rate_at(step, kind):
    return RATE * (300 if kind == "rate" and step >= BREAK else 1)


def rows(kind):
    batches = [batch_at(step, kind) for step in range(STEPS)]
    return tuple(np.concatenate([batch[k] for batch in batches]) for k in (0, 1))


def torch_net():
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))


def plain(folder, kind, net=torch_net, make=None, again=None):
    import torch

    from clippy_diag.torch import Recorder, closed_loop

    def loss_of(model, batch):
        return torch.nn.functional.mse_loss(model(batch["x"]), batch["y"])

    model = net()
    optimizer = make(model.parameters()) if make else torch.optim.AdamW(model.parameters(), lr=RATE)
    usual = optimizer.param_groups[0]["lr"]
    recorder = Recorder(model, optimizer, folder)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = usual * rate_at(step, kind) / RATE
        x, y = map(torch.tensor, batch_at(step, kind))
        optimizer.zero_grad()
        loss = loss_of(model, {"x": x, "y": y})
        loss.backward()
        recorder.record(step, loss, batch={"x": x, "y": y})
        optimizer.step()
    recorder.close()
    return lambda: closed_loop(folder, net(), loss_of, optimizer=again)


def accelerated(folder, kind):
    import torch
    from accelerate import Accelerator

    from clippy_diag.accelerate import ClippyCallback
    from clippy_diag.torch import closed_loop

    accelerator = Accelerator(cpu=True)
    model = torch_net()
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=RATE))
    callback = ClippyCallback(folder, batches=True).attach(accelerator)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate_at(step, kind)
        x, y = map(torch.tensor, batch_at(step, kind))
        with accelerator.accumulate(model):
            callback.batch((x, y))
            accelerator.backward(torch.nn.functional.mse_loss(model(x), y))
            optimizer.step()
            optimizer.zero_grad()
    callback.close()
    return lambda: closed_loop(folder, torch_net(), lambda m, b: torch.nn.functional.mse_loss(m(b[0]), b[1]))


def lit_net():
    """The module of all Lightning stories, without its optimizers."""
    import lightning
    import torch

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch_net()

        def training_step(self, batch, index):
            return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    return Net


def lit(folder, kind):
    import lightning
    import torch

    from clippy_diag.lightning import ClippyCallback
    from clippy_diag.torch import closed_loop

    class Net(lit_net()):
        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=RATE)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, kind) / RATE)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    data = torch.utils.data.TensorDataset(*map(torch.tensor, rows(kind)))
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    callback = ClippyCallback(folder, batches=True)
    trainer = lightning.Trainer(max_steps=STEPS, callbacks=[callback], accelerator="cpu", **quiet)
    trainer.fit(Net(), torch.utils.data.DataLoader(data, batch_size=32))
    return lambda: closed_loop(folder, Net(), lambda model, batch: model.training_step(batch, 0))


def hugging(folder, kind):
    import torch
    from transformers import Trainer, TrainingArguments

    from clippy_diag.huggingface import ClippyCallback, loss_fn
    from clippy_diag.torch import closed_loop

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch_net()

        def forward(self, x, labels):
            return {"loss": torch.nn.functional.mse_loss(self.net(x), labels)}

    class InOrder(Trainer):
        def _get_train_sampler(self, *arguments):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    # The Trainer counts steps from 1.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, kind) / RATE)
    data = [{"x": x, "labels": y} for x, y in zip(*rows(kind))]
    args = TrainingArguments(
        str(folder.parent / "out"),
        max_steps=STEPS,
        per_device_train_batch_size=32,
        max_grad_norm=0.0,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    callback = ClippyCallback(folder, batches=True)
    InOrder(model, args, train_dataset=data, callbacks=[callback], optimizers=(optimizer, schedule)).train()
    return lambda: closed_loop(folder, Net(), loss_fn)


def keras_fit(folder, kind):
    import keras

    from clippy_diag.keras import ClippyCallback, closed_loop

    class Schedule(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = rate_at(batch, kind)

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(RATE), loss="mse")
    x, y = rows(kind)
    callbacks = [Schedule(), ClippyCallback(folder, batches=True)]
    model.fit(x, y, batch_size=32, shuffle=False, verbose=0, callbacks=callbacks)
    loss = lambda model, batch: model.compute_loss(x=batch[0], y=batch[1], y_pred=model(batch[0]))  # noqa: E731
    return lambda: closed_loop(folder, model, loss)


def jax_loop(folder, kind):
    import jax
    import jax.numpy as jnp
    import optax

    from clippy_diag.jax import Recorder, closed_loop

    keys = jax.random.split(jax.random.PRNGKey(0))
    params = {
        "hidden": {"kernel": jax.random.normal(keys[0], (8, 32)) * 0.35, "bias": jnp.zeros(32)},
        "out": {"kernel": jax.random.normal(keys[1], (32, 1)) * 0.18, "bias": jnp.zeros(1)},
    }
    first = params

    def loss_of(params, batch):
        hidden = jax.nn.relu(batch[0] @ params["hidden"]["kernel"] + params["hidden"]["bias"])
        return ((hidden @ params["out"]["kernel"] + params["out"]["bias"] - batch[1]) ** 2).mean()

    def schedule(count):
        return jnp.where((count >= BREAK) & (kind == "rate"), 300 * RATE, RATE)

    optimizer = optax.adam(schedule)
    state = optimizer.init(params)
    recorder = Recorder(folder, optimizer={"name": "adam", "learningRate": schedule})
    differentiated = jax.jit(jax.value_and_grad(loss_of))
    for step in range(STEPS):
        batch = batch_at(step, kind)
        loss, gradients = differentiated(params, batch)
        recorder.record(step, loss, gradients, params, state, batch=batch)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    recorder.close()
    return lambda: closed_loop(folder, loss_of, first)


#: What trains, what it needs, and its lines: the rate of before, the batches to skip, clipping by the global norm.
SKIP = "if step in range(120, 124): continue"
STORIES = {
    "torch": (
        plain,
        ["torch"],
        'for group in optimizer.param_groups: group["lr"] = 0.003',
        SKIP,
        "torch.nn.utils.clip_grad_norm_(model.parameters(), 1)",
    ),
    "accelerate": (
        accelerated,
        ["torch", "accelerate"],
        'for group in optimizer.param_groups: group["lr"] = 0.003',
        SKIP,
        "if accelerator.sync_gradients: accelerator.clip_grad_norm_(model.parameters(), 1)",
    ),
    "lightning": (
        lit,
        ["torch", "lightning"],
        """def on_before_optimizer_step(self, optimizer):  # of the LightningModule
    for g in optimizer.param_groups: g["lr"] = 0.003""",
        None,
        "gradient_clip_val=1,  # in Trainer(...)",
    ),
    "transformers": (
        hugging,
        ["torch", "transformers", "accelerate"],
        """class Rate(transformers.TrainerCallback):
    def on_step_begin(self, *_, optimizer, **__):
        for g in optimizer.param_groups: g["lr"] = 0.003
trainer.add_callback(Rate())""",
        None,
        "max_grad_norm=1,  # in TrainingArguments(...)",
    ),
    "keras-fit": (
        keras_fit,
        ["keras", os.environ.get("KERAS_BACKEND", "tensorflow")],
        "optimizer.learning_rate = 0.003",
        None,
        "global_clipnorm=1,  # in the optimizer",
    ),
    "jax": (
        jax_loop,
        ["jax", "optax"],
        "learning_rate=0.003,  # of the optimizer",
        SKIP,
        "optimizer = optax.chain(optax.clip_by_global_norm(1), optimizer)",
    ),
}


#: Lines that lower by a factor, as test/cause/parts.test.ts holds them against what is told.
TIMES = {
    ("transformers", "weight_decay"): """class Decay(transformers.TrainerCallback):
    def on_step_begin(self, *_, optimizer, **__):
        for g in optimizer.param_groups:
            g["weight_decay"] = 0.01 * g.setdefault("first_decay", g["weight_decay"])
trainer.add_callback(Decay())""",
    ("lightning", "weight_decay"): """def on_before_optimizer_step(self, optimizer):  # of the LightningModule
    for g in optimizer.param_groups:
        g["weight_decay"] = 0.01 * g.setdefault("first_decay", g["weight_decay"])""",
    ("lightning", "lr"): """def optimizer_step(self, *args, **kwargs):  # of the LightningModule
    for g in self.optimizers().param_groups: g["lr"] *= 0.01
    super().optimizer_step(*args, **kwargs)
    for g in self.optimizers().param_groups: g["lr"] /= 0.01""",
    ("lightning-manual", "lr"): """def on_train_start(self):  # of the LightningModule
    def times(factor, optimizer):
        for g in optimizer.param_groups: g["lr"] *= factor
    for o in self.trainer.optimizers:
        o.register_step_pre_hook(lambda o, *_: times(0.01, o))
        o.register_step_post_hook(lambda o, *_: times(1 / 0.01, o))""",
}


def taken_by(optimizer, wanted, into):
    """Adds what each step of an optimizer is taken with: that which it has when the step ends, for hooks may run within it."""
    optimizer.register_step_post_hook(lambda one, *_: into.append(one.param_groups[0][wanted]))


def resumed_hugging(folder, line, wanted):
    """What the steps of a Trainer are taken with: all 20, then from the file of step 10 on with the line, then again from 15 on."""
    transformers = pytest.importorskip("transformers")
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch_net()

        def forward(self, x, labels):
            return {"loss": torch.nn.functional.mse_loss(self.net(x), labels)}

    class Told(transformers.TrainerCallback):
        def on_train_begin(self, *_, optimizer, **__):
            taken_by(getattr(optimizer, "optimizer", optimizer), wanted, found[-1])

    found = []
    settings = dict(max_steps=20, warmup_steps=20, learning_rate=0.1, weight_decay=0.5, save_steps=5)
    for source, pasted in [(None, ""), ("checkpoint-10", line), ("checkpoint-15", line)]:
        found.append([])
        more = dict(per_device_train_batch_size=32, report_to=[], use_cpu=True, disable_tqdm=True)
        args = transformers.TrainingArguments(str(folder), **settings, **more)
        data = [{"x": x, "labels": y} for x, y in zip(*rows("healthy"))]
        trainer = transformers.Trainer(Net(), args, train_dataset=data, callbacks=[Told()])
        exec(pasted, {"transformers": transformers, "trainer": trainer})
        trainer.train(resume_from_checkpoint=source and str(folder / source))
    return found


def resumed_lit(folder, line, wanted, Module=None):
    """The same of a Lightning Trainer."""
    lightning = pytest.importorskip("lightning")
    import torch

    class Net(Module or lit_net()):
        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.1, weight_decay=0.5)
            taken_by(optimizer, wanted, found[-1])
            # Each rate is made from that of the step before.
            schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    found = []
    data = torch.utils.data.TensorDataset(*map(torch.tensor, rows("healthy")))
    quiet = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary"], False)
    for source, pasted in [(None, "pass"), ("step10.ckpt", line), ("step15.ckpt", line)]:
        found.append([])
        names = {"Net": Net}
        exec("class Pasted(Net):\n" + textwrap.indent(pasted, "    "), names)
        save = lightning.pytorch.callbacks.ModelCheckpoint(
            folder, "step{step}", auto_insert_metric_name=False, every_n_train_steps=5, save_top_k=-1
        )
        trainer = lightning.Trainer(max_steps=20, callbacks=[save], accelerator="cpu", **quiet)
        loader = torch.utils.data.DataLoader(data, batch_size=32)
        trainer.fit(names["Pasted"](), loader, ckpt_path=source and str(folder / source))
        for old in folder.glob("*-v1.ckpt"):
            old.replace(str(old).replace("-v1", ""))
    return found


def resumed_by_hand(folder, line, wanted):
    """The same of a module that steps by itself."""
    pytest.importorskip("lightning")
    Automatic = lit_net()

    class Manual(Automatic):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, index):
            optimizer, schedule = self.optimizers(), self.lr_schedulers()
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, index))
            optimizer.step()
            schedule.step()

    return resumed_lit(folder, line, wanted, Manual)


RESUMED = {"transformers": resumed_hugging, "lightning": resumed_lit, "lightning-manual": resumed_by_hand}


@pytest.mark.parametrize(
    ("trainer", "wanted", "line", "lowered"),
    [
        # A checkpoint brings the rate and the schedule of before back; `args.learning_rate` changes nothing then.
        ("transformers", "lr", STORIES["transformers"][2], lambda _: 0.003),
        ("lightning", "lr", STORIES["lightning"][2], lambda _: 0.003),
        ("lightning-manual", "lr", STORIES["lightning"][2], lambda _: 0.003),
        *((trainer, wanted, line, lambda value: 0.01 * value) for (trainer, wanted), line in TIMES.items()),
    ],
)
def test_what_is_pasted_holds_in_a_trainer_that_resumes_and_resumes_again(tmp_path, trainer, wanted, line, lowered):
    usual, once, again = RESUMED[trainer](tmp_path, line, wanted)
    assert len(usual) == 20 and all(usual[5:])
    assert once == pytest.approx([lowered(value) for value in usual[10:]])
    assert again == pytest.approx([lowered(value) for value in usual[15:]])


def analyse(folder):
    program = [shutil.which("node"), str(ROOT / "bin" / "run.js"), "analyze", str(folder), "--json"]
    return subprocess.run(program, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", STORIES)
def test_analyze_tells_what_happened_why_and_what_would_have_held(tmp_path, name):
    train, needs, rate, skip, clip = STORIES[name]
    missing = [module for module in needs if importlib.util.find_spec(module) is None]
    if missing or (name == "keras-fit" and needs[1] == "jax"):
        pytest.skip(f"needs {', '.join(missing) or 'a backend with fit'}")
    counted_from = 1 if name == "transformers" else 0

    train(tmp_path / "healthy", "healthy")
    assert not (tmp_path / "healthy" / "capture.json").exists()
    well = analyse(tmp_path / "healthy")
    assert well.returncode == 3 and f"saw {STEPS} steps and no incident" in well.stderr

    for kind, trigger, action, line in [
        ("rate", "learning-rate", "lower-learning-rate", rate),
        ("batch", "data", "skip-batches", skip),
    ]:
        loop = train(tmp_path / kind, kind)
        loop()
        (run,) = json.loads(analyse(tmp_path / kind).stdout)["runs"]
        onset = run["cause"]["onsetStep"] - counted_from
        assert BREAK <= onset <= BREAK + 2 and run["verdict"]["class"] != "healthy"
        assert (run["cause"]["trigger"], run["cause"]["confidence"]) == (trigger, "shown")
        held = next(remedy for remedy in run["remedies"] if remedy["action"] == action)
        assert held["holds"] is True and held["paste"] == line
        if kind == "batch":
            assert [step - counted_from for step in held["skipSteps"]] == [BREAK, BREAK + 3]
            clipped = [remedy for remedy in run["remedies"] if remedy["rule"] == "global-norm:1"]
            assert [remedy["paste"] for remedy in clipped] == [clip]


def sparse_net():
    """The same task over rows of an embedding: `x` in bins."""
    import torch

    class Rows(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.rows = torch.nn.EmbeddingBag(8 * 16, 1, sparse=True, mode="sum")
            torch.nn.init.zeros_(self.rows.weight)

        def forward(self, x):
            bins = ((x + 3) / 6 * 16).long().clamp(0, 15) + 16 * torch.arange(8)
            return self.rows(bins)

    return Rows()


def own_class():
    """A class that no other process can import, which halves what AdamW does."""
    import torch

    class Halved(torch.optim.AdamW):
        def step(self, closure=None):
            before = [p.detach().clone() for group in self.param_groups for p in group["params"]]
            super().step(closure)
            with torch.no_grad():
                for p, b in zip((p for group in self.param_groups for p in group["params"]), before):
                    p.copy_((p + b) / 2)

    return Halved


def any_optimizer(name, folder, kind):
    import torch

    if name == "Adafactor":
        return plain(folder, kind, make=lambda parameters: torch.optim.Adafactor(parameters, lr=0.03))
    if name == "SparseAdam":
        return plain(folder, kind, sparse_net, lambda parameters: torch.optim.SparseAdam(list(parameters), lr=0.01))
    Halved = own_class()
    return plain(folder, kind, make=lambda parameters: Halved(parameters, lr=2 * RATE), again=Halved)


# Adafactor takes no step above 1/√step of a parameter, so a rate that jumps does nothing there.
@pytest.mark.parametrize("name, kind", [("Adafactor", "batch"), ("SparseAdam", "batch"), ("Halved", "rate")])
def test_an_optimizer_without_a_formula_gets_cause_rules_and_closed_loops(tmp_path, name, kind):
    torch = pytest.importorskip("torch", reason="no torch in this environment")
    if not hasattr(torch.optim, name) and name != "Halved":
        pytest.skip(f"torch has no {name}")
    loop = any_optimizer(name, tmp_path / "capture", kind)
    before = json.loads(analyse(tmp_path / "capture").stdout)["runs"][0]
    assert before["verdict"]["class"] != "healthy" and before["cause"]["trigger"] == (
        "learning-rate" if kind == "rate" else "data"
    )
    # Without a closed loop: exact factors of rules on gradients, and no claim of what would have held.
    estimates = {entry["label"]: entry for entry in before["replay"]}
    assert estimates["global-norm:1"]["mode"] != "closed-loop"
    assert BREAK <= before["cause"]["onsetStep"] <= BREAK + 2
    loop()
    after = json.loads(analyse(tmp_path / "capture").stdout)["runs"][0]
    assert after["cause"]["confidence"] == "shown"
    action = "lower-learning-rate" if kind == "rate" else "skip-batches"
    assert [remedy["holds"] for remedy in after["remedies"] if remedy["action"] == action][:1] == [True]


def test_data_that_changed_for_good_are_to_be_mended(tmp_path):
    pytest.importorskip("torch", reason="no torch in this environment")
    plain(tmp_path, "stream")()
    (run,) = json.loads(analyse(tmp_path).stdout)["runs"]
    # No clean batch comes after it: harm is not told from a drift that is learnt.
    assert (run["cause"]["trigger"], run["cause"]["confidence"]) == ("data", "likely")
    first = run["remedies"][0]
    assert (first["action"], first["holds"], first["tried"]) == ("fix-data", True, "closed-loop")
    assert first["skipSteps"] is None and "skip-batches" not in [remedy["action"] for remedy in run["remedies"]]
    (arm,) = [entry for entry in run["replay"] if entry.get("arm", {}).get("kind") == "earlier-batches"]
    assert (arm["verdict"], arm["arm"]["steps"][0]) == ("prevented", BREAK)

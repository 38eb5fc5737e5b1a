"""Closed loops from a capture: what is run, checked and stored. The framework's own part trains (`Trainer`)."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Protocol, TypedDict

from .bad_rows import find_bad_rows, without_rows
from .captures import (
    MANIFEST,
    Capture,
    number,
    number_back,
    read_raw,
    write_json,
    write_tensors,
)
from .judge import judge_losses, worst
from .messages import describe, tell
from .rules import Rules, label_of, recorded_rules, rule_members, rules_of

#: The recorded losses have to come back to this, relatively, over so many first steps.
TOLERANCE, FIRST_STEPS = 1e-4, 5
#: Clean steps after an incident that say whether a training holds, as `clippy-diag` has it.
LEAST_AFTER = 20
#: Losses of the run before an incident that say what a new batch has.
USUAL = 20


class ClosedLoopMismatch(RuntimeError):
    """The training does not come back from the capture, so nothing that it would do under a rule can be believed."""


class ClosedLoops(TypedDict):
    """What `closed_loop` returns."""

    #: One trace for each rule and arm, as in capture.json's `replay`.
    replay: list[dict[str, Any]]
    #: How closely the recorded losses came back: `rule`, `steps`, `worstDifference`, `noise`.
    baseline: dict[str, Any]
    #: Steps whose batches are the reference batches.
    references: list[int]
    onsetStep: int | None


class LossFunctionError(RuntimeError):
    """A `loss_fn` failed on a recorded batch, or gave no scalar; says which batch and what it is."""


def called_loss(loss_fn: Callable[..., Any], arguments: Sequence[Any], step: int, batch: Any) -> Any:
    """`loss_fn(*arguments)`. Raises LossFunctionError, from what it raised, where it fails or gives no scalar.

    step, batch  the recorded step whose batch it got, and that batch
    """
    what = f"the batch of step {step}, as it was given to record: {shape_text(batch)}"
    hint = " Under gradient accumulation it is the list of micro-batches." if isinstance(batch, list) else ""
    try:
        loss = loss_fn(*arguments)
    except Exception as error:
        raise LossFunctionError(f"loss_fn failed ({describe(error)}) on {what}.{hint}") from error
    shape = tuple(getattr(loss, "shape", ()))
    if math.prod(shape) != 1:
        raise LossFunctionError(f"loss_fn gave values of shape {shape}, not one loss, on {what}.{hint}")
    return loss


def shape_text(value: Any, depth: int = 3) -> str:
    """What a batch is made of: "{x: float32 [8, 4], y: float32 [8, 1]}"."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).split('.')[-1]} {list(value.shape)}"
    if depth == 0:
        return type(value).__name__
    if isinstance(value, Mapping):
        parts = [f"{key}: {shape_text(part, depth - 1)}" for key, part in list(value.items())[:6]]
        return "{" + ", ".join(parts + ["…"] * (len(value) > 6)) + "}"
    if isinstance(value, (list, tuple)):
        parts = [shape_text(part, depth - 1) for part in value[:4]] + ["…"] * (len(value) > 4)
        return f"{type(value).__name__} of {len(value)} ({', '.join(parts)})"
    return type(value).__name__


#: What a rule did to a tensor (None: to all of them): factor, tensor, index of the unit or entry.
Found = tuple[float, "str | None", int]


class Taken:
    """What a step did."""

    def __init__(self, loss: float, factor: float, tensor: str | None, index: int, update_norm: float) -> None:
        self.loss, self.factor, self.tensor, self.index, self.update_norm = loss, factor, tensor, index, update_norm


def least(found_by_rule: Sequence[Sequence[Found]]) -> Found:
    """The smallest factor of a step: of each tensor the product of the smallest factor that each rule has in it, with the
    place of the smallest of these. NaN is smaller than any number."""
    whole = 1.0
    tensors: dict[str, Found] = {}
    places: dict[str, tuple[float, int]] = {}
    for found in found_by_rule:
        here: dict[str, tuple[float, int]] = {}
        for factor, tensor, index in found:
            if tensor is None:
                whole *= factor
            elif tensor not in here or _rank(factor) < _rank(here[tensor][0]):
                here[tensor] = factor, index
        for tensor, place in here.items():
            before = tensors.get(tensor, (1.0, tensor, 0))
            if tensor not in places or _rank(place[0]) < _rank(places[tensor][0]):
                places[tensor] = place
            tensors[tensor] = before[0] * place[0], tensor, places[tensor][1]
    candidates = [(whole, None, 0), *((whole * factor, tensor, index) for factor, tensor, index in tensors.values())]
    return min(candidates, key=lambda one: _rank(one[0]))


def _rank(factor: float) -> float:
    return -1.0 if math.isnan(factor) else factor


class Trainer(Protocol):
    """The part of a closed loop that a framework does. `entry` is a step of capture.json."""

    @property
    def written(self) -> Mapping[int, Mapping[int, Mapping[str, Any]]]:
        """What `changing_options` has of the capture; empty where the trainer cannot take written options."""

    def start(self) -> None:
        """The model and its optimizers as before the first recorded step."""

    def loss(self, entry: Mapping[str, Any]) -> float:
        """Loss of a step's batch at the parameters as they are; changes nothing."""

    def step(self, entry: Mapping[str, Any], rules: Rules, rate_factor: Sequence[float] | None) -> Taken:
        """One step of the training on this batch, with each group's learning rate multiplied by `rate_factor`."""

    def loss_and_size(self, entry: Mapping[str, Any]) -> tuple[float, float]:
        """Loss of a step's batch and norm of its gradient at the parameters as they are, in evaluation mode: there a row has
        the same loss alone as in its batch. Changes nothing."""

    def gradients(self) -> dict[str, Any]:
        """Gradients of the last step before clipping, as tensors of its file."""

    def restore_optimizer(self) -> None:
        """The optimizer's state as before the first recorded step; parameters stay."""

    def watch(self) -> bool:
        """A guard checks each step from here on, and its advice is followed; False where there is none for this framework."""

    def advice(self) -> dict[str, Any] | None:
        """What the guard said of the last step, as a member of its entry; None without one."""

    def suspects(self, entry: Mapping[str, Any]) -> list[str]:
        """What of the model or of loss_fn is seen to be other than it was recorded, for people."""

    def noise(self, entry: Mapping[str, Any]) -> float:
        """Standard deviation of the loss over draws of random numbers that the capture does not fix; 0 for none."""


class Arm:
    """One thing changed: batches or rows of them left out, or earlier batches in their place, another learning rate, a weight decay
    as before, the old optimizer state put back, or a guard obeyed. `decay` has the step from which on the weight decay is
    multiplied, and by what; `places` has, by step, the recorded step whose batch is taken instead of its own,
    `bad_rows` what `find_bad_rows` gave."""

    def __init__(
        self,
        described: dict[str, Any],
        skip: Sequence[int] = (),
        rate: Callable[[Mapping[str, Any]], Sequence[float]] | None = None,
        restore_at: int | None = None,
        guarded: bool = False,
        places: Mapping[int, Mapping[str, Any]] | None = None,
        bad_rows: Sequence[Mapping[str, Any]] = (),
        decay: tuple[int, float] | None = None,
    ) -> None:
        self.decay = decay
        self.described, self.skip, self.rate, self.restore_at = described, set(skip), rate, restore_at
        self.guarded = guarded
        self.places = places or {}
        self.bad_rows = {one["step"]: one for one in bad_rows}

    def taken(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """The step with the batch that it takes here, or with the rows of its own, at its own learning rate."""
        if self.decay is not None and entry["step"] >= self.decay[0]:
            return {**entry, "decayFactor": self.decay[1]}
        bad = self.bad_rows.get(entry["step"])
        if bad is not None:
            return without_rows(entry, bad["rows"], bad["of"])
        other = self.places.get(entry["step"])
        own = ("step", "learningRate", "groupLearningRates", "scale")
        return entry if other is None else {**other, **{name: entry[name] for name in own if name in entry}}


def run_loops(
    capture: Capture,
    trainer: Trainer,
    rules: None | Sequence[str] | Mapping[str, Mapping[str, float]],
    arms: str | None | Sequence[str],
) -> ClosedLoops:
    """Baseline under the recorded clipping, then each rule and arm; the traces go to capture.json's `replay`.

    Raises ClosedLoopMismatch, and stores nothing, where the recorded losses do not come back.
    """
    if not any(_has_batch(capture, entry) for entry in capture.steps[:1]):
        raise ValueError(
            f"{capture.folder}: the capture holds no batches; record(..., batch=...), or batches=True in a callback"
        )
    recorded = recorded_rules(capture.manifest.get("clipping"))
    chosen = rules_of(rules)
    began = time.monotonic()
    found = check_baseline(capture, trainer, recorded)
    a_step = (time.monotonic() - began) / found["steps"]
    if capture.manifest.get("gradients") == "after-trigger":
        _complete(capture, trainer, recorded)
    onset = onset_of(capture)
    at_start = _batch_losses(capture, trainer) if onset is not None else []
    usual = _usual(capture, at_start, onset) if onset is not None else None
    unlike = _unlike(capture, at_start, onset, usual)
    references = _references(capture, onset, unlike)
    bad_rows = _bad_rows(capture, trainer, unlike, references, usual) if "skip-rows" in _wanted(arms) else []
    loops: list[tuple[Rules, Arm | None]] = [(one, None) for one in chosen]
    if recorded not in chosen:
        loops.append((recorded, None))
    loops += [(recorded, arm) for arm in choose_arms(capture, onset, unlike, arms, trainer, bad_rows)]
    progress = _Progress(len(loops), a_step * len(capture.steps))
    entries = []
    for one, arm in loops:
        progress.tell(label_of(one) if arm is None else arm.described["kind"])
        with warnings.catch_warnings():
            # A guard that is tried here has no past by design, and its advice is in the trace.
            warnings.filterwarnings("ignore", message="clippy-diag: guard: ")
            entries.append(run(capture, trainer, one, arm, references))
    manifest = {**capture.manifest, "replay": entries}
    if references:
        manifest["references"] = references
    if at_start:
        manifest["batchLosses"] = [number(loss) for loss in at_start]
    write_json(capture.folder / MANIFEST, manifest)
    return {"replay": entries, "baseline": found, "references": references, "onsetStep": onset}


class _Progress:
    """Says on standard error how far loops are, and how long the others take, where all of them take ten seconds or more.

    count  loops
    a_loop seconds that one of them takes, until the first of them is done
    """

    def __init__(self, count: int, a_loop: float) -> None:
        self.count, self.a_loop = count, a_loop
        self.done, self.began = 0, time.monotonic()

    def tell(self, what: str) -> None:
        """Before a loop."""
        spent = time.monotonic() - self.began
        left = (spent / self.done if self.done else self.a_loop) * (self.count - self.done)
        self.done += 1
        if spent + left >= 10:
            tell(f"closed loop {self.done} of {self.count} ({what}), about {max(left, 1):.0f} s left")


def check_baseline(capture: Capture, trainer: Trainer, recorded: Rules) -> dict[str, Any]:
    """Trains the first steps under the recorded clipping and holds their losses against the recorded ones."""
    trainer.start()
    noise = trainer.noise(capture.steps[0])
    worst = 0.0
    for k, entry in enumerate(capture.steps[:FIRST_STEPS]):
        wanted = number_back(entry["loss"])
        loss = trainer.step(entry, recorded, None).loss
        if not math.isfinite(wanted):
            break
        allowed = max(TOLERANCE * abs(wanted), 4 * noise)
        if not abs(loss - wanted) <= allowed:
            raise ClosedLoopMismatch(_differs(capture, trainer, k, wanted, loss, noise, recorded))
        worst = max(worst, abs(loss - wanted) / max(abs(wanted), 1e-30))
    return {
        "rule": label_of(recorded),
        "steps": min(FIRST_STEPS, len(capture.steps)),
        "worstDifference": worst,
        "noise": noise,
    }


def _differs(
    capture: Capture, trainer: Trainer, k: int, wanted: float, loss: float, noise: float, recorded: Rules
) -> str:
    step = capture.steps[k]["step"]
    parts = [
        f"{capture.folder}: the loss of step {step} was {wanted:.6g} when it was recorded and is {loss:.6g} now"
        f" ({abs(loss - wanted) / max(abs(wanted), 1e-30):.2g} off; {TOLERANCE:g} is allowed"
        + (f", or 4 times the noise of {noise:.2g})" if noise else ")")
    ]
    trainer.start()
    found = trainer.suspects(capture.steps[0]) + (_first_loss(capture, trainer, wanted, loss) if k == 0 else [])
    parts += found
    if k == 0 and not found:
        parts.append(
            "the first loss differs, so it is the model (frozen parameters, its settings), the batch as loss_fn takes it,"
            " or what loss_fn computes"
        )
    elif k == 0:
        parts.append("the first loss differs, so it is no matter of clipping or of the optimizer")
    else:
        parts.append(
            f"the losses before it come back, so it is the step: the clipping (recorded: {label_of(recorded)}; say it to the"
            " recorder as clipping=...), or what else moves parameters between steps"
        )
    if "rerun" not in capture.manifest:
        parts.append("the capture has no buffers and no random state (it was written by an older recorder)")
    return "; ".join(parts) + ". Nothing was stored."


def _first_loss(capture: Capture, trainer: Trainer, wanted: float, loss: float) -> list[str]:
    """What a first loss that does not come back looks like, at the first state."""
    found = []
    again = [trainer.loss(capture.steps[0]) for _ in range(2)]
    if again[0] != again[1] and not all(map(math.isnan, again)):
        found.append("loss_fn gives another value each time: it draws random numbers that the capture does not hold")
    ratio = wanted / loss if wanted and loss and math.isfinite(loss) else 0.0
    for times, shown in ((ratio, "{} times"), (1 / ratio if ratio else 0.0, "1/{} of")):
        if round(times) >= 2 and abs(times - round(times)) <= TOLERANCE * times:
            found.append(
                f"the recorded loss is {shown.format(round(times))} that of loss_fn: a sum was recorded and loss_fn gives a"
                " mean, or the other way round, of a batch or of micro-batches"
            )
    for entry in capture.steps[1:]:
        if not found and _has_batch(capture, entry) and abs(trainer.loss(entry) - wanted) <= TOLERANCE * abs(wanted):
            found.append(
                f"the batch of step {entry['step']} gives the loss of step {capture.steps[0]['step']}: batches went to"
                " the recorder in another order than to the model"
            )
    return found


def run(capture: Capture, trainer: Trainer, rules: Rules, arm: Arm | None, references: Sequence[int]) -> dict[str, Any]:
    """The trace of one closed loop from before the first recorded step, as an entry of `replay`."""
    trainer.start()
    if arm is not None and arm.guarded:
        trainer.watch()
    advised: list[dict[str, Any]] = []
    checks = [entry for entry in capture.steps if entry["step"] in set(references)]
    losses: list[float] = []
    factors: list[float] = []
    norms: list[float] = []
    on_references: list[float] = []
    bottleneck: dict[str, Any] | None = None
    ended: dict[str, Any] | None = None
    for entry in capture.steps:
        if arm is not None and arm.restore_at == entry["step"]:
            trainer.restore_optimizer()
        if checks:
            on_references.append(statistics.fmean(trainer.loss(check) for check in checks))
        if arm is not None and entry["step"] in arm.skip:
            losses.append(trainer.loss(entry))
            factors.append(1.0)
            norms.append(0.0)
            continue
        taken = trainer.step(
            entry if arm is None else arm.taken(entry),
            rules,
            arm.rate(entry) if arm is not None and arm.rate is not None else None,
        )
        advice = trainer.advice()
        if advice is not None:
            advised.append({"step": entry["step"], **advice})
        losses.append(taken.loss)
        # What the guard lets through is a factor on all gradients; of a step that it refuses nothing is left.
        let_through = 1.0 if advice is None else advice["scale"]
        factors.append(taken.factor * let_through if let_through else 0.0)
        norms.append(taken.update_norm)
        if taken.tensor is not None and taken.factor < (bottleneck["factor"] if bottleneck else 1):
            bottleneck = {"tensor": taken.tensor, "index": taken.index, "factor": taken.factor}
        if ended is None and not (math.isfinite(taken.loss) and math.isfinite(taken.update_norm)):
            ended = {"reason": "non-finite", "step": entry["step"]}
    return {
        "mode": "closed-loop",
        "source": "recorded",
        **rule_members(rules),
        "optimizer": capture.manifest["optimizer"],
        **({"arm": arm.described} if arm is not None else {}),
        "steps": [entry["step"] for entry in capture.steps],
        "loss": [number(value) for value in losses],
        "minClipFactor": [number(value) for value in factors],
        "updateNorm": [number(value) for value in norms],
        **({"referenceLoss": [number(value) for value in on_references]} if on_references else {}),
        "ended": ended or {"reason": "completed", "step": capture.steps[-1]["step"]},
        "bottleneck": bottleneck,
        **({"advice": advised} if advised else {}),
    }


#: Arms that can be asked for.
KNOWN_ARMS = (
    "skip-batches",
    "skip-rows",
    "earlier-batches",
    "learning-rate",
    "weight-decay",
    "restore-optimizer-state",
    "guard",
)
#: Times its first value that a weight decay is raised to where it is tried as before.
RAISED_DECAY = 1.5


def _wanted(arms: str | None | Sequence[str]) -> tuple[str, ...]:
    """Kinds of arms that are asked for. Raises ValueError for one that there is not."""
    if arms is None:
        return ()
    wanted = KNOWN_ARMS if arms == "all" else tuple([arms] if isinstance(arms, str) else arms)
    for kind in wanted:
        if kind not in KNOWN_ARMS:
            raise ValueError(f'clippy-diag: no arm "{kind}"; known are all, {", ".join(KNOWN_ARMS)}')
    return wanted


def choose_arms(
    capture: Capture,
    onset: int | None,
    unlike: Sequence[int],
    arms: str | None | Sequence[str],
    trainer: Trainer,
    bad_rows: Sequence[Mapping[str, Any]] = (),
) -> list[Arm]:
    """The arms of an incident: each changes one thing. None where the capture shows no incident.

    bad_rows   rows that stand out in the unlike batches, as `find_bad_rows` gives them
    """
    if arms is None or onset is None:
        return []
    wanted = _wanted(arms)
    found: list[Arm] = []
    if bad_rows:
        named = [{name: one[name] for name in ("step", "rows", "ids")} for one in bad_rows]
        steps = [one["step"] for one in bad_rows]
        found.append(Arm({"kind": "skip-rows", "steps": steps, "rows": named}, bad_rows=bad_rows))
    if "earlier-batches" in wanted and _lasts(capture, unlike):
        found.append(_earlier_batches(capture, unlike))
    elif "skip-batches" in wanted and unlike:
        found.append(Arm({"kind": "skip-batches", "steps": list(unlike)}, skip=unlike))
    if "learning-rate" in wanted:
        before = rates_of(capture.steps[0])
        if any(now > 1.05 * then for entry in capture.steps for now, then in zip(rates_of(entry), before)):
            found.append(
                Arm(
                    {"kind": "learning-rate", "of": "before", "learningRate": before[0]},
                    rate=lambda entry: [then / now if now else 1.0 for now, then in zip(rates_of(entry), before)],
                )
            )
        for factor in (0.5, 0.1):
            found.append(Arm({"kind": "learning-rate", "factor": factor}, rate=_times(factor)))
    raised = _raised_decay(capture, trainer.written) if "weight-decay" in wanted else None
    if raised is not None:
        found.append(Arm({"kind": "weight-decay", "factor": raised[1]}, decay=raised))
    if "restore-optimizer-state" in wanted:
        after = (max(unlike) if unlike else onset) + 1
        if any(entry["step"] == after for entry in capture.steps):
            found.append(Arm({"kind": "restore-optimizer-state", "at": after}, restore_at=after))
    # A run that a guard looked at says itself what it knew.
    if "guard" in wanted and not any("guard" in entry for entry in capture.steps) and trainer.watch():
        found.append(Arm({"kind": "guard"}, guarded=True))
    return found


def _raised_decay(capture: Capture, written: Mapping[int, Mapping[int, Mapping[str, Any]]]) -> tuple[int, float] | None:
    """The first step at which the weight decay of a group is far above its first one, and what brings it back; None without."""
    before: dict[int, float] = {}
    for entry in capture.steps:
        for group, options in written.get(entry["step"], {}).items():
            now = options.get("weightDecay")
            if isinstance(now, (int, float)):
                was = before.setdefault(group, now)
                if now > RAISED_DECAY * was:
                    return entry["step"], was / now
    return None


def _bad_rows(
    capture: Capture,
    trainer: Trainer,
    unlike: Sequence[int],
    references: Sequence[int],
    usual: tuple[float, float] | None,
) -> list[dict[str, Any]]:
    """Rows that stand out in the unlike batches; those that last to the end are the data as it is by then."""
    if usual is None or not unlike or _lasts(capture, unlike):
        return []
    low, high = usual
    steps = {entry["step"]: entry for entry in capture.steps}
    earlier = [steps[step] for step in references if step in steps and step < unlike[0]]
    return find_bad_rows(capture, trainer, [steps[step] for step in unlike], earlier, lambda loss: low <= loss <= high)


def _lasts(capture: Capture, unlike: Sequence[int]) -> bool:
    """Whether as many batches as an arm takes to be judged are unlike those before, to the last one: leaving them out would end
    the training, and nothing would show whether it holds."""
    last = [entry["step"] for entry in capture.steps[-LEAST_AFTER:]]
    return len(last) == LEAST_AFTER and set(last) <= set(unlike)


def _earlier_batches(capture: Capture, unlike: Sequence[int]) -> Arm:
    """Each unlike batch has one from before in its place, in their order, again and again."""
    clean = [entry for entry in capture.steps if entry["step"] not in unlike]
    places = {step: clean[k % len(clean)] for k, step in enumerate(unlike)}
    return Arm({"kind": "earlier-batches", "steps": list(unlike)}, places=places)


def _times(factor: float) -> Callable[[Mapping[str, Any]], Sequence[float]]:
    return lambda entry: [factor] * len(rates_of(entry))


def rates_of(entry: Mapping[str, Any]) -> list[float]:
    """The learning rate of each parameter group at a step."""
    return [entry["learningRate"], *entry.get("groupLearningRates", [])]


def onset_of(capture: Capture) -> int | None:
    """The first step of the worst incident that begins in the recorded steps, or None."""
    before = losses_before(capture)
    losses = before + [number_back(entry["loss"]) for entry in capture.steps]
    leading = worst([one for one in judge_losses(losses) if one.onset >= len(before)])
    return None if leading is None else int(capture.steps[leading.onset - len(before)]["step"])


def losses_before(capture: Capture) -> list[float]:
    """Losses of the run before the first recorded step."""
    first = capture.steps[0]["step"]
    history = capture.manifest.get("history") or {"steps": [], "loss": []}
    return [number_back(loss) for step, loss in zip(history["steps"], history["loss"]) if step < first]


def _references(capture: Capture, onset: int | None, unlike: Sequence[int]) -> list[int]:
    """Steps on whose batches harm is judged: up to four from before the incident, and up to four clean ones from after it."""
    first = min([onset, *unlike]) if onset is not None else None
    named = [step for step in capture.manifest.get("references", []) if first is None or step < first]
    with_batch = [entry["step"] for entry in capture.steps if _has_batch(capture, entry)]
    before = [step for step in with_batch if first is None or step < first][:-2]
    after = [step for step in with_batch if onset is not None and step > onset and step not in unlike]
    return (named or _spread(before)) + _spread(after)


def _spread(steps: Sequence[int]) -> list[int]:
    """At most four of many, evenly spread."""
    return list(steps[:: max(1, len(steps) // 4)][:4])


def _batch_losses(capture: Capture, trainer: Trainer) -> list[float]:
    """Loss of each step's batch at the parameters from before the first recorded step."""
    trainer.start()
    return [trainer.loss(entry) for entry in capture.steps]


def _usual(capture: Capture, at_start: Sequence[float], onset: int) -> tuple[float, float] | None:
    """Losses that are usual of a batch at the parameters from before: the range of the batches before the onset and of the run's
    own last losses, widened by half of it. None where fewer than four are known."""
    before = [k for k, entry in enumerate(capture.steps) if entry["step"] < onset - 1]
    own = [number_back(capture.steps[k]["loss"]) for k in before]
    known = [at_start[k] for k in before] + (losses_before(capture) + own)[-USUAL:]
    usual = [loss for loss in known if math.isfinite(loss)]
    if len(usual) < 4:
        return None
    margin = (max(usual) - min(usual)) / 2
    return min(usual) - margin, max(usual) + margin


def _unlike(
    capture: Capture, at_start: Sequence[float], onset: int | None, usual: tuple[float, float] | None
) -> list[int]:
    """Steps from near the onset on whose batch has an unusual loss at the parameters from before. A gap between two stretches
    that are no shorter is filled."""
    if onset is None or usual is None:
        return []
    low, high = usual
    steps = [entry["step"] for entry in capture.steps]
    found = [k for k, (step, loss) in enumerate(zip(steps, at_start)) if step >= onset - 1 and not low <= loss <= high]
    return [steps[k] for k in whole_block(found)]


def whole_block(unlike: Sequence[int]) -> list[int]:
    """Positions, with those between two stretches of them that are no shorter than the gap: of bad data that comes for a while
    some batches happen to look like those before. A lone batch long after them fills nothing."""
    stretches: list[tuple[int, int]] = []
    for index in unlike:
        stretches.append((index, index))
        while len(stretches) > 1:
            (first, last), (begin, end) = stretches[-2:]
            if begin - last - 1 > min(last - first, end - begin) + 1:
                break
            stretches[-2:] = [(first, end)]
    return [k for first, last in stretches for k in range(first, last + 1)]


def _has_batch(capture: Capture, entry: Mapping[str, Any]) -> bool:
    return bool(read_raw(capture.folder / entry["file"], "batch/"))


def _complete(capture: Capture, trainer: Trainer, recorded: Rules) -> None:
    """Computes the gradients that memory was too small for, and adds them to their steps' files."""
    trainer.start()
    for entry in capture.steps:
        trainer.step(entry, recorded, None)
        if entry.get("gradients") is False:
            path = capture.folder / entry["file"]
            write_tensors(path, {**read_raw(path), **trainer.gradients()})
            del entry["gradients"]
    capture.manifest["gradients"] = "every-step"

"""A callback for `model.fit`, on every backend.

    from clippy_diag.keras import ClippyCallback

    model.fit(x, y, callbacks=[ClippyCallback("capture")])

Keras gives callbacks no gradients, and its batch logs are means since the epoch began. So while a fit runs, the model's `train_step`
and `compute_loss` and two methods of the optimizer are wrapped: gradients and the loss of the batch go to variables of the
callback's own, which are read after the batch. On the backend of JAX the compiled step itself hands them over (`jax_ears.py`).
`on_train_end` puts all back.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..captures import replace_file
from ..guarding import Advice, advice_entry, alarm_text
from ..ledger import Ledger, guarded
from ..ledger_steps import ledger_of
from ..messages import describe, tell, warnings_are_no_errors
from ..options import Budget, OldNames, deprecated, options_of, path_of
from ..preflight_setup import no_answer, report
from ..recording import Recording, Skip
from ..rules import Clipping, clipping_words
from ..wrapped import Wrapped
from ..writing import Snapshot
from . import words as names
from .ears import ReturningEars, TensorFlowEars, TorchEars
from .gradients import compiled_loss
from .guard import Guard
from .jax_ears import JaxEars
from .jax_fit import JaxFit
from .jax_returning import JaxReturningEars, returns
from .ledger import FitLedger, JaxFitLedger, chosen
from .preflight import preflight
from .recorder import Steps, Tensors


class ClippyCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Records the steps around an incident; what it promises is in docs/recorders.md.

    path          the folder of the capture; `status.json` in it says how the recording fares
    snapshot_every_steps, steps_after  a capture holds `snapshot_every_steps` to twice as many steps before the incident, and
                  `steps_after` steps after it
    batches       whether batches are kept (they may hold personal data): what `train_step` gets, (x, y) or (x, y, sample_weight).
                  Without them no closed loop is possible
    guard         whether a `Guard` checks every step and its advice is followed. The fit then runs eagerly. Accumulation,
                  loss_scale_factor, several replicas and the backend of JAX are not guarded, which is said
    loss_fn       (model, batch) -> loss with which the guard tries a step, batch as of `train_step`; by default the compiled loss
    pulse         a file for the guard's line of JSON a step.
    guard_state   a file for what the guard knows of the run, written at the end of every epoch. A fit whose optimizer has taken steps
                  before reads it. List the callback after BackupAndRestore.
    preflight     batches on which to find, before the first step and on copies, the largest learning rate that the training is stable
                  at: docs/preflight.md. Keras gives a callback none of the batches to come. Takes up to a minute, on every
                  backend; the answer is in `preflight_answer`
    clipping      what a `train_step` of your own clips by; by default what the optimizer does
    ledger, ledger_every  as of `clippy_diag.torch.Recorder`; docs/compare.md says what is kept
    memory, disk, max_captures, model_file, expected_changes, folder, every, after  as of `clippy_diag.keras.Recorder`

    Steps count the updates from the optimizer's iterations on, from 0 in a new training. Knows LossScaleOptimizer (steps that it
    skips are looked at too), gradient accumulation (a step's gradient is the accumulated one), clipnorm, global_clipnorm,
    clipvalue, and MirroredStrategy. On the backend of JAX gradient accumulation is refused by name.
    """

    def __init__(
        self,
        path: str | Path = "capture",
        *,
        snapshot_every_steps: int = 20,
        steps_after: int = 34,
        batches: bool = False,
        guard: bool = False,
        loss_fn: Callable[[Any, Any], Any] | None = None,
        pulse: None | str | Path = None,
        guard_state: None | str | Path = None,
        preflight: None | bool | Iterable[Any] = None,
        clipping: Clipping = None,
        memory: Budget = "2GB",
        disk: Budget = "20GB",
        max_captures: int = 3,
        model_file: None | str | Path = None,
        ledger: bool | int | str | None = None,
        ledger_every: int | None = None,
        expected_changes: Iterable[str] = (),
        folder: None | str | Path = None,
        every: int | None = None,
        after: int | None = None,
    ) -> None:
        super().__init__()
        old = OldNames(folder, every, after)
        self._options = options_of(snapshot_every_steps, steps_after, memory, disk, max_captures, old)
        self._expected = expected_changes
        self._ledger_choice = ledger, ledger_every
        ledger_of(ledger, ledger_every, Path("capture"))  # a wrong option is an error here, not in the fit
        #: The ledger of this fit, or None.
        self.ledger: FitLedger | JaxFitLedger | None = None
        self._path, self._batches, self._model_file = path_of(path, old), batches, model_file
        self._clipping = None if clipping is None else clipping_words(clipping)
        self._with_guard, self._loss_fn, self._pulse = guard, loss_fn, pulse
        self._guard_state = None if guard_state is None else Path(guard_state)
        if preflight is True:
            raise ValueError(
                "clippy-diag: Keras gives a callback none of the batches to come; give them as preflight=batches"
            )
        self._tried_on: Any = None if preflight is False else preflight
        #: The document of the preflight of this fit, or of the last one; None without one.
        self.preflight_answer: dict[str, Any] | None = None
        #: The guard while it is attached to a training, or None.
        self.guard: Guard | None = None
        self._advice: Advice | None = None
        self._alarmed = self._eager = False
        self._steps: Steps | None = None
        #: The recording of this fit, or of the last one once it is over.
        self._own: Recording | None = None
        self._ears: TorchEars | None = None
        self._jax_ears: JaxEars | None = None
        self._wrapped = Wrapped()
        self._wanted: str | None = None
        self._training = False
        #: Steps that were taken and not looked at yet, each with its batch; whether the step that is taken will wait so.
        self._waiting: list[tuple[Any, Any]] = []
        self._waits = False
        self._may = 0
        reference = weakref.ref(self)
        self._at_exit = lambda: _flush_at_exit(reference)
        #: Steps of one execution, as the model was compiled.
        self._in_one = 1

    def capture(self, reason: str = "requested") -> None:
        """Writes a capture at the next step, incident or not: a drill, or a look at a moment that matters."""
        self._wanted = reason
        if self._own is not None:
            self._own.request(reason)

    def capture_now(self) -> None:
        """The old name of `capture`."""
        deprecated("capture_now", "capture")
        self.capture("capture_now")

    @property
    def stopped(self) -> str | None:
        """Why nothing is recorded, also once the fit is over; None where it is."""
        return self._own.stopped if self._own is not None else None

    @property
    def captures(self) -> list[str]:
        """Folders of the captures of this fit, or of the last one."""
        return list(self._own.captures) if self._own is not None else []

    @property
    def problems(self) -> list[str]:
        """What could not be done in this fit, or in the last one, each once."""
        return list(self._own.problems) if self._own is not None else []

    # ---- what a fit of Keras 2 asks of a callback: the class of Keras 3 has none of it

    _supports_tf_logs = True

    def _implements_train_batch_hooks(self) -> bool:
        return True

    def _implements_test_batch_hooks(self) -> bool:
        return False

    def _implements_predict_batch_hooks(self) -> bool:
        return False

    # ---- Keras's events

    def set_model(self, model: Any) -> None:
        """Wraps what it listens to, before Keras compiles the training step."""
        super().set_model(model)
        self._put_back()
        if getattr(model, "optimizer", None) is None:
            return
        try:
            with warnings_are_no_errors():
                self._attach(model)
        except Exception as error:
            self._refuse(f"the fit cannot be followed: {describe(error)}")

    def _attach(self, model: Any) -> None:
        refusal = _refusal(model)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._steps = steps = Steps(
            model,
            model.optimizer,
            self._path,
            self._clipping,
            model_file=self._model_file,
            expected_changes=self._expected,
            **self._options,
        )
        self._own, steps.trainer = steps.own, "keras-fit"
        if not self._batches:
            tell(
                "batches are not kept, as they may hold personal data, so no closed loop is possible;"
                " batches=True keeps them"
            )
        if self._wanted:
            steps.own.request(self._wanted)
            self._wanted = None
        files = chosen(*self._ledger_choice, self._path, model)
        steps.own.late_by = steps.own.every
        if files is not None:
            # One more waits to hear what its optimizer does.
            files.late_by = steps.own.every + 1
        if keras.backend.backend() == "jax":
            self._attach_in_jax(model, steps, files)
            return
        optimizer = names.inner(model.optimizer)
        tensorflow = keras.backend.backend() == "tensorflow"
        self._ears = ears = TensorFlowEars(model, norms=files is not None) if tensorflow else TorchEars()
        self._wrapped.put(model, "train_step", ears.train_step(model.train_step))
        self._wrapped.put(model, "compute_loss", ears.compute_loss(model.compute_loss))
        self._wrapped.put(optimizer, "_backend_apply_gradients", ears.apply(optimizer._backend_apply_gradients))
        self._wrapped.put(optimizer, "_clip_gradients", ears.clip(optimizer._clip_gradients))
        self.ledger = None if files is None else FitLedger(files, model, ears)
        if self._with_guard:
            self._set_guard(model, optimizer, ears)
        model.train_function = None
        self._wrapped.put(model, "make_train_function", ears.make_train_function(model.make_train_function))
        if self._batches or self.ledger is not None:
            self._wrapped.put(model, "make_train_function", self._hear_batches(model, model.make_train_function))
        self._wrapped.put(
            model, "make_train_function", self._flushing(model, model.make_train_function, ears.ends_of_data)
        )
        atexit.register(self._at_exit)
        self._in_one = getattr(model, "steps_per_execution", 1)
        if self._in_one > 1:
            model.test_function = None
            self._wrapped.put(model, "make_train_function", self._one_by_one(model, model.make_train_function))
            model.steps_per_execution = 1

    def _attach_in_jax(self, model: Any, steps: Steps, files: Ledger | None) -> None:
        if self._with_guard:
            steps.own.note("the guard checks nothing: on the backend of jax no step waits for it")
        if returns(model):
            self._ears = JaxReturningEars(model, files is not None, self._wrapped, self._jax_step)
            self.ledger = None if files is None else FitLedger(files, model, self._ears)
            self._wrapped.put(model, "make_train_function", self._flushing(model, model.make_train_function, ()))
            atexit.register(self._at_exit)
            model.train_function = None
            return
        self._jax_ears = ears = JaxEars(model, self._wrapped, self._batches or files is not None)
        outputs = _OutputLosses(model)
        ears.listeners.append(JaxFit(steps, model, steps.own.every, self._batches, outputs.newest))
        if files is not None:
            self.ledger = JaxFitLedger(files, model)
            ears.listeners.append(self.ledger)
        model.train_function = None

    def _jax_step(self, data: Any, before: Any, take: Callable[[], Any]) -> Any:
        """A step of the training function on the backend of JAX. `before` makes a context in which variables have their values from
        before the step, `take` takes it and gives its result and such a context of after it."""
        if self._batches or self.ledger is not None:
            self._batch.append(data)
        if not self._will_wait():
            self._within(before, self._look_before)
        result, after = take()
        if self._ears is None or not self._ears.returned:
            self._batch.clear()  # a step that could not be heard, which `_put_back` says
        elif not self._kept_waiting():
            self._within(after, self._look_after)
        return result

    def _within(self, values: Any, look: Callable[[], None]) -> None:
        steps = self._steps
        if steps is not None:
            with steps.own.guarded(), values():
                look()

    def _refuse(self, why: str) -> None:
        """Records nothing of this fit, and says why; the fit goes on."""
        self._wrapped.restore()
        steps, self._steps, self._ears, self._jax_ears = self._steps, None, None, None
        self._own = Recording(self._path, lambda step, meta: {}, **self._options) if steps is None else steps.own
        self._own.stop(why)
        self._own.close()

    def on_train_begin(self, logs: Any = None) -> None:
        """The first step's number."""
        self._training = True
        self._step: int | None = None
        self._micro: list[float] = []
        self._outputs = _OutputLosses(self.model)
        self._batch: list[Any] = []
        self._kept: Snapshot | None = None
        self._before: Tensors = {}
        self._moment: dict[str, Any] = {}
        self._random: Tensors = {}
        self._seen = 0
        self._rate = 0.0
        self._traces = -1
        if self._tried_on is not None:
            self._try_rates(self._tried_on)
        self._load_guard()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps what the guard knows."""
        if self.guard is None or self._guard_state is None:
            return
        try:
            whole = self._guard_state.with_name(self._guard_state.name + ".part")
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.write_text(json.dumps(self.guard.state_dict(batches=False)), encoding="utf8")
            replace_file(whole, self._guard_state)
        except Exception as error:
            self._note(f"the guard's state was not written: {describe(error)}")

    def _load_guard(self) -> None:
        """A fit that goes on from trained weights goes on with what the guard knew. Never raises: what cannot be read is said."""
        path, guard = self._guard_state, self.guard
        if guard is None or path is None or not path.exists():
            return
        try:
            if int(names.array_of(self.model.optimizer.iterations)):
                guard.load_state_dict(json.loads(path.read_text(encoding="utf8")))
        except Exception as error:
            self._note(f"the guard begins anew: {describe(error)}")

    def _note(self, what: str) -> None:
        if self._own is not None:
            self._own.note(what)

    def _try_rates(self, batches: Iterable[Any]) -> None:
        """The preflight that was asked for. Never raises: why there is none is said."""
        model = self.model
        try:
            with contextlib.nullcontext() if self._ears is None else self._ears.not_listening(model):
                answer = preflight(model, model.optimizer, batches, self._loss_fn, clipping=self._clipping)
            self.preflight_answer = answer
            report(answer, self._path)
        except Exception as error:
            no_answer(error)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """What a snapshot needs, from before the step."""
        if self._in_one == 1 and not isinstance(self._ears, JaxReturningEars):
            self._before_step()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Loss and gradients of the step that was taken."""
        if self._in_one == 1 and not isinstance(self._ears, JaxReturningEars):
            self._after_step()

    def _before_step(self) -> None:
        if not self._will_wait():
            self._look_before()

    def _will_wait(self) -> bool:
        """Whether the step that begins waits to be looked at."""
        ears = self._ears
        if ears is not None:
            ears.forget()
        self._waits = ears is not None and self._may_wait(ears)
        return self._waits

    def _look_before(self) -> None:
        steps, ears = self._steps, self._ears
        self.flush()
        if steps is not None and ears is not None and steps.own.stopped is None:
            with steps.own.guarded():
                self._begin(steps, ears)
        if isinstance(self.ledger, FitLedger):
            guarded(self.ledger.keras.own.own, self.ledger.before)

    def _after_step(self) -> None:
        if not self._kept_waiting():
            self._look_after()

    def _kept_waiting(self) -> bool:
        """Keeps the step that was taken, where it waits."""
        ears = self._ears
        if not self._waits or not isinstance(ears, ReturningEars) or not ears.returned:
            return False
        self._waiting.append((ears.taken(), self._batch[-1] if self._batch else None))
        self._batch = []
        return True

    def _look_after(self) -> None:
        steps, ears, batch = self._steps, self._ears, self._batch[-1] if self._batch else None
        advice = self._advice
        self.flush()
        if steps is not None and ears is not None:
            steps.own.attempt(self._step, ears.loss, self._end, steps, ears)
        if isinstance(self.ledger, FitLedger):
            left_out = advice is not None and advice.action == "skip"
            guarded(self.ledger.keras.own.own, self.ledger.after, batch, left_out)
        if steps is not None and steps.own.stopped is not None:
            self._batch = []

    # ---- steps that wait: to look at one by one costs several times as much as to look at many in a row

    def _may_wait(self, ears: Any) -> bool:
        """Whether nothing has to be read before or after the step that comes, so that it may wait."""
        steps, waiting = self._steps, len(self._waiting)
        if steps is None or not (ears.can_wait and ears.returned) or not steps.own.may_wait(waiting):
            return False
        if not waiting:
            self._may = self._how_many_may_wait(steps, ears)
        return waiting < self._may

    def _how_many_may_wait(self, steps: Steps, ears: Any) -> int:
        """How many steps may wait from the one on that comes."""
        ledger = self.ledger
        if self._step is None or self._micro or not steps.formula:
            return 0
        many = steps.own.every
        if isinstance(ledger, FitLedger) and ledger.keras.own.own.stopped is None:
            many = ledger.may_wait(many)
        return steps.records.may_wait(many)

    def flush(self) -> None:
        """Looks at the steps that wait. Never raises."""
        waiting, self._waiting = self._waiting, []
        steps, ears = self._steps, self._ears
        if not waiting or steps is None or not isinstance(ears, ReturningEars):
            return
        kept, self._batch = self._batch, []
        for taken, batch in waiting:
            ears.listen_to(taken)
            self._batch = [] if batch is None else [batch]
            steps.own.attempt(self._step, ears.loss, self._late, steps, ears)
            if isinstance(self.ledger, FitLedger):
                guarded(self.ledger.keras.own.own, self.ledger.late, batch)
        ears.forget()
        self._batch = kept

    def _late(self, steps: Steps, ears: Any) -> None:
        """A step that waited, as `_begin` and `_end` take one."""
        with ears.given("before"):
            steps.records.look_at_values()
        self._random, self._kept, self._before = {}, None, {}
        self._moment = steps.records.begin(False)
        self._rate = ears.rate()
        with ears.given("after"):
            self._end(steps, ears)

    def _flushing(
        self, model: Any, make: Callable[..., Any], ends: tuple[type[BaseException], ...]
    ) -> Callable[..., Any]:
        """Looks at the steps that wait where a batch or a step raises: then no more of them come."""

        def flushing(inside: Callable[..., Any]) -> Callable[..., Any]:
            def train_function(*arguments: Any) -> Any:
                try:
                    return inside(*arguments)
                except BaseException as error:
                    if not isinstance(error, (StopIteration, *ends)):
                        self.flush()
                    raise

            return train_function

        return _around_train_functions(model, make, flushing)

    def on_test_end(self, logs: Any = None) -> None:
        """An evaluation of its own is no training."""
        if not self._training:
            self._put_back()

    def on_train_end(self, logs: Any = None) -> None:
        """Everything as before; waits until all is written."""
        self._training = False
        self._put_back()

    # ---- a batch. On the backend of JAX `self.model` would make Keras go on from the variables, so it is `self._model`

    def _begin(self, steps: Steps, ears: Any) -> None:
        if not self._model.built or not self._model.trainable_variables:
            return  # the first batch builds a model that does not know its inputs
        optimizer = self._model.optimizer
        if not optimizer.built:
            with ears.scope(), keras.name_scope(optimizer.name, caller=optimizer):
                optimizer.build(self._model.trainable_variables)
        ears.prepare(self._model.trainable_variables)
        if self._step is None:
            self._step = int(names.array_of(steps.optimizer.iterations))
            self._seen = ears.seen()
        if not steps.own.planned or not self._micro:
            steps.look({})
        self._look_at_variables(steps, ears)
        if not self._micro:
            self._random = names.random_state()
            self._kept = steps.snapshot()
            # Weights of some steps within a capture: replays and audits are compared with them.
            due = not steps.formula or steps.own.parameters_due()
            self._before = steps.parameters("param") if due else {}
            self._moment = steps.records.begin(steps.own.is_open)
            steps.records.look_at_modes()
        self._rate = names.rate_of(steps.optimizer)
        ears.scale_before = ears.scale(self._model.optimizer)

    def _end(self, steps: Steps, ears: Any) -> None:
        if self._step is None:
            self._batch = []  # that of the step that built the model
            self._outputs.newest()
            return
        own = steps.own
        self._look_at_variables(steps, ears)
        self._micro.append(ears.loss())
        self._tasks = self._outputs.newest() if len(self._micro) == 1 else {}
        seen = ears.seen()
        loss = float(np.mean(self._micro))
        advice, self._advice = self._advice, None
        if seen == self._seen and (advice is None or advice.action != "skip"):
            if not ears.skipped(self._model.optimizer):
                return  # gradients accumulate
            own.begin(self._step, loss)
            own.skip(Skip(self._step, loss, ears.scale(self._model.optimizer), []))
            self._step += 1
        else:
            own.begin(self._step, loss)
            alarmed, self._alarmed = self._alarmed, advice is not None and advice.action != "apply"
            if advice is not None and self._alarmed and not alarmed:
                own.alarm(alarm_text(advice))
            self._take(steps, ears, loss, advice)
            self._step += 1
        self._seen, self._micro, self._batch = seen, [], []

    def _look_at_variables(self, steps: Steps, ears: Any) -> None:
        """A graph trains what there was when it was traced, so that the names hold until it is traced again."""
        if ears.returned and ears.traces != self._traces:
            self._traces, steps.fixed, steps.records.keeps_views = ears.traces, None, ears.can_wait
            steps.fixed = steps.named()
            steps.records.look_at_layers()

    def _take(self, steps: Steps, ears: Any, loss: float, advice: Advice | None) -> None:
        assert self._step is not None
        own = steps.own
        left_out = advice is not None and advice.action == "skip"
        named = steps.named()
        if ears.parts and not steps.squares_parts and names.squares_parts(steps.optimizer):
            steps.squares_parts = True
            own.note(
                "Keras squares the parts of repeated rows of embeddings one by one, which no replay by formula does"
            )
            own.restart()
        tensors: Tensors = {}
        if own.gradients_due():
            found = [] if left_out else ears.gradients()
            paths = dict(zip((id(v) for v in named.values()), named))
            for variable, gradient in found:
                if id(variable) in paths:
                    own_array = gradient if ears.returned else own.copied(gradient)
                    tensors[f"grad/{paths[id(variable)]}"] = names.plain(own_array)
            own.gradients_seen(tensors, ears.norm() if ears.returned else None)
            if self._before:
                tensors.update(self._before)
                if not steps.formula:
                    tensors.update(steps.parameters("param-after"))
        batch = self._batch[0] if len(self._batch) == 1 else list(self._batch)
        leaves, tree = steps.flat(batch if self._batch and self._batches else None)
        if leaves or steps.fixed is None:
            steps.look(leaves)
        if steps.records.is_due and self._moment:
            self._moment["after"] = steps.records.after_step()
        steps.add(
            self._random,
            self._step,
            loss,
            self._rate,
            tensors,
            leaves,
            tree,
            self._kept,
            self._tasks,
            None,
            False,
            entry={**self._moment, **({} if advice is None else {"guard": advice_entry(advice)})},
            has_gradients=True if left_out and own.gradients_due() else None,
        )
        self._kept = None

    # ---- the guard

    def _set_guard(self, model: Any, optimizer: Any, ears: Any) -> None:
        """Checks every step that the optimizer is about to take. Gradients are values there only if the fit runs eagerly."""
        refusal = _unguarded(model, optimizer)
        if refusal is not None and self._steps is not None:
            self._steps.own.note(f"the guard checks nothing: {refusal}")
            return
        self._alarmed, self._advice = False, None
        self.guard = guard = Guard(model, optimizer, self._loss_fn or compiled_loss, pulse=self._pulse)
        self._eager, model.run_eagerly = model.run_eagerly, True
        apply = optimizer.apply

        def guarded(gradients: Any, trainable_variables: Any = None) -> Any:
            if ears.deaf or self._step is None or trainable_variables is None:
                return apply(gradients, trainable_variables)
            gradients, variables = list(gradients), list(trainable_variables)
            places = {id(variable): k for k, variable in enumerate(variables)}
            trained = [places.get(id(variable)) for variable in model.trainable_variables]
            own = [None if k is None else gradients[k] for k in trained]
            with ears.not_listening(model):
                self._advice = advice = guard.check(self._step, ears.data, ears.loss(), own)
            taken = guard.apply(advice, own)
            if taken is None:
                return None
            for k, gradient in zip(trained, taken):
                if k is not None:
                    gradients[k] = gradient
            try:
                return apply(gradients, variables)
            finally:
                guard.restore_rate()  # callbacks of the fit read it and set it

        self._wrapped.put(optimizer, "apply", guarded)

    def _hear_batches(self, model: Any, make: Callable[..., Any]) -> Callable[..., Any]:
        """Takes each batch out of the iterator, keeps it, and hands it on."""

        def hearing(inside: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def train_function(iterator: Any) -> Any:
                if isinstance(iterator, list):
                    (data,) = iterator
                    self._batch.append(data)
                    return inside(iterator)
                data = next(iterator)
                self._batch.append(data)
                return inside(iter([data]))

            return train_function

        return _around_train_functions(model, make, hearing)

    def _one_by_one(self, model: Any, make: Callable[..., Any]) -> Callable[..., Any]:
        """Takes the steps of one execution (`steps_per_execution`) one after another, so that each is seen."""
        count = self._in_one
        ends: tuple[type[BaseException], ...] = (StopIteration,)
        if self._ears is not None:
            ends += self._ears.ends_of_data

        def stepping(inside: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def train_function(iterator: Any) -> Any:
                logs = None
                for _ in range(count):
                    self._before_step()
                    try:
                        logs = inside(iterator)
                    except ends:
                        if logs is None:
                            raise
                        break  # the last execution of an epoch may have fewer steps
                    self._after_step()
                return logs

            return train_function

        return _around_train_functions(model, make, stepping)

    def _put_back(self) -> None:
        self.flush()
        atexit.unregister(self._at_exit)
        if self._wrapped.restore():
            self.model.train_function = None
            if self._in_one > 1:
                self.model.test_function, self.model.steps_per_execution = None, self._in_one
        own_ears, self._ears = self._ears, None
        ears, self._jax_ears = self._jax_ears, None
        if ears is not None:
            with contextlib.suppress(Exception):
                ears.wait()
        heard = ears or own_ears
        if heard is not None and heard.traced is False:
            self._note("the model's train_step does not call optimizer.stateless_apply, so no step was heard")
        ledger, self.ledger = self.ledger, None
        if ledger is not None:
            ledger.close()
        guard, self.guard = self.guard, None
        if guard is not None:
            self.model.run_eagerly = self._eager
            guard.close()
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.own.close()


def _flush_at_exit(reference: weakref.ref[ClippyCallback]) -> None:
    """After an error of a callback Keras ends no fit."""
    callback = reference()
    if callback is not None:
        callback.flush()


def _around_train_functions(
    model: Any, make: Callable[..., Any], around: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[..., Any]:
    """A `make_train_function` that puts `around` on each training function that `make` gives the model anew."""

    def make_train_function(force: bool = False) -> Any:
        before = model.train_function
        result = make(force=force)
        inside = model.train_function
        if inside is not before or before is None:
            model.train_function = around(inside)
        return result

    return make_train_function


def _refusal(model: Any) -> str | None:
    if not hasattr(names.inner(model.optimizer), "_backend_apply_gradients"):
        kind = type(model.optimizer)
        return (
            f"{kind.__name__} of {kind.__module__.split('.')[0]} is no optimizer of Keras 3, and a fit of Keras 2 is not"
            " recorded"
        )
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "torch", "jax"):
        return f"the backend of {backend} trains no model"
    if backend == "jax" and getattr(model.optimizer, "gradient_accumulation_steps", None):
        return "on the backend of jax the optimizer accumulates gradients where no step is seen"
    return None


def _unguarded(model: Any, optimizer: Any) -> str | None:
    if getattr(optimizer, "gradient_accumulation_steps", None):
        return "the optimizer accumulates gradients by itself"
    if getattr(optimizer, "loss_scale_factor", None):
        return "loss_scale_factor is not taken out of the gradients before they are applied; LossScaleOptimizer is followed"
    replicas = getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1)
    if replicas > 1 or "Mirrored" in type(getattr(model, "distribute_strategy", None)).__name__:
        return "the model is trained on replicas"
    return None


class _OutputLosses:
    """The loss of each output of a model with several, from the means since the epoch began that Keras keeps of them."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._before: dict[str, tuple[float, float]] = {}

    def newest(self) -> dict[str, float]:
        """The losses of the last batch by output, without their weights; empty for a model with one output."""
        found: dict[str, float] = {}
        means = getattr(getattr(self._model, "_compile_loss", None), "metrics", None) or ()
        for mean in means:
            name = mean.name[: -len("_loss")] if mean.name.endswith("_loss") else mean.name
            total, count = (float(names.array_of(value)) for value in (mean.total, mean.count))
            before = self._before.get(name, (0.0, 0.0))
            self._before[name] = total, count
            if count <= before[1]:
                before = 0.0, 0.0  # another epoch
            if count > before[1]:
                found[name] = (total - before[0]) / (count - before[1])
        return found

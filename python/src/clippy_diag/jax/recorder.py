"""Records the gradient steps of an optax loop around a divergence.

The state of optax names its slots but not its options: two chains can leave the same state. The options come from `optimizer`,
in the words of capture.json, which docs/captures.md lists.

    from clippy_diag.jax import Recorder

    recorder = Recorder("capture", optimizer={"name": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-4})
    for step, batch in enumerate(batches):
        loss, grads = loss_and_grads(params, batch)
        recorder.record(step, loss, grads, params, opt_state, batch=batch)     # before the update, and before donation
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
"""

from __future__ import annotations

import fnmatch
import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import __version__
from ..captures import Array, Source, model_files, words
from ..ledger import guarded
from ..ledger_steps import DEFAULT_FROM, ArrayLedger, ledger_of
from ..messages import describe
from ..options import Budget, OldNames, options_of, path_of
from ..recording import STATUS, Batches, Controls, Recording, Sizes, Skip, Step
from ..rules import Clipping, clipping_words
from ..step_records import StepRecords, moment_of_arrays
from .ledger import array_ledger, states_of

#: Optimizers with a formula: optax's defaults in the capture's words, and the slots by the field of optax's state.
FORMULAS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "adam": (
        {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weightDecay": 0.0},
        {"mu": "m", "nu": "v"},
    ),
    "adamw": (
        {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weightDecay": 1e-4},
        {"mu": "m", "nu": "v"},
    ),
    "sgd": ({"momentum": 0.0, "nesterov": False, "weightDecay": 0.0}, {"trace": "momentum"}),
    "adagrad": (
        {
            "initialAccumulatorValue": 0.1,
            "epsilon": 1e-7,
            "epsilonInside": True,
            "accumulator": "standard",
            "weightDecay": 0.0,
        },
        {"sum_of_squares": "accumulator"},
    ),
    "rmsprop": (
        {
            "rho": 0.9,
            "epsilon": 1e-8,
            "epsilonInside": True,
            "momentum": 0.0,
            "centered": False,
            "learningRateInside": True,
            "weightDecay": 0.0,
        },
        {"nu": "v", "mu": "m", "trace": "momentum"},
    ),
}
#: optax's own words for options, and the capture's.
OPTAX_WORDS = {
    "learning_rate": "learningRate",
    "b1": "beta1",
    "b2": "beta2",
    "eps": "epsilon",
    "weight_decay": "weightDecay",
    "decay": "rho",
    "initial_accumulator_value": "initialAccumulatorValue",
    "initial_scale": "initialScale",
}
#: Fields of optax's states that hold one array a parameter.
_FIELDS = ("mu", "nu", "trace", "sum_of_squares", "nu_max")


class Seen(NamedTuple):
    """What a line of the ledger is made of: the arguments of `record`. `opt_state` may be absent at this step, and so may `params`
    where their norm is known."""

    step: int
    loss: Any
    grads: Any
    params: Any
    opt_state: Any
    batch: Any
    batch_id: Any
    weight_norm: Any = None


class Recorder(Controls):
    """One `record` call a step; see the top of this file.

    path          the folder of the capture; later incidents go to `<folder>-2` …; `status.json` in it says how the recording fares
    optimizer     `name`, `learning_rate` (a number, or a schedule: a function of the count of updates; `inject_hyperparams` is
                  read by itself) and the options of the optimizer in the words of optax (`b1`, `eps`, `weight_decay`, …) or of
                  capture.json; what is left out is optax's default. Adam, AdamW, SGD, Adagrad and RMSProp are replayed by formula; of
                  any other name the parameters before and after each step are kept
    clipping      clipping that the chain does, such as "global-norm:1", as of `clippy_diag.torch.Recorder`; pass gradients from before it
    opt_state     optional, to hold `optimizer` against it here; else that is done at the first `record`
    layouts       layouts of kernels by patterns of names; a 2-D `kernel` is IO, a 4-D one HWIO
    ledger, ledger_every  as of `clippy_diag.torch.Recorder`; `docs/compare.md` says what is kept of a step.
    snapshot_every_steps, steps_after, memory, disk, max_captures, model_file, expected_changes, and their old names   as of
                  `clippy_diag.torch.Recorder`

    Raises ValueError for options that the optimizer does not have, and where `opt_state` is that of another optimizer.
    """

    #: Whether steps come from inside of a jitted one: then each K-th brings the optimizer's state, and decides by that when a
    #: snapshot is taken.
    in_graph = False

    def __init__(
        self,
        path: str | Path = "capture",
        optimizer: Mapping[str, Any] | None = None,
        *,
        clipping: Clipping = None,
        opt_state: Any = None,
        layouts: Mapping[str, str] | None = None,
        snapshot_every_steps: int = 20,
        steps_after: int = 34,
        memory: Budget = "2GB",
        disk: Budget = "20GB",
        max_captures: int = 3,
        model_file: str | Path | None = None,
        ledger: bool | int | str | None = None,
        ledger_every: int | None = None,
        expected_changes: Iterable[str] = (),
        folder: str | Path | None = None,
        every: int | None = None,
        after: int | None = None,
    ) -> None:
        old = OldNames(folder, every, after)
        settings = options_of(snapshot_every_steps, steps_after, memory, disk, max_captures, old)
        given = {OPTAX_WORDS.get(word, word): value for word, value in dict(optimizer or {}).items()}
        if not isinstance(given.get("name"), str):
            raise ValueError(
                'clippy-diag: say which optimizer it is: optimizer={"name": "adamw", "learning_rate": 1e-3, …}'
            )
        self._rate = given.pop("learningRate", None)
        self.name = given["name"].lower()
        self.formula = self.name in FORMULAS
        if self.formula:
            defaults, _ = FORMULAS[self.name]
            unknown = sorted(set(given) - {"name", "decoupledWeightDecay", *defaults})
            if unknown:
                known = ", ".join(_optax_word(one) for one in ("learningRate", *defaults))
                raise ValueError(f'clippy-diag: {self.name} has no option "{_optax_word(unknown[0])}"; it has {known}')
            self.options = {
                **defaults,
                **{key: value for key, value in given.items() if key != "name"},
                "name": self.name,
            }
        else:
            self.options = {**given, "formula": False}
        if opt_state is not None:
            self._check(opt_state)
        self.clipping = clipping_words(clipping)
        self._layouts, self._model_file = dict(layouts or {}), model_file
        self._own = Recording(path_of(path, old), self._describe, **settings)
        #: The ledger, or None.
        self.ledger = self._ledger_of(ledger, ledger_every)
        self._ledger_every, self._ledger_undecided = ledger_every, ledger is None
        self.snapshot_every_steps = settings["every"]
        self._checked = opt_state is not None
        self._shapes: dict[str, list[int]] = {}
        self._batches = Batches(self._own.note)
        self._last: Step | None = None
        self._records = StepRecords(self._own.folder / STATUS, expected_changes)
        self._own.also_said = self._records.status

    def record(
        self,
        step: int,
        loss: Any,
        grads: Any,
        params: Any,
        opt_state: Any,
        batch: Any = None,
        tasks: Mapping[str, Any] | None = None,
        batch_id: Any = None,
    ) -> None:
        """Takes one step. It never stops or changes the training: what it cannot do it says, once.

        grads, params, opt_state   those before the update, of the same structure; they are copied, so they may be donated
        batch                      what the loss was computed on, in any nesting
        """
        self._own.attempt(
            step,
            lambda: float(loss),
            self._record,
            step,
            loss,
            grads,
            params,
            opt_state,
            batch,
            tasks or {},
            batch_id,
        )
        if not self.in_graph:
            self.decide_on_ledger(params)
            self.to_ledger(Seen(step, loss, grads, params, opt_state, batch, batch_id))

    def decide_on_ledger(self, params: Any) -> None:
        """Where nobody chose, the size of the model says, once, whether there is a ledger; `params` may be traced. Never raises."""
        if not self._ledger_undecided:
            return
        self._ledger_undecided = False
        try:
            size = sum(getattr(leaf, "size", 1) for leaf in jax.tree_util.tree_leaves(params))
            self.ledger = self._ledger_of(size >= DEFAULT_FROM, self._ledger_every)
        except Exception as error:
            self.note(f"there is no ledger: {describe(error)}")

    def _ledger_of(self, choice: bool | int | str | None, every: int | None) -> ArrayLedger | None:
        return array_ledger(ledger_of(choice, every, self._own.folder), f"optax.{self.name}")

    def to_ledger(self, seen: Seen) -> None:
        """A line of the ledger. Never raises."""
        if self.ledger is not None:
            guarded(self.ledger.own, self._to_ledger, seen)

    def close(self) -> None:
        """Ends the recording, waits until all is written, says what could not be done. Called at exit too."""
        if self.ledger is not None:
            self.ledger.close()
        super().close()

    # ---- a step

    def _to_ledger(self, seen: Seen) -> None:
        assert self.ledger is not None
        step, loss, grads, params, opt_state, batch, batch_id, weight_norm = seen._replace(step=int(seen.step))
        for name, leaf in named_leaves(grads if params is None else params).items():
            if not getattr(leaf, "is_fully_addressable", True):
                raise ValueError(f'"{name}" is sharded over processes, and a ledger takes whole tensors')
        gradients = _arrays_of(grads)
        weights = None if params is None else _arrays_of(params)
        options = {f"0.{_optax_word(key)}": value for key, value in self._options_at(opt_state).items()}
        options["0.learning_rate"] = self._rate_at(step, opt_state)
        finite = opt_state is None or not _skips(opt_state) or all(np.isfinite(g).all() for g in gradients.values())
        named = gradients if weights is None else weights
        state = None if opt_state is None else states_of(_arrays_of(opt_state), named)
        self.ledger.before(step, weights, lambda: state, options, gradients, weight_norm)
        batches = _arrays_of(_without_keys(batch)) if batch is not None else None
        self.ledger.take(step, float(loss), gradients, batch=batches, batch_id=batch_id, skipped=not finite)

    def _record(
        self,
        step: int,
        loss: Any,
        grads: Any,
        params: Any,
        opt_state: Any,
        batch: Any,
        tasks: Mapping[str, Any],
        batch_id: Any,
    ) -> None:
        own, step = self._own, int(step)
        gradients = named_leaves(grads)
        #: Inside of a jitted step most steps come without the parameters, which have the shapes of the gradients.
        named = None if params is None else named_leaves(params)
        if not self._checked and opt_state is not None:
            self._check(opt_state)
            self._checked = True
        if opt_state is None and not self._shapes:
            return  # training goes on in another process: the next snapshot is the first step
        for name, leaf in (gradients if named is None else named).items():
            if not getattr(leaf, "is_fully_addressable", True):
                own.stop(f'"{name}" is sharded over processes; a recorder of shards does not exist yet')
                return
        value = float(loss)
        if named is not None and set(gradients) != set(named):
            odd = sorted(set(gradients) ^ set(named))[0]
            raise ValueError(f'gradients and parameters differ: "{odd}" is in one of them alone')
        if self._last is not None:
            last, self._last = self._last, None
            if _options_come_late(opt_state):
                last.rates[0] = self._rate_at(step, opt_state)
                self._records.used(last, [last.rates[0]], [{"group": 0, **self._options_at(opt_state)}])
            left = {} if self.formula or named is None else named
            after = {f"param-after/{name}": copied(leaf) for name, leaf in left.items()}
            own.complete(after if last.has_gradients else {})
        leaves, tree = self._batches.flat(_without_keys(batch), _has_dtype, _is_kept)
        shapes = {name: list(np.shape(leaf)) for name, leaf in (gradients if named is None else named).items()}
        if shapes != self._shapes:
            changed = bool(self._shapes)
            self._shapes = shapes
            self._plan(gradients if named is None else named, opt_state, leaves)
            if changed:
                own.cut("the parameters changed")
                own.restart()
        own.begin(step, value)
        if _skips(opt_state) and not all(np.isfinite(np.asarray(leaf)).all() for leaf in gradients.values()):
            own.skip(Skip(step, value, 1.0, [n for n, g in gradients.items() if not np.isfinite(np.asarray(g)).all()]))
            return
        rate = self._rate_at(step, opt_state)
        kept = None
        if own.snapshot_due() if not self.in_graph else opt_state is not None and not own.capturing:
            kept = own.keep(self._sources(named or {}, opt_state), {"learningRate": rate})
        tensors: dict[str, Array] = {f"batch/{name}": copied(leaf) for name, leaf in leaves.items()}
        due = own.gradients_due()
        if due:
            tensors.update({f"grad/{name}": self._copy(gradient) for name, gradient in gradients.items()})
            own.gradients_seen(tensors)
            shown = opt_state is not None and own.is_open if self.in_graph else own.parameters_due()
            if named is not None and (shown or not self.formula):
                tensors.update({f"param/{name}": copied(leaf) for name, leaf in named.items()})
        waits = (due and not self.formula) or _options_come_late(opt_state)
        batches = {name: array for name, array in tensors.items() if name.startswith("batch/")}
        taken = Step(
            step,
            value,
            {0: rate},
            tensors,
            {name: float(task) for name, task in tasks.items()},
            {
                **self._batches.members(leaves, tree, batch_id),
                **self._records_of(step, rate, batches, named or {}, opt_state),
            },
            kept,
            has_gradients=due,
            waits=waits,
        )
        self._last = taken if waits else None
        own.add(taken)

    def _records_of(
        self, step: int, rate: float, batches: Mapping[str, Array], named: Mapping[str, Any], opt_state: Any
    ) -> dict[str, Any]:
        """What an audit reads of the step. Checksums are those from before it alone: nothing is seen between an update and the
        step that follows; under `flight` most steps come without parameters and the optimizer's state."""
        options = self._options_at(opt_state)
        members = self._records.entry(
            step, [rate], batches, None, options=[{"group": 0, **options}], modes=None, outside={}
        )

        def moment() -> dict[str, Any]:
            sources = self._sources(named, opt_state if opt_state is not None else ())
            return moment_of_arrays({one.name: one.fetch(None) for one in sources})

        parameters = sum(int(np.prod(shape)) for shape in self._shapes.values())
        due = self._records.checksums_due(parameters, self._own.is_open)
        return {**members, **self._records.before(moment, due and opt_state is not None)}

    def _options_at(self, opt_state: Any) -> dict[str, Any]:
        """The optimizer's options in the capture's words, those that `inject_hyperparams` holds as they are now."""
        injected = fields_of(opt_state).get("hyperparams") if opt_state is not None else None
        options = {key: value for key, value in self.options.items() if key != "name"}
        for key, value in injected.items() if isinstance(injected, Mapping) else ():
            if key != "learning_rate" and np.ndim(value) == 0:
                options[OPTAX_WORDS.get(str(key), str(key))] = float(value)
        return options

    def _copy(self, leaf: Any) -> Array:
        view = np.asarray(leaf)
        return copied(leaf) if _is_bfloat16(view) else self._own.copied(view)

    def _sources(self, named: Mapping[str, Any], opt_state: Any) -> list[Source]:
        sources = [_source(f"param/{name}", leaf) for name, leaf in named.items()]
        if not self.formula:
            return sources + [
                _source(f"optimizer/{n}", leaf) for n, leaf in named_leaves(opt_state).items() if _is_array(leaf)
            ]
        _, slots = FORMULAS[self.name]
        found = fields_of(opt_state)
        for field, slot in slots.items():
            for name, leaf in named_leaves(found[field]).items() if field in found else ():
                if name in named:
                    # optax's momentum of RMSprop is what is added to the weights, that of a capture what is taken off.
                    added = self.name == "rmsprop" and field == "trace"
                    sources.append(_source(f"state/{slot}/{name}", -np.asarray(leaf) if added else leaf))
        count = self._count(opt_state)
        if count is not None:
            steps = np.asarray(count, np.float32).reshape(())
            sources += [Source(f"state/step/{name}", "F32", (), _given(steps)) for name in named]
        return sources

    def _plan(self, named: Mapping[str, Any], opt_state: Any, leaves: Mapping[str, Any]) -> None:
        parameters = sum(leaf.nbytes for leaf in named.values())
        snapshot = sum(source.nbytes for source in self._sources(named, opt_state))
        batch = sum(np.dtype(leaf.dtype).itemsize * int(np.prod(np.shape(leaf))) for leaf in leaves.values())
        self._own.plan(Sizes(parameters, 0 if self.formula else 2 * parameters, batch, snapshot))

    # ---- the optimizer

    def _check(self, opt_state: Any) -> None:
        """Raises ValueError where the state is not that of the optimizer that was named."""
        found = fields_of(opt_state)
        if "acc_grads" in found and not self.in_graph:
            raise ValueError(
                "clippy-diag: optax.MultiSteps accumulates inside of the optimizer, where no step's gradient is seen; accumulate"
                " in the loop, or record the step that it takes with the inner optimizer's state"
            )
        if not self.formula:
            return
        if "inner_states" in found:
            # One state for each label, with options that the recorder does not know.
            self.formula, self.options = False, {"name": self.name, "formula": False}
            return
        options = self.options
        wanted = {
            "adam": {"mu", "nu"},
            "adamw": {"mu", "nu"},
            "sgd": {"trace"} if options.get("momentum") else set(),
            "adagrad": {"sum_of_squares"},
            "rmsprop": {"nu"}
            | ({"mu"} if options.get("centered") else set())
            | ({"trace"} if options.get("momentum") else set()),
        }[self.name]
        present = {field for field in _FIELDS if field in found}
        if present != wanted:
            raise ValueError(
                f"clippy-diag: optimizer says {self.name}, whose state has {', '.join(sorted(wanted)) or 'no slots'}; opt_state has"
                f" {', '.join(sorted(present)) or 'no slots'}"
            )

    def _count(self, opt_state: Any) -> int | None:
        found = fields_of(opt_state)
        return None if "count" not in found else int(np.asarray(found["count"]))

    def _rate_at(self, step: int, opt_state: Any) -> float:
        if self.in_graph:
            return float(self._rate(step) if callable(self._rate) else self._rate or 0.0)
        injected = fields_of(opt_state).get("hyperparams")
        if isinstance(injected, Mapping) and "learning_rate" in injected:
            return float(injected["learning_rate"])
        if callable(self._rate):
            count = self._count(opt_state)
            return float(self._rate(step if count is None else count))
        if self._rate is None:
            raise ValueError(
                'no learning rate: optimizer={…, "learning_rate": a number or a schedule}, or inject_hyperparams'
            )
        return float(self._rate)

    # ---- the manifest

    def _describe(self, step: int, meta: Mapping[str, Any]) -> dict[str, Any]:
        import optax

        described: dict[str, Any] = {
            **self._records.described({"name": name, "group": 0, "trains": True} for name in self._shapes),
            "groupKeys": [0],
            "framework": f"jax {jax.__version__}, optax {optax.__version__}",
            "optimizer": {**self.options, "learningRate": meta["learningRate"]},
            "clipping": self.clipping,
            "parameters": [
                {"name": name, "shape": shape, **self._kind(name, len(shape))} for name, shape in self._shapes.items()
            ],
            "rerun": {
                "optimizerClass": f"optax.{self.options['name']}",
                "versions": {
                    "clippy-diag": __version__,
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                    "jax": jax.__version__,
                    "optax": optax.__version__,
                },
            },
        }
        if self._batches.tree is not None:
            described["batch"] = self._batches.tree
        if self._model_file is not None:
            described.update(model_files(self._model_file))
        return described

    def _kind(self, name: str, rank: int) -> dict[str, Any]:
        kind = kind_of(name, rank)
        for pattern, given in self._layouts.items():
            kind["layout"] = given if fnmatch.fnmatch(name, pattern) else kind["layout"]
        return kind


def _optax_word(option: str) -> str:
    return next((theirs for theirs, ours in OPTAX_WORDS.items() if ours == option), option)


#: Names of the leaves of trees by their structure: a training has the same few at each step.
_names: dict[Any, tuple[str, ...]] = {}


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves of a tree under the names on the way to them, joined by slashes."""
    leaves, structure = jax.tree_util.tree_flatten(tree)
    names = _names.get(structure)
    if names is None:
        paths, _ = jax.tree_util.tree_flatten_with_path(tree)
        names = tuple("/".join(leaf_name(part) for part in path) or "value" for path, _ in paths)
        if len(_names) >= 64:
            _names.clear()
        _names[structure] = names
    return dict(zip(names, leaves))


def _arrays_of(tree: Any) -> dict[str, np.ndarray]:
    """Arrays of a tree by name, as they are: nothing is copied where they are in main memory."""
    leaves = named_leaves(tree).items()
    return {n: np.asarray(leaf) for n, leaf in leaves if hasattr(leaf, "shape") and _is_array(leaf)}


def kind_of(name: str, rank: int) -> dict[str, Any]:
    """Layout of a parameter, and whether it is an embedding, by the last part of its name as Flax gives it."""
    last = name.split("/")[-1]
    layout = {("kernel", 2): "IO", ("kernel", 4): "HWIO"}.get((last, rank), "none")
    return {"layout": layout, "embedding": last in ("embedding", "embeddings") and rank == 2}


def leaf_name(part: Any) -> str:
    """The name of one part of the way to a leaf."""
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)


def fields_of(state: Any) -> dict[str, Any]:
    """Fields of the named tuples in a state of optax, outer ones first; a name that occurs again is the first one."""
    found: dict[str, Any] = {}

    def walk(part: Any) -> None:
        if hasattr(part, "_fields"):
            for field in part._fields:
                value = getattr(part, field)
                # The count of InjectHyperparams and schedules is that of the updates, as Adam's own.
                found.setdefault(field, value)
                # A mapping inside a state is one state for each label of `multi_transform`, or one array for each parameter.
                if hasattr(value, "_fields") or isinstance(value, (tuple, list, Mapping)):
                    walk(value)
        elif isinstance(part, (tuple, list)):
            for inside in part:
                walk(inside)
        elif isinstance(part, Mapping):
            for inside in part.values():
                walk(inside)

    walk(state)
    return found


def _options_come_late(opt_state: Any) -> bool:
    """Whether `inject_hyperparams` follows a schedule: the state from before an update has the options of the update before."""
    return bool(fields_of(opt_state).get("hyperparams_states"))


def _skips(opt_state: Any) -> bool:
    """Whether `optax.apply_if_finite` leaves out steps whose gradients are not finite."""
    return "notfinite_count" in fields_of(opt_state)


def _has_dtype(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _without_keys(batch: Any) -> Any:
    """The batch with typed random keys as their words: `jax.random` draws the same from either."""
    if not any(_is_key(leaf) for leaf in jax.tree_util.tree_leaves(batch)):
        return batch
    return jax.tree_util.tree_map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, batch)


def _is_kept(leaf: Any) -> bool:
    return not _is_key(leaf) and np.dtype(leaf.dtype).kind in "fiubV"


def _is_bfloat16(array: np.ndarray) -> bool:
    return array.dtype.kind == "V" and array.dtype.name == "bfloat16"


def _is_key(leaf: Any) -> bool:
    # The name of a type takes numpy longer than all else here.
    return not isinstance(leaf, np.ndarray) and str(getattr(leaf, "dtype", "")).startswith("key<")


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and not _is_key(leaf)


def copied(leaf: Any) -> Array:
    """An array in main memory that no donation reaches; bfloat16 by its words."""
    array = np.array(leaf)
    if _is_bfloat16(array):
        return "BF16", array.view("<i2")
    words(array)
    return array


def _given(array: np.ndarray) -> Callable[[np.ndarray | None], Array]:
    return lambda buffer: array


def _source(name: str, leaf: Any) -> Source:
    dtype = "BF16" if str(leaf.dtype) == "bfloat16" else words(np.empty(0, leaf.dtype))[0]

    def fetch(buffer: np.ndarray | None) -> Array:
        if buffer is None or dtype == "BF16":
            return copied(leaf)
        np.copyto(buffer, np.asarray(leaf))
        return buffer

    return Source(name, dtype, tuple(np.shape(leaf)), fetch)

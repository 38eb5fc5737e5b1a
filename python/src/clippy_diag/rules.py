"""Clipping rules as text, and what a capture calls them. The frameworks apply them (`clippy_diag.torch`, `.keras`, `.jax`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

Rule = tuple[str, dict[str, float]]
#: Rules that act one after the other in each step; no clipping is the rule `none` alone.
Rules = tuple[Rule, ...]
#: Clipping as a recorder is told: `global-norm:1+rms:1`, {"rule": "global-norm", "maxNorm": 1.0}, or a list of these.
Clipping = Union[None, str, Mapping[str, Any], Sequence[Union[str, Mapping[str, Any]]]]

NONE: Rules = (("none", {}),)

#: Rules that closed loops in Python know, with the option that a bare number is, and the defaults.
RULES: dict[str, tuple[str | None, dict[str, float]]] = {
    "none": (None, {}),
    "value": ("clipValue", {"clipValue": 1.0}),
    "global-norm": ("maxNorm", {"maxNorm": 1.0}),
    "layer-norm": ("maxNorm", {"maxNorm": 1.0}),
    "agc": ("clipping", {"clipping": 0.01}),
    "clippy": (None, {"variableRelativeThreshold": 0.5, "absoluteThreshold": 0.01}),
}
#: Those that a capture can name besides, with the option that a bare number is: the command line replays them.
RECORDED_ONLY: dict[str, str] = {
    "lars": "trustCoefficient",
    "lamb": "learningRate",
    "rms": "threshold",
    "autoclip": "percentile",
    "zclip": "zThreshold",
    "adagc": "relativeThreshold",
    "spam": "threshold",
    "skip-step": "sigmas",
}
PRESETS: dict[str, dict[str, float]] = {
    "clippy:paper": {"variableRelativeThreshold": 0.5, "absoluteThreshold": 0.01},
    "clippy:tfrs": {"variableRelativeThreshold": 0.1, "absoluteThreshold": 1e-7},
}
#: What closed loops run where nothing is asked for.
DEFAULTS = ["none", "global-norm:1", "agc:0.01", "clippy:paper"]
#: Output axis of a kernel by layout; the unit of AGC.
OUTPUT_AXIS = {"OI": 0, "OIHW": 0, "IO": 1, "HWIO": 3}
#: A plus between two rules, not the sign of a number or of its exponent.
_BETWEEN = re.compile(r"(?<![:=,])(?<![\d.][eE])\+")


def _given(text: str) -> tuple[str, dict[str, str]]:
    """The name of a rule and its options as they are written; "" names the option of a bare value."""
    name, colon, rest = text.strip().partition(":")
    if colon and not rest:
        raise ValueError(f'clippy-diag: "{text}": an option is missing after ":"')
    options = {}
    for part in rest.split(",") if rest else []:
        key, equals, value = part.partition("=")
        options[key.strip() if equals else ""] = value.strip() if equals else part.strip()
    return name.strip(), options


def _unknown(name: str, known: Iterable[str], where: str = "") -> ValueError:
    return ValueError(f'clippy-diag: no rule "{name}"{where}; known are {", ".join(known)}')


def parse_rule(text: str) -> Rule:
    """One rule as `--rule` has it: `global-norm:1`, `clippy:paper`, `agc:clipping=0.02`. Raises ValueError."""
    name, given = _given(text)
    if name not in RULES:
        raise _unknown(name, RULES, " for closed loops in Python")
    bare, defaults = RULES[name]
    if text in PRESETS:
        return name, dict(PRESETS[text])
    options = dict(defaults)
    for key, value in given.items():
        key = key or bare or value
        if key not in options:
            raise ValueError(f'clippy-diag: "{key}" is no option of {name}; it has {", ".join(options) or "none"}')
        try:
            options[key] = float(value)
        except ValueError:
            raise ValueError(f'clippy-diag: {name}: {key} is "{value}", not a number') from None
    return name, options


def parse_rules(text: str) -> Rules:
    """Rules that act one after the other, `global-norm:1+agc:0.01`, or one. Raises ValueError."""
    return tuple(parse_rule(part) for part in _BETWEEN.split(text))


def rules_of(given: None | Iterable[str] | Mapping[str, Mapping[str, float]]) -> list[Rules]:
    """What to run, from a list of texts or a mapping of options by rule, `none` first."""
    if given is None:
        given = DEFAULTS
    if isinstance(given, Mapping):
        chosen = [recorded_rules({"rule": name, **options}) for name, options in given.items()]
    else:
        chosen = [parse_rules(text) for text in given]
    return [NONE, *(rules for rules in chosen if rules != NONE)]


def recorded_rules(clipping: None | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Rules:
    """The clipping of a capture's manifest. Raises ValueError for a rule that closed loops in Python do not know."""
    listed = [clipping] if isinstance(clipping, Mapping) else list(clipping or [])
    return tuple(_recorded(one) for one in listed if one) or NONE


def _recorded(clipping: Mapping[str, Any]) -> Rule:
    name = clipping.get("rule", "none")
    if name not in RULES:
        raise _unknown(name, RULES, " for closed loops in Python")
    _, defaults = RULES[name]
    unknown = set(clipping) - {"rule", *defaults}
    if unknown:
        raise ValueError(
            f"clippy-diag: {name} has no option {sorted(unknown)[0]}; it has {', '.join(defaults) or 'none'}"
        )
    return name, {**defaults, **{key: float(clipping[key]) for key in defaults if key in clipping}}


def clipping_words(given: Clipping) -> dict[str, Any] | list[dict[str, Any]]:
    """Clipping as capture.json names it. Raises ValueError for a text that names no rule, and for a mapping without one."""
    listed = [given] if given is None or isinstance(given, (str, Mapping)) else list(given)
    words = [one for part in listed for one in _words(part)]
    return words[0] if len(words) == 1 else words or {"rule": "none"}


def _words(given: None | str | Mapping[str, Any]) -> list[dict[str, Any]]:
    if not given:
        return []
    if isinstance(given, Mapping):
        if not isinstance(given.get("rule"), str):
            raise ValueError(f'clippy-diag: clipping={dict(given)} names no rule; write {{"rule": "global-norm", …}}')
        return [dict(given)]
    found: list[dict[str, Any]] = []
    for text in _BETWEEN.split(given):
        name, written = _given(text)
        if name in RULES:
            name, options = parse_rule(text.strip())
            found.append({"rule": name, **options})
        elif name in RECORDED_ONLY:
            found.append({"rule": name, **{key or RECORDED_ONLY[name]: _plain(v) for key, v in written.items()}})
        else:
            raise _unknown(name, [*RULES, *RECORDED_ONLY])
    return found


def _plain(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def label_of(rules: Rules) -> str:
    """The rules as `--rule` takes them."""
    return "+".join(_label(rule) for rule in rules)


def _label(rule: Rule) -> str:
    name, options = rule
    for preset, values in PRESETS.items():
        if preset.startswith(f"{name}:") and values == options:
            return preset
    if not options:
        return name
    if len(options) == 1:
        return f"{name}:{next(iter(options.values())):g}"
    return f"{name}:" + ",".join(f"{key}={value:g}" for key, value in options.items())


def rule_members(rules: Rules) -> dict[str, Any]:
    """How an entry of `replay` names its rules."""
    named = [{"rule": name, "label": _label((name, options)), "options": options} for name, options in rules]
    return {
        "rule": "+".join(name for name, _ in rules),
        "label": label_of(rules),
        "options": rules[0][1] if len(rules) == 1 else {},
        **({"rules": named} if len(rules) > 1 else {}),
    }

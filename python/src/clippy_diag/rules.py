"""Clipping rules as text, and what a capture calls them. The frameworks apply them (`clippy_diag.torch`, `.keras`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Rule = tuple[str, dict[str, float]]

#: Rules that closed loops in Python know, with the option that a bare number is, and the defaults.
RULES: dict[str, tuple[str | None, dict[str, float]]] = {
    "none": (None, {}),
    "value": ("clipValue", {"clipValue": 1.0}),
    "global-norm": ("maxNorm", {"maxNorm": 1.0}),
    "layer-norm": ("maxNorm", {"maxNorm": 1.0}),
    "agc": ("clipping", {"clipping": 0.01}),
    "clippy": (None, {"variableRelativeThreshold": 0.5, "absoluteThreshold": 0.01}),
}
PRESETS: dict[str, dict[str, float]] = {
    "clippy:paper": {"variableRelativeThreshold": 0.5, "absoluteThreshold": 0.01},
    "clippy:tfrs": {"variableRelativeThreshold": 0.1, "absoluteThreshold": 1e-7},
}
#: What closed loops run where nothing is asked for.
DEFAULTS = ["none", "global-norm:1", "agc:0.01", "clippy:paper"]
#: Output axis of a kernel by layout; the unit of AGC.
OUTPUT_AXIS = {"OI": 0, "OIHW": 0, "IO": 1, "HWIO": 3}


def parse_rule(text: str) -> Rule:
    """A rule as `--rule` has it: `global-norm:1`, `clippy:paper`, `agc:clipping=0.02`. Raises ValueError."""
    name, _, rest = text.partition(":")
    if name not in RULES:
        raise ValueError(f'clippy-diag: no rule "{name}" for closed loops in Python; known are {", ".join(RULES)}')
    bare, defaults = RULES[name]
    if text in PRESETS:
        return name, dict(PRESETS[text])
    options = dict(defaults)
    for part in rest.split(",") if rest else []:
        key, equals, value = part.partition("=")
        if not equals:
            key, value = bare or "", part
        if key not in options:
            raise ValueError(f'clippy-diag: "{part}" is no option of {name}; it has {", ".join(options) or "none"}')
        try:
            options[key] = float(value)
        except ValueError:
            raise ValueError(f'clippy-diag: {name}: {key} is "{value}", not a number') from None
    return name, options


def rules_of(given: None | Iterable[str] | Mapping[str, Mapping[str, float]]) -> list[Rule]:
    """Rules from a list of texts or a mapping of options by rule, `none` first."""
    if given is None:
        given = DEFAULTS
    if isinstance(given, Mapping):
        rules = [recorded_rule({"rule": name, **options}) for name, options in given.items()]
    else:
        rules = [parse_rule(text) for text in given]
    return [("none", {}), *(rule for rule in rules if rule[0] != "none")]


def recorded_rule(clipping: Mapping[str, Any]) -> Rule:
    """The clipping of a capture's manifest. Raises ValueError for a rule that closed loops in Python do not know."""
    name = clipping.get("rule", "none")
    if name not in RULES:
        raise ValueError(f'clippy-diag: no rule "{name}" for closed loops in Python; known are {", ".join(RULES)}')
    _, defaults = RULES[name]
    unknown = set(clipping) - {"rule", *defaults}
    if unknown:
        raise ValueError(
            f"clippy-diag: {name} has no option {sorted(unknown)[0]}; it has {', '.join(defaults) or 'none'}"
        )
    return name, {**defaults, **{key: float(clipping[key]) for key in defaults if key in clipping}}


def label_of(rule: Rule) -> str:
    """The rule as `--rule` takes it."""
    name, options = rule
    for preset, values in PRESETS.items():
        if preset.startswith(f"{name}:") and values == options:
            return preset
    if not options:
        return name
    if len(options) == 1:
        return f"{name}:{next(iter(options.values())):g}"
    return f"{name}:" + ",".join(f"{key}={value:g}" for key, value in options.items())

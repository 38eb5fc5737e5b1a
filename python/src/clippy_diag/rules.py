"""Clipping rules as text, and what a capture calls them. The frameworks apply them (`clippy_diag.torch`, `.keras`, `.jax`)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Union

Rule = tuple[str, dict[str, float]]
#: Rules that act one after the other in each step; no clipping is the rule `none` alone.
Rules = tuple[Rule, ...]
#: Clipping as a recorder takes it: 1.0 (the largest global norm), `global-norm:1+rms:1`, {"rule": "global-norm",
#: "max_norm": 1.0}, {"max_norm": 1.0} in the words of the framework, or a list of these.
Clipping = Union[None, float, str, Mapping[str, Any], Sequence[Union[float, str, Mapping[str, Any]]]]

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
#: Rules that a capture can name, as the command line has them: the option that a bare number is, and the range of each
#: option. A test of the command line holds the file to its table.
CAPTURED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("rule_options.json").read_text(encoding="utf8")
)
#: The frameworks' own words for an option: of each rule that has one of that name.
OPTION_WORDS: dict[str, str] = {
    "max_norm": "maxNorm",
    "clip_norm": "maxNorm",
    "clipnorm": "maxNorm",
    "global_clipnorm": "maxNorm",
    "max_grad_norm": "maxNorm",
    "gradient_clip_val": "maxNorm",
    "clip_value": "clipValue",
    "clipvalue": "clipValue",
    "max_delta": "clipValue",
    "norm_type": "norm",
}
#: The rule that such a word means where no rule is named, and the frameworks' own words for a rule.
RULE_OF_WORD: dict[str, str] = {
    "maxNorm": "global-norm",
    "max_norm": "global-norm",
    "clip_norm": "global-norm",
    "global_clipnorm": "global-norm",
    "max_grad_norm": "global-norm",
    "gradient_clip_val": "global-norm",
    "clipnorm": "layer-norm",
    "clipValue": "value",
    "clip_value": "value",
    "clipvalue": "value",
    "max_delta": "value",
}
RULE_WORDS: dict[str, str] = {
    "clip_grad_norm_": "global-norm",
    "clip_grad_norm": "global-norm",
    "clip_by_global_norm": "global-norm",
    "norm": "global-norm",
    "clip_grad_value_": "value",
    "clip_by_value": "value",
    "clip_by_norm": "layer-norm",
    "adaptive_grad_clip": "agc",
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
    name = RULE_WORDS.get(name, name)
    if name not in RULES:
        raise _unknown(name, RULES, " for closed loops in Python")
    clipping = _captured(name, {key: value for key, value in clipping.items() if key != "rule"})
    _, defaults = RULES[name]
    unknown = set(clipping) - {"rule", *defaults}
    if unknown:
        raise ValueError(
            f"clippy-diag: {name} has no option {sorted(unknown)[0]}; it has {', '.join(defaults) or 'none'}"
        )
    return name, {**defaults, **{key: float(clipping[key]) for key in defaults if key in clipping}}


def clipping_words(given: Clipping) -> dict[str, Any] | list[dict[str, Any]]:
    """Clipping as capture.json names it, so that the command line can read it.

    given  see `Clipping`; the frameworks' own words (`max_norm`, `clipnorm`, `clip_value`, …) become the capture's
    Raises ValueError for a rule or an option that is not known, or a value out of its range; TypeError for anything else.
    """
    several = isinstance(given, Sequence) and not isinstance(given, str)
    words = [one for part in (given if several else [given]) for one in _words(part)]  # type: ignore[union-attr]
    words = [one for one in words if one != {"rule": "none"}]
    return words[0] if len(words) == 1 else words or {"rule": "none"}


def _words(given: Any) -> list[dict[str, Any]]:
    if given is None or given == "" or given is False:
        return []
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return [_captured("global-norm", {"maxNorm": float(given)})]
    if isinstance(given, Mapping):
        options = dict(given)
        name = options.pop("rule", None)
        if name is None:
            name = next((RULE_OF_WORD[key] for key in options if key in RULE_OF_WORD), None)
        if not isinstance(name, str):
            raise ValueError(
                f'clippy-diag: clipping={dict(given)} names no rule; write {{"rule": "global-norm", "max_norm": 1.0}}'
            )
        return [_captured(name, options)]
    if not isinstance(given, str):
        raise TypeError(
            f"clippy-diag: clipping is a {type(given).__name__}; write the largest norm, such as 1.0, or"
            ' "global-norm:1", or {"rule": "global-norm", "max_norm": 1.0}'
        )
    found: list[dict[str, Any]] = []
    for text in _BETWEEN.split(given):
        name, written = _given(text)
        if text.strip() in PRESETS:
            found.append({"rule": name, **PRESETS[text.strip()]})
            continue
        main = CAPTURED.get(RULE_WORDS.get(name, name), {}).get("main")
        options = {key or main or value: _plain(value) for key, value in written.items()}
        # A rule that closed loops know is written with its defaults.
        defaults = RULES[name][1] if name in RULES else {}
        found.append({**_captured(name, {**defaults, **options})})
    return found


def _captured(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A rule with its options as capture.json has them. Raises ValueError for what the command line cannot read."""
    name = RULE_WORDS.get(name, name)
    if name not in CAPTURED:
        raise _unknown(name, CAPTURED)
    known, main = CAPTURED[name]["options"], CAPTURED[name]["main"]
    found: dict[str, Any] = {"rule": name}
    options = dict(options)
    if "preset" in options:
        preset = f"{name}:{options.pop('preset')}"
        if preset not in PRESETS:
            raise ValueError(f'clippy-diag: no preset "{preset}"; known are {", ".join(PRESETS)}')
        options = {**PRESETS[preset], **options}
    for word, value in options.items():
        key = word if word in known else OPTION_WORDS.get(word, _camel(word))
        if key not in known:
            near = get_close_matches(key, known, 1)
            raise ValueError(
                f"clippy-diag: {name} has no option {word}; it has {', '.join(known) or 'none'}"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        found[key] = _in_range(name, word, value, known[key])
        if isinstance(found[key], float) and math.isinf(found[key]):
            if key == main:
                return {"rule": "none"}  # no limit is no clipping
            raise ValueError(f"clippy-diag: {name}: {word} is infinite, which a capture cannot hold; leave it out")
    return found


def _camel(word: str) -> str:
    return re.sub(r"_+([a-z])", lambda match: match.group(1).upper(), word)


def _in_range(rule: str, word: str, value: Any, spec: Mapping[str, Any]) -> Any:
    if spec["type"] == "choice":
        text = f"{value:g}" if isinstance(value, (int, float)) else str(value)
        if text not in spec["choices"]:
            raise ValueError(f"clippy-diag: {rule}: {word} is {value!r}; it is one of {', '.join(spec['choices'])}")
        return text
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise ValueError(f"clippy-diag: {rule}: {word} is {value!r}, not a number")
    number = value if isinstance(value, (int, float)) else float(value)
    low, high = float(spec["min"]), float(spec["max"])
    if not (low < number if spec.get("above") else low <= number) or not number <= high:
        least = f"above {low:g}" if spec.get("above") else f"at least {low:g}"
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise ValueError(f"clippy-diag: {rule}: {word} is {value!r}; it has to be {least}{most}")
    return number


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

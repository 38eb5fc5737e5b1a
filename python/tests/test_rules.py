"""Rules as text and as captures name them, and what several of them do together."""

import math
from types import SimpleNamespace

import pytest

from clippy_diag.loops import _unlike, _usual, least, whole_block
from clippy_diag.rules import NONE, clipping_words, label_of, parse_rules, recorded_rules, rule_members, rules_of

NORM, AGC = ("global-norm", {"maxNorm": 1.0}), ("agc", {"clipping": 0.01})


@pytest.mark.parametrize(
    "text, rules",
    [
        ("none", NONE),
        ("global-norm:1", (NORM,)),
        ("global-norm:1+agc:0.01", (NORM, AGC)),
        (" global-norm:1 + agc ", (NORM, AGC)),
        # A plus within a number separates nothing, one after a name that ends in e does.
        ("global-norm:1e+3", (("global-norm", {"maxNorm": 1000.0}),)),
        ("value+agc:clipping=+0.01", (("value", {"clipValue": 1.0}), AGC)),
        ("clippy:tfrs", (("clippy", {"variableRelativeThreshold": 0.1, "absoluteThreshold": 1e-7}),)),
    ],
)
def test_a_text_and_its_label_are_the_same_rules(text, rules):
    assert parse_rules(text) == rules
    assert parse_rules(label_of(rules)) == rules


@pytest.mark.parametrize("text", ["", "agc+", "clip:1", "rms:1", "none:1", "agc:x", "agc:clip=1", "agc:"])
def test_a_text_that_names_no_rule_of_closed_loops_is_refused(text):
    with pytest.raises(ValueError, match="clippy-diag"):
        parse_rules(text)


@pytest.mark.parametrize(
    "given, words",
    [
        (None, {"rule": "none"}),
        ([], {"rule": "none"}),
        ("none", {"rule": "none"}),
        ({"rule": "global-norm", "maxNorm": 2.0}, {"rule": "global-norm", "maxNorm": 2.0}),
        (["global-norm:2"], {"rule": "global-norm", "maxNorm": 2.0}),
        ("global-norm:1+rms:1", [{"rule": "global-norm", "maxNorm": 1.0}, {"rule": "rms", "threshold": 1.0}]),
        (1.0, {"rule": "global-norm", "maxNorm": 1.0}),
        ([0.5, "agc"], [{"rule": "global-norm", "maxNorm": 0.5}, {"rule": "agc", "clipping": 0.01}]),
        ({"rule": "global-norm", "max_norm": 0.5}, {"rule": "global-norm", "maxNorm": 0.5}),
        ({"max_norm": 0.5, "norm_type": 2.0}, {"rule": "global-norm", "maxNorm": 0.5, "norm": "2"}),
        ({"max_norm": 0.5, "norm_type": float("inf")}, {"rule": "global-norm", "maxNorm": 0.5, "norm": "inf"}),
        ({"clip_value": 5}, {"rule": "value", "clipValue": 5}),
        ({"clipnorm": 5}, {"rule": "layer-norm", "maxNorm": 5}),
        ({"rule": "clip_by_global_norm", "clip_norm": 2}, {"rule": "global-norm", "maxNorm": 2}),
        ({"rule": "skip-step", "window": 20}, {"rule": "skip-step", "window": 20}),
        ({"rule": "global-norm", "max_norm": float("inf")}, {"rule": "none"}),
        ("global-norm:max_norm=2", {"rule": "global-norm", "maxNorm": 2.0}),
        (
            {"rule": "clippy", "preset": "tfrs"},
            {"rule": "clippy", "variableRelativeThreshold": 0.1, "absoluteThreshold": 1e-7},
        ),
        (
            [{"rule": "value", "clipValue": 5}, "rms:form=stable-adamw"],
            [{"rule": "value", "clipValue": 5}, {"rule": "rms", "form": "stable-adamw"}],
        ),
    ],
)
def test_clipping_in_the_words_of_a_capture(given, words):
    assert clipping_words(given) == words


@pytest.mark.parametrize("given", ["clip:1", "global-norm:1+", {"limit": 1.0}, [{}, {"limit": 1.0}], {"rule": 1}])
def test_clipping_without_a_rule_is_refused(given):
    with pytest.raises(ValueError, match="rule"):
        clipping_words(given)


@pytest.mark.parametrize(
    "given, why",
    [
        ({"rule": "global-norm", "maxnorm": 1.0}, "no option maxnorm; it has maxNorm.*did you mean maxNorm"),
        ({"rule": "global-norm", "max_norm": "much"}, "not a number"),
        ({"rule": "global-norm", "max_norm": True}, "not a number"),
        ({"rule": "global-norm", "max_norm": 0.0}, "above 0"),
        ({"max_norm": float("nan")}, "above 0"),
        (-1.0, "above 0"),
        ({"rule": "global-norm", "norm": 3}, "one of 2, inf"),
        ({"rule": "autoclip", "percentile": 101}, "at most 100"),
        ({"rule": "zclip", "maxNorm": float("inf")}, "infinite"),
        ({"rule": "clippy", "preset": "papr"}, "known are clippy:paper"),
        ("rms:1,threshold=0", "above 0"),
    ],
)
def test_clipping_that_the_command_line_could_not_read_is_refused(given, why):
    with pytest.raises(ValueError, match=why):
        clipping_words(given)


@pytest.mark.parametrize("given", [object(), {1.0}, [b"agc"]])
def test_clipping_of_another_type_is_refused(given):
    with pytest.raises(TypeError, match="write the largest norm"):
        clipping_words(given)


def test_what_a_capture_names_is_read_back():
    for text in ("none", "global-norm:1", "global-norm:1+agc:0.01"):
        assert recorded_rules(clipping_words(text)) == parse_rules(text)
    assert recorded_rules(None) == recorded_rules({}) == recorded_rules([]) == NONE
    with pytest.raises(ValueError, match="rms"):
        recorded_rules(clipping_words("global-norm:1+rms:1"))


def test_what_is_run_begins_without_clipping():
    assert rules_of(["agc:0.01", "none", "global-norm:1+agc:0.01"]) == [NONE, (AGC,), (NORM, AGC)]
    assert rules_of({"none": {}, "global-norm": {"maxNorm": 1.0}}) == [NONE, (NORM,)]


def test_members_of_an_entry_name_each_rule():
    assert rule_members((NORM,)) == {"rule": "global-norm", "label": "global-norm:1", "options": {"maxNorm": 1.0}}
    assert rule_members((NORM, AGC)) == {
        "rule": "global-norm+agc",
        "label": "global-norm:1+agc:0.01",
        "options": {},
        "rules": [
            {"rule": "global-norm", "label": "global-norm:1", "options": {"maxNorm": 1.0}},
            {"rule": "agc", "label": "agc:0.01", "options": {"clipping": 0.01}},
        ],
    }


def test_factors_of_several_rules_are_multiplied_tensor_by_tensor():
    assert least([]) == (1.0, None, 0)
    assert least([[(0.5, None, 0)]]) == (0.5, None, 0)
    # 0.5 · min(0.4, 0.9) of a, 0.5 · 0.3 of b.
    assert least([[(0.5, None, 0)], [(0.9, "a", 1), (0.4, "a", 2), (0.3, "b", 7)]]) == (0.15, "b", 7)
    # 0.4 · 0.5 of a is less than 0.3 · 1 of b; the place is that of its smaller factor.
    assert least([[(0.4, "a", 2), (0.3, "b", 7)], [(0.5, "a", 9), (1.0, "b", 0)]]) == (0.2, "a", 2)
    factor, tensor, index = least([[(0.1, "a", 2), (math.nan, "b", 7)]])
    assert math.isnan(factor) and (tensor, index) == ("b", 7)


@pytest.mark.parametrize(
    "unlike, whole",
    [
        ([20, 21, 22, 23, 25, 26, 27], list(range(20, 28))),
        ([5, 40], [5, 40]),
        ([], []),
        ([2, 4, 6], [2, 3, 4, 5, 6]),
        ([0, 1, 2, 6, 8], list(range(9))),
        ([*range(134, 142), 145], [*range(134, 142), 145]),
    ],
)
def test_gaps_between_stretches_of_unlike_batches_are_filled_as_the_command_line_does(unlike, whole):
    assert whole_block(unlike) == whole


@pytest.mark.parametrize("odd", [9.0, -76.0, math.nan, -math.inf])
def test_a_batch_is_unlike_where_its_loss_is_far_above_or_far_below_the_usual(odd):
    losses = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 1.0, 1.1]
    steps = [{"step": step, "loss": repr(loss)} for step, loss in enumerate(losses)]
    capture = SimpleNamespace(steps=steps, manifest={})
    usual = _usual(capture, losses, 6)
    assert _unlike(capture, losses, 6, usual) == []
    assert _unlike(capture, [*losses[:7], odd, *losses[8:]], 6, usual) == [7]

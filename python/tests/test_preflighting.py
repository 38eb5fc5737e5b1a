"""The ladder of a preflight on trials whose limit is known by formula; needs no framework."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from clippy_diag.preflighting import (
    ABOUT,
    ABOVE,
    BELOW,
    HIGHEST,
    STEPS,
    How,
    band_of,
    errors_above,
    middle_of,
    preflight_of,
    statement_of,
)
from clippy_diag.rules import parse_rules


class Quadratic:
    """Gradient descent on λ/2·|w|² in two tensors of 50 entries: stable below 2/λ of the steeper one.

    noise  spread of a factor on each entry of the gradient, by batch: in the mean of squares stable below 2/λ/(1 + noise²)
    """

    ENTRIES = 50
    kinds = {"sgd"}

    def __init__(self, asked, steepness=(10.0, 1.0), noise=0.0, floor=0.0, learns=True):
        self.asked, self.steepness, self.noise, self.floor = asked, np.array(steepness)[:, None], noise, floor
        self.learns = learns
        self.weights = np.ones((2, self.ENTRIES))
        self.gradients = 0

    def keep(self):
        return self.weights.copy()

    def put(self, kept):
        self.weights = kept.copy()

    def train(self, rate, steps, first, how=How()):  # noqa: B008
        for k in range(steps):
            of_batches = [np.random.default_rng([5, (first + k) * how.batches + j]) for j in range(how.batches)]
            draws = np.mean([rng.normal(size=(2, 2, self.ENTRIES)) for rng in of_batches], axis=0)
            self.gradients += how.batches
            gradient = self.steepness * self.weights * (1 + self.noise * draws[0]) + 0.03 * draws[1]
            if how.rules is not None:
                gradient = gradient * min(1.0, 1.0 / float(np.linalg.norm(gradient)))
            change = rate * gradient * (1.0 if self.learns else 0.0)
            if how.slowed is not None:
                change[int(how.slowed[0])] *= how.slowed[1]
            self.weights = self.weights - change
            if not np.all(np.abs(self.weights) < 1e150):
                return False
        return True

    def losses(self):
        rows = 1 + 0.1 * np.random.default_rng(3).normal(size=16)
        return list(self.floor + 0.5 * float((self.steepness * self.weights**2).mean()) * rows)

    def moved(self, since):
        return {str(k): float(np.linalg.norm(self.weights[k] - since[k])) for k in range(2)}


def found(trial, rules=()):
    return preflight_of(trial, 60, rules)["preflight"]


@pytest.mark.parametrize("asked", [0.02, 0.05, 0.2, 0.5, 2.0])
def test_the_limit_of_gradient_descent_lies_in_the_band_whatever_is_asked(asked):
    stable = found(Quadratic(asked))["stableRate"]
    # 2/λ = 0.2; the band is as wide as the row of rates, or wider where it is calibrated.
    assert stable["low"] / math.sqrt(2) <= 0.2 <= stable["high"] * math.sqrt(2)


def test_verdicts_follow_from_the_same_limit():
    assert found(Quadratic(0.02))["verdict"] == "well-within"
    assert found(Quadratic(2.0))["verdict"] == "above"
    edge = found(Quadratic(0.02))["stableRate"]
    assert found(Quadratic(math.sqrt(edge["low"] * edge["high"])))["verdict"] == "near"


def test_a_constant_added_to_the_loss_changes_nothing():
    plain, shifted = found(Quadratic(0.3)), found(Quadratic(0.3, floor=-7.0))
    assert plain["stableRate"] == shifted["stableRate"] and plain["verdict"] == shifted["verdict"]


def test_what_limits_is_found_by_trial():
    # Tensor 0 is ten times steeper, so slowing it lets the other hold much more.
    assert found(Quadratic(0.3))["limitedBy"] == {"kind": "tensor", "tensor": "0"}
    equal = found(Quadratic(0.3, steepness=(10.0, 10.0)))
    assert equal["limitedBy"]["kind"] == "curvature" and equal["batchScaling"] == 0
    noisy = found(Quadratic(0.05, steepness=(10.0, 10.0), noise=3.0))
    assert noisy["limitedBy"]["kind"] == "noise" and noisy["batchScaling"] > 0


def test_neither_limit_nor_rules_are_looked_for_where_the_rate_is_well_within():
    trial = Quadratic(0.02)
    answer = found(trial)
    assert answer["limitedBy"] == {"kind": "unknown", "tensor": None}
    assert trial.gradients == STEPS * len(answer["ladder"])


@pytest.mark.parametrize(("given", "taken"), [(4, 4), (1000, STEPS // 2)])
def test_every_rate_is_tried_with_the_warm_up_of_the_run(given, taken):
    rates = []

    class Noted(Quadratic):
        def train(self, rate, steps, first, how=How()):  # noqa: B008
            rates.extend([rate] * steps)
            return super().train(rate, steps, first, how)

    answer = preflight_of(Noted(0.02), 60, [], given)["preflight"]
    assert rates[:taken] == pytest.approx([0.02 * (k + 1) / taken for k in range(taken)])
    assert rates[taken:STEPS] == [0.02] * (STEPS - taken)
    assert answer["warmup"] == {"steps": given} and f"with a warm-up of {given} steps, to" in answer["statement"]


def test_rules_are_tried_only_where_the_rate_is_not_well_within():
    rules = [parse_rules("global-norm:1")]
    assert found(Quadratic(0.02), rules)["underRules"] == []
    (clipped,) = found(Quadratic(0.6), rules)["underRules"]
    assert clipped["rule"] == "global-norm:1" and clipped["stableRate"]["low"] > 0.2


def test_nothing_is_said_where_nothing_is_learnt():
    answer = found(Quadratic(0.05, learns=False))
    assert answer["verdict"] == "cannot-tell" and answer["stableRate"] is None and answer["ratio"] is None
    assert "did not fall" in answer["statement"]


def test_a_loss_that_is_not_finite_at_the_start_is_no_matter_of_the_rate():
    trial = Quadratic(0.05)
    trial.weights[:] = math.nan
    answer = found(trial)
    assert answer["verdict"] == "cannot-tell" and "not finite" in answer["statement"] and trial.gradients == 0


def test_without_time_there_is_no_answer():
    answer = preflight_of(Quadratic(0.05), 1e-9, [])["preflight"]
    assert answer["verdict"] == "cannot-tell" and answer["stableRate"] is None


def test_the_number_lies_between_the_highest_rate_held_and_the_lowest_not_held():
    answer = found(Quadratic(0.3))
    held = [rung["rate"] for rung in answer["ladder"] if rung["held"]]
    failed = [rung["rate"] for rung in answer["ladder"] if not rung["held"]]
    assert 0.3 / answer["ratio"] == pytest.approx(math.sqrt(max(held) * min(failed)))
    assert f"about {math.sqrt(max(held) * min(failed)):.2g} (" in answer["statement"]


def test_a_band_is_that_of_150_steps_where_steps_keep_their_length_or_shrink_with_their_number():
    longer = math.sqrt(ABOUT / STEPS)
    low, high = band_of(0.1, 0.2, ["adam"])
    assert (low, high) == (0.1 / BELOW, 0.2 * ABOVE) and middle_of((low, high)) == pytest.approx(math.sqrt(0.02))
    assert band_of(0.1, 0.2, ["lion"]) == pytest.approx((low / longer, high / longer))
    assert band_of(0.1, 0.2, ["adagrad"]) == pytest.approx((low, high * longer))
    # One optimizer of two limits the training, and the other may hold more: the band is as wide as both.
    assert band_of(0.1, 0.2, ["adagrad", "lion"]) == pytest.approx((low / longer, high * longer))
    assert band_of(0.1, None, ["lion"]) == pytest.approx((low / longer, math.inf))


def test_under_lion_the_limit_is_lower_than_that_of_the_ladder():
    class Lion(Quadratic):
        kinds = {"lion"}

    plain, lion = found(Quadratic(0.3)), found(Lion(0.3))
    assert lion["ladder"] == plain["ladder"]
    assert plain["stableRate"]["high"] / lion["stableRate"]["high"] == pytest.approx(math.sqrt(ABOUT / STEPS))


def test_a_ladder_that_finds_no_limit_says_at_least():
    answer = found(Quadratic(1e-3, steepness=(1.0, 1.0)))
    assert answer["stableRate"]["high"] == "Infinity" and answer["verdict"] == "well-within"
    assert "at least" in answer["statement"]
    assert max(rung["rate"] for rung in answer["ladder"]) == pytest.approx(HIGHEST * 1e-3)


def test_the_document_is_json_and_counts_its_gradients():
    trial = Quadratic(0.3)
    document = preflight_of(trial, 60, [])
    json.loads(json.dumps(document, allow_nan=False))
    assert document["schemaVersion"] == "3.0"
    answer = document["preflight"]
    assert answer["gradients"] == trial.gradients >= STEPS * len(answer["ladder"])
    assert [rung["held"] for rung in answer["ladder"]].count(False) >= 1


def test_errors_are_of_paired_differences():
    shared = np.linspace(0, 100, 16)
    assert errors_above(shared + 1 + 0.01 * np.cos(np.arange(16)), shared) > 100
    assert abs(errors_above(shared + np.cos(np.arange(16)), shared)) < 3
    assert errors_above([math.nan, 1.0], [1.0, 1.0]) == math.inf
    assert errors_above([1.0, 1.0], [1.0, 1.0]) == 0.0


def test_the_statement_reads_differently_for_each_verdict():
    base = {
        "asked": 0.3,
        "stableRate": {"low": 0.08, "high": 0.16},
        "limitedBy": {"kind": "noise", "tensor": None},
        "batchScaling": 0.5,
        "warmup": None,
        "underRules": [],
        "verdict": "above",
    }
    assert statement_of(base, None, 0.14) == (
        "The training is stable to a learning rate of about 0.13 (0.08 to 0.16); 0.3 is too high for its first"
        " steps. Gradient noise limits it: with twice the batch 0.14 is held."
    )
    said = {
        verdict: statement_of({**base, "verdict": verdict}, None, 0.14) for verdict in ("above", "near", "well-within")
    }
    assert len(set(said.values())) == 3


class Jump(Quadratic):
    """A loss that falls with every step, and at rates above 0.2 lies above that by a share of what was learnt."""

    def __init__(self, asked, share):
        super().__init__(asked)
        self.share, self.weights = share, np.zeros(2)

    def train(self, rate, steps, first, how=How()):  # noqa: B008
        self.gradients += steps
        self.weights = np.array([min(0.5, self.weights[0] + 0.01 * steps), self.share if rate > 0.2 else 0.0])
        return True

    def losses(self):
        learnt = self.weights[0] * (1 - self.weights[1])
        return list((1 - learnt) * (1 + 0.001 * np.random.default_rng(3).normal(size=16)))

    def moved(self, since):
        return {"0": 1.0}


def test_a_rate_that_learns_less_than_the_best_is_held_up_to_a_share_of_what_that_learns():
    assert found(Jump(0.1, 0.2))["stableRate"]["high"] == "Infinity"
    lost = found(Jump(0.1, 0.7))["stableRate"]
    assert lost["low"] == pytest.approx(0.2 / BELOW) and lost["high"] <= 0.2 * math.sqrt(2) * ABOVE * 1.001


def test_the_band_reaches_below_the_highest_rate_that_is_held():
    answer = found(Quadratic(0.02))
    held = max(rung["rate"] for rung in answer["ladder"] if rung["held"])
    assert answer["stableRate"]["low"] == pytest.approx(held / BELOW)
    # A rate between the two is held in the ladder and all the same near the limit.
    assert found(Quadratic(held / 1.1))["verdict"] == "near"

"""Sketches and checksums against a second implementation (fixtures/sketch), and the properties that comparisons rest on."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from clippy_diag.sketch import (
    Box,
    checksum,
    checksum_on_device,
    checksums,
    codes,
    length,
    sketch,
    sketch_on_device,
)

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "sketch" / "cases.json"
CASES = json.loads(FIXTURE.read_text(encoding="utf8"))["cases"]
WHOLE_64 = 2**64 - 1


def values_of(case):
    dtype = np.dtype(case["dtype"])
    width = 2 * dtype.itemsize
    words = [int(case["bits"][at : at + width], 16) for at in range(0, len(case["bits"]), width)]
    return np.array(words, f"u{dtype.itemsize}").view(dtype).reshape(case["shape"])


def place_of(case):
    place = case["place"]
    return place if isinstance(place, int) else Box(tuple(place["shape"]), tuple(place["start"]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['name']}-{case['dtype']}-{case['shape']}")
def test_a_case_has_the_sums_of_the_second_implementation(case):
    values, place = values_of(case), place_of(case)
    expected = np.array([float(s) for s in case["sketch"]])
    np.testing.assert_allclose(
        sketch(values, case["name"], place), expected, rtol=1e-12, atol=1e-12 * largest(expected)
    )
    assert f"{checksum(values, place):016x}" == case["checksum"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['name']}-{case['dtype']}-{case['shape']}")
def test_a_case_is_the_same_on_a_device(case):
    torch = pytest.importorskip("torch")
    if case["dtype"] == "uint16":
        pytest.skip("torch has no 16-bit unsigned arithmetic; bfloat16 has its own test")
    values, place = torch.from_numpy(values_of(case)), place_of(case)
    expected = np.array([float(s) for s in case["sketch"]])
    found = sketch_on_device(values, case["name"], place).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * largest(expected))
    assert f"{int(checksum_on_device(values, place)) & WHOLE_64:016x}" == case["checksum"]


def largest(values):
    return max(np.abs(values[np.isfinite(values)]).max(initial=0), 1e-300)


def test_shards_add_up_to_the_whole_however_it_is_cut():
    draw = np.random.default_rng(3)
    values = draw.standard_normal((70, 1100)).astype(np.float32)
    cuts = [
        [(values[:33], Box(values.shape, (0, 0))), (values[33:], Box(values.shape, (33, 0)))],
        [(values[:, :400], Box(values.shape, (0, 0))), (values[:, 400:], Box(values.shape, (0, 400)))],
        [(values.reshape(-1)[:40000], 0), (values.reshape(-1)[40000:], 40000)],
    ]
    for cut in cuts:
        np.testing.assert_allclose(
            sum(sketch(part, "w", place) for part, place in cut), sketch(values, "w"), rtol=1e-13, atol=1e-11
        )
        assert sum(checksum(part, place) for part, place in cut) & WHOLE_64 == checksum(values)


def test_a_large_tensor_has_the_checksum_of_its_halves_where_places_are_kept_and_where_not():
    values = np.random.default_rng(5).standard_normal((1 << 20) + 70_001).astype(np.float32)
    for cut in (1, 32_768, 40_000, len(values) - 1):
        halves = checksum(values[:cut]) + checksum(values[cut:], cut)
        assert halves & WHOLE_64 == checksum(values)


def test_kept_codes_give_the_same_sketch():
    values = np.random.default_rng(4).standard_normal((9, 7000)).astype(np.float32)
    assert (sketch(values, "w", 0, codes("w", values.shape)) == sketch(values, "w")).all()


def test_the_length_is_within_its_stated_error():
    draw = np.random.default_rng(5)
    ratios = []
    for k in range(400):
        values = draw.standard_normal(500) * (draw.random(500) < 0.5)
        ratios.append(length(sketch(values, f"tensor {k}")) / np.linalg.norm(values))
    assert abs(np.mean(ratios) - 1) < 0.02
    assert 0.07 < np.std(ratios) < 0.11


def test_equal_and_opposite_changes_in_two_tensors_do_not_cancel():
    change = np.full(1000, 1e-3)
    lengths = [length(sketch(change, f"a{k}") + sketch(-change, f"b{k}")) for k in range(50)]
    assert min(lengths) > 0.5 * math.sqrt(2) * np.linalg.norm(change)


def test_one_flipped_bit_two_swapped_entries_and_minus_zero_change_the_checksum():
    values = np.random.default_rng(6).standard_normal(5000).astype(np.float32)
    values[17] = 0
    before = checksum(values)
    for change in (flip, swap, negate):
        changed = values.copy()
        change(changed)
        assert checksum(changed) != before


def flip(values):
    values.view(np.uint32)[1234] ^= 1


def swap(values):
    values[[3, 4]] = values[[4, 3]]


def negate(values):
    values[17] = -0.0


def test_a_bfloat16_tensor_is_summed_by_its_values_and_checked_by_its_words():
    torch = pytest.importorskip("torch")
    values = torch.randn(300, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    words = values.view(torch.int16).numpy()
    assert int(checksum_on_device(values)) & WHOLE_64 == checksum(words)
    np.testing.assert_allclose(
        sketch_on_device(values, "w").numpy(), sketch(values.float().numpy(), "w"), rtol=1e-12, atol=1e-13
    )


def test_what_is_no_number_and_a_box_of_other_dimensions_are_refused():
    with pytest.raises(TypeError, match="needs numbers"):
        sketch(np.array(["a"]), "w")
    with pytest.raises(ValueError, match="does not lie"):
        sketch(np.zeros((2, 2)), "w", Box((4,), (0,)))


def test_sums_are_taken_in_one_order_so_that_sketches_are_equal_to_the_bit():
    """`sketch.ts` and this file hold the same bits of the same tensor: `exact` in the fixture."""
    exact = json.loads(FIXTURE.read_text(encoding="utf8"))["exact"]
    values = exact_values(exact["count"])
    assert [f"{word:016x}" for word in sketch(values, exact["name"]).view(np.uint64)] == exact["sketch"]


def exact_values(count):
    """Numbers of many sizes, by a rule that every language has: words of a generator as the bits of a float32."""
    words, state = [], 1
    for _ in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        words.append(state & 0x80FFFFFF | (0x30 + (state >> 24 & 0xF)) << 24)
    return np.array(words, np.uint32).view(np.float32)


def test_many_tensors_have_the_checksums_that_each_has_alone():
    rng = np.random.default_rng(5)
    shapes = [(), (0,), (1,), (7, 3), (2048,), (2049,), (40, 1000), *[(k % 90 + 1,) for k in range(60)]]
    arrays = [np.array(rng.normal(size=shape), np.float32) for shape in shapes]
    arrays += [
        np.arange(9),
        np.arange(9, dtype=np.int16),
        np.array([True]),
        np.array([np.nan, -0.0], np.float32),
        np.ones(3) * 1j,
    ]
    arrays += [np.ones((4, 6), np.float32)[:, ::2], np.ones(3, np.complex64)]
    assert checksums(arrays) == [checksum(array) for array in arrays]
    assert checksums([]) == []

"""Protocols are balanced, identity-disjoint by fold, and made of people nobody trains on."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from harness.errors import InputError
from harness.faceworld.groups import grouped_pairs
from harness.faceworld.identity import sliders
from harness.faceworld.nuisance import MODES
from harness.faceworld.protocols import PROTOCOLS, pairs
from harness.faceworld.ranges import IDENTITY_RANGES
from harness.faceworld.render import describe

NAMES = list(PROTOCOLS)


def test_ranges_are_disjoint_and_of_the_promised_sizes() -> None:
    for one, other in itertools.combinations(IDENTITY_RANGES.values(), 2):
        assert one.stop <= other.start or other.stop <= one.start
    sizes = {name: len(r) for name, r in IDENTITY_RANGES.items()}
    benchmarks = {"protocols": 300, "templates": 1_000}
    assert sizes == {"train": 100_000, "cond": 100_000, "judge": 100_000, **benchmarks, "spare": 100_000}
    assert IDENTITY_RANGES["train"].start == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [20, 2_000, 6_000])
def test_folds_are_balanced_and_identity_disjoint(name: str, count: int) -> None:
    listed = pairs(name, count)
    who_a, who_b = listed.identities[listed.a], listed.identities[listed.b]
    np.testing.assert_array_equal(listed.same, who_a == who_b)
    seen: list[set[int]] = []
    for fold in range(10):
        here = listed.fold == fold
        assert here.sum() == count // 10
        assert listed.same[here].sum() == count // 20
        seen.append(set(who_a[here]) | set(who_b[here]))
    for one, other in itertools.combinations(seen, 2):
        assert not one & other
    assert set().union(*seen) <= set(IDENTITY_RANGES["protocols"])


@pytest.mark.parametrize("name", NAMES)
def test_no_pair_comes_twice_and_no_image_meets_itself(name: str) -> None:
    listed = pairs(name)
    unordered = {frozenset(pair) for pair in zip(listed.a.tolist(), listed.b.tolist(), strict=True)}
    assert len(unordered) == 6_000
    assert all(len(pair) == 2 for pair in unordered)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_unique_and_all_used(name: str) -> None:
    listed = pairs(name, 2_000)
    keys = set(zip(listed.identities.tolist(), listed.samples.tolist(), listed.modes, strict=True))
    assert len(keys) == len(listed.modes) == len(listed.identities)
    assert set(listed.a) | set(listed.b) == set(range(len(keys)))


@pytest.mark.parametrize("name", NAMES)
def test_pairs_follow_from_name_count_and_seed(name: str) -> None:
    one, again, other = pairs(name, 200), pairs(name, 200), pairs(name, 200, seed=1)
    np.testing.assert_array_equal(one.a, again.a)
    np.testing.assert_array_equal(one.samples, again.samples)
    assert one.modes == again.modes
    key = [(p.identities[p.a].tolist(), p.samples[p.a].tolist()) for p in (one, other)]
    assert key[0] != key[1]


@pytest.mark.parametrize("name", NAMES)
def test_each_side_has_its_mode(name: str) -> None:
    listed = pairs(name, 400)
    assert {listed.modes[i] for i in listed.a} == {PROTOCOLS[name].mode_a}
    assert {listed.modes[i] for i in listed.b} == {PROTOCOLS[name].mode_b}
    assert {PROTOCOLS[name].mode_a, PROTOCOLS[name].mode_b} <= set(MODES)


def test_fw_agedb_pairs_are_at_least_25_years_apart() -> None:
    listed = pairs("fw-agedb", 400)
    age = describe(0, listed.identities.tolist(), listed.samples.tolist(), listed.modes)["age"]
    assert (age[listed.b] - age[listed.a]).min() >= 25


def test_fw_cfp_sets_frontal_against_profile() -> None:
    listed = pairs("fw-cfp", 400)
    yaw = np.abs(describe(0, listed.identities.tolist(), listed.samples.tolist(), listed.modes)["yaw"])
    assert yaw[listed.a].max() <= 10
    assert yaw[listed.b].min() >= 45


@pytest.mark.parametrize("count", [0, 30, 1_000_000])
def test_a_count_that_cannot_be_balanced_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"got {count} pairs"):
        pairs("fw-lfw", count)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"unknown face world protocol 'lfw', expected one of .*; did you mean 'fw-lfw'",
    ):
        pairs("lfw")


def test_settings_can_be_checked_without_torch() -> None:
    code = (
        "import sys, harness.faceworld, harness.faceworld.ranges, harness.faceworld.protocols;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fw_groups_pairs_are_of_one_group_and_balanced() -> None:
    listed, group = grouped_pairs(0, 600)
    shade = sliders(0, listed.identities.tolist())["skin_shade"]
    third = np.where(shade < -1 / 3, "low", np.where(shade < 1 / 3, "middle", "high"))
    assert (third[listed.a] == group).all()
    assert (third[listed.b] == group).all()
    assert ((listed.identities[listed.a] == listed.identities[listed.b]) == listed.same).all()
    for fold, name, same in itertools.product(range(10), ("low", "middle", "high"), (True, False)):
        assert ((listed.fold == fold) & (group == name) & (listed.same == same)).sum() == 10
    images = list(zip(listed.identities.tolist(), listed.samples.tolist(), strict=True))
    chosen = {frozenset((images[a], images[b])) for a, b in zip(listed.a, listed.b, strict=True)}
    assert len(chosen) == 600, "no pair twice"
    assert set(((listed.identities - IDENTITY_RANGES["protocols"].start) // 30)[listed.a] - listed.fold) == {0}


@pytest.mark.parametrize("count", [0, 61, 600_000])
def test_fw_groups_refuses_counts_that_do_not_balance(count: int) -> None:
    with pytest.raises(InputError, match=f"'fw-groups' got {count} pairs: expected a multiple of 60"):
        grouped_pairs(0, count)

from fractions import Fraction
from math import comb, inf
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.significance import EXACT_BELOW, mcnemar


@given(first=st.integers(0, EXACT_BELOW), second=st.integers(0, EXACT_BELOW))
def test_few_discordant_examples_are_tested_by_counting_all_tosses_as_unlikely(first, second):
    if first + second >= EXACT_BELOW:
        return
    found = mcnemar(first, second)
    n, most = first + second, max(first, second)
    # Both tails of the binomial distribution, which is symmetric: outcomes at least as far from the middle.
    far = sum(Fraction(comb(n, k), 2**n) for k in range(n + 1) if abs(2 * k - n) >= abs(2 * most - n))
    assert found.method == "exact"
    assert found.p_value == pytest.approx(float(far), abs=1e-15)


@given(first=st.integers(0, 3000), second=st.integers(0, 3000))
def test_many_are_tested_by_the_normal_tail_with_continuity_correction(first, second):
    if first + second < EXACT_BELOW:
        return
    found = mcnemar(first, second)
    z = max(0, abs(first - second) - 1) / (first + second) ** 0.5
    assert found.method == "chi-square"
    assert found.p_value == pytest.approx(2 * NormalDist().cdf(-z), rel=1e-6, abs=1e-12)


def test_published_examples():
    # A. Agresti, Categorical Data Analysis: approval ratings, 86 and 150; without correction chi-square is 17.36.
    assert mcnemar(86, 150).p_value == pytest.approx(4.115e-5, rel=1e-3)
    # The table 101, 121, 59, 33 of many textbooks: chi-square is 21.36 without correction and 20.67 with it.
    assert mcnemar(121, 59).p_value == pytest.approx(5.450e-6, rel=1e-3)
    assert mcnemar(1, 9).p_value == pytest.approx(0.021484375)


def test_equals_do_not_differ():
    assert mcnemar(0, 0).p_value == mcnemar(12, 12).p_value == mcnemar(500, 500).p_value == 1.0
    assert not mcnemar(500, 500).significant
    assert mcnemar(0, 6).significant
    assert not mcnemar(0, 5).significant


@given(first=st.integers(0, 200), second=st.integers(0, 200))
def test_it_does_not_matter_which_comes_first(first, second):
    assert mcnemar(first, second) == mcnemar(second, first)
    assert 0 < mcnemar(first, second).p_value <= 1 < inf


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 3)

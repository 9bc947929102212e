"""Whether two classifiers differ by more than chance: McNemar's test on the same examples.

Only the examples count that exactly one of the two gets right. If neither is better, each of those is a toss of a fair
coin (Q. McNemar, Psychometrika 12, 1947).
"""

import math
from dataclasses import dataclass
from typing import Literal

EXACT_BELOW = 25
"""Fewer discordant examples are tested exactly, since the approximation is poor there."""

SIGNIFICANT_BELOW = 0.05
"""The p-value below which a difference counts as more than chance."""


@dataclass(frozen=True)
class Significance:
    """The two-sided p-value that neither classifier is better, and how it was worked out."""

    p_value: float
    method: Literal["exact", "chi-square"]

    @property
    def significant(self) -> bool:
        """Whether the difference counts as more than chance, at 5%."""
        return self.p_value < SIGNIFICANT_BELOW


def mcnemar(only_first: int, only_second: int) -> Significance:
    """McNemar's test.

    With fewer than `EXACT_BELOW` discordant examples the exact binomial test, p = 2 P(X <= min(b, c)) for X distributed
    as B(b + c, 1/2), at most 1; else the chi-square distribution of one degree of freedom with the continuity
    correction of Edwards (1948), (|b - c| - 1)² / (b + c).

    Args:
        only_first: b, how many examples the first gets right and the second wrong.
        only_second: c, how many the second gets right and the first wrong.

    Raises:
        ValueError: A count is negative.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts of examples are not negative: {only_first}, {only_second}")
    discordant = only_first + only_second
    if discordant < EXACT_BELOW:
        tail = sum(math.comb(discordant, count) for count in range(min(only_first, only_second) + 1))
        return Significance(p_value=min(1.0, 2 * tail / 2**discordant), method="exact")
    distance = max(0, abs(only_first - only_second) - 1)
    # The upper tail of chi-square with one degree of freedom is that of a squared normal variable.
    return Significance(p_value=math.erfc(distance / math.sqrt(2 * discordant)), method="chi-square")

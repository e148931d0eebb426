"""How far a count of lucky packets may lie from what was asked, if no test is to cry wolf."""

from __future__ import annotations

from math import exp, lgamma, log

FALSE_ALARM = 1e-6


def binomial_range(tries: int, chance: float, false_alarm: float = FALSE_ALARM) -> range:
    """Counts of successes among `tries`, such that one outside has at most this probability (half on either side)."""
    low, tail = 0, _probability(tries, 0, chance)
    while tail < false_alarm / 2:
        low += 1
        tail += _probability(tries, low, chance)
    high, tail = tries, _probability(tries, tries, chance)
    while tail < false_alarm / 2:
        high -= 1
        tail += _probability(tries, high, chance)
    return range(low, high + 1)


def _probability(tries: int, successes: int, chance: float) -> float:
    if chance in (0.0, 1.0):
        return float(successes == tries * chance)
    ways = lgamma(tries + 1) - lgamma(successes + 1) - lgamma(tries - successes + 1)
    return exp(ways + successes * log(chance) + (tries - successes) * log(1 - chance))

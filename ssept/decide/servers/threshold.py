"""The rate at which 4 of 5 loads keep a promise, fitted to loads at several rates.

The share of loads that keep it is a logistic curve in the logarithm of the rate (Wichmann and Hill,
"The psychometric function I", Perception & Psychophysics 63, 2001). Its place and its slope are
averaged over a grid, weighted by the likelihood: that stays finite where every load was kept, or
none. The interval is of the jackknife over rounds (Efron and Stein, Annals of Statistics 9, 1981).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from ssept.estimate import Estimate
from ssept.measure.latency import CONFIDENCE
from ssept.metrics import FloatArray

SHARE = 0.8  # of the loads
SLOPES = np.array(
    [4.0, 6.0, 9.0, 13.0, 20.0, 30.0]
)  # a factor e in the odds is e^(1/slope) in rate
LOG_RATES = np.arange(math.log(1), math.log(1e6), math.log(1.01))
BEYOND = math.log(2)  # how far outside the rates that were tried the place may lie
LEAST_ROUNDS = 4  # below that an interval says nothing
METHOD = "jackknife of a logistic fit"

Loads = Sequence[tuple[float, bool]]  # of a round: the rate of each, and whether it was kept


def rate_of(rounds: Sequence[Loads]) -> Estimate:
    """Estimate the rate, requests a second; without bounds for too few rounds."""
    return _interval(*_fitted(rounds))


def ratio_of(rounds: Sequence[Loads], others: Sequence[Loads]) -> Estimate:
    """Estimate the ratio of two rates, of loads in the same rounds."""
    value, without = _fitted(rounds)
    other, other_without = _fitted(others)
    return _interval(value - other, without - other_without)


def _fitted(rounds: Sequence[Loads]) -> tuple[float, FloatArray]:
    """Return the logarithm of the rate, and the same without each of the rounds."""
    each = np.array([_log_likelihood(loads) for loads in rounds])
    tried = np.log([rate for loads in rounds for rate, _ in loads])
    inside = (tried.min() - BEYOND < LOG_RATES) & (tried.max() + BEYOND > LOG_RATES)
    of_all = each.sum(0)
    return float(_mean(of_all, inside)), np.array([_mean(of_all - one, inside) for one in each])


def _log_likelihood(loads: Loads) -> FloatArray:
    """Return it for each slope and place, float64[slopes, places]."""
    rates, kept = map(np.array, zip(*loads, strict=True))
    distance = np.log(rates)[:, None, None] - LOG_RATES
    log_odds = math.log(SHARE / (1 - SHARE)) - SLOPES[:, None] * distance
    signed = np.where(kept.astype(bool)[:, None, None], log_odds, -log_odds)
    likelihood: FloatArray = -np.logaddexp(0, -signed).sum(0)
    return likelihood


def _mean(log_likelihood: FloatArray, inside: FloatArray) -> float:
    """Return the mean place, over all slopes, of the places that are possible."""
    found = log_likelihood[:, inside]
    weights = np.exp(found - found.max()).sum(0)
    return float(np.average(LOG_RATES[inside], weights=weights))


def _interval(value: float, without: FloatArray) -> Estimate:
    """Return a value on the scale of rates; `without` has it without each of the rounds."""
    n = len(without)
    half = math.inf
    if n >= LEAST_ROUNDS:
        error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return Estimate(value, value - half, value + half).map(math.exp)

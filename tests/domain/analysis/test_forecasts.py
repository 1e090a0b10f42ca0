"""The AR(1) and GARCH(1,1) forecast, the last swings and the records of patterns, against slow code of their
definitions. What all indicators keep to is in test_contract.py."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Floats
from alphapulse.domain.analysis.indicators.pattern_records import BASE_MEMORY, FAMILIES, FULL, SHARES, warm
from alphapulse.domain.analysis.indicators.pattern_records import members as family_of
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.patterns.catalogue import patterns
from alphapulse.domain.analysis.registry import BadParameter, Spec
from alphapulse.domain.analysis.swings import swings
from tests.domain.analysis.pattern_markets import gappy
from tests.domain.analysis.series import from_ohlcv, gaps, walk


def outputs(text: str, bars: Floats) -> dict[str, Floats]:
    spec = Spec.parse(text)
    return dict(zip([o.name for o in spec.known.outputs], compute([spec], bars), strict=True))


def slow_forecast(closes: Floats, period: int, alpha: float, beta: float) -> dict[str, Floats]:
    """The recursion of ar_garch as it is defined, over returns r[1], r[2] …"""
    r = np.concatenate([[0.0], np.log(closes[1:] / closes[:-1])])
    found = {name: np.full(len(r), np.nan) for name in ("phi", "deviation", "surprise", "forecast")}
    rate = 2 / (period + 1)
    errors, products, squares = [], [], []
    variance = phi = 0.0
    for t in range(1, len(r)):
        error = r[t] - (phi * r[t - 1] if t > period + 1 else 0.0)
        surprise = error / math.sqrt(variance) if variance else 0.0
        errors.append(error**2)
        if t > 1:
            products.append(r[t] * r[t - 1])
            squares.append(r[t - 1] ** 2)
        if t == period:
            variance = np.mean(errors)
        elif t > period:
            target = exponential_mean(errors, period, rate)
            variance = (1 - alpha - beta) * target + alpha * error**2 + beta * variance
        if t > period:
            phi = exponential_mean(products, period, rate) / exponential_mean(squares, period, rate)
            deviation = math.sqrt(variance)
            for name, value in zip(found, (phi, deviation, surprise, phi * r[t] / deviation), strict=True):
                found[name][t] = value
    return found


def exponential_mean(values: list[float], count: int, rate: float) -> float:
    mean = float(np.mean(values[:count]))
    for value in values[count:]:
        mean += rate * (value - mean)
    return mean


def test_the_forecast_is_that_of_the_recursion_written_out():
    bars = walk(300)
    got = outputs("ar_garch(40,0.1,0.8)", bars)
    wanted = slow_forecast(bars[CLOSE], 40, 0.1, 0.8)
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-9, atol=1e-12, err_msg=name)


def simulated(phi: float, alpha: float, beta: float, count: int = 20_000) -> tuple[Floats, Floats]:
    """Bars of an AR(1) with GARCH(1,1) errors of 0.2 %, and the deviation that each return had."""
    noise = np.random.default_rng(11).normal(size=count)
    returns, deviations = np.zeros(count), np.zeros(count)
    variance, error = 4e-6, 0.0
    for t in range(1, count):
        variance = (1 - alpha - beta) * 4e-6 + alpha * error**2 + beta * variance
        error = math.sqrt(variance) * noise[t]
        returns[t], deviations[t] = phi * returns[t - 1] + error, math.sqrt(variance)
    close = 100 * np.exp(np.cumsum(returns))
    return from_ohlcv(close, close, close, close, np.ones(count)), deviations


@pytest.mark.parametrize("phi", [0.3, -0.3])
def test_a_series_of_known_coefficients_is_recognised(phi):
    bars, deviations = simulated(phi, 0.05, 0.9)
    got = outputs("ar_garch", bars)
    late = slice(1_000, None)
    assert np.mean(got["phi"][late]) == pytest.approx(phi, abs=0.03)
    assert np.std(got["surprise"][late]) == pytest.approx(1, abs=0.05)
    # What is said of the next bar is close to what its deviation then was.
    assert np.corrcoef(got["deviation"][1_000:-1], deviations[1_001:])[0, 1] > 0.9


def test_where_nothing_moves_nothing_is_forecast_and_the_first_move_is_a_full_surprise():
    close = np.full(300, 50.0)
    close[-1] = 51.0
    got = outputs("ar_garch(20)", from_ohlcv(close, close, close, close, np.ones(300)))
    assert (got["forecast"][21:-1] == 0).all()
    assert (got["deviation"][21:-1] == 0).all()
    assert got["surprise"][-1] == 1_000


def test_weights_that_leave_nothing_for_the_target_are_refused_with_their_values():
    with pytest.raises(BadParameter, match=r"alpha 0.2 and beta 0.9 need a sum below 1"):
        Spec.parse("ar_garch(200,0.2,0.9)")


@pytest.mark.parametrize("made", [walk, gaps])
def test_the_last_swings_are_those_known_at_the_bar(made: Callable[[int], Floats]):
    bars, wing, reach = made(1_500), 3, 40
    got = outputs(f"last_swings({wing},{reach})", bars)
    known = swings(bars[HIGH], bars[LOW], wing)
    for t in range(2 * wing, bars.shape[1], 7):
        for name, side in (("high", 1), ("low", -1)):
            past = known.of(side).until(t, t - reach)
            price, ago = (past.prices[-1], t - past.bars[-1]) if len(past) else (0.0, 0)
            assert (got[name][t], got[f"{name}_bars"][t]) == (price, ago), (t, name)


def slow_records(family: str, bars: Floats, horizon: int, memory: int, prior: int) -> Floats:
    """The scores of a family from the outputs of its patterns, bar by bar."""
    known = family_of(family)
    seen = [outputs(each.name, bars) for each in known]
    closes, first = bars[CLOSE], warm(known)
    found = np.full(len(closes), np.nan)
    record = {(p, side): [0.0, 0.0] for p in range(len(known)) for side in (1, -1)}
    base = {0: 0.0, 1: 0.0, -1: 0.0}
    for t in range(first, len(closes)):
        before = t - horizon
        if before >= first:
            moved = int(np.sign(closes[t] - closes[before]))
            for key in base:
                base[key] = base[key] * (1 - 1 / (BASE_MEMORY * memory)) + (key in (0, moved) and 1.0)
            for p, values in enumerate(seen):
                side = int(np.sign(values["signal"][before]))
                if side:
                    kept = record[p, side]
                    kept[:] = (
                        x * (1 - 1 / memory) + y for x, y in zip(kept, (1.0, moved == side), strict=True)
                    )
        score = 0.0
        for p, values in enumerate(seen):
            side = int(np.sign(values["signal"][t]))
            if side and record[p, side][0] and base[0]:
                outcomes, hits = record[p, side]
                usual = base[side] / base[0]
                rate = (hits + prior * usual) / (outcomes + prior)
                lift = rate - usual - math.sqrt(rate * (1 - rate) / (outcomes + prior))
                strength = (math.floor(values["strength"][t] * (SHARES - 1)) + 1) / SHARES
                score += side * max(strength * min(lift / FULL, 1), 0.0)
        found[t] = min(max(score, -1), 1)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_patterns_weigh_what_their_own_resolved_record_is_above_the_base_rate(family):
    bars = gappy(6_000, 3)
    got = outputs(f"patterns_{family}(3,50,5)", bars)
    wanted = slow_records(family, bars, 3, 50, 5)
    np.testing.assert_allclose(got["score"], wanted, atol=1e-9)
    assert (np.abs(wanted) > 0).any()


def test_a_pattern_that_is_always_right_is_named_with_its_record():
    """Every tenth bar a hammer, after which the price rises for five bars."""
    bars = walk(3_000, 8)
    cycle = np.arange(3_000) % 10
    close = 100 + np.where(cycle <= 4, 4 - cycle, cycle - 4) * 1.0
    opened = np.concatenate([[104.0], close[:-1]])
    low = np.minimum(opened, close)
    hammer = cycle == 4
    opened[hammer] = close[hammer] + 0.05
    low = np.minimum(low, np.minimum(opened, close))
    low[hammer] -= 3
    shaped = from_ohlcv(opened, np.maximum(opened, close), low, close, bars[5])
    got = outputs("patterns_single(5)", shaped)
    late = np.flatnonzero(hammer)[-1]
    assert got["score"][late] > 0.3
    name = FAMILIES["single"][int(got["pattern"][late]) - 1]
    assert name in ("hammer", "takuri", "pin_bar")
    assert got["hit_rate"][late] > 0.9
    assert got["base_rate"][late] == pytest.approx(0.5, abs=0.11)
    assert got["outcomes"][late] > 100


def test_families_hold_only_patterns_that_take_a_side_and_each_once():
    names = [name for family in FAMILIES.values() for name in family]
    assert len(set(names)) == len(names)
    assert not [name for name in names if patterns()[name].neutral]

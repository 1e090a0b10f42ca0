"""Spreads that stand out."""

import numpy as np
import pandas as pd
import pytest

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.spreads import unusual_spreads
from tests.market_data import data_file


def book(count: int = 300) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(1)
    mid = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    half = mid * rng.gamma(20, 5e-6, count)
    return mid - half, mid + half


def test_a_spread_is_measured_in_basis_points_of_the_mid() -> None:
    found = unusual_spreads(np.array([99.0, 9_999]), np.array([101.0, 10_001]))
    assert found.spread_bps == pytest.approx([200, 2])


def test_a_spread_that_opens_is_flagged_and_the_next_ones_are_not() -> None:
    bid, ask = book()
    ask[200] *= 1.01
    found = unusual_spreads(bid, ask)
    assert found.flag[200] == 1
    assert (found.flag[201:210] == 0).all()
    assert np.isnan(found.flag[:100]).all()


def test_a_book_without_a_spread_says_nothing_and_leaves_the_others_as_they_are() -> None:
    bid, ask = book()
    holes = [150, 151, 152, 153]
    kept = np.delete(np.arange(300), holes)
    whole = unusual_spreads(bid[kept], ask[kept])
    bid[150], ask[151], bid[152], bid[153] = np.nan, np.inf, ask[152], 0
    found = unusual_spreads(bid, ask)
    assert np.isnan([found.spread_bps[holes], found.score[holes], found.flag[holes]]).all()
    assert np.array_equal(found.score[kept], whole.score, equal_nan=True)


def test_later_looks_change_nothing() -> None:
    bid, ask = book()
    before = unusual_spreads(bid[:200], ask[:200])
    assert np.array_equal(unusual_spreads(bid, ask).score[:200], before.score, equal_nan=True)


@pytest.mark.parametrize(
    ("asks", "settings"), [(3, {}), (2, {"window": 1}), (2, {"threshold": 0.0}), (2, {"threshold": np.nan})]
)
def test_what_makes_no_sense_is_refused(asks: int, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"bids|windows"):
        unusual_spreads(np.ones(2), np.full(asks, 2.0), **settings)  # type: ignore[arg-type]


def test_on_a_real_day_few_spreads_stand_out_and_pandas_finds_the_same() -> None:
    path = data_file("books/bitflyer_bbo/bitflyer.ticker.20180123.BTC_JPY.csv.gz")
    rows = pd.read_csv(path)
    found = unusual_spreads(rows["best_bid"].to_numpy(float), rows["best_ask"].to_numpy(float))
    spread = pd.Series(found.spread_bps).dropna()
    windows = spread.rolling(100)
    deviation = 1.4826 * windows.apply(lambda w: np.median(np.abs(w - np.median(w))), raw=True)
    expected = (spread - windows.median().shift()) / deviation.shift()
    assert np.allclose(found.score[spread.index], expected, rtol=1e-9, atol=1e-12, equal_nan=True)
    flags = found.flag[np.isfinite(found.flag)]
    assert 0 < (flags != 0).mean() < 0.05

"""Volume with a direction, and prices weighted by it: against TA-Lib, and against plain sums."""

from collections.abc import Callable

import numpy as np
import pytest
import talib
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import (
    CLOSE,
    HIGH,
    LOW,
    TAKER_BUY,
    TIME,
    VOLUME,
    Floats,
)
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.klines import KLINES, klines
from tests.domain.analysis.series import ADVERSARIAL, from_ohlcv, walk
from tests.domain.analysis.talib_oracle import Call, Oracle, assert_agrees


def hlcv(bars: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    return bars[HIGH], bars[LOW], bars[CLOSE], bars[VOLUME]


def typical(bars: Floats) -> Floats:
    price: Floats = (bars[HIGH] + bars[LOW] + bars[CLOSE]) / 3
    return price


def nothing_traded_yet(bars: Floats, ours: Floats) -> NDArray[np.bool_]:
    """TA-Lib says 0 then, which is no price; ours is the bar's own."""
    return np.cumsum(bars[VOLUME]) == 0


def no_volume_before(bars: Floats, ours: Floats) -> NDArray[np.bool_]:
    """TA-Lib divides by zero then."""
    traded = np.convolve(bars[VOLUME] > 0, [0] + [1] * 20)[: bars.shape[1]]
    return np.asarray(traded == 0)


def nothing_traded(count: int) -> Callable[[Floats, Floats], NDArray[np.bool_]]:
    """TA-Lib divides what its running sums have left over then: -1.75 is no share."""

    def found(bars: Floats, ours: Floats) -> NDArray[np.bool_]:
        traded = np.convolve(bars[VOLUME] > 0, np.ones(count))[: bars.shape[1]]
        return np.asarray(traded == 0)

    return found


ORACLES: dict[str, Oracle | Call] = {
    "obv": lambda b: talib.OBV(b[CLOSE], b[VOLUME]),
    "ad": lambda b: talib.AD(*hlcv(b)),
    **{f"adosc({f},{s})": lambda b, f=f, s=s: talib.ADOSC(*hlcv(b), f, s) for f, s in ((3, 10), (20, 5))},
    # TA-Lib's sums run on: after a large volume, those of a few tiny ones have lost digits.
    **{
        f"cmf({n})": Oracle(lambda b, n=n: talib.CMF(*hlcv(b), n), slack=1e-10, unlike=nothing_traded(n))
        for n in (2, 20)
    },
    **{f"mfi({n})": Oracle(lambda b, n=n: talib.MFI(*hlcv(b), n), slack=1e-11) for n in (2, 14)},
    "anchored_vwap": Oracle(lambda b: talib.VWAP(*hlcv(b)), unlike=nothing_traded_yet),
    "volume_ratio(20)": Oracle(lambda b: talib.RVOL(b[VOLUME], 20), unlike=no_volume_before),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_volume_agrees_with_talib_where_series_are_nasty(name: str) -> None:
    assert_agrees(ORACLES, ADVERSARIAL[name](3_000))


@pytest.mark.parametrize("name", KLINES)
def test_volume_agrees_with_talib_on_real_klines(name: str) -> None:
    assert_agrees(ORACLES, klines(name, 3_000))


def one(spec: str, bars: Floats) -> Floats:
    values: Floats = compute([Spec.parse(spec)], bars)[0]
    return values


def plain(price: list[float], volume: list[float], **fields: list[float]) -> Floats:
    """Bars that stand at one price each."""
    at, much = np.array(price), np.array(volume, dtype=np.float64)
    bars = from_ohlcv(at, at, at, at, much)
    for name, values in fields.items():
        bars[FIELDS[name]] = values
    return bars


FIELDS = {"time": TIME, "taker_buy": TAKER_BUY}


def test_a_session_begins_anew_by_the_clock_not_by_the_number_of_bars() -> None:
    day = 28_401_120.0
    times = [day + 1_438, day + 1_439, day + 1_440, day + 1_500, day + 3 * 1_440]
    bars = plain([10, 20, 30, 50, 7], [1, 3, 1, 1, 2], time=times)
    assert one("vwap", bars).tolist() == [10, 17.5, 30, 40, 7]


def test_sessions_may_have_any_length_and_start() -> None:
    monday = (
        28_403_999.0 // 10_080 * 10_080 + 5_760
    )  # 1970 began on a Thursday: Monday came 5760 minutes later
    bars = plain([10, 20, 30, 50], [1, 1, 1, 1], time=[monday - 1, monday, monday + 5_000, monday + 10_080])
    assert one("vwap(session=10080,offset=5760)", bars).tolist() == [10, 20, 25, 50]


def test_an_anchored_average_counts_from_its_moment_and_is_unknown_before() -> None:
    bars = plain([10, 20, 30, 50], [1, 3, 1, 1], time=[100, 101, 102, 110])
    found = one("anchored_vwap(anchor=102)", bars)
    assert np.isnan(found[:2]).all()
    assert found[2:].tolist() == [30, 40]


def test_where_nothing_traded_yet_the_average_is_the_price() -> None:
    bars = plain([10, 20, 30], [0, 0, 2])
    for spec in ("vwap", "anchored_vwap", "rolling_vwap(2)"):
        assert one(spec, bars)[1:].tolist() == [20, 30]


@pytest.mark.parametrize("series", ADVERSARIAL)
def test_rolling_average_and_imbalance_are_their_sums(series: str) -> None:
    bars = ADVERSARIAL[series](500)
    price, volume, buy = typical(bars), bars[VOLUME], bars[TAKER_BUY]
    average, imbalance = one("rolling_vwap(20)", bars), one("taker_imbalance(20)", bars)
    for row in range(19, 500):
        window = slice(row - 19, row + 1)
        traded = volume[window].sum()
        assert average[row] == pytest.approx((price[window] * volume[window]).sum() / traded, rel=1e-12)
        expected = (2 * buy[window].sum() - traded) / traded
        assert imbalance[row] == pytest.approx(expected, rel=1e-12, abs=1e-13)


def test_takers_who_only_buy_give_one_and_who_only_sell_minus_one() -> None:
    bars = plain([5, 5, 5, 5], [2, 3, 0, 4], taker_buy=[2, 3, 0, 0])
    assert one("taker_imbalance(1)", bars).tolist() == [1, 1, 0, -1]
    assert one("taker_imbalance(2)", bars)[1:].tolist() == [1, 1, -1]


def test_volume_after_a_silence_is_measured_against_an_average_that_holds_it() -> None:
    bars = plain([5] * 6, [0, 0, 0, 7, 7, 0])
    assert one("volume_ratio(2)", bars)[2:].tolist() == [0, 3, 2, 0]


def test_a_move_of_the_typical_price_by_rounding_alone_gives_volume_no_direction() -> None:
    """0.2 + 0.2 + 0.2 and 0.4 + 0.1 + 0.1 are two different numbers in binary."""
    even = np.arange(30) % 2 == 0
    high, low = np.where(even, 0.2, 0.4), np.where(even, 0.2, 0.1)
    close = low
    bars = from_ohlcv(close, high, low, close, np.full(30, 5.0))
    assert len(set(typical(bars).tolist())) == 2
    assert np.all(one("mfi(5)", bars)[5:] == 0)
    bars[1:5, ::2] *= 1 + 1e-12
    assert np.all(one("mfi(5)", bars)[5:] > 0)


def test_what_hangs_on_an_unknown_volume_is_unknown_until_the_bar_has_left_the_window() -> None:
    bars = walk(300)
    bars[VOLUME, 50] = bars[TAKER_BUY, 50] = np.nan
    windowed = {"cmf(20)": 20, "mfi(14)": 14, "taker_imbalance(20)": 20, "rolling_vwap(20)": 20}
    for spec, rows in {**windowed, "volume_ratio(20)": 21}.items():
        found = one(spec, bars)[40:]
        assert np.flatnonzero(np.isnan(found)).tolist() == list(range(10, 10 + rows)), spec
    for spec in ("obv", "ad", "adosc", "anchored_vwap"):
        assert np.flatnonzero(np.isnan(one(spec, bars)[40:])).tolist() == list(range(10, 260)), spec


def test_an_unknown_volume_spoils_the_average_of_its_session_alone() -> None:
    bars = walk(3_000)
    bars[VOLUME, 100] = np.nan
    unknown = np.flatnonzero(np.isnan(one("vwap", bars)))
    tomorrow = int(np.searchsorted(bars[TIME] // 1_440, bars[TIME, 100] // 1_440 + 1))
    assert unknown.tolist() == list(range(100, tomorrow))


def test_the_chaikin_oscillator_does_not_lose_its_digits_in_a_line_that_grew_long() -> None:
    """Far along, the line is huge: TA-Lib's difference of its averages is rounded to the line's digits."""
    bars = walk(2_000)
    bars[VOLUME, :500] *= 1e12
    fresh = one("adosc", bars[:, 900:])
    assert np.allclose(one("adosc", bars)[1_400:], fresh[500:], rtol=1e-9)
    assert np.abs(one("ad", bars)[-1]) > 1e12

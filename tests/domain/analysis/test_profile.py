"""Volume profiles: exact sums from trades, approximations that say so, levels against slow formulas."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import find_peaks

from alphapulse.adapters.store.codec import decode
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.analysis.fields import (
    CLOSE,
    HIGH,
    INPUTS,
    LOW,
    TAKER_BUY,
    TIME,
    TRADES,
    VOLUME,
    Floats,
)
from alphapulse.domain.analysis.profile import (
    MAX_BINS,
    Bins,
    Grid,
    Profile,
    RollingProfile,
    TooLarge,
    TooManyBins,
)
from alphapulse.domain.analysis.profile_levels import (
    NothingTraded,
    distance,
    nodes,
    point_of_control,
    smoothed,
    value_area,
)
from alphapulse.domain.analysis.profile_sources import (
    MAX_SESSIONS,
    TooManySessions,
    decimals,
    delta_series,
    profile_of_bars,
    profile_of_trades,
    session_profiles,
    session_profiles_of_bars,
)
from alphapulse.domain.market.columns import TradeColumns
from alphapulse.processes.importing import import_trades
from tests.domain.analysis.series import walk
from tests.market_data import data_file

MINUTE = 60_000_000_000
DAY = 1440


def columns(
    rows: Sequence[tuple[int, int, int, int]], *, price_exponent: int = 2, size_exponent: int = 3
) -> TradeColumns:
    """Rows of (minute, price, size, side)."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return TradeColumns(
        time=table[:, 0] * MINUTE + 7,
        price=np.ascontiguousarray(table[:, 1]),
        size=np.ascontiguousarray(table[:, 2]),
        side=table[:, 3].astype(np.int8),
        id=np.arange(len(table)),
        flags=np.zeros(len(table), dtype=np.uint8),
        price_exponent=price_exponent,
        size_exponent=size_exponent,
    )


def slow_profile(batches: Sequence[TradeColumns], size: Decimal) -> dict[int, list[Any]]:
    """Bin number -> volume, taker buy, taker sell, trades, in fractions."""
    found: dict[int, list[Any]] = defaultdict(lambda: [Fraction(0), Fraction(0), Fraction(0), 0])
    for batch in batches:
        for price, amount, side in zip(batch.price, batch.size, batch.side, strict=True):
            at = Fraction(int(price), 10**batch.price_exponent) // Fraction(size)
            exact = Fraction(int(amount), 10**batch.size_exponent)
            found[at][0] += exact
            found[at][1] += exact if side == 1 else 0
            found[at][2] += exact if side == -1 else 0
            found[at][3] += 1
    return found


def as_fractions(profile: Profile) -> dict[int, list[Any]]:
    unit = 10**profile.size_exponent
    return {
        profile.first + i: [*(Fraction(v, unit) for v in cell[:3]), cell[3]]
        for i, cell in enumerate(profile.cells.T)
        if any(cell)
    }


trade = st.tuples(
    st.integers(0, 3 * DAY), st.integers(1, 3_000), st.integers(1, 1 << 62), st.sampled_from([-1, 0, 1])
)
batch = st.builds(
    lambda rows, price, size: columns(rows, price_exponent=price, size_exponent=size),
    st.lists(trade, max_size=30),
    st.integers(0, 4),
    st.integers(0, 9),
)
sizes = st.sampled_from(["0.01", "0.5", "3", "0.125", "7.77", "250", "0.0003"]).map(Decimal)


@given(batches=st.lists(batch, max_size=4), size=sizes)
def test_bins_hold_exactly_what_was_traded_in_them(batches: list[TradeColumns], size: Decimal) -> None:
    try:
        profile = profile_of_trades(batches, Grid.of(size))
    except TooManyBins:
        return
    expected = slow_profile(batches, size)
    assert as_fractions(profile) == expected
    traded = sum((Fraction(int(s), 10**b.size_exponent) for b in batches for s in b.size), Fraction(0))
    assert Fraction(profile.total, 10**profile.size_exponent) == traded
    assert sum(profile.trades) == sum(len(b) for b in batches)
    assert profile.exact


@given(batches=st.lists(batch, min_size=1, max_size=4), seed=st.integers(0, 9))
def test_neither_order_nor_batches_matter(batches: list[TradeColumns], seed: int) -> None:
    grid = Grid.of("5")
    rng = np.random.default_rng(seed)
    mixed = [b.take(rng.permutation(len(b))) for b in batches]
    pieces = [b.take(slice(i, i + 3)) for b in mixed for i in range(0, len(b), 3)]
    shuffled = [pieces[i] for i in rng.permutation(len(pieces))]
    assert profile_of_trades(batches, grid) == profile_of_trades(shuffled, grid)


@given(
    batches=st.lists(batch, max_size=3),
    minutes=st.sampled_from([1, 60, DAY, 1000]),
    anchor=st.integers(0, 700),
)
def test_sessions_add_up_to_the_whole(batches: list[TradeColumns], minutes: int, anchor: int) -> None:
    grid = Grid.of("5")
    sessions = session_profiles(batches, grid, minutes=minutes, anchor=anchor)
    whole = Bins(grid, exact=True)
    for profile in sessions.values():
        whole.add(profile)
    assert whole.profile() == profile_of_trades(batches, grid)
    assert list(sessions) == sorted(sessions)
    assert all((start - anchor) % minutes == 0 for start in sessions)


def test_a_trade_belongs_to_the_utc_day_of_its_own_time() -> None:
    rows = [(DAY - 1, 100, 1, 1), (DAY, 100, 2, 1), (2 * DAY - 1, 100, 3, 1)]
    days = session_profiles([columns(rows[::-1])], Grid.of("1"))
    assert {day: profile.total for day, profile in days.items()} == {0: 1, DAY: 5}


def test_a_session_may_begin_at_any_minute() -> None:
    rows = [(899, 100, 1, 1), (900, 100, 2, 1)]  # a Japanese day begins at 15:00 UTC
    days = session_profiles([columns(rows)], Grid.of("1"), anchor=900)
    assert {day: profile.total for day, profile in days.items()} == {900 - DAY: 1, 900: 2}


@given(
    steps=st.lists(st.tuples(st.integers(0, 40), st.lists(trade, max_size=4)), max_size=25),
    span=st.integers(1, 12),
)
def test_the_rolling_profile_is_that_of_its_last_steps(steps: list[Any], span: int) -> None:
    grid, newest = Grid.of("5"), -1
    rolling = RollingProfile(grid, span, exact=True)
    for n, (step, rows) in enumerate(steps):
        rolling.add(step, profile_of_trades([columns(rows, size_exponent=n % 4)], grid))
        newest = max(newest, step)
        # A late step that is still within the span counts; one that was too old on arrival is gone.
        kept = [
            columns(r, size_exponent=i % 4) for i, (s, r) in enumerate(steps[: n + 1]) if s > newest - span
        ]
        assert rolling.profile() == profile_of_trades(kept, grid)


def test_a_step_that_does_not_fit_changes_nothing() -> None:
    grid = Grid.of("0.01")
    rolling = RollingProfile(grid, 2, exact=True)
    rolling.add(1, profile_of_trades([columns([(0, 100, 5, 1)])], grid))
    rolling.add(2, profile_of_trades([columns([(0, 101, 5, 1)])], grid))
    before = rolling.profile()
    with pytest.raises(TooManyBins):
        rolling.add(3, profile_of_trades([columns([(0, 101 + MAX_BINS, 5, 1)])], grid))
    assert rolling.profile() == before
    rolling.add(3, profile_of_trades([columns([(0, 102, 5, 1)])], grid))
    assert [int(p * 100) for p in rolling.profile().prices] == [101, 102]


def test_prices_that_wander_off_leave_no_empty_bins_behind() -> None:
    grid = Grid.of("0.01")
    rolling = RollingProfile(grid, 3, exact=True)
    for step in range(200):  # in all far more bins than a profile may have
        rolling.add(step, profile_of_trades([columns([(0, 100 + step * 1_000, 5, 1)])], grid))
    assert rolling.profile().prices[0] == grid.price(100 + 197 * 1_000)
    assert len(rolling.profile()) == 2_001


def test_a_profile_has_at_most_so_many_bins() -> None:
    grid = Grid.of("0.01")
    full = profile_of_trades([columns([(0, 1, 1, 1), (0, MAX_BINS, 1, 1)])], grid)
    assert len(full) == MAX_BINS
    with pytest.raises(
        TooManyBins, match=r"prices from 0.01 to 1000.02 in bins of 0.01: 100001 bins, at most"
    ):
        profile_of_trades([columns([(0, 1, 1, 1), (0, MAX_BINS + 1, 1, 1)])], grid)


def test_there_are_at_most_so_many_sessions() -> None:
    rows = [(minute, 100, 1, 1) for minute in range(MAX_SESSIONS)]
    assert len(session_profiles([columns(rows)], Grid.of("1"), minutes=1)) == MAX_SESSIONS
    for batches in (
        [columns([*rows, (MAX_SESSIONS, 100, 1, 1)])],
        [columns(rows), columns([(MAX_SESSIONS, 1, 1, 1)])],
    ):
        with pytest.raises(TooManySessions, match="10001 sessions or more, at most 10000"):
            session_profiles(batches, Grid.of("1"), minutes=1)


def test_sums_beyond_64_bits_stay_exact() -> None:
    most = (1 << 63) - 1
    profile = profile_of_trades([columns([(0, 100, most, 1)] * 9)], Grid.of("1"))
    assert profile.volume == [9 * most]


def test_prices_near_the_end_of_64_bits_find_their_bins() -> None:
    price = (1 << 63) - 1
    profile = profile_of_trades([columns([(0, price, 1, 1)], price_exponent=18)], Grid.of("0.001"))
    assert profile.prices == [Decimal("9.223")]
    coarse = profile_of_trades([columns([(0, 1 << 50, 1, 1)], price_exponent=0)], Grid.of("0.001"))
    assert coarse.prices == [Decimal(1 << 50)]
    with pytest.raises(TooLarge, match="prices up to 1125899906842624"):
        profile_of_trades([columns([(0, 1 << 50, 1, 1)], price_exponent=0)], Grid.of("1e-18"))


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "1e-19"])
def test_a_bin_has_a_size(size: str) -> None:
    with pytest.raises(ValueError, match="bin size"):
        Grid.of(size)


@pytest.mark.parametrize(
    ("low", "high", "size"),
    [("100", "199.99", "1"), ("100", "200", "2"), ("0.00000123", "0.00000456", "5e-8"), ("7", "7", "1e-18"),
     ("900000", "2100000", "20000")],
)  # fmt: skip
def test_fitting_bins_are_1_2_or_5_times_a_power_of_ten(low: str, high: str, size: str) -> None:
    grid = Grid.fitting(Decimal(low), Decimal(high))
    assert grid.size == Decimal(size)
    assert Decimal(high) // grid.size - Decimal(low) // grid.size < 100


def test_profiles_of_other_bins_or_kinds_do_not_mix() -> None:
    bins = Bins(Grid.of("1"), exact=True)
    with pytest.raises(ValueError, match="exact: True"):
        bins.add(profile_of_trades([columns([(0, 100, 1, 1)])], Grid.of("2")))
    with pytest.raises(ValueError, match="exact: False"):
        bins.add(profile_of_bars(walk(3), Grid.of("1")))


def test_delta_is_what_takers_bought_less_what_they_sold() -> None:
    rows = [(0, 100, 7, 1), (0, 199, 2, -1), (0, 150, 50, 0), (1, 300, 4, -1), (5, 100, 1, 1)]
    profile = profile_of_trades([columns(rows)], Grid.of("1"))
    assert profile.delta == [6, 0, -4]
    assert profile.volume == [60, 0, 4]
    series = delta_series([columns(rows[2:]), columns(rows[:2], size_exponent=1)])
    assert series.start.tolist() == [0, 1, 5]
    assert (list(series.delta), list(series.cumulative)) == ([500, -4, 1], [500, 496, 497])
    assert series.size_exponent == 3


@given(batches=st.lists(batch, max_size=3))
def test_the_delta_by_time_ends_where_the_delta_by_price_does(batches: list[TradeColumns]) -> None:
    series = delta_series(batches, minutes=60)
    profile = profile_of_trades(batches, Grid.of("100"))
    ends = series.cumulative[-1] if series.cumulative else 0
    assert Fraction(ends, 10**series.size_exponent) == Fraction(sum(profile.delta), 10**profile.size_exponent)


# -- from bars -----------------------------------------------------------------------------------------


def bar(low: float, high: float, volume: float, bought: float = np.nan, trades: float = np.nan) -> Floats:
    values = np.full((INPUTS, 1), float(low))
    values[TIME], values[HIGH], values[CLOSE] = 0, high, high
    values[VOLUME], values[TAKER_BUY], values[TRADES] = volume, bought, trades
    return values


def test_a_bar_is_spread_evenly_over_the_prices_of_its_range() -> None:
    # Ticks 0.5 1.0 1.5 2.0 2.5 3.0: one in the first bin, two each in the next, one in the last.
    profile = profile_of_bars(bar(0.5, 3.0, 6.0, 3.0, 12), Grid.of("1"), price_exponent=1, size_exponent=1)
    ticks = profile_of_bars(bar(5, 30, 26.0), Grid.of("10"), price_exponent=0, size_exponent=0)
    assert ticks.volume == [5, 10, 10, 1]
    assert profile.total == 60
    assert sum(profile.taker_buy) == 30
    assert sum(profile.trades) == 12
    assert not profile.exact


def test_a_bar_without_a_range_is_a_single_price() -> None:
    profile = profile_of_bars(bar(100, 100, 3), Grid.of("1"))
    assert (profile.prices, profile.volume) == ([100], [3])


def test_a_bar_of_unknown_takers_has_volume_of_no_side() -> None:
    profile = profile_of_bars(bar(100, 103, 8), Grid.of("1"))
    assert profile.volume == [2, 2, 2, 2]
    assert sum(profile.taker_buy) == sum(profile.taker_sell) == 0


def test_a_bar_of_unknown_volume_counts_nothing() -> None:
    assert len(profile_of_bars(bar(100, 103, np.nan), Grid.of("1"))) == 0


bars_of_any_kind = st.lists(
    st.tuples(st.integers(0, 900), st.integers(0, 90), st.integers(0, 10**6), st.floats(0, 1)), max_size=12
)


@given(rows=bars_of_any_kind, size=sizes)
def test_bars_keep_their_volume_wherever_it_is_put(rows: list[Any], size: Decimal) -> None:
    values = np.concatenate(
        [
            np.empty((INPUTS, 0)),
            *(bar(a / 10, (a + b) / 10, v / 100, round(v * s) / 100, v) for a, b, v, s in rows),
        ],
        axis=1,
    )
    try:
        profile = profile_of_bars(values, Grid.of(size), price_exponent=1, size_exponent=2)
    except TooManyBins:
        return
    assert profile.total == sum(v for _, _, v, _ in rows)
    assert sum(profile.taker_buy) == sum(round(v * s) for _, _, v, s in rows)
    assert sum(profile.trades) == sum(v for _, _, v, _ in rows)
    # No bin is off by as much as a unit a bar from the even spread, computed in fractions of ticks.
    exponent = max(1, Grid.of(size).exponent)
    per_bin = int(size * 10**exponent)
    even: dict[int, Fraction] = defaultdict(Fraction)
    for a, b, v, _ in rows:
        low, high = a * 10 ** (exponent - 1), (a + b) * 10 ** (exponent - 1)
        for at in range(low // per_bin, high // per_bin + 1):
            ticks = min(high, (at + 1) * per_bin - 1) - max(low, at * per_bin) + 1
            even[at] += Fraction(v * ticks, high - low + 1)
    for i, volume in enumerate(profile.volume):
        assert abs(volume - even[profile.first + i]) <= len(rows)


def test_bars_can_roll() -> None:
    values, grid = walk(300), Grid.of("0.05")
    rolling = RollingProfile(grid, 50, exact=False)
    for t in range(300):
        rolling.add(t, profile_of_bars(values[:, t : t + 1], grid, price_exponent=2, size_exponent=3))
        if t % 40 == 39:
            window = values[:, max(0, t - 49) : t + 1]
            assert rolling.profile() == profile_of_bars(window, grid, price_exponent=2, size_exponent=3)


def test_sessions_of_bars_add_up_to_the_whole() -> None:
    values, grid = walk(3000), Grid.of("0.5")
    sessions = session_profiles_of_bars(values, grid, minutes=600)
    whole = Bins(grid, exact=False)
    for part in sessions.values():
        whole.add(part)
    assert whole.profile() == profile_of_bars(values, grid)
    assert all(start % 600 == 0 for start in sessions)


@pytest.mark.parametrize(
    ("values", "places"),
    [([1.0, 20], 0), ([0.1, 0.25], 2), ([1e-8], 8), ([1 / 3], 12), ([1e6 / 3], 9), ([], 0),
     ([np.nan, 0.5], 1), ([0.1 + 0.2], 1)],
)  # fmt: skip
def test_decimal_places_are_those_that_all_values_have(values: list[float], places: int) -> None:
    assert decimals(np.array(values)) == places


def test_prices_of_any_length_are_taken_as_finely_as_they_can_be() -> None:
    values = bar(100 / 3, 1e7 / 3, 5)
    assert profile_of_bars(values, Grid.of("1000")).total == 5


def test_what_no_integer_can_hold_is_refused_with_its_value() -> None:
    with pytest.raises(TooLarge, match=r"a price of 1e\+10 in units of 1e-8"):
        profile_of_bars(bar(1e10, 1e10, 1), Grid.of("1"), price_exponent=8)
    with pytest.raises(TooLarge, match="a volume of 3e"):
        profile_of_bars(bar(1, 1, 3e12), Grid.of("1"), size_exponent=8)
    with pytest.raises(TooLarge, match="bars of up to 4294967296 ticks"):
        profile_of_bars(bar(0, float(1 << 32), 1), Grid.of(1 << 20), price_exponent=0)


# -- levels --------------------------------------------------------------------------------------------


def of_volumes(volumes: Sequence[int], first: int = 10) -> Profile:
    rows = [(0, (first + i) * 100, v, 1) for i, v in enumerate(volumes) if v]
    return profile_of_trades([columns(rows)], Grid.of("1"))


@pytest.mark.parametrize(
    ("volumes", "bin_"),
    [([1, 5, 2], 1), ([5, 1, 2, 5, 1], 3), ([5, 1, 5], 0), ([4, 4, 4], 1), ([4, 4, 4, 4], 1), ([3], 0)],
)
def test_the_point_of_control_is_the_highest_bin_nearest_the_middle_and_then_the_lower(
    volumes: list[int], bin_: int
) -> None:
    assert point_of_control(of_volumes(volumes)) == bin_


def test_where_nothing_was_traded_there_is_no_point_of_control() -> None:
    with pytest.raises(NothingTraded, match="no volume in 0 bins"):
        point_of_control(of_volumes([]))


@pytest.mark.parametrize(
    ("volumes", "area"),
    [
        ([1, 2, 10, 2, 1], (2, 4, 13)),  # a tie: above
        ([10], (0, 0, 10)),
        ([1, 1, 8, 1, 1, 20, 1, 1], (3, 7, 24)),  # above first, then the pair below
        ([1, 9, 0, 20, 5, 2, 1], (1, 3, 29)),
        ([30, 1, 1, 1, 20], (0, 4, 53)),
        ([0, 7, 1, 1, 1], (0, 0, 7)),  # exactly 70 %
    ],
)
def test_the_value_area_grows_by_the_heavier_pair(volumes: list[int], area: tuple[int, int, int]) -> None:
    assert tuple(value_area(of_volumes(volumes))) == area


def slow_value_area(volumes: Sequence[int], control: int, percent: int) -> tuple[int, int]:
    """The rules again, over sets of bins."""
    inside, goal = {control}, Fraction(sum(volumes) * percent, 100)
    everything = range(len(volumes))
    while sum(volumes[i] for i in inside) < goal:
        above = [i for i in everything if max(inside) < i <= max(inside) + 2]
        below = [i for i in everything if min(inside) - 2 <= i < min(inside)]
        up, down = (sum(volumes[i] for i in side) if side else -1 for side in (above, below))
        inside |= set(above if up >= down else below)
    return min(inside), max(inside)


volumes_of_bins = st.lists(st.integers(0, 12), min_size=1, max_size=30).map(lambda v: [1, *v, 1])


@given(volumes=volumes_of_bins, percent=st.integers(1, 100))
def test_point_of_control_and_value_area_equal_the_definitions(volumes: list[int], percent: int) -> None:
    profile = of_volumes(volumes)
    control = point_of_control(profile)
    middle = (len(volumes) - 1) / 2
    ranked = sorted(range(len(volumes)), key=lambda i: (-volumes[i], abs(i - middle), i))
    assert control == ranked[0]
    area = value_area(profile, percent=percent)
    assert (area.low, area.high) == slow_value_area(volumes, control, percent)
    assert area.volume == sum(volumes[area.low : area.high + 1]) >= Fraction(sum(volumes) * percent, 100)


@pytest.mark.parametrize("percent", [0, 101])
def test_a_value_area_is_1_to_100_percent(percent: int) -> None:
    with pytest.raises(ValueError, match=f"a value area of {percent} %"):
        value_area(of_volumes([1]), percent=percent)


def test_two_humps_are_two_high_nodes_with_a_low_one_between_them() -> None:
    highs, lows = nodes(of_volumes([1, 5, 20, 5, 2, 1, 4, 15, 30, 12, 3]))
    assert [n.bin for n in highs] == [2, 8]
    assert [n.bin for n in lows] == [5]
    assert highs[1].volume == 30
    assert highs[1].prominence_ratio == 1


def test_a_ripple_is_no_node() -> None:
    highs, lows = nodes(of_volumes([10, 20, 22, 20, 21, 20, 10]), smoothing=0)
    assert [n.bin for n in highs] == [2]
    assert not lows
    highs, lows = nodes(of_volumes([10, 20, 22, 20, 21, 20, 10]), smoothing=0, prominence_percent=1)
    assert ([n.bin for n in highs], [n.bin for n in lows]) == ([2, 4], [3])


@given(volumes=volumes_of_bins, smoothing=st.integers(0, 3), percent=st.integers(1, 60))
def test_nodes_are_the_peaks_that_scipy_finds(volumes: list[int], smoothing: int, percent: int) -> None:
    highs, lows = nodes(of_volumes(volumes), smoothing=smoothing, prominence_percent=percent)
    smooth = np.array(smoothed(volumes, smoothing))
    least = smooth.max() * percent / 100
    peaks, facts = find_peaks([0, *smooth, 0], prominence=least * (1 - 1e-12))
    assert [n.bin for n in highs] == [p - 1 for p in peaks]
    assert [n.prominence_ratio for n in highs] == pytest.approx(list(facts["prominences"] / smooth.max()))
    troughs, _ = find_peaks(-smooth, prominence=least * (1 - 1e-12))
    assert [n.bin for n in lows] == troughs.tolist()


def test_a_profile_without_volume_has_no_nodes() -> None:
    assert nodes(of_volumes([])) == ([], [])


@pytest.mark.parametrize("wrong", [{"smoothing": 21}, {"smoothing": -1}, {"prominence_percent": 101}])
def test_nodes_have_limits(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"smoothing .*, prominence"):
        nodes(of_volumes([1]), **wrong)


def test_distance_is_the_share_that_lies_elsewhere() -> None:
    same = distance(of_volumes([1, 2, 1]), of_volumes([2, 4, 2]))
    assert same == (0, 0, 1)
    apart = distance(of_volumes([1, 2, 1]), of_volumes([1, 2, 1], first=20))
    assert apart == (1, 10, 0)
    half = distance(of_volumes([4]), of_volumes([2, 2]))
    assert half.total_variation_ratio == 0.5
    with pytest.raises(ValueError, match="bins of 1 and of 2"):
        distance(of_volumes([1]), profile_of_trades([], Grid.of("2")))


# -- real trades ---------------------------------------------------------------------------------------


async def real_batches(day: int) -> list[TradeColumns]:
    store = MemoryEventStore()
    await import_trades(data_file(f"trades/bitflyer/bitflyer.execution.201801{day}.BTC_JPY.csv.gz"), store)
    page = await store.read(0, limit=1_000, names=["market.trades_observed.v1"])
    return [decode(record).event.columns for record in page.records]


def minute_bars(batches: Sequence[TradeColumns]) -> Floats:
    """Bars of one minute by pandas: what a venue would have told of these trades."""
    import pandas as pd

    frame = pd.concat(
        pd.DataFrame(
            {"minute": b.time // MINUTE, "price": b.price / 10**b.price_exponent,
             "size": b.size / 10**b.size_exponent, "buy": b.side == 1}
        )
        for b in batches
    )  # fmt: skip
    bars = frame.groupby("minute").agg(low=("price", "min"), high=("price", "max"), volume=("size", "sum"))
    values = np.full((INPUTS, len(bars)), np.nan)
    values[TIME], values[LOW], values[HIGH] = bars.index, bars["low"], bars["high"]
    values[VOLUME] = bars["volume"].round(8)
    return values


async def test_a_real_day_is_exact_and_its_approximation_near_by_so_much(record_property: Any) -> None:
    """How near is reported; asserted is that it keeps the volume and beats a profile without a shape."""
    batches = await real_batches(27)
    prices = np.concatenate([b.price / 10**b.price_exponent for b in batches])
    grid = Grid.fitting(Decimal(prices.min()), Decimal(prices.max()))
    exact = profile_of_trades(batches, grid)
    assert as_fractions(exact) == slow_profile(batches, grid.size)
    bars = minute_bars(batches)
    rough = profile_of_bars(bars, grid, price_exponent=0, size_exponent=8)
    assert float(rough.quantity(rough.total)) == pytest.approx(float(exact.quantity(exact.total)), rel=1e-9)
    whole = bars[:, :1].copy()
    whole[LOW], whole[HIGH], whole[VOLUME] = bars[LOW].min(), bars[HIGH].max(), bars[VOLUME].sum()
    shapeless = profile_of_bars(whole, grid, price_exponent=0, size_exponent=6)
    apart, control, overlap = distance(exact, rough)
    record_property("total_variation_ratio", apart)
    record_property("point_of_control_bins", control)
    record_property("value_area_overlap_ratio", overlap)
    assert apart < distance(exact, shapeless).total_variation_ratio / 2


async def test_real_days_by_session_add_up_to_the_file() -> None:
    batches = await real_batches(27)  # a Japanese day: two UTC days
    grid = Grid.of("1000")
    sessions = session_profiles(batches, grid)
    assert [start % DAY for start in sessions] == [0, 0]
    assert sum(p.total * 10 ** (12 - p.size_exponent) for p in sessions.values()) == sum(
        int(s) * 10 ** (12 - b.size_exponent) for b in batches for s in b.size
    )

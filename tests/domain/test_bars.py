"""Bars as exact values: plain decimals, averages, and stand-ins for bars that are not there."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.market.bars import Bar, Fill, filled, merged, plain

BAR = Bar(
    start=0,
    timeframe=1,
    source=0,
    open=Decimal(10),
    high=Decimal(10),
    low=Decimal(10),
    close=Decimal(10),
    base_volume=Decimal(1),
    quote_volume=Decimal(10),
    taker_buy_volume=Decimal(0),
    trade_count=1,
    open_time=0,
    open_id=1,
    close_time=0,
    close_id=1,
    minutes=1,
    revision=0,
    flags=0,
    position=1,
)
amounts = st.decimals(min_value=0, max_value=10**20, places=10)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=18))
def test_plain_decimals_are_equal_and_never_in_powers_of_ten(value: Decimal) -> None:
    text = str(plain(value))
    assert Decimal(text) == value
    assert f"{plain(value):f}".rstrip("0") == f"{plain(value):f}" or "." not in f"{plain(value):f}"


@given(amounts, amounts)
def test_vwap_is_the_exact_quotient_rounded_half_up_to_18_decimals(base: Decimal, quote: Decimal) -> None:
    found = replace(BAR, base_volume=base, quote_volume=quote).vwap
    if not base:
        assert found is None
        return
    assert found is not None
    exact = Fraction(quote) / Fraction(base) * 10**18
    assert Fraction(found) * 10**18 == (exact + Fraction(1, 2)).__floor__()


@pytest.mark.parametrize("missing", ["base_volume", "quote_volume"])
def test_vwap_needs_both_volumes(missing: str) -> None:
    assert replace(BAR, **{missing: None}).vwap is None


def test_a_larger_bar_opens_with_the_least_time_and_id_and_closes_with_the_greatest() -> None:
    one = replace(BAR, start=1, open_time=5, close_time=7, open=Decimal(1), close=Decimal(2), flags=1)
    two = replace(BAR, start=2, open_time=5, open_id=0, close_time=7, close_id=0, open=Decimal(3), flags=2)
    found = merged([one, two], 5)
    assert (found.start, found.open, found.close, found.flags, found.minutes) == (0, 3, 2, 3, 2)
    assert (found.base_volume, found.trade_count, found.high, found.low) == (2, 2, 10, 10)


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    found = merged([BAR, replace(BAR, base_volume=None, trade_count=None)], 5)
    assert (found.base_volume, found.trade_count, found.quote_volume) == (None, None, 20)


def test_stand_ins_repeat_or_draw_a_line_and_say_so() -> None:
    there = {0: BAR, 3: replace(BAR, start=3, open=Decimal("11.5"))}
    prices = {
        fill: [bar.close for bar in filled(there, range(5), 1, fill)]
        for fill in (Fill.EMPTY, Fill.PREVIOUS, Fill.LINEAR)
    }
    assert prices[Fill.EMPTY] == [10, None, None, 10, None]
    assert prices[Fill.PREVIOUS] == [10, 10, 10, 10, 10]
    assert prices[Fill.LINEAR] == [10, Decimal("10.5"), 11, 10, None]
    assert [b.filled for b in filled(there, range(5), 1, Fill.LINEAR)] == [False, True, True, False, True]


def test_a_line_is_rounded_two_digits_finer_than_its_ends() -> None:
    after = replace(BAR, start=3, open=Decimal("10.1"))
    found = [b.close for b in filled({}, [1, 2], 1, Fill.LINEAR, before=BAR, after=after)]
    assert found == [Decimal("10.033"), Decimal("10.067")]

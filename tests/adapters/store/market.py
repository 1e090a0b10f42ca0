"""Trades and bars for the tests of columns, and the hypothesis strategies that vary them."""

import numpy as np
from hypothesis import strategies as st

from alphapulse.domain.market.columns import MAX_EXPONENT, BarColumns, TradeColumns
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.fundamentals import (
    FundingColumns,
    FundingObserved,
    Headline,
    HeadlinesObserved,
)
from alphapulse.domain.market.instrument import Instrument

KRAKEN = Instrument("kraken", "BTC/USD")
INT64 = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(-200, 200),
    st.integers(-9_000, 9_000).map(lambda n: n * 10**14),
    st.sampled_from([-(1 << 63), (1 << 63) - 1, 0, 10**18, -(10**18)]),
)
EXPONENTS = st.integers(0, MAX_EXPONENT)


def trades(rows: int = 3, *, seed: int = 0, exponents: tuple[int, int] = (2, 8)) -> TradesObserved:
    """A tape as a venue would send it: times in whole milliseconds, sizes of every order, ids in a row."""
    random = np.random.default_rng(seed)
    time = 1_700_000_000_000 + np.cumsum(random.integers(0, 80, rows))
    return TradesObserved(
        instrument=KRAKEN,
        columns=TradeColumns(
            time=time * 1_000_000,
            price=4_000_000 + np.cumsum(random.integers(-50, 51, rows)),
            size=np.exp(random.normal(11, 2, rows)).astype(np.int64) + 1,
            side=random.choice(np.array([1, -1], np.int8), rows),
            id=np.arange(rows, dtype=np.int64) + 77_000_000,
            flags=np.zeros(rows, np.uint8),
            price_exponent=exponents[0],
            size_exponent=exponents[1],
        ),
    )


def bars(rows: int = 3) -> BarsObserved:
    """Minute bars as a venue would supply them."""
    minutes = np.arange(rows, dtype=np.int64)
    return BarsObserved(
        instrument=KRAKEN,
        timeframe_minutes=1,
        volume_unit="base",
        columns=BarColumns(
            start=(28_000_000 + minutes) * 60_000_000_000,
            open=4_000_000 + minutes,
            high=4_000_500 + minutes,
            low=3_999_500 + minutes,
            close=4_000_100 + minutes,
            volume=minutes * 1_000 + 5,
            trade_count=np.full(rows, -1, np.int64),
            price_exponent=2,
            volume_exponent=8,
        ),
    )


def funding(rows: int = 3) -> FundingObserved:
    """Rates every eight hours, of both signs, stamped some milliseconds late."""
    index = np.arange(rows, dtype=np.int64)
    return FundingObserved(
        instrument=KRAKEN,
        columns=FundingColumns(
            time=1_700_006_400_000_000_000 + index * 28_800_000_000_000 + index % 7 * 1_000_000,
            rate=12_359 - index * 9_000,
            interval_hours=np.full(rows, 8, np.int64),
            rate_exponent=8,
        ),
    )


def headlines() -> HeadlinesObserved:
    time = 1_655_316_120_000_000_000
    return HeadlinesObserved(
        source="wire",
        headlines=(
            Headline(
                time=time,
                title="Rates rise by 75 basis points",
                url="https://wire.example/1",
                publisher="Wire",
                subjects=("BTC", "ETH"),
                sentiment=-0.25,
            ),
            Headline(
                time=time + 60_000_000_000,
                title="„Ungewiss“",
                url="",
                publisher="",
                subjects=(),
                sentiment=None,
            ),
        ),
    )


@st.composite
def any_funding(draw: st.DrawFn) -> FundingObserved:
    rows = draw(st.integers(1, 20))
    time, rate = (np.array(draw(st.lists(INT64, min_size=rows, max_size=rows)), np.int64) for _ in range(2))
    hours = draw(st.lists(st.integers(1, 168), min_size=rows, max_size=rows))
    return FundingObserved(
        instrument=KRAKEN,
        columns=FundingColumns(
            time=time, rate=rate, interval_hours=np.array(hours, np.int64), rate_exponent=draw(EXPONENTS)
        ),
    )


def any_headlines() -> st.SearchStrategy[HeadlinesObserved]:
    text = st.text(max_size=50)
    headline = st.builds(
        Headline,
        time=st.integers(0, (1 << 62) - 1),
        title=st.text(min_size=1, max_size=50),
        url=text,
        publisher=text,
        subjects=st.lists(st.sampled_from(["BTC", "ETH", "XRP"]), max_size=3).map(tuple),
        sentiment=st.none() | st.floats(-1, 1),
    )
    return st.builds(
        HeadlinesObserved, source=text, headlines=st.lists(headline, min_size=1, max_size=5).map(tuple)
    )


@st.composite
def any_trades(draw: st.DrawFn) -> TradesObserved:
    rows = draw(st.integers(1, 40))

    def column(elements: st.SearchStrategy[int], dtype: type) -> "np.ndarray[tuple[int], np.dtype]":
        return np.array(draw(st.lists(elements, min_size=rows, max_size=rows)), dtype)

    return TradesObserved(
        instrument=KRAKEN,
        columns=TradeColumns(
            time=column(INT64, np.int64),
            price=column(INT64, np.int64),
            size=column(INT64, np.int64),
            side=column(
                draw(st.sampled_from([st.sampled_from([1, -1]), st.sampled_from([1, -1, 0])])), np.int8
            ),
            id=column(INT64, np.int64),
            flags=column(draw(st.sampled_from([st.just(0), st.integers(0, 255)])), np.uint8),
            price_exponent=draw(EXPONENTS),
            size_exponent=draw(EXPONENTS),
        ),
    )


@st.composite
def any_bars(draw: st.DrawFn) -> BarsObserved:
    rows = draw(st.integers(1, 20))
    columns = [np.array(draw(st.lists(INT64, min_size=rows, max_size=rows)), np.int64) for _ in range(7)]
    return BarsObserved(
        instrument=KRAKEN,
        timeframe_minutes=draw(st.integers(1, 10_080)),
        volume_unit=draw(st.sampled_from(["base", "quote", "contracts"])),
        columns=BarColumns(
            start=columns[0],
            open=columns[1],
            high=columns[2],
            low=columns[3],
            close=columns[4],
            volume=columns[5],
            trade_count=columns[6],
            price_exponent=draw(EXPONENTS),
            volume_exponent=draw(EXPONENTS),
        ),
    )

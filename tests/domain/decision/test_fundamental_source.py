"""Funding and headlines as context of rows: what was in the log and had happened by then, else NaN."""

import numpy as np
import pytest

from alphapulse.domain.decision import fundamental_source
from alphapulse.domain.decision.fundamental_source import FundamentalSource, base_of
from alphapulse.domain.market.fundamentals import (
    HOUR_NS,
    FundingColumns,
    FundingObserved,
    Headline,
    HeadlinesObserved,
)
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.signals.engine_contexts import ContextSource
from tests.domain.decision.test_reference import closed

MARKET = "sim:BTC_USD"
MINUTE = 60_000_000_000
ROWS = closed(MARKET, np.full(3, 100.0), [1, 2, 3])  # known at minutes 1,001 to 1,003
NOW = 1_001 * MINUTE


def funding(market: str, *rates: float, last: int = NOW) -> FundingObserved:
    """Rates in millionths, 8 hours apart, the last one at ``last``."""
    time = last - 8 * HOUR_NS * np.arange(len(rates) - 1, -1, -1)
    columns = FundingColumns(
        time=time.astype(np.int64),
        rate=np.array(rates, dtype=np.int64),
        interval_hours=np.full(len(rates), 8, dtype=np.int64),
        rate_exponent=6,
    )
    return FundingObserved(instrument=Instrument.parse(market), columns=columns)


def headlines(*given: tuple[int, float | None], subject: str = "BTC") -> HeadlinesObserved:
    made = [
        Headline(time=time, title=f"at {time}", url="", publisher="p", subjects=(subject,), sentiment=score)
        for time, score in given
    ]
    return HeadlinesObserved(source="s", headlines=tuple(sorted(made, key=lambda h: h.key)))


def asked(source: FundamentalSource, market: str = MARKET) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in source.columns(market, 1, ROWS).items()}


def test_it_is_what_the_engine_asks_for():
    source: ContextSource = FundamentalSource()
    assert source.markets == frozenset()


def test_where_nothing_is_known_all_is_nan():
    assert all(np.isnan(values).all() for values in asked(FundamentalSource()).values())


def test_rates_and_headlines_show_in_the_rows_after_they_happened():
    source = FundamentalSource()
    source.fold(1, "", funding(MARKET, 100, 300, last=NOW + MINUTE))
    source.fold(2, "", headlines((NOW - HOUR_NS, 0.5), (NOW + 2 * MINUTE, -0.1)))
    got = asked(source)
    assert got["funding_rate"] == [1e-4, 3e-4, 3e-4]
    assert np.isnan(got["funding_deviation"][0])
    assert got["funding_deviation"][1] > 0
    assert got["headlines"] == [1, 1, 2]
    assert got["sentiment"][0] == 0.5
    assert -0.1 < got["sentiment"][2] < 0.5


def test_a_market_without_rates_is_told_the_first_ones_of_its_base_asset_and_its_own_once_there_are():
    source = FundamentalSource()
    source.fold(1, "", funding("binance:BTCUSDT", 100))
    source.fold(2, "", funding("bybit:BTCUSDT", 200))
    source.fold(3, "", funding("binance:ETHUSDT", 900))
    assert asked(source)["funding_rate"] == [1e-4] * 3
    source.fold(4, "", funding(MARKET, 400))
    assert asked(source)["funding_rate"] == [4e-4] * 3
    assert np.isnan(asked(source, "sim:XRP_USD")["funding_rate"]).all()


def test_headlines_about_another_asset_say_nothing():
    source = FundamentalSource()
    source.fold(1, "", headlines((NOW, 0.5), subject="ETH"))
    assert np.isnan(asked(source)["sentiment"]).all()
    assert asked(source, "sim:ETH_USD")["sentiment"] == [0.5] * 3


def test_restored_it_says_the_same_and_goes_on_alike():
    source = FundamentalSource()
    source.fold(1, "", funding("binance:BTCUSDT", 100, 150))
    source.fold(2, "", headlines((NOW - HOUR_NS, 0.5), (NOW, None)))
    again = FundamentalSource()
    again.restore(source.packed())
    assert again.packed() == source.packed()
    for each in (source, again):
        each.fold(3, "", funding("binance:BTCUSDT", 50, last=NOW + MINUTE))
        each.fold(4, "", headlines((NOW + MINUTE, -1.0)))
    np.testing.assert_equal(asked(again), asked(source))
    assert again.packed() == source.packed()
    again.restore(b"")
    assert all(np.isnan(values).all() for values in asked(again).values())


def test_other_events_are_passed_over():
    source = FundamentalSource()
    before = source.packed()
    source.fold(1, MARKET, object())
    assert source.packed() == before


def test_markets_beyond_the_limit_are_passed_over_and_those_within_go_on(monkeypatch):
    monkeypatch.setattr(fundamental_source, "MAX_MARKETS", 1)
    source = FundamentalSource()
    source.fold(1, "", funding(MARKET, 100))
    source.fold(2, "", funding("sim:ETH_USD", 200))
    source.fold(3, "", funding(MARKET, 300, last=NOW + MINUTE))
    assert asked(source)["funding_rate"] == [1e-4, 3e-4, 3e-4]
    assert np.isnan(asked(source, "sim:ETH_USD")["funding_rate"]).all()


@pytest.mark.parametrize(
    ("instrument", "base"),
    [
        ("bitflyer:BTC_JPY", "BTC"),
        ("bitflyer:FX_BTC_JPY", "BTC"),
        ("bitfinex:tBTCUSD", "BTC"),
        ("bitfinex:tBTCF0", "BTC"),
        ("bitmex:XBTUSD", "BTC"),
        ("binance:ETHBTC", "ETH"),
        ("binance:BTCUSDT", "BTC"),
        ("kraken:XBT/USD", "BTC"),
        ("binance:BTCTUSD", "BTC"),
        ("sim:EURUSD", "EUR"),
        ("sim:GOOG", "GOOG"),
        ("sim:USD", "USD"),
    ],
)
def test_the_base_asset_is_read_from_the_symbol(instrument, base):
    assert base_of(instrument) == base

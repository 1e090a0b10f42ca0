# ruff: noqa: E501  the table of files reads best with one file a line
"""Every real trade and bar file: as many rows, blanks, repeats and trades as its description counts."""

import numpy as np
import pytest

from alphapulse.adapters.files.formats import BarMapping
from alphapulse.adapters.files.open import Naming
from alphapulse.adapters.store import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.market.columns import RECEIVE_TIME, UNKNOWN
from alphapulse.domain.market.timeframes import TIMEFRAMES
from alphapulse.processes.importing import import_bars, import_trades
from tests.market_data import data_file

LTC, XRP = Naming(symbol="LTCUSDT"), Naming(venue="binance", symbol="XRP_ETH")
ANY = Naming()

# file, naming, format, rows, identical repeats, refused, first time (ms), last time (ms)
TRADES = [
    ("binance_bnbusdt/BNBUSDT-aggTrades-2023-06_9000Rows.parquet", Naming(symbol="BNBUSDT"), "binance_renko", 8999, 0, 0, "2023-06-01T00:00:05.929", "2023-06-01T02:47:25.644"),
    ("binance_btcusdt/btcusdt_trades_30min.parquet", Naming(symbol="BTCUSDT"), "binance_parquet", 16702, 0, 0, "2024-01-01T12:00:00", "2024-01-01T12:30:00"),
    ("binance_btcusdt/trades_btc_spot_2026-02-16_04.parquet", ANY, "microstructure", 10215, 0, 0, "2026-02-16T04:00:00.204", "2026-02-16T04:04:58.965"),
    ("binance_futures_tardis/trades.csv.gz", ANY, "tardis", 9999, 0, 0, "2020-02-22T00:00:02.111", "2020-02-22T02:05:47.728"),
    ("binance_ltcusdt/LTCUSDT_2025-06-21_06h_trades.csv", LTC, "binance_tradeid", 4311, 0, 0, "2025-06-21T12:04:27.356", "2025-06-21T13:59:59.306"),
    ("binance_ltcusdt/LTCUSDT_2025-06-21_09h_trades.csv.gz", LTC, "binance_tradeid", 8386, 0, 0, "2025-06-21T14:00:00.282", "2025-06-21T16:59:57.786"),
    ("binance_ltcusdt/LTCUSDT_2025-06-21_12h_trades.csv.gz", LTC, "binance_tradeid", 11985, 0, 0, "2025-06-21T17:00:00.138", "2025-06-21T19:59:58.112"),
    ("binance_ltcusdt/LTCUSDT_2025-06-21_15h_trades.csv.gz", LTC, "binance_tradeid", 20061, 0, 0, "2025-06-21T20:00:00.955", "2025-06-21T22:59:49.697"),
    ("binance_ltcusdt/LTCUSDT_2025-06-21_18h_trades.csv.gz", LTC, "binance_tradeid", 8582, 0, 0, "2025-06-21T23:00:00.100", "2025-06-21T23:59:58.932"),
    ("binance_ltcusdt/LTCUSDT_2025-06-22_00h_trades.csv", LTC, "binance_tradeid", 7424, 0, 0, "2025-06-22T05:00:00.946", "2025-06-22T07:59:58.819"),
    ("binance_ltcusdt/LTCUSDT_2025-06-22_03h_trades.csv.gz", LTC, "binance_tradeid", 10717, 0, 0, "2025-06-22T08:00:01.452", "2025-06-22T10:59:58.320"),
    ("binance_ltcusdt/LTCUSDT_2025-06-22_06h_trades.csv.gz", LTC, "binance_tradeid", 26233, 0, 0, "2025-06-22T11:00:06.150", "2025-06-22T13:59:59.082"),
    ("binance_trx/test_positive_binance_trade_stream_coin_m_futures_trxusd_perp_04-03-2025.csv.gz", ANY, "binance_stream", 10000, 0, 0, "2025-03-04T00:00:04.986", "2025-03-04T03:12:39.729"),
    ("binance_trx/test_positive_binance_trade_stream_spot_trxusdt_04-03-2025.csv.gz", ANY, "binance_stream", 10000, 0, 0, "2025-03-04T00:00:01.271", "2025-03-04T00:47:59.150"),
    ("binance_xrpeth/XRP_ETH-trades.parquet", XRP, "freqtrade", 12477, 0, 0, "2019-10-11T00:00:11.620", "2019-10-13T11:19:28.844"),
    ("binance_xrpeth/XRP_OLD-trades.json.gz", Naming(venue="binance"), "ccxt_json", 12477, 0, 0, "2019-10-11T00:00:11.620", "2019-10-13T11:19:28.844"),
    ("bitflyer/bitflyer.execution.20180121.BTC_JPY.csv.gz", ANY, "bitflyer", 143107, 96, 0, "2018-01-20T15:00:05.797", "2018-01-21T14:59:40.009"),
    ("bitflyer/bitflyer.execution.20180125.BTC_JPY.csv.gz", ANY, "bitflyer", 115008, 47, 0, "2018-01-24T14:59:40.447", "2018-01-25T14:59:27.062"),
    ("bitflyer/bitflyer.execution.20180128.ETH_BTC.csv.gz", ANY, "bitflyer", 5331, 1269, 0, "2018-01-27T12:20:54.001", "2018-01-28T14:55:42.043"),
    # Row 8524 has a size of 0.000000000000.
    ("bitstamp/bitstampUSD.csv.gz", ANY, "bitstamp", 9999, 0, 1, "2011-09-13T13:53:36", "2012-05-31T08:41:18"),
    ("coinbase_btcusd/btc_trades.csv.gz", ANY, "coinbase_questdb", 5882, 0, 0, "2023-09-05T16:00:01.281", "2023-09-05T16:59:58.761"),
    ("freqtrade_orderflow/public_trades_list.csv", XRP, "freqtrade", 1000, 0, 0, "2023-02-02T09:20:00.138", "2023-02-02T09:23:27.493"),
    ("gemini_ethusd/gemini__eth-usd__2021-07-01__trade.csv.gz", Naming(symbol="ETH_USD"), "gemini", 25222, 0, 0, "2021-07-01T00:00:21.647", "2021-07-01T23:59:58.988"),
    ("mtgox/trades-mgtox-usd-2013-01-01.csv", ANY, "mtgox", 2331, 0, 0, "2013-01-01T00:04:19.486", "2013-01-01T23:58:31.193"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "naming", "form", "rows", "repeats", "refused", "first", "last"),
    TRADES,
    ids=[t[0] for t in TRADES],
)
async def test_a_real_trade_file_gives_the_trades_it_is_said_to_hold(
    name: str, naming: Naming, form: str, rows: int, repeats: int, refused: int, first: str, last: str
) -> None:
    path = data_file(f"trades/{name}")
    store = MemoryEventStore()
    done = await import_trades(path, store, naming=naming)
    assert (done.format, done.rows, done.duplicates, done.refused) == (form, rows, repeats, refused)
    assert done.accepted == rows - repeats - refused
    assert done.time_lo is not None
    assert done.time_hi is not None
    # Times of receipt may lie outside the span that the described times cover, so a day is compared there.
    exact = not name.startswith("bitflyer")
    assert _text(done.time_lo)[: len(first) if exact else 10] == first[: len(first) if exact else 10]
    assert _text(done.time_hi)[: len(last) if exact else 10] == last[: len(last) if exact else 10]
    head = await store.head()
    again = await import_trades(path, store, naming=naming)
    assert (again.accepted, again.duplicates, again.refused) == (0, rows - refused, refused)
    assert await store.head() == head


BITFLYER = [  # day, rows, repeats, blank times in the file, blank sides in the file
    ("20180121.BTC_JPY", 143107, 96, 457, 4), ("20180122.BTC_JPY", 190036, 0, 628, 25),
    ("20180123.BTC_JPY", 165570, 0, 584, 49), ("20180124.BTC_JPY", 135670, 0, 424, 64),
    ("20180125.BTC_JPY", 115008, 47, 415, 7), ("20180126.BTC_JPY", 100803, 0, 271, 162),
    ("20180127.BTC_JPY", 78897, 0, 291, 15), ("20180128.BTC_JPY", 120030, 0, 407, 18),
]  # fmt: skip


async def test_the_bitflyer_days_keep_their_blank_times_and_sides_and_lose_only_repeats() -> None:
    store = MemoryEventStore()
    for day, rows, repeats, blank_times, blank_sides in BITFLYER:
        before = await store.version("trades-bitflyer-BTC_JPY")
        done = await import_trades(data_file(f"trades/bitflyer/bitflyer.execution.{day}.csv.gz"), store)
        assert (done.rows, done.accepted, done.duplicates, done.refused) == (rows, rows - repeats, repeats, 0)
        records = await store.read_stream("trades-bitflyer-BTC_JPY", after=before, limit=500)
        batches = [codec.decode(r).event.columns for r in records]
        assert sum(len(c) for c in batches) == rows - repeats
        assert sum(int((c.flags & RECEIVE_TIME).sum()) for c in batches) == blank_times
        assert sum(int((c.side == UNKNOWN).sum()) for c in batches) == blank_sides
    records = await store.read_stream("trades-bitflyer-BTC_JPY", limit=500)
    ids = [i for r in records for i in codec.decode(r).event.columns.id.tolist()]
    assert len(ids) == len(set(ids)) == 1_048_978


async def test_the_same_trades_from_parquet_and_from_json_are_recognised_by_their_ids() -> None:
    store = MemoryEventStore()
    await import_trades(data_file("trades/binance_xrpeth/XRP_ETH-trades.parquet"), store, naming=XRP)
    naming = Naming(venue="binance", symbols={"XRP/ETH": "XRP_ETH"})
    done = await import_trades(
        data_file("trades/binance_xrpeth/XRP_OLD-trades.json.gz"), store, naming=naming
    )
    assert (done.accepted, done.duplicates, done.refused) == (0, 12477, 0)


WIDE = BarMapping(
    name="map", time="#1", time_unit="iso",
    open="ETH:open", high="ETH:high", low="ETH:low", close="ETH:close", volume="ETH:volume",
)  # fmt: skip
MARKET = Naming(venue="venue", symbol="BTC_USD")
BARS = [  # file, format, timeframe, rows, refused
    ("bitfinex_1m/BTCUSD-1m-2018.parquet", "auto", "1m", 520499, 0),
    ("bitmex/XBTUSD-1d.parquet", "auto", "1d", 1267, 0),
    ("bitmex/XBTUSD-1h.parquet", "auto", "1h", 30417, 0),
    ("bitmex/XBTUSD-5m.parquet", "auto", "5m", 343712, 0),
    ("btc_perp_1m/btc-perp-20211231-20220201_1m.csv.gz", "auto", "1m", 45031, 0),
    ("cryptodatadownload/Coinbase_BTCUSD_1h.csv.gz", "auto", "1h", 20111, 0),
    ("cryptodatadownload/Coinbase_BTCUSD_d.csv", "auto", "1d", 1770, 0),
    ("cryptodatadownload/bitfinex-1h-btc-usd.csv.gz", "auto", "1h", 17583, 0),
    ("freqtrade_5m/ETH_BTC-5m.feather", "auto", "5m", 5760, 0),
    ("freqtrade_5m/XLM_BTC-5m.feather", "auto", "5m", 5760, 0),
    ("freqtrade_5m/XMR_BTC-5m.feather", "auto", "5m", 5758, 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "form", "timeframe", "rows", "refused"), BARS, ids=[b[0] for b in BARS])
async def test_a_real_bar_file_gives_the_bars_it_is_said_to_hold(
    name: str, form: str, timeframe: str, rows: int, refused: int
) -> None:
    path, store = data_file(f"klines/{name}"), MemoryEventStore()
    naming = Naming(venue="venue", symbol=None if "cryptodata" in name else "BTC_USD")
    minutes = TIMEFRAMES[timeframe]
    done = await import_bars(path, store, timeframe_minutes=minutes, file_format=form, naming=naming)
    assert (done.rows, done.accepted, done.duplicates, done.refused) == (rows, rows - refused, 0, refused)
    head = await store.head()
    again = await import_bars(path, store, timeframe_minutes=minutes, file_format=form, naming=naming)
    assert (again.accepted, again.duplicates) == (0, rows - refused)
    assert await store.head() == head


async def test_a_wide_file_of_three_markets_is_read_by_a_mapping_and_its_blank_days_are_refused() -> None:
    path = data_file("klines/cryptodatadownload/bitstamp_(BTC,ETH,LTC)USD_d.csv")
    store = MemoryEventStore()
    done = await import_bars(path, store, timeframe_minutes=1440, file_format=WIDE, naming=MARKET)
    assert done.rows == 1865
    assert done.refused > 0
    assert done.first_refusals[0].reason == "open is blank"
    assert done.accepted == 1865 - done.refused


def _text(ns: int) -> str:
    return str(np.datetime64(ns, "ns"))

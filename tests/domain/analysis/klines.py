"""Readers of the real klines, each a name for a file and bars (INPUTS, T) out of it, oldest first.

Times are a running minute: what is tested here does not look at the clock. Takers' volume and the number
of trades are not in these files; they are made up from the volume.
"""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.feather as feather
import pyarrow.parquet as parquet

from alphapulse.domain.analysis.fields import Floats
from tests.domain.analysis.series import from_ohlcv
from tests.market_data import data_file

_NAMES = ("open", "high", "low", "close", "volume")
_LEAN_DAYS = ("20170903", "20170904", "20180404", "20180405")

KLINES = (
    *(f"bitfinex_1m/{coin}USD-1m-2018.parquet" for coin in ("BTC", "ETH", "XRP")),
    *(f"bitmex/XBTUSD-{timeframe}.parquet" for timeframe in ("1m", "5m", "1h", "1d")),
    "btc_perp_1m/btc-perp-20211231-20220201_1m.csv.gz",
    "cryptodatadownload/Coinbase_BTCUSD_1h.csv.gz",
    "cryptodatadownload/Coinbase_BTCUSD_d.csv",
    "cryptodatadownload/bitfinex-1h-btc-usd.csv.gz",
    *(f"cryptodatadownload/bitstamp_(BTC,ETH,LTC)USD_d.csv:{coin}" for coin in ("BTC", "ETH", "LTC")),
    *(f"freqtrade_5m/{coin}_BTC-5m.feather" for coin in ("ETH", "LTC", "XLM", "XMR", "ZEC")),
    "ta4j/Binance-ETH-USD-PT5M-20230313_20230315.json",
    "ta4j/Coinbase-BTC-USD-PT4H-20160518_20251028.json.gz",
    "ta4j/Coinbase-ETH-USD-PT1D-20160517_20260310.json.gz",
    "ta4j/TradingView-INDEX_BTCUSD-PT1D-20091005_20260306.json.gz",
    "lean/crypto/coinbase/daily/btcusd_trade.zip",
    "lean/crypto/coinbase/second/btcusd/20161008_trade.zip",
    *(f"lean/crypto/coinbase/minute/btcusd/{day}_trade.zip" for day in (*_LEAN_DAYS, "20171217")),
    *(f"lean/crypto/coinbase/minute/ethusd/{day}_trade.zip" for day in _LEAN_DAYS),
    "lean/crypto/bitfinex/hour/btcusd_trade.zip",
    "lean/crypto/binance/hour/btcusdt_trade.zip",
    "lean/crypto/binance/minute/btcbusd/20221213_trade.zip",
    "lean/crypto/bybit/minute/btcusdt/20221213_trade.zip",
    "lean/cryptofuture/bybit/minute/btcusdt/20221213_trade.zip",
    "lean/cryptofuture/bybit/minute/btcusd/20221213_trade.zip",
    "lean/cryptofuture/binance/hour/adausdt_trade.zip",
    "lean/cryptofuture/binance/daily/adausdt_trade.zip",
)


def klines(name: str, rows: int | None = None) -> Floats:
    """The bars of one of KLINES, the last ``rows`` of them; skips the test where the data is not."""
    file, _, column = name.partition(":")
    path = data_file(f"klines/{file}")
    columns = _read(path, column)
    whole = np.stack(columns)[:, -rows if rows else None :]
    return from_ohlcv(*whole)


def _read(path: Path, column: str) -> list[Floats]:
    if path.suffix == ".parquet":
        table = parquet.read_table(path, columns=list(_NAMES))
        return [table[name].to_numpy().astype(np.float64) for name in _NAMES]
    if path.suffix == ".feather":
        table = feather.read_table(path)
        return [table[name].to_numpy().astype(np.float64) for name in _NAMES]
    if path.suffix == ".zip":
        return _columns([row[1:6] for row in csv.reader(io.StringIO(_unzipped(path)))])
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".json" in path.name:
        return _from_json(json.loads(text))
    return _from_csv(text.decode(), column)


def _unzipped(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0]).decode()


def _columns(rows: list[list[Any]]) -> list[Floats]:
    return list(np.array(rows, dtype=np.float64).T)


def _from_json(data: dict[str, Any]) -> list[Floats]:
    if "candles" in data:
        return _columns([[bar[name] for name in _NAMES] for bar in data["candles"]])
    names = ("openPrice", "highPrice", "lowPrice", "closePrice", "volume")
    return _columns([[bar[name] for name in names] for bar in data["ohlc"]])


def _from_csv(text: str, column: str) -> list[Floats]:
    lines = text.splitlines()
    if "CryptoDataDownload" in lines[0]:
        lines = lines[1:]
    rows = list(csv.DictReader(lines))
    newest_first = "symbol" in {key.lower() for key in rows[0]}
    found = {(key or "").lower(): key for key in rows[0]}
    prefix = f"{column.lower()}:" if column else ""
    volume = next(n for n in (f"{prefix}volume", "volumefrom") if n in found)
    if "volume_btc" in found:
        volume = "volume_btc"
    keys = [found[f"{prefix}{name}"] for name in _NAMES[:4]] + [found[volume]]
    columns = _columns([[row[k] for k in keys] for row in rows if row[keys[0]]])
    return [c[::-1].copy() for c in columns] if newest_first else columns

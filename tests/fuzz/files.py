"""Targets: files that somebody hands us: trades, bars, funding rates, headlines, labels.

Only UnreadableFile, Unnamed and BadLabels may come out; whatever else is read is judged row by row, and of
trades each row is accepted, a repeat, or refused with a reason.
"""

import atexit
import gzip
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import zstandard

from alphapulse.adapters.files.funding import funding_chunks, open_funding
from alphapulse.adapters.files.headlines import open_headlines
from alphapulse.adapters.files.labels import BadLabels, read_labels
from alphapulse.adapters.files.observe import bar_chunks, trade_chunks
from alphapulse.adapters.files.open import Naming, Unnamed, open_bars, open_trades
from alphapulse.adapters.files.reader import UnreadableFile
from alphapulse.domain.market.normalise import judge
from alphapulse.domain.market.normalise_bars import judge_bars
from tests.adapters.files.test_file_formats import SAMPLES
from tests.fuzz.target import Target, place_of

_NAMED = Naming(venue="somewhere", symbol="BTC_USD")
_MEMORY = Path("/dev/shm")
_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def _trades(path: Path) -> int:
    rows = 0
    for raw in trade_chunks(open_trades(path, naming=_NAMED)):
        judge(raw, "0" * 64)
        rows += len(raw)
    return rows


def _unnamed_trades(path: Path) -> int:
    return sum(len(raw) for raw in trade_chunks(open_trades(path)))


def _bars(path: Path) -> int:
    rows = 0
    file = open_bars(path, naming=_NAMED)
    for raw in bar_chunks(file):
        judge_bars(raw, timeframe_minutes=1, open_is_last_close=file.mapping.open_is_last_close)
        rows += len(raw)
    return rows


def _funding(path: Path) -> int:
    file = open_funding(path, naming=_NAMED, east_s=0, interval_hours=8)
    return sum(len(raw.row) for raw in funding_chunks(file))


def _headlines(path: Path) -> int:
    return sum(len(raw.headlines) for raw in open_headlines(path, source="desk").chunks())


def _labels(path: Path) -> int:
    return len(read_labels(path)[1].instrument)


_KINDS: Sequence[tuple[str, Callable[[Path], int]]] = (
    ("in.csv", _trades),
    ("in.csv", _unnamed_trades),
    ("in.csv", _bars),
    ("in.csv", _funding),
    ("in.csv", _headlines),
    ("in.csv", _labels),
    ("in.parquet", _labels),
)
_PACKED: Sequence[Callable[[bytes], bytes]] = (
    bytes,
    lambda data: gzip.compress(data, 1, mtime=0),
    zstandard.ZstdCompressor(level=1).compress,
)


def check_file(data: bytes) -> str:
    """First byte: read as what, and packed how first (not at all, gzip, zstd). Rest: the file."""
    if not data:
        return "empty"
    name, read = _KINDS[data[0] % len(_KINDS)]
    path = _FOLDER / name
    path.write_bytes(_PACKED[data[0] // len(_KINDS) % 3](data[1:]))
    try:
        return f"read {read.__name__} {read(path).bit_length()}"
    except (UnreadableFile, Unnamed, BadLabels) as error:
        return place_of(error)


def _texts() -> Sequence[bytes]:
    found = [bytes([i % 2 + 7 * (i % 3)]) + text.encode() for i, text in enumerate(SAMPLES.values())]
    bars = "timestamp,open,high,low,close,volume\n1700000000,1.5,2,1,1.75,10\n1700000060,1,2,1,2,0\n"
    rates = "Symbol,Date,Funding Rate\nBTC_USD,2024-01-01 00:00:00,0.0001\n"
    news = (
        "date,sentiment,source,subject,text,title,url\n"
        '01-02-2021 10:30,{},desk,btc,"two\nlines",A title,https://a.example\n'
    )
    ccxt = (
        '[{"id":"42","timestamp":1700000000123,"symbol":"BTC/USD","side":"sell","price":100.25,"amount":0.5}]'
    )
    labels = "instrument,time,position,y\nkraken:BTC/USD,2024-01-01T00:00:00Z,5,1.0\n"
    texts = ((2, bars), (9, bars), (3, rates), (4, news), (11, news), (0, ccxt), (7, ccxt), (5, labels))
    return [*found, *(bytes([kind]) + text.encode() for kind, text in texts)]


def check_columnar(data: bytes) -> str:
    """A Parquet or Feather file as it is; first byte as in ``check_file``, never packed."""
    return check_file(bytes([data[0] % len(_KINDS)]) + data[1:]) if data else "empty"


def _tables() -> Sequence[bytes]:
    trades = pa.table(
        {
            "timestamp": pa.array([1_700_000_000_123, 1_700_000_000_124], pa.timestamp("ms")),
            "price": [100.25, 100.5],
            "quantity": pa.array(["0.5", "1"]),
            "side": ["buy", "sell"],
            "tradeId": [42, 43],
        }
    )
    labels = pa.table({"instrument": ["a"], "time": pa.array([5], pa.timestamp("ns")), "position": [1]})
    found = []
    for kind, table in ((0, trades), (6, labels)):
        made = io.BytesIO()
        pq.write_table(table, made, compression="none", store_schema=False)
        found.append(bytes([kind]) + made.getvalue())
    for kind in (0, 1):
        made = io.BytesIO()
        pyarrow.feather.write_feather(trades, made, compression="uncompressed")
        found.append(bytes([kind]) + made.getvalue())
    return found


_WORDS = (
    *(b",", b";", b"\t", b'""', b'"\n', b"\r\n", b"1e5", b"5E-1", b".5", b"+1", b"2023-11-14T22:13:20.123Z"),
    *(b"1970-01-01", b"2262-04-11T23:47:16", b"+09:00", b"buy", b"SELL", b"true", b'{"', b"},{", b"\xff\xfe"),
    *(json.dumps({"price": 1, "amount": 2}).encode(), b"price", b"timestamp", b"1700000000123"),
)
FILES = Target(name="files", check=check_file, seeds=_texts, words=_WORDS)
TABLES = Target(
    name="tables",
    check=check_columnar,
    seeds=_tables,
    words=(b"PAR1", b"ARROW1", b"price", b"\x15", b"\x18", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80"),
    max_bytes=8_192,
)

"""Each format is recognised by its columns and read exactly; what cannot be read says where and why."""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphapulse.adapters.files.formats import BAR_FORMATS, TRADE_FORMATS, BarMapping, TradeMapping
from alphapulse.adapters.files.observe import bar_chunks, trade_chunks
from alphapulse.adapters.files.open import Naming, Unnamed, open_bars, open_trades
from alphapulse.adapters.files.reader import CHUNK_BYTES, UnreadableFile
from alphapulse.domain.market.normalise import judge
from alphapulse.domain.market.raw import BLANK, OK, RawTrades

T = 1_700_000_000_123_000_000  # 2023-11-14T22:13:20.123Z
NAMED = Naming(venue="somewhere", symbol="BTC_USD")

# One trade in each format: sold 0.5 at 100.25 at T, id 42 where there are ids.
SAMPLES: dict[str, str] = {
    "bitflyer": '"domain","product_code","loaded","id","exec_date","side","price","size","a","b"\n'
    '"x","BTC_USD","2023-11-15T07:13:21+09:00","42","2023-11-15T07:13:20.123+09:00",'
    '"SELL","100.250","0.5","p","q"\n',
    "binance_aggtrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,"
    "is_buyer_maker\n"
    "42,100.25,0.50,1,2,1700000000123,true\n",
    "binance_trades": "42,100.25,0.50,50.125,1700000000123,True,True\n",
    "binance_tradeid": "timestamp,price,quantity,side,tradeId\n1700000000123,100.25,.5,sell,42\n",
    "binance_stream": "TimestampOfReceive,Stream,EventType,EventTime,TransactionTime,Symbol,"
    "TradeId,Price,Quantity,IsBuyerMarketMaker,X\n"
    "1700000000200000,s,trade,1700000000124000,1700000000123000,BTC_USD,42,100.25,0.5,1,True\n",
    "microstructure": "ts_ms,exch_ts_ms,venue,symbol,trade_id,price,qty,side\n"
    "1700000000200,1700000000123,Somewhere,BTC_USD,42,100.25,5e-1,sell\n",
    "tardis": "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
    "some-where,BTC_USD,1700000000123000,1700000000124000,42,sell,100.25,0.5\n",
    "freqtrade": ",timestamp,id,type,side,price,amount,cost,date\n"
    "0,1700000000123,42,,sell,100.25,0.5,50.125,x\n",
    "coinbase_questdb": '"symbol","side","price","amount","timestamp"\n'
    '"BTC-USD","sell",100.25,5E-1,"2023-11-14T22:13:20.123Z"\n',
    "gemini": "time_seconds,price,size,is_buyer_maker\n1700000000.123,100.25,0.5,1\n",
    "mtgox": "id,price,amount,type\n1700000000123000,100.25,0.5,ask\n",
    "alphapulse": "venue,symbol,id,time,received,price,size,side\n"
    "sim,BTC_USD,42,1700000000123000000,,100.25,0.5,sell\n",
}


def one_trade(path: Path, **options: Any) -> dict[str, Any]:
    file = open_trades(path, **options)
    (raw,) = trade_chunks(file)
    assert len(raw) == 1
    assert raw.whole.all()
    assert [raw.time.status[0], raw.price.status[0], raw.size.status[0]] == [OK, OK, OK]
    return {
        "format": file.mapping.name,
        "instrument": str(raw.instrument),
        "time": int(raw.time.value[0]),
        "price": Decimal(int(raw.price.mantissa[0])).scaleb(-int(raw.price.exponent[0])),
        "size": Decimal(int(raw.size.mantissa[0])).scaleb(-int(raw.size.exponent[0])),
        "side": int(raw.side[0]),
        "id": int(raw.id.value[0]) if raw.id else None,
    }


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_is_recognised_and_read_exactly(name: str, tmp_path: Path) -> None:
    known = TRADE_FORMATS[name]
    naming = Naming(
        venue=None if known.venue or known.venue_column else "somewhere",
        symbol=None if known.symbol or known.symbol_column else "BTC_USD",
    )
    trade = one_trade(write(tmp_path / "trades.csv", SAMPLES[name]), naming=naming)
    assert trade["format"] == name
    assert trade["instrument"].endswith(":BTC_USD")
    assert (trade["time"], trade["price"], trade["size"], trade["side"]) == (
        T,
        Decimal("100.25"),
        Decimal("0.5"),
        -1,
    )
    assert trade["id"] == (None if known.id is None else 1700000000123000 if name == "mtgox" else 42)


def test_every_text_format_has_its_sample() -> None:
    elsewhere = {"bitstamp", "ccxt_json", "binance_parquet", "binance_renko"}
    assert set(SAMPLES) | elsewhere == set(TRADE_FORMATS)


def test_bitstamp_is_known_by_three_numbers_and_no_header(tmp_path: Path) -> None:
    trade = one_trade(write(tmp_path / "t.csv", "1700000000,100.250000000000,0.500000000000\n"))
    assert (trade["format"], trade["instrument"], trade["time"], trade["side"], trade["id"]) == (
        "bitstamp", "bitstamp:BTC_USD", 1_700_000_000_000_000_000, 0, None,
    )  # fmt: skip


def test_ccxt_json_keeps_the_text_of_its_numbers(tmp_path: Path) -> None:
    text = (
        '[{"info":{"p":"{0.1}"},"timestamp":1700000000123,"symbol":"BTC/USD","id":"42","side":"sell",'
        '"price":100.2500000000000001,"amount":0.5},\n {"timestamp":null,"symbol":"BTC/USD","price":1}]'
    )
    file = open_trades(write(tmp_path / "t.json", text), naming=Naming(venue="x"))
    (raw,) = trade_chunks(file)
    assert str(raw.instrument) == "x:BTC/USD"
    assert (raw.price.mantissa[0], raw.price.exponent[0]) == (1_002_500_000_000_000_001, 16)
    assert raw.time.status.tolist() == [OK, BLANK]
    assert json.loads(raw.raw(1)) == {"timestamp": None, "symbol": "BTC/USD", "price": 1}


def test_parquet_of_any_types_reads_as_the_decimals_its_author_meant(tmp_path: Path) -> None:
    table = pa.table(
        {
            "datetime": pa.array([T // 1_000_000], pa.timestamp("ms", "UTC")),
            "price": pa.array([100.25], pa.float64()),
            "quantity": pa.array([0.5], pa.float32()),
            "is_buyer_maker": pa.array([True]),
            "trade_id": pa.array([42], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    trade = one_trade(tmp_path / "t.parquet", naming=Naming(symbol="BTC_USD"))
    assert trade == {
        "format": "binance_parquet", "instrument": "binance:BTC_USD", "time": T, "price": Decimal("100.25"),
        "size": Decimal("0.5"), "side": -1, "id": 42,
    }  # fmt: skip


def test_floats_come_as_their_shortest_text_or_rounded_when_asked(tmp_path: Path) -> None:
    noisy = 0.1 + 0.2
    table = pa.table(
        {"t": [1_700_000_000], "p": [noisy], "q": pa.array([Decimal("0.10")], pa.decimal128(9, 2))}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    for digits, wanted in ((None, Decimal(repr(noisy))), (15, Decimal("0.3"))):
        mapping = TradeMapping(name="map", time="t", price="p", size="q", float_digits=digits)
        trade = one_trade(tmp_path / "t.parquet", file_format=mapping, naming=NAMED)
        assert (trade["price"], trade["size"]) == (wanted, Decimal("0.1"))


@pytest.mark.parametrize(
    "pack", [gzip.compress, zstandard.compress, lambda b: gzip.compress(b[:50]) + gzip.compress(b[50:])]
)
def test_packed_files_are_known_by_their_first_bytes(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "no_suffix", pack(SAMPLES["tardis"].encode()))
    assert one_trade(path)["id"] == 42


def test_a_byte_order_mark_and_windows_lines_are_no_part_of_the_data(tmp_path: Path) -> None:
    text = "\ufeff" + SAMPLES["tardis"].replace("\n", "\r\n")
    assert one_trade(write(tmp_path / "t.csv", text))["size"] == Decimal("0.5")


def test_columns_can_be_named_counted_and_delimited_as_one_likes(tmp_path: Path) -> None:
    mapping = TradeMapping(
        name="map", time="#1", time_unit="ms", price="#3", size="#2", side="#4", id="#5", header=False,
        buy=("long",), sell=("short",),
    )  # fmt: skip
    path = write(tmp_path / "t.txt", "1700000000123;0.5;100.25;SHORT;42\n")
    trade = one_trade(path, file_format=mapping, naming=NAMED)
    assert (trade["time"], trade["price"], trade["size"], trade["side"], trade["id"]) == (
        T,
        Decimal("100.25"),
        Decimal("0.5"),
        -1,
        42,
    )


def test_a_file_of_several_symbols_is_split_by_instrument_in_file_order(tmp_path: Path) -> None:
    head, row = SAMPLES["tardis"].splitlines()
    symbols = ["BTCUSDT", "ETHUSDT", "ETHUSDT", "BTCUSDT", "B D"]
    rows = [row.replace("BTC_USD", s).replace(",42,", f",{i},") for i, s in enumerate(symbols)]
    path = write(tmp_path / "t.csv", "\n".join([head, *rows]))
    found = {str(c.instrument): (c.row.tolist(), c.refusal) for c in trade_chunks(open_trades(path))}
    assert found == {
        "some_where:BTCUSDT": ([1, 4], None),
        "some_where:ETHUSDT": ([2, 3], None),
        "some_where:unknown": ([5], "symbol 'B D' cannot be used"),
    }


def test_a_row_of_another_width_goes_with_the_market_of_the_row_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alphapulse.adapters.files.source.read_block.__defaults__", (150,))
    head, row = SAMPLES["tardis"].splitlines()
    eth = row.replace("BTC_USD", "ETH_USD")
    lines = ["short", row, "some-where,ETH_USD,1", eth, "short", "x" * 150, row, *["short"] * 40, eth]
    path = write(tmp_path / "t.csv", "\n".join([head, *lines]))
    found: dict[str, list[int]] = {}
    for chunk in trade_chunks(open_trades(path)):
        found.setdefault(chunk.instrument.symbol, []).extend(chunk.row.tolist())
    unsure = {1} & set(found.get("unknown", []))  # nothing is known before the first whole row of a chunk
    assert set(found.pop("unknown", [])) == unsure
    assert sorted(set(found["BTC_USD"]) | unsure) == [1, 2, 3, 7, *range(8, 48)]
    assert found["ETH_USD"] == [4, 5, 6, 48]


def test_asking_for_one_symbol_refuses_the_others_and_a_map_renames(tmp_path: Path) -> None:
    head, row = SAMPLES["tardis"].splitlines()
    path = write(tmp_path / "t.csv", "\n".join([head, row, row.replace("BTC_USD", "ETH_USD")]))
    naming = Naming(symbol="BTC_JPY", symbols={"BTC_USD": "BTC_JPY"})
    chunks = list(trade_chunks(open_trades(path, naming=naming)))
    assert [(str(c.instrument), c.refusal) for c in chunks] == [
        ("some_where:BTC_JPY", None),
        ("some_where:BTC_JPY", "symbol 'ETH_USD' is not BTC_JPY"),
    ]


def test_chunks_hold_every_row_once_whatever_the_block_boundaries(tmp_path: Path) -> None:
    line = SAMPLES["tardis"].splitlines()[1]
    rows = 2 * CHUNK_BYTES // len(line)
    lines = [line.replace(",42,", f",{i},") for i in range(rows)]
    path = write(tmp_path / "t.csv", SAMPLES["tardis"].splitlines()[0] + "\n" + "\n".join(lines))
    seen: list[RawTrades] = list(trade_chunks(open_trades(path)))
    assert len(seen) > 2
    assert [r for c in seen for r in c.row.tolist()] == list(range(1, rows + 1))
    assert [i for c in seen if c.id for i in c.id.value.tolist()] == list(range(rows))
    last = seen[-1]
    assert last.raw(len(last) - 1) == lines[-1]


def text_of(path: Path, **options: Any) -> str:
    with pytest.raises(UnreadableFile) as caught:
        for _ in trade_chunks(open_trades(path, naming=NAMED, **options)):
            pass
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_none_or_holds_nothing_says_so(tmp_path: Path) -> None:
    assert "is a directory" in text_of(tmp_path)
    assert "No such file" in text_of(tmp_path / "absent")
    assert "is empty (0 bytes)" in text_of(write(tmp_path / "e", ""))
    assert "is empty (0 bytes when unpacked)" in text_of(write(tmp_path / "z", gzip.compress(b"")))


def test_what_is_not_text_in_utf8_says_what_it_is(tmp_path: Path) -> None:
    assert "UTF-16" in text_of(write(tmp_path / "a", SAMPLES["tardis"].encode("utf-16")))
    assert "a zero byte at byte 3" in text_of(write(tmp_path / "b", b"abc\0\1\2\n"))
    assert "not UTF-8" in text_of(write(tmp_path / "c", b"price,si\xe9ze\n1,2\n"))
    assert "not UTF-8" in text_of(write(tmp_path / "d", bytes(range(128, 256)) * 9))


def test_columns_that_fit_no_format_are_named_with_what_was_expected(tmp_path: Path) -> None:
    message = text_of(write(tmp_path / "t.csv", "when,price,much\n1,2,3\n"))
    assert "['when', 'price', 'much'] fits no known format" in message
    assert "bitflyer" in message
    message = text_of(write(tmp_path / "u.csv", "when,price,much\n1,2,3\n"), file_format="tardis")
    assert "no column 'timestamp'; the file has ['when', 'price', 'much']" in message
    assert "no header, and 2 columns ['1', '2']" in text_of(write(tmp_path / "v.csv", "1,2\n"))


def test_a_column_that_stands_twice_in_the_header_is_refused(tmp_path: Path) -> None:
    text = SAMPLES["tardis"].replace("local_timestamp", "price")
    message = text_of(
        write(tmp_path / "t.csv", text),
        file_format=TradeMapping(name="map", time="timestamp", price="price", size="amount"),
    )
    assert "column 'price' stands 2 times" in message


def test_parquet_of_another_schema_or_damaged_says_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    assert "the columns ['a'] fit no known format" in text_of(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    assert "a damaged or cut off parquet file" in text_of(
        write(tmp_path / "cut.parquet", whole[: len(whole) // 2])
    )


def test_a_cut_off_gzip_names_the_line_after_which_it_ends(tmp_path: Path) -> None:
    head, row = SAMPLES["tardis"].splitlines()
    packed = gzip.compress("\n".join([head] + [row.replace("42", str(i)) for i in range(20_000)]).encode())
    message = text_of(write(tmp_path / "t.csv.gz", packed[: len(packed) // 2]))
    line = int(message.split("after line ")[1].split(",")[0])
    assert 5_000 < line < 15_000
    broken = bytearray(packed)
    broken[-6] ^= 0xFF  # the checksum
    assert "CRC check failed" in text_of(write(tmp_path / "u.csv.gz", bytes(broken)))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    head, row = SAMPLES["tardis"].splitlines()
    text = f"{head}\n{row}\n".encode() + b"x" * 100_000_000
    message = text_of(write(tmp_path / "t.csv.gz", gzip.compress(text, 1)))
    assert "line 3 is over 1,048,576 bytes long, it begins b'xxxx" in message


def test_json_that_ends_inside_an_object_says_after_which_row(tmp_path: Path) -> None:
    row = '{"timestamp":1700000000123,"symbol":"X","id":"1","side":"sell","price":1,"amount":1}'
    message = text_of(write(tmp_path / "t.json", f"[{row},{row[:40]}"))
    assert "cut off after row 1" in message


def test_an_unknown_format_or_market_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", SAMPLES["gemini"])
    with pytest.raises(ValueError, match="format 'nope' is none of auto, bitflyer"):
        open_trades(path, file_format="nope")
    with pytest.raises(Unnamed, match="give --symbol"):
        open_trades(path)
    with pytest.raises(Unnamed, match="give --venue"):
        open_trades(write(tmp_path / "f.csv", SAMPLES["freqtrade"]))


BARS = {
    "bitfinex": "ts_ms,open,close,high,low,volume\n1700000040000,10,11,12,9,5\n",
    "bitmex": "ts_s,open,high,low,close,volume\n1700000040,10,12,9,11,5\n",
    "freqtrade": "date,open,high,low,close,volume\n2023-11-14 22:14:00,10,12,9,11,5\n",
    "ohlcv": "timestamp,open,high,low,close,volume\n2023-11-14 22:14:00.000000,10,12,9,11,5\n",
    "cryptodatadownload": "a banner,https://example.org\ndate,symbol,open,high,low,close,volume_btc,volume\n"
    "2023-11-14 22:14,BTC_USD,10,12,9,11,5,50\n",
    "cryptodatadownload_from": "Date,Symbol,Open,High,Low,Close,VolumeFrom,VolumeTo\n"
    "2023-11-14 22:14,BTC_USD,10,12,9,11,5,50\n",
}


@pytest.mark.parametrize("name", BAR_FORMATS)
def test_bars_of_every_format_have_their_columns_in_the_right_places(name: str, tmp_path: Path) -> None:
    file = open_bars(write(tmp_path / "bars.csv", BARS[name]), naming=NAMED)
    (raw,) = bar_chunks(file)
    assert file.mapping.name == name
    assert int(raw.start.value[0]) == 1_700_000_040_000_000_000
    values = [int(d.mantissa[0]) for d in (raw.open, raw.high, raw.low, raw.close, raw.volume)]
    assert values == [10, 12, 9, 11, 5]


def test_feather_is_read_batch_by_batch(tmp_path: Path) -> None:
    start = pa.array(
        [1_700_000_040_000_000_000 + i * 60_000_000_000 for i in range(1000)], pa.timestamp("ns", "UTC")
    )
    prices = {name: pa.array([1.5] * 1000) for name in ("open", "high", "low", "close", "volume")}
    pyarrow.feather.write_feather(pa.table({"date": start, **prices}), tmp_path / "b.feather", chunksize=300)
    chunks = list(bar_chunks(open_bars(tmp_path / "b.feather", naming=NAMED)))
    assert [len(c) for c in chunks] == [300, 300, 300, 100]
    assert chunks[-1].row.tolist() == list(range(901, 1001))


def test_a_bar_mapping_may_count_columns_and_trades(tmp_path: Path) -> None:
    mapping = BarMapping(
        name="map",
        time="t",
        time_unit="s",
        open="a",
        high="b",
        low="c",
        close="d",
        volume="v",
        trade_count="n",
    )
    path = write(tmp_path / "b.csv", "t,a,b,c,d,v,n\n1700000040,1,1,1,1,2,7\n1700000100,1,1,1,1,2,\n")
    (raw,) = bar_chunks(open_bars(path, file_format=mapping, naming=NAMED))
    assert raw.trade_count is not None
    assert (raw.trade_count.value.tolist()[0], raw.trade_count.status.tolist()) == (7, [OK, BLANK])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(SAMPLES)), st.binary(max_size=60), st.integers(0, 400), st.integers(0, 30))
def test_a_file_damaged_anywhere_is_either_unreadable_or_each_of_its_rows_is_judged(
    tmp_path: Path, name: str, noise: bytes, at: int, cut: int
) -> None:
    text = SAMPLES[name].encode() + SAMPLES[name].splitlines()[-1].encode() + b"\n"
    path = write(tmp_path / "t.csv", text[:at] + noise + text[at + cut :])
    try:
        chunks = list(trade_chunks(open_trades(path, naming=Naming(venue="somewhere", symbol="BTC_USD"))))
    except UnreadableFile:
        return
    rows = [row for chunk in chunks for row in chunk.row.tolist()]
    assert sorted(rows) == list(range(1, len(rows) + 1))
    for chunk in chunks:
        verdict = judge(chunk, "0" * 64)
        assert len(verdict.accepted) + verdict.duplicates + len(verdict.refused) == len(chunk)

"""Columns of trades and bars as bytes: exact there and back, small, and damaged bytes are refused."""

import dataclasses
import struct
import time

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.adapters.store import columnar
from alphapulse.adapters.store.columnar import (
    decode_bars,
    decode_funding,
    decode_trades,
    encode_bars,
    encode_funding,
    encode_trades,
)
from alphapulse.domain.market.columns import MAX_ROWS
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.fundamentals import FundingObserved
from alphapulse.domain.ports import UndecodableEvent
from tests.adapters.store.market import any_bars, any_funding, any_trades, bars, funding, trades

MAGIC = b"\xa9T\x01"


@given(any_trades())
def test_trades_of_any_numbers_come_back_exactly(event: TradesObserved) -> None:
    assert decode_trades(encode_trades(event)) == event


@given(any_bars())
def test_bars_of_any_numbers_come_back_exactly(event: BarsObserved) -> None:
    assert decode_bars(encode_bars(event)) == event


@given(any_funding())
def test_funding_rates_of_any_numbers_come_back_exactly(event: FundingObserved) -> None:
    assert decode_funding(encode_funding(event)) == event


def test_damaged_funding_rates_are_refused_and_so_are_other_events_in_their_place() -> None:
    state = encode_funding(funding(50))
    for cut in range(len(state)):
        with pytest.raises(UndecodableEvent):
            decode_funding(state[:cut])
    with pytest.raises(UndecodableEvent, match="begins with"):
        decode_funding(encode_bars(bars()))


@pytest.mark.parametrize("hours", [0, -8, 169])
def test_an_interval_that_no_venue_has_is_never_stored(hours: int) -> None:
    event = funding()
    columns = dataclasses.replace(event.columns, interval_hours=np.full(3, hours, np.int64))
    with pytest.raises(ValueError, match=f"1 to 168 hours: {hours}"):
        encode_funding(dataclasses.replace(event, columns=columns))


@given(any_trades())
def test_columns_keep_their_types(event: TradesObserved) -> None:
    decoded = decode_trades(encode_trades(event)).columns
    for name in ("time", "price", "size", "side", "id", "flags"):
        assert getattr(decoded, name).dtype == getattr(event.columns, name).dtype


def test_the_largest_batch_of_the_widest_numbers_fits_one_event() -> None:
    wide = np.random.default_rng(1).integers(-(1 << 63), (1 << 63) - 1, (4, MAX_ROWS))
    event = dataclasses.replace(
        trades(),
        columns=dataclasses.replace(
            trades(MAX_ROWS).columns, time=wide[0], price=wide[1], size=wide[2], id=wide[3]
        ),
    )
    state = encode_trades(event)
    assert len(state) < 430_000
    assert decode_trades(state) == event


def test_a_lifelike_trade_takes_less_than_6_and_a_half_bytes() -> None:
    assert len(encode_trades(trades(1_000))) / 1_000 < 6.5


def test_times_in_whole_milliseconds_cost_no_more_for_being_nanoseconds() -> None:
    event = trades(1_000)
    fine = dataclasses.replace(
        event, columns=dataclasses.replace(event.columns, time=event.columns.time // 1_000_000)
    )
    assert abs(len(encode_trades(event)) - len(encode_trades(fine))) < 20


def test_a_view_with_strides_is_encoded_like_a_copy() -> None:
    columns = trades(20).columns
    every_second = columns.take(slice(None, None, 2))
    event = TradesObserved(instrument=trades().instrument, columns=every_second)
    assert decode_trades(encode_trades(event)) == event


def test_unusual_memory_does_not_compile_the_kernel_again() -> None:
    """A second of compiling in the midst of a feed would be felt."""
    encode_trades(trades(20))
    compiled = len(columnar._pack.signatures)
    event = trades(20)
    frozen = event.columns.take(slice(None, None, 2))
    frozen.side.flags.writeable = frozen.flags.flags.writeable = frozen.time.flags.writeable = False
    assert decode_trades(encode_trades(dataclasses.replace(event, columns=frozen))).columns == frozen
    assert len(columnar._pack.signatures) == compiled


@pytest.mark.parametrize("rows", [0, MAX_ROWS + 1])
def test_a_batch_has_1_to_10000_rows(rows: int) -> None:
    with pytest.raises(ValueError, match=f"not {rows}"):
        encode_trades(trades(rows))
    with pytest.raises(ValueError, match=f"not {rows}"):
        encode_bars(bars(rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price_exponent": 19}, "19"),
        ({"size_exponent": -1}, "-1"),
        ({"side": np.array([1, 2, -1], np.int8)}, r"\[-1, 1, 2\]"),
        ({"side": np.array([1], np.int8)}, "1 sides"),
        ({"flags": np.zeros(4, np.uint8)}, "4 flags"),
        ({"price": np.array([1, 2], np.int64)}, r"lengths \[2, 3\]"),
        ({"price": np.array([1.0, 2.0, 3.0])}, "int64, not float64"),
        ({"side": np.array([1, 257, -1])}, "int8, not int64"),
        ({"flags": np.array([1, 0, -1], np.int8)}, "uint8, not int8"),
    ],
)
def test_columns_that_are_no_batch_are_not_encoded(change: dict[str, object], message: str) -> None:
    event = trades(3)
    with pytest.raises(ValueError, match=message):
        encode_trades(dataclasses.replace(event, columns=dataclasses.replace(event.columns, **change)))


@pytest.mark.parametrize(
    "change", [{"volume_unit": "a\nb"}, {"timeframe_minutes": 0}, {"volume_unit": "x" * 256}]
)
def test_bars_without_a_timeframe_or_unit_are_not_encoded(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        encode_bars(dataclasses.replace(bars(), **change))


@given(st.binary(max_size=200), st.sampled_from([b"", MAGIC, b"\xa9B\x01"]))
def test_garbage_is_undecodable(garbage: bytes, magic: bytes) -> None:
    for decode in (decode_trades, decode_bars):
        with pytest.raises(UndecodableEvent):
            decode(magic + garbage)


@given(st.data())
def test_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    state = bytearray(encode_trades(trades(50)))
    bit = data.draw(st.integers(0, len(state) * 8 - 1))
    state[bit // 8] ^= 1 << bit % 8
    try:
        decoded = decode_trades(bytes(state))
    except UndecodableEvent:
        return
    assert decoded == trades(50)  # a bit that zstd does not use


@given(st.data())
def test_a_truncated_or_longer_state_is_undecodable(data: st.DataObject) -> None:
    state = encode_bars(bars(50))
    cut = data.draw(st.integers(0, len(state) - 1))
    with pytest.raises(UndecodableEvent):
        decode_bars(state[:cut])
    with pytest.raises(UndecodableEvent):
        decode_bars(state + b"\0")


def framed(body: bytes) -> bytes:
    return MAGIC + zstandard.ZstdCompressor(write_checksum=True).compress(body)


@given(
    st.integers(0, 65_535),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=300),
)
def test_a_lying_header_is_undecodable(
    rows: int, exponent: int, other: int, extras: int, length: int, rest: bytes
) -> None:
    """A hostile writer can make the checksum right; the lengths must still be checked."""
    body = struct.pack("<HBBBB", rows, exponent, other, extras, length) + rest
    for decode in (decode_trades, decode_bars):
        with pytest.raises(UndecodableEvent):
            decode(framed(body)[:0] + (MAGIC if decode is decode_trades else b"\xa9B\x01") + framed(body)[3:])


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = framed(bytes(1 << 30))
    assert len(bomb) < 200_000
    begun = time.perf_counter()
    with pytest.raises(UndecodableEvent, match="claims 1073741824 bytes"):
        decode_trades(bomb)
    assert time.perf_counter() - begun < 0.1


def test_a_number_of_more_than_64_bits_is_undecodable() -> None:
    header = struct.pack("<HBBBB", 1, 0, 0, 0, 3) + b"v\nS"
    columns = bytes(4) + b"\xff" * 10 + b"\x01" + bytes(3)
    with pytest.raises(UndecodableEvent, match="64 bits"):
        decode_trades(framed(header + columns + b"\0"))


@pytest.mark.parametrize("rest", [b"", b"\0\0", b"\0" * 9])
def test_sides_that_are_missing_or_too_many_are_undecodable(rest: bytes) -> None:
    header = struct.pack("<HBBBB", 1, 0, 0, 0, 3) + b"v\nS"
    assert len(decode_trades(framed(header + bytes(4) + bytes(4) + b"\0")).columns) == 1
    with pytest.raises(UndecodableEvent, match="1 trades end at"):
        decode_trades(framed(header + bytes(4) + bytes(4) + rest))


def test_an_instrument_that_cannot_be_is_undecodable() -> None:
    header = struct.pack("<HBBBB", 1, 0, 0, 0, 3) + b"V\nS"
    with pytest.raises(UndecodableEvent, match="venue 'V'"):
        decode_trades(framed(header + bytes(4) + bytes(4) + b"\0"))

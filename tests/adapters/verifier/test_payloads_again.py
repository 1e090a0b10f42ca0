"""Payloads decoded in plain Python say what our own decoder says, to the last digit; damage is refused."""

import importlib
from random import Random

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.adapters.provenance.decoded import decoded as shown
from alphapulse.adapters.store import columnar
from alphapulse.adapters.verifier import payload
from alphapulse.adapters.verifier.leaf import LineRefused, Real, json_of, same
from alphapulse.adapters.verifier.payload import NotDecodable, decoded
from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.fundamentals import FundingColumns, FundingObserved
from alphapulse.domain.market.instrument import Instrument

MARKET = Instrument("venue", "BTC_USD")
INT64 = st.integers(-(2**63), 2**63 - 1)
COLUMN = st.one_of(INT64, st.integers(-5, 5), st.sampled_from([10**18, -(10**18), 0, 2**63 - 1, -(2**63)]))
PLACES = st.integers(0, 18)


@st.composite
def columns(draw: st.DrawFn, count: int) -> list[np.ndarray]:
    rows = draw(st.integers(1, 20))
    return [np.array(draw(st.lists(COLUMN, min_size=rows, max_size=rows)), np.int64) for _ in range(count)]


def agrees(state: bytes) -> None:
    text = shown(state)
    assert text is not None
    assert same(decoded(state), json_of(text.decode()))


@settings(max_examples=60)
@given(columns(4), PLACES, PLACES, st.randoms(), st.booleans(), st.booleans())
def test_trades_say_the_same(c, price, size, random, with_unknown, with_flags) -> None:  # type: ignore[no-untyped-def]
    rows = len(c[0])
    sides = [-1, 1, 0] if with_unknown else [-1, 1]
    agrees(
        columnar.encode_trades(
            TradesObserved(
                instrument=MARKET,
                columns=TradeColumns(
                    time=c[0],
                    price=c[1],
                    size=c[2],
                    id=c[3],
                    side=np.array([random.choice(sides) for _ in range(rows)], np.int8),
                    flags=np.array([random.choice([0, 3]) * with_flags for _ in range(rows)], np.uint8),
                    price_exponent=price,
                    size_exponent=size,
                ),
            )
        )
    )


@settings(max_examples=60)
@given(columns(7), PLACES, PLACES, st.sampled_from(["base", "quote", "é"]))
def test_bars_say_the_same(c, price, volume, unit) -> None:  # type: ignore[no-untyped-def]
    names = ("start", "open", "high", "low", "close", "volume", "trade_count")
    made = BarColumns(**dict(zip(names, c, strict=True)), price_exponent=price, volume_exponent=volume)
    agrees(
        columnar.encode_bars(
            BarsObserved(instrument=MARKET, timeframe_minutes=15, volume_unit=unit, columns=made)
        )
    )


@settings(max_examples=40)
@given(columns(2), PLACES, st.integers(1, 24))
def test_funding_rates_say_the_same(c, places, hours) -> None:  # type: ignore[no-untyped-def]
    interval = np.full(len(c[0]), hours, np.int64)
    made = FundingColumns(time=c[0], rate=c[1], interval_hours=interval, rate_exponent=places)
    agrees(columnar.encode_funding(FundingObserved(instrument=MARKET, columns=made)))


def some_trades() -> bytes:
    ids = np.arange(9, dtype=np.int64)
    sides, flags = np.zeros(9, np.int8), np.ones(9, np.uint8)
    made = TradeColumns(
        time=ids, price=ids, size=ids, id=ids, side=sides, flags=flags, price_exponent=2, size_exponent=0
    )
    return columnar.encode_trades(TradesObserved(instrument=MARKET, columns=made))


def test_damaged_columns_are_refused_or_say_something_else() -> None:
    state = some_trades()
    body = zstandard.ZstdDecompressor().decompress(state[3:])
    random = Random(1)
    for _ in range(400):
        broken = bytearray(body)
        for _ in range(random.randrange(1, 4)):
            broken[random.randrange(len(broken))] = random.randrange(256)
        cut = bytes(broken[: random.randrange(len(broken) + 1)]) if random.random() < 0.3 else bytes(broken)
        try:
            decoded(state[:3] + zstandard.ZstdCompressor().compress(cut))
        except LineRefused:
            continue


def test_a_damaged_frame_is_refused() -> None:
    state = some_trades()
    for at in range(3, len(state)):
        broken = bytearray(state)
        broken[at] ^= 0x41
        try:
            assert decoded(bytes(broken)) != decoded(state)
        except LineRefused:
            continue


def test_a_frame_that_would_unpack_to_too_much_is_refused_before() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    with pytest.raises(LineRefused, match="50000000 bytes"):
        decoded(b"\xa9T\x01" + bomb)


def test_without_zstd_columns_are_not_decoded_and_json_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(payload, "_FOUND", [])
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(NotDecodable):
        decoded(some_trades())
    assert decoded(b'{"a":1.50}') == {"a": Real("1.50")}


@pytest.mark.parametrize(
    "state", [b"", b"\xff", b"{", b'{"a":1,"a":1}', b"NaN", b"[" * 100_000, b"9" * 5_000]
)
def test_what_two_readers_could_take_differently_is_refused(state: bytes) -> None:
    with pytest.raises(LineRefused):
        decoded(state)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("1", "1.0"), ("1", "true"), ("0", "false"), ('"1.0"', "1.0"), ("1.0", "1.00"), ("[1]", "[true]")),
        *(
            ('{"a":1}', '{"a":1,"b":2}'),
            ('{"a":1}', '{"b":1}'),
            ("null", "0"),
            ('["a"]', "[1.5]"),
            ("[]", "{}"),
        ),
    ],
)
def test_values_are_the_same_only_as_they_are_written(one: str, other: str) -> None:
    assert same(json_of(one), json_of(one))
    assert not same(json_of(one), json_of(other))
    assert not same(json_of(other), json_of(one))


def test_the_order_of_keys_does_not_count() -> None:
    assert same(json_of('{"a":1,"b":[2.5]}'), json_of('{"b":[2.5],"a":1}'))

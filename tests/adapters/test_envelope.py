"""Stored events as messages and back."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.adapters.bus import envelope
from alphapulse.adapters.bus.envelope import ForeignMessage, from_message, stream_of, subject_of, to_message
from alphapulse.domain.ports import Envelope, Message, StoredRecord

LARGE = 1 << 20

# What the store admits: no NUL, no lone surrogates, at most 255 characters.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=255)
int64s = st.integers(-(1 << 63), (1 << 63) - 1)
moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30)).map(lambda d: d.replace(tzinfo=UTC))  # noqa: DTZ001


@st.composite
def records(draw: st.DrawFn) -> StoredRecord:
    lo = draw(st.none() | int64s)
    return StoredRecord(
        stream=draw(texts),
        version=draw(st.integers(1, (1 << 63) - 1)),
        name=draw(texts),
        state=draw(st.binary(max_size=300)),
        envelope=Envelope(
            event_id=draw(st.uuids()),
            event_time=draw(st.none() | int64s),
            cause_id=draw(st.none() | st.uuids()),
            correlation_id=draw(st.none() | st.uuids()),
            actor=draw(texts),
            trace=draw(st.none() | texts),
        ),
        id_lo=lo,
        id_hi=None if lo is None else draw(st.integers(lo, (1 << 63) - 1)),
        position=draw(st.integers(1, (1 << 63) - 1)),
        recorded_at=draw(moments),
    )


@given(records(), st.integers(0, 1 << 62), st.integers(1, 1 << 62))
def test_a_record_comes_back_exactly(record: StoredRecord, previous: int, epoch: int) -> None:
    message = to_message(record, previous=previous, epoch=epoch, max_bytes=LARGE)
    delivery = from_message(message)
    assert delivery.record == record
    assert (delivery.position, delivery.previous, delivery.epoch) == (record.position, previous, epoch)


@given(records())
def test_headers_survive_the_wire(record: StoredRecord) -> None:
    """NATS strips blanks around a value, splits lines, and knows ASCII for sure."""
    for name, value in to_message(record, previous=0, epoch=1, max_bytes=LARGE).headers.items():
        assert name.isascii()
        assert value.isascii()
        assert value == value.strip()
        assert value.isprintable()


@pytest.mark.parametrize(
    "actor", [" leading", "trailing ", "a b", "\t", "line\r\nbreak", "100%", "%20", "caf\u00e9"]
)
def test_awkward_values_survive_what_nats_does_to_headers(actor: str) -> None:
    record = record_of(envelope=Envelope(event_id=UUID(int=7), actor=actor))
    message = to_message(record, previous=4, epoch=1, max_bytes=LARGE)
    wire = {name: value.strip() for name, value in message.headers.items()}
    assert "\n" not in "".join(wire.values())
    assert from_message(Message(subject=message.subject, headers=wire, data=message.data)).record == record


@given(records())
def test_subjects_are_what_nats_takes(record: StoredRecord) -> None:
    subject = subject_of(record.stream)
    tokens = subject.split(".")
    assert tokens[0] == "alphapulse"
    assert 2 <= len(tokens) <= 4
    assert all(tokens)
    assert not set(subject) & set(" *>\t\r\n")
    assert subject.isascii()
    assert len(subject) <= envelope.SUBJECT_CHARACTERS + 100


@given(texts, texts)
def test_different_streams_never_share_a_subject(one: str, other: str) -> None:
    assert (subject_of(one) == subject_of(other)) == (one == other)


@given(texts.filter(lambda s: len(subject_of(s)) <= envelope.SUBJECT_CHARACTERS))
def test_a_subject_that_is_not_hashed_names_its_stream(stream: str) -> None:
    if "%sha256-" not in subject_of(stream):
        assert stream_of(subject_of(stream)) == stream


@pytest.mark.parametrize(
    ("stream", "subject"),
    [
        ("trades-kraken-BTC_USD", "alphapulse.trades.kraken.BTC_USD"),
        ("trades-kraken-BTC/USD.P", "alphapulse.trades.kraken.BTC%2FUSD%2EP"),
        ("bars-binance-BTCUSDT-1m", "alphapulse.bars.binance.BTCUSDT-1m"),
        ("settings", "alphapulse.settings"),
        ("a--b", "alphapulse.a.%.b"),
        ("odd-* >", "alphapulse.odd.%2A%20%3E"),
    ],
)
def test_subjects_read_well(stream: str, subject: str) -> None:
    assert subject_of(stream) == subject


def record_of(state: bytes = b"{}", **changes: object) -> StoredRecord:
    fields: dict[str, object] = {
        "stream": "trades-kraken-BTC_USD",
        "version": 1,
        "name": "market.trades_observed.v1",
        "state": state,
        "envelope": Envelope(event_id=UUID(int=7)),
        "position": 5,
        "recorded_at": datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=9))),
    }
    return StoredRecord(**(fields | changes))  # type: ignore[arg-type]


def test_a_payload_that_does_not_fit_is_left_out_and_said_so() -> None:
    record = record_of(b"x" * 10_000)
    message = to_message(record, previous=4, epoch=1, max_bytes=8_000)
    assert message.data == b""
    assert "10000 bytes" in message.headers["Event-Omitted"]
    assert message.headers["Event-Stream"] == record.stream
    delivery = from_message(message)
    assert delivery.record is None
    assert (delivery.position, delivery.previous) == (5, 4)


def test_headers_that_do_not_fit_are_left_out_too() -> None:
    message = to_message(record_of(name="n" * 5_000), previous=4, epoch=1, max_bytes=2_000)
    assert "Event-Name" not in message.headers
    assert from_message(message).record is None


def test_the_largest_state_the_store_takes_fits_into_a_message_with_the_longest_headers() -> None:
    longest = "\N{PILE OF POO}" * 255
    record = record_of(
        b"x" * 900_000,
        stream=longest,
        name=longest,
        envelope=Envelope(event_id=UUID(int=7), actor=longest, trace=longest, event_time=-(1 << 63)),
    )
    assert from_message(to_message(record, previous=4, epoch=1 << 60, max_bytes=LARGE)).record == record


@pytest.mark.parametrize(
    "missing", ["Log-Position", "Log-Previous-Position", "Log-Epoch", "Event-Id", "Event-Actor"]
)
def test_a_message_without_our_headers_is_foreign(missing: str) -> None:
    message = to_message(record_of(), previous=4, epoch=1, max_bytes=LARGE)
    headers = {name: value for name, value in message.headers.items() if name != missing}
    with pytest.raises(ForeignMessage, match=missing):
        from_message(Message(subject=message.subject, headers=headers, data=message.data))


def test_a_message_with_a_header_that_does_not_parse_is_foreign() -> None:
    message = to_message(record_of(), previous=4, epoch=1, max_bytes=LARGE)
    for wrong in ({"Log-Position": "x"}, {"Event-Recorded-At": "noon"}, {"Event-Cause-Id": "1"}):
        with pytest.raises(ForeignMessage):
            from_message(Message(subject="s", headers={**message.headers, **wrong}, data=b""))

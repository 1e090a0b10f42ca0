"""Targets: stored events, columns, messages of the bus.

What decodes is written again and decodes to the same event; nothing but UndecodableEvent (ForeignMessage,
from the bus) comes out of anything else.
"""

import base64
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import zstandard

from alphapulse.adapters.bus import envelope
from alphapulse.adapters.store import columnar
from alphapulse.adapters.store.codec import Codec, codec
from alphapulse.domain.market.columns import MAX_EXPONENT
from alphapulse.domain.ports import Envelope, Message, StoredRecord, UndecodableEvent
from tests.adapters.store.market import bars, funding, trades
from tests.adapters.store.test_codec import HISTORY, SAMPLES
from tests.fuzz.target import Target, place_of

_CODECS: Sequence[tuple[Codec, str]] = [
    *((codec, name) for name in codec.names),
    *((HISTORY, name) for name in HISTORY.names),
]


def check_event(data: bytes) -> str:
    """First byte: under which stored name, of ours or of a made-up history of upcasters. Rest: the state."""
    if not data:
        return "empty"
    own, name = _CODECS[data[0] % len(_CODECS)]
    try:
        event = own.read(name, data[1:])
    except UndecodableEvent as error:
        return place_of(error)
    encoded = own.encode(event)
    assert own.read(encoded.name, encoded.state) == event
    own.event_time(event)
    return f"read {name}"


def _events() -> Sequence[bytes]:
    found = []
    for i, (own, name) in enumerate(_CODECS):
        if own is codec:
            sample = json.loads((SAMPLES / f"{name}.json").read_text())
            found.append(bytes([i]) + base64.b64decode(sample["state"]))
        else:
            found.append(bytes([i]) + b'{"amount":7,"cents":5,"currency":"EUR"}')
    return found


_KINDS: Sequence[tuple[bytes, Callable[[bytes], Any], Callable[[Any], bytes]]] = (
    (b"\xa9T\x01", columnar.decode_trades, columnar.encode_trades),
    (b"\xa9B\x01", columnar.decode_bars, columnar.encode_bars),
    (b"\xa9F\x01", columnar.decode_funding, columnar.encode_funding),
)
_packer = zstandard.ZstdCompressor(level=1, write_checksum=True)


def check_columns(data: bytes) -> str:
    """First byte: which kind, and whether the rest is a state, a state's body, or a valid batch's numbers."""
    if not data:
        return "empty"
    magic, decode, encode = _KINDS[data[0] % 3]
    if data[0] >= 128:
        return _round_trip(data[1:])
    state = data[1:] if data[0] >= 64 else magic + _packer.compress(data[1:])
    try:
        event = decode(state)
    except UndecodableEvent as error:
        return place_of(error)
    assert decode(encode(event)) == event
    return f"read {len(event.columns).bit_length()}"


def _round_trip(data: bytes) -> str:
    """Trades of any numbers: 33 bytes a trade, or as many as there are."""
    rows = max(1, len(data) // 33)
    data = data.ljust(33 * rows + 2, b"\7")
    numbers = np.frombuffer(data, "<i8", 4 * rows).reshape(4, rows).astype(np.int64)
    last = np.frombuffer(data, np.uint8, rows, 32 * rows)
    event = trades()
    columns = replace(
        event.columns,
        **dict(zip(("time", "price", "size", "id"), numbers, strict=True)),
        side=(last % 3).astype(np.int8) - 1,
        flags=(last // 3 % 4).astype(np.uint8),
        price_exponent=data[-1] % (MAX_EXPONENT + 1),
        size_exponent=data[-2] % (MAX_EXPONENT + 1),
    )
    event = replace(event, columns=columns)
    assert columnar.decode_trades(columnar.encode_trades(event)) == event
    return f"round trip {rows.bit_length()}"


def _columns() -> Sequence[bytes]:
    found = [b"\xf0" + np.arange(33, dtype=np.int64).tobytes()]
    batches: Sequence[Any] = (trades(5), trades(60, seed=3), bars(4), funding(4))
    for event, kind in zip(batches, (0, 0, 1, 2), strict=True):
        state = _KINDS[kind][2](event)
        found.append(bytes([66 + (kind - 66) % 3]) + state)
        found.append(bytes([kind]) + zstandard.ZstdDecompressor().decompress(state[3:]))
    header = struct.pack("<HBBBB", 1, 0, 0, 0, 3) + b"v\nS"
    return [*found, b"\0" + header + bytes(4) + bytes(4) + b"\0"]


def check_message(data: bytes) -> str:
    """Lines ``header: value``, then an empty line and the payload."""
    head, _, payload = data.partition(b"\n\n")
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\n") if ": " in line)
    message = Message(subject="alphapulse.x", headers=headers, data=payload)
    try:
        found = envelope.from_message(message)
    except envelope.ForeignMessage as error:
        return place_of(error)
    if found.record is None:
        return "no payload"
    again = envelope.to_message(found.record, previous=found.previous, epoch=found.epoch, max_bytes=1 << 20)
    assert envelope.from_message(again) == found
    return "read"


def _messages() -> Sequence[bytes]:
    record = StoredRecord(
        stream="trades-kraken-BTC/USD",
        version=3,
        name="market.trades_observed.v1",
        state=b"state",
        envelope=Envelope(
            event_id=UUID(int=7), event_time=-5, cause_id=UUID(int=8), actor="jürgen 🦉", trace="00-ab-cd-01"
        ),
        id_lo=-1,
        id_hi=9,
        position=17,
        recorded_at=datetime(2026, 1, 31, 12, 30, 1, 250, UTC),
    )
    whole = [envelope.to_message(record, previous=16, epoch=2, max_bytes=size) for size in (1 << 20, 10)]
    return [
        "\n".join(f"{name}: {value}" for name, value in m.headers.items()).encode("latin-1")
        + b"\n\n"
        + m.data
        for m in whole
    ]


_JSON_WORDS = (b"{}", b"[]", b'"', b":", b",", b"true", b'{"', b"[[", b"\\ud800", b"\\u0000", b"1.5", b"-1")
EVENTS = Target(name="events", check=check_event, seeds=_events, words=_JSON_WORDS)
COLUMNS = Target(
    name="columns",
    check=check_columns,
    seeds=_columns,
    words=(
        b"\xff" * 9 + b"\x01",
        b"\x80" * 9 + b"\x01",
        b"v\nS",
        b"\n",
        struct.pack("<H", 10_000),
        b"\x12",
        b"\x13",
    ),
)
MESSAGES = Target(
    name="messages",
    check=check_message,
    seeds=_messages,
    words=(
        b": ",
        b"\n",
        b"%",
        b"%F0%9F",
        b"Event-Omitted: x\n",
        b"Log-Epoch: ",
        b"+00:00",
        b"9999-12-31T23:59:59",
    ),
)
